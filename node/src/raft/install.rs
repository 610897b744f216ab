//! How a follower takes in a leader's snapshot. openraft's core is at its weakest here: it moves
//! its pointers when an install is planned, and the log behind them when the install is done.
//!
//! - A snapshot of what the log holds already is not installed: that it was made means that its
//!   last entry is committed, and committing it is enough. openraft 0.10.0-alpha.37 would let its
//!   mark of what was submitted go back from the end of the log to the snapshot's (its debug
//!   builds panic).
//! - Installs take turns, whether or not their callers still wait: a leader that takes one for lost
//!   sends the next, and its purge would pass entries that the core still has to hand to apply.
//!   That is the shape of openraft issue 2116 (`run_save_committed_and_apply` panics). A group
//!   whose core has panicked never comes back by itself, so the node ends and is restarted from
//!   its log.

use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::storage::Snapshot;

use super::snapshot::SnapshotFile;
use super::state_machine::Machine;
use super::types::{LogId, TypeConfig, Vote};

/// See the module's text; callers see to it that there is one at a time.
pub(super) async fn install(
    raft: &Raft<TypeConfig, Machine>,
    vote: Vote,
    file: SnapshotFile,
) -> Result<Vote, String> {
    if let Some(vote) = commit(raft, vote, file.meta.last_log_id).await? {
        tracing::debug!("the log holds what the snapshot ends with: it is not installed");
        return Ok(vote);
    }
    let snapshot = Snapshot {
        meta: file.meta.clone(),
        snapshot: file,
    };
    let answer = raft.install_full_snapshot(vote, snapshot).await;
    answer
        .map(|answer| answer.vote)
        .map_err(|fatal| fatal.to_string())
}

/// Commits an entry that a leader says is committed, when the log holds it: this node's vote then,
/// or when it follows somebody newer. `None` when the log does not hold it.
pub(super) async fn commit(
    raft: &Raft<TypeConfig, Machine>,
    vote: Vote,
    last: Option<LogId>,
) -> Result<Option<Vote>, String> {
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: last,
        entries: Vec::new(),
        leader_commit: last,
    };
    match raft.append_entries(request).await {
        Ok(AppendEntriesResponse::HigherVote(higher)) => Ok(Some(higher)),
        Ok(AppendEntriesResponse::Conflict) => Ok(None),
        Ok(_) => Ok(Some(vote)),
        Err(fatal) => Err(fatal.to_string()),
    }
}
