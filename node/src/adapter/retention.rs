//! Keeps the log's files from growing: snapshots when enough was written, and a purge pointer that
//! follows what the replicated floors still need. Groups take turns, so that disks are not hit at
//! once.

use std::sync::Arc;
use std::time::Duration;

use super::group::Group;
use super::groups::Adapter;
use crate::limits;

/// How often one group is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was done for one group.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    /// Last entry of the newest snapshot made here.
    snapshot: u64,
    /// Bytes applied when it was made.
    bytes: u64,
}

/// Runs until the node stops.
pub(crate) async fn run(adapter: Arc<Adapter>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut kept = vec![Kept::default(); adapter.groups().len()];
    loop {
        for (group, kept) in adapter.groups().iter().zip(&mut kept) {
            every.tick().await;
            look(&adapter, group, kept).await;
        }
    }
}

async fn look(adapter: &Adapter, group: &Group, kept: &mut Kept) {
    let consensus = adapter.consensus();
    let status = consensus.status(group.id);
    let bytes = group.replica.bytes_applied();
    let due = status.applied.saturating_sub(kept.snapshot) >= limits::SNAPSHOT_EVERY_ENTRIES
        || bytes.saturating_sub(kept.bytes) >= limits::SNAPSHOT_EVERY_BYTES;
    if due {
        match consensus.snapshot(group.id).await {
            Ok(snapshot) => {
                crate::metrics::snapshots().increment(1);
                *kept = Kept { snapshot, bytes };
            }
            Err(error) => tracing::warn!(group = group.id, %error, "snapshot failed"),
        }
    }
    // What a replay may still need stays in the log; and never more goes than a snapshot covers.
    let needed = group.view().first_needed_index().unwrap_or(u64::MAX);
    let purge = needed.saturating_sub(1).min(kept.snapshot);
    if purge > status.first
        && let Err(error) = consensus.purge(group.id, purge).await
    {
        tracing::warn!(group = group.id, %error, "purge failed");
    }
}
