//! Closes the holes that a snapshot leaves: the state came from another node, the events that it
//! still needs did not. They are fetched in the background, the newest first, for which resumes are
//! most likely to ask; until then such a resume reads them from another node.

use std::sync::Arc;
use std::time::Duration;

use super::group::Group;
use super::groups::Adapter;
use crate::ids::GroupId;
use crate::limits;
use crate::raft::Consensus;

/// How often it is looked whether a snapshot has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause before the next look for what no other node had, or did not give.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Runs until the node stops.
pub(crate) async fn run(adapter: Arc<Adapter>) {
    // Per group, the restore of the state after which nothing is lacking.
    let mut filled = vec![0; adapter.groups().len()];
    loop {
        let mut pause = LOOK_EVERY;
        for (group, filled) in adapter.groups().iter().zip(&mut filled) {
            let restores = group.replica.restores();
            if *filled == restores {
                continue;
            }
            match fill(adapter.consensus(), group).await {
                Ok(Some(0)) => *filled = restores,
                // The log has not been told yet that it begins behind the snapshot.
                Ok(None) => {}
                Ok(Some(holes)) => {
                    tracing::info!(group = group.id, holes, "events that no other node gave");
                    pause = RETRY_AFTER;
                }
                Err(error) => {
                    tracing::warn!(group = group.id, %error, "events could not be fetched");
                    pause = RETRY_AFTER;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Fetches what a group lacks; how many entries remain. `None` when it is too early for it.
async fn fill(consensus: &Consensus, group: &Group) -> std::io::Result<Option<usize>> {
    let view = group.view();
    let needed = tokio::task::spawn_blocking(move || view.needed_entries()).await;
    let needed = needed.map_err(std::io::Error::other)?;
    let lacking = consensus.lacking(group.id, needed).await?;
    let mut holes = lacking.len();
    report(group.id, holes);
    let first = consensus.status(group.id).first;
    if lacking.last().is_some_and(|last| *last >= first) {
        return Ok(None);
    }
    for some in lacking.rchunks(limits::BACKFILL_STEP_ENTRIES) {
        let stored = consensus.backfill(group.id, some).await?;
        crate::metrics::backfilled_bytes().increment(stored.bytes);
        holes -= stored.entries.min(holes);
        report(group.id, holes);
    }
    if !lacking.is_empty() && holes == 0 {
        let entries = lacking.len();
        tracing::info!(group = group.id, entries, "the history is complete again");
    }
    Ok(Some(holes))
}

fn report(group: GroupId, holes: usize) {
    #[allow(clippy::cast_precision_loss, reason = "a gauge")]
    crate::metrics::history_holes(group.to_string()).set(holes as f64);
}
