//! Keeps the log's files from growing: snapshots when enough was written, and a purge pointer that
//! follows what the replicated floors still need. Groups take turns, so that disks are not hit at once.

use std::sync::Arc;
use std::time::Duration;

use super::group::Group;
use super::groups::Adapter;
use crate::limits;

/// How often one group is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs until the node stops.
pub(crate) async fn run(adapter: Arc<Adapter>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut snapshots = vec![0_u64; adapter.groups().len()];
    loop {
        for (group, snapshot) in adapter.groups().iter().zip(&mut snapshots) {
            every.tick().await;
            look(&adapter, group, snapshot).await;
        }
    }
}

async fn look(adapter: &Adapter, group: &Group, snapshot: &mut u64) {
    let consensus = adapter.consensus();
    let status = consensus.status(group.id);
    if status.applied.saturating_sub(*snapshot) >= limits::SNAPSHOT_EVERY_ENTRIES {
        match consensus.snapshot(group.id).await {
            Ok(index) => {
                crate::metrics::snapshots().increment(1);
                *snapshot = index;
            }
            Err(error) => tracing::warn!(group = group.id, %error, "snapshot failed"),
        }
    }
    // What a replay may still need stays in the log; and never more goes than a snapshot covers.
    let needed = group.view().first_needed_index().unwrap_or(u64::MAX);
    let purge = needed.saturating_sub(1).min(*snapshot);
    if purge > status.first.saturating_add(limits::PURGE_BATCH_ENTRIES)
        && let Err(error) = consensus.purge(group.id, purge).await
    {
        tracing::warn!(group = group.id, %error, "purge failed");
    }
}
