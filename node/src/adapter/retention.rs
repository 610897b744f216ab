//! Keeps the log's files from growing: snapshots when enough was written, a purge pointer behind
//! them, and files that go when nothing in them is needed, by Raft or as history. Groups take
//! turns, so that disks are not hit at once.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomcast_proto::kept;

use super::group::Group;
use super::groups::Adapter;
use crate::ids::GroupId;
use crate::limits;
use crate::raft::{Needs, Part, SnapshotError};
use crate::state::GroupState;

/// How often one group is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A node that applies no more than [`REST_BYTES`] for so long is at rest: what its groups' logs
/// hold for nodes that were away goes, as far as it is worth a snapshot for them.
const REST_AFTER: Duration = Duration::from_secs(60);
const REST_BYTES: u64 = 1024 * 1024;

/// What was done for one group.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    /// The newest snapshot made here.
    snapshot: Mark,
    /// The one before it: what came later stays in the log for nodes that were away.
    purge: Mark,
}

/// Where a snapshot was made.
#[derive(Debug, Default, Clone, Copy)]
struct Mark {
    /// Last entry in it.
    index: u64,
    /// Bytes that the node had applied by then, of all groups: they share the log's files, and an
    /// entry of a quiet one holds all that was written around it.
    bytes: u64,
}

/// What the node has applied.
#[derive(Debug)]
struct Pace {
    /// Bytes, of all groups.
    bytes: u64,
    /// They were as many as this when it last wrote more than little, then.
    busy: (u64, Instant),
}

impl Pace {
    fn new() -> Self {
        Self {
            bytes: 0,
            busy: (0, Instant::now()),
        }
    }

    fn look(&mut self, groups: &[Arc<Group>], now: Instant) {
        let applied = groups.iter().map(|group| group.replica.bytes_applied());
        self.seen(applied.sum(), now);
    }

    fn seen(&mut self, bytes: u64, now: Instant) {
        self.bytes = bytes;
        if self.bytes > self.busy.0 + REST_BYTES {
            self.busy = (self.bytes, now);
        }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        now.duration_since(self.busy.1) >= REST_AFTER
    }
}

/// Runs until the node stops; `every_entries` is how many entries make a snapshot due.
pub(crate) async fn run(adapter: Arc<Adapter>, every_entries: u64) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut kept = vec![Kept::default(); adapter.groups().len()];
    let mut pace = Pace::new();
    loop {
        for (group, kept) in adapter.groups().iter().zip(&mut kept) {
            every.tick().await;
            pace.look(adapter.groups(), Instant::now());
            look(&adapter, group, kept, &pace, every_entries).await;
        }
        reclaim(&adapter).await;
    }
}

async fn look(adapter: &Adapter, group: &Group, kept: &mut Kept, pace: &Pace, every_entries: u64) {
    let consensus = adapter.consensus();
    let status = consensus.status(group.id);
    // What a disk that is nearly full can give back it gives back, though a node that was away may
    // then need a snapshot: else a small disk would stay full of what only Raft may still want.
    let low = !consensus.has_space();
    let every_bytes = match low {
        true => limits::SNAPSHOT_LOW_SPACE_BYTES,
        false => every_bytes(adapter.groups()),
    };
    let rests = pace.is_at_rest(Instant::now())
        && pace.bytes - kept.purge.bytes >= u64::from(limits::LOG_SEGMENT_BYTES);
    let due = rests
        || pace.bytes - kept.snapshot.bytes >= every_bytes
        || status.applied.saturating_sub(kept.snapshot.index) >= every_entries;
    if due {
        match snapshot(adapter, group, status.applied, kept.snapshot.index).await {
            Ok(index) => {
                let bytes = pace.bytes;
                *kept = Kept {
                    snapshot: Mark { index, bytes },
                    purge: kept.snapshot,
                };
            }
            Err(error) => tracing::warn!(group = group.id, %error, "snapshot failed"),
        }
    }
    // Raft's pointer only: what a replay may still need stays readable.
    let purge = if low { kept.snapshot } else { kept.purge };
    if purge.index > status.first
        && let Err(error) = consensus.purge(group.id, purge.index).await
    {
        tracing::warn!(group = group.id, %error, "purge failed");
    }
}

/// The last entry of a new snapshot, or of the newest one when nothing was applied since.
async fn snapshot(
    adapter: &Adapter,
    group: &Group,
    applied: u64,
    newest: u64,
) -> Result<u64, SnapshotError> {
    if applied == newest {
        return Ok(newest);
    }
    let index = adapter.consensus().snapshot(group.id).await?;
    crate::metrics::snapshots().increment(1);
    Ok(index)
}

/// Bytes applied after which snapshots are due: where little is retained, little beyond it is kept.
fn every_bytes(groups: &[Arc<Group>]) -> u64 {
    let retained = groups.iter().map(|group| group.view().counts().event_bytes);
    let most = limits::SNAPSHOT_EVERY_BYTES * groups.len() as u64;
    (retained.sum::<u64>() / 2).clamp(limits::SNAPSHOT_EVERY_BYTES_MIN, most)
}

/// What is needed as history, as of now. What came after a view was taken is not judged by it.
struct Needed(Vec<GroupState>);

impl Needs for Needed {
    fn first(&self, group: GroupId) -> u64 {
        let view = self.0.get(group as usize);
        view.map_or(0, |view| {
            let unjudged = view.position().index + 1;
            let first = view.first_needed_index();
            first.map_or(unjudged, |first| first.min(unjudged))
        })
    }

    fn wanted(&self, group: GroupId, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        let view = self.0.get(group as usize)?;
        if *indexes.end() > view.position().index {
            return None;
        }
        let payloads = view.payloads(indexes).into_iter();
        let parts = payloads.map(|payload| Part {
            index: payload.position.index,
            number: payload.position.op,
            bytes: u32::try_from(payload.bytes).unwrap_or(u32::MAX),
        });
        Some(parts.collect())
    }

    fn trim(&self, payload: &Bytes, parts: &[u32]) -> Option<Bytes> {
        kept::trim(payload, parts)
    }
}

async fn reclaim(adapter: &Adapter) {
    let views = adapter.groups().iter().map(|group| group.view());
    let needed = Needed(views.collect());
    let consensus = adapter.consensus();
    match consensus.reclaim(needed).await {
        Ok(reclaimed) => {
            crate::metrics::log_reclaimed_bytes().increment(reclaimed.bytes);
            crate::metrics::log_copied_bytes().increment(reclaimed.copied);
        }
        Err(error) => tracing::warn!(%error, "space could not be reclaimed"),
    }
    let (disk, memory) = consensus.log_size();
    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    {
        crate::metrics::log_disk_bytes().set(disk as f64);
        crate::metrics::log_memory_bytes().set(memory as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_at_rest_when_it_has_written_little_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace {
            bytes: 0,
            busy: (0, start),
        };
        let mut look = |bytes, seconds| {
            pace.seen(bytes, at(seconds));
            pace.is_at_rest(at(seconds))
        };
        assert!(!look(10 * REST_BYTES, 30));
        assert!(!look(20 * REST_BYTES, 80));
        assert!(!look(20 * REST_BYTES + 5, 139));
        assert!(look(20 * REST_BYTES + 9, 140));
        assert!(!look(22 * REST_BYTES, 145), "it writes again");
    }
}
