//! Keeps the log's files from growing: snapshots when enough was written, a purge pointer behind
//! them, and files that go when nothing in them is needed, by Raft or as history. Groups take
//! turns, so that disks are not hit at once.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::kept;

use super::group::Group;
use super::groups::Adapter;
use crate::ids::GroupId;
use crate::limits;
use crate::raft::{Needs, Part};
use crate::state::GroupState;

/// How often one group is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was done for one group.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    /// Last entry of the newest snapshot made here.
    snapshot: u64,
    /// Of the one before it: what came later stays in the log for nodes that were away.
    purge: u64,
    /// Bytes applied when it was made.
    bytes: u64,
}

/// Runs until the node stops; `every_entries` is how many entries make a snapshot due.
pub(crate) async fn run(adapter: Arc<Adapter>, every_entries: u64) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut kept = vec![Kept::default(); adapter.groups().len()];
    loop {
        for (group, kept) in adapter.groups().iter().zip(&mut kept) {
            every.tick().await;
            look(&adapter, group, kept, every_entries).await;
        }
        reclaim(&adapter).await;
    }
}

async fn look(adapter: &Adapter, group: &Group, kept: &mut Kept, every_entries: u64) {
    let consensus = adapter.consensus();
    let status = consensus.status(group.id);
    let bytes = group.replica.bytes_applied();
    // What a disk that is nearly full can give back it gives back, though a node that was away may
    // then need a snapshot: else a small disk would stay full of what only Raft may still want.
    let low = !consensus.has_space();
    let every_bytes = match low {
        true => limits::SNAPSHOT_LOW_SPACE_BYTES,
        false => limits::SNAPSHOT_EVERY_BYTES,
    };
    let due = status.applied.saturating_sub(kept.snapshot) >= every_entries
        || bytes.saturating_sub(kept.bytes) >= every_bytes;
    if due {
        match consensus.snapshot(group.id).await {
            Ok(snapshot) => {
                crate::metrics::snapshots().increment(1);
                let purge = kept.snapshot;
                *kept = Kept {
                    snapshot,
                    purge,
                    bytes,
                };
            }
            Err(error) => tracing::warn!(group = group.id, %error, "snapshot failed"),
        }
    }
    // Raft's pointer only: what a replay may still need stays readable.
    let purge = if low { kept.snapshot } else { kept.purge };
    if purge > status.first
        && let Err(error) = consensus.purge(group.id, purge).await
    {
        tracing::warn!(group = group.id, %error, "purge failed");
    }
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
