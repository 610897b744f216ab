//! What a node does whose disk is nearly full: it hands the leadership of its groups to nodes that
//! may have space, the floor above refuses new events, and below half of the reserve it takes no
//! entries from leaders either. All of it ends by itself when there is space again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::group::Group;
use super::state_machine::blocking;
use crate::wal::{Space, Wal};

/// How often the disk is looked at. A segment is preallocated, so that what is written meanwhile
/// has its place already.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The others may have no space either: leadership does not go round faster than this.
const HAND_OVER_EVERY: Duration = Duration::from_secs(10);

/// Runs until the node stops.
pub(super) async fn watch(wal: Wal, groups: Vec<Arc<Group>>, stop: CancellationToken) {
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let gauge = crate::metrics::log_space_low();
    let mut handed_over: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let looking = wal.clone();
        let space = match blocking(move || looking.look_at_space()).await {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "the disk's space is not known");
                continue;
            }
        };
        gauge.set(match space {
            Space::Enough => 0.0,
            Space::Low => 1.0,
            Space::Exhausted => 2.0,
        });
        let is_due = handed_over.is_none_or(|at| at.elapsed() >= HAND_OVER_EVERY);
        if space < Space::Enough && is_due {
            handed_over = Some(Instant::now());
            for group in &groups {
                hand_over(group).await;
            }
        }
    }
}

/// Gives a group's leadership to the next member, if this node has it.
async fn hand_over(group: &Group) {
    let status = group.status();
    if !status.leading {
        return;
    }
    let own = status.leader.unwrap_or_default();
    let mut others: Vec<_> = group.members().into_iter().map(|(id, _)| id).collect();
    others.retain(|id| *id != own);
    others.sort_unstable();
    let next = others.iter().find(|id| **id > own).or(others.first());
    if let Some(&next) = next
        && let Err(error) = group.raft.trigger().transfer_leader(next).await
    {
        tracing::debug!(group = group.id, %error, "leadership was not handed over");
    }
}
