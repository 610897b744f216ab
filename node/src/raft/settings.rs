//! The numbers of consensus and of its link, each with its reason, and openraft's configuration.

use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;

use super::api::{StartError, Timings};

/// Largest command of one entry (DESIGN, P11).
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest message between nodes: an entry of the largest size, and a full page of entry headers.
pub const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + 1024 * 1024;

/// Entries read or sent at once stop at the one that reaches this; the largest entry still fits.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;
/// Entries read or sent at once.
pub(crate) const PAGE_ENTRY_COUNT_MAX: u64 = 512;
/// A blank or command entry's bytes in a message besides its command, at most.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// Header, vote, log ids and one membership entry of a message, at most.
const MESSAGE_OVERHEAD_BYTES: usize = 256 * 1024;

const _: () = assert!(
    MESSAGE_BYTES_MAX
        >= ENTRY_BYTES_MAX
            + PAGE_ENTRY_COUNT_MAX as usize * ENTRY_OVERHEAD_BYTES
            + MESSAGE_OVERHEAD_BYTES,
    "a page of entries must fit one message"
);

/// A piece of a snapshot on the wire: small enough not to delay what shares the network.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a snapshot on their way: enough to hide a round trip.
pub(crate) const SNAPSHOT_WINDOW_BYTES: u64 = 4 * SNAPSHOT_CHUNK_BYTES as u64;
/// A transfer of a snapshot in which nothing has moved for this long is given up and goes on over a
/// new call. As a whole it may take as long as it needs.
pub(crate) const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A transfer that has not moved for this long does not keep the log behind its snapshot any more.
/// Longer than an install may take, in which nothing moves.
pub(crate) const SNAPSHOT_HOLD: Duration = Duration::from_secs(180);

/// How long a connection may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 pings: without them one partition kills a connection for good.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// A ping unanswered for this long ends the connection.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// An append stream on which something is unanswered for this long is given up and opened anew.
pub(crate) const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
/// A question to one peer: identify, read entries.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// A question for entries that nobody waits for: the peer answers within its rate in bulk.
pub(crate) const BACKFILL_TIMEOUT: Duration = Duration::from_secs(30);
/// Entries of one such question.
pub(crate) const QUESTION_ENTRY_COUNT_MAX: usize = 4096;
/// Bytes of fetched entries that are stored at once; more than a page, so that the files are few.
pub(crate) const BACKFILL_STORE_BYTES: usize = 8 * 1024 * 1024;

const _: () = assert!(
    ENTRY_BYTES_MAX as u64
        <= BACKFILL_TIMEOUT.as_secs() / 2 * crate::limits::TRANSFER_BYTES_PER_SECOND_MIN,
    "the largest entry must pass before its receiver gives up"
);
/// Bytes in flight on one stream, and on one connection.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Calls at once on one connection: some per group and class, one per forwarded request.
pub(crate) const STREAM_COUNT_MAX: u32 = 1024 + crate::limits::FORWARDS_IN_FLIGHT_MAX as u32;
/// See [`STREAM_WINDOW_BYTES`].
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// openraft's configuration for one group.
pub(crate) fn raft_config(timings: &Timings) -> Result<Arc<openraft::Config>, StartError> {
    let heartbeat = millis(timings.heartbeat);
    let election_max = millis(timings.election_max);
    let config = openraft::Config {
        cluster_name: "roomcast".to_owned(),
        heartbeat_interval: heartbeat,
        // An acknowledged append proves what a heartbeat proves: a busy group sends none.
        heartbeat_min_interval: Some(heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: election_max,
        // A leader that lost the unsynced tail of its log and came back in the same term would give
        // the same log ids to other entries. It must stand for election. (None means yes.)
        enable_leader_restore: Some(false),
        // A node that comes back must not depose a healthy leader by its higher term. (None: off.)
        enable_pre_vote: Some(true),
        // Else the heartbeats of a leader without quorum can keep a connected quorum from electing
        // (openraft issue 2080). At least twice the longest election timeout.
        quorum_loss_probe_interval: Some(4 * election_max),
        // The floor above decides when: it knows what a snapshot costs, and all groups share a
        // disk.
        snapshot_policy: SnapshotPolicy::Never,
        // Nothing is purged but by our call: the log is the event history.
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        // Followers get a snapshot only when the log they need is purged.
        replication_lag_threshold: u64::MAX,
        // The default, 200 ms, is shorter than most transfers.
        install_snapshot_timeout: millis(timings.install_snapshot),
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES as u64,
        max_payload_entries: PAGE_ENTRY_COUNT_MAX,
        // Entries of one append: one write, one fdatasync.
        max_append_entries: Some(1024),
        // Proposals are batches already and wait for their index; when full, proposers wait.
        api_channel_size: Some(4096),
        api_batch_capacity: 1024,
        notification_channel_size: Some(8192),
        // Apply commands hold ranges, not entries; when full, the group's core waits for apply.
        state_machine_channel_size: Some(1024),
        // Towards a node that is gone.
        backoff: "50ms 100ms 200ms ...1s".to_owned(),
        // A log that went back is a lost disk: that node must be replaced by a new id.
        allow_log_reversion: Some(false),
        ..openraft::Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|e| StartError::Config(format!("raft timings: {e}")))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regional_timings_are_valid_and_wrong_ones_are_refused() {
        assert!(raft_config(&Timings::regional()).is_ok());
        let slow = Timings {
            heartbeat: Duration::from_secs(1),
            ..Timings::regional()
        };
        assert!(matches!(raft_config(&slow), Err(StartError::Config(_))));
    }
}
