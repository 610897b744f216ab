//! Keeps a node that may have lost acknowledged entries from voting and leading, until it has
//! caught up with a leader (DESIGN, section 5). It may have when its log ended in something torn
//! although the machine did not crash in between: what a process wrote survives its death, so the
//! disk or the memory has damaged what may have been acknowledged. After a crash of the machine a
//! torn end is what was never synced, and nobody was told that it was.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::types::{LogId, Vote};

/// Where the machine's boot that wrote the directory last is noted.
const FILE_NAME: &str = "boot";
/// Linux' name for the time since the machine was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One group's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: AtomicBool,
    /// What has to be applied before it opens; `u64::MAX` while no leader has said so.
    needed: AtomicU64,
}

impl Gate {
    pub(crate) fn new(closed: bool) -> Self {
        Self {
            closed: AtomicBool::new(closed),
            needed: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether this node must not vote or lead.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A leader says how far it is committed. Only what is committed in its own term counts: by
    /// then it has every entry that was ever acknowledged.
    pub(crate) fn heard(&self, vote: &Vote, committed: Option<&LogId>) {
        if let Some(committed) = committed
            && committed.leader_id.term == vote.leader_id.term
            && self.is_closed()
        {
            self.needed.fetch_min(committed.index, Ordering::AcqRel);
        }
    }

    /// Opens it when enough is applied; whether it has just opened.
    pub(crate) fn try_open(&self, applied: u64) -> bool {
        self.is_closed()
            && applied >= self.needed.load(Ordering::Acquire)
            && self.closed.swap(false, Ordering::AcqRel)
    }
}

/// Whether the directory was used before in this boot of the machine; notes that it is. Blocks.
pub(crate) fn is_same_boot(dir: &Path) -> io::Result<bool> {
    let now = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let path = dir.join(FILE_NAME);
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if before != now {
        std::fs::write(&path, &now)?;
        std::fs::File::open(&path)?.sync_all()?;
    }
    Ok(!now.is_empty() && before == now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{LeaderId, log_id};

    #[test]
    fn it_opens_when_what_a_leader_committed_in_its_own_term_is_applied() {
        let vote = Vote {
            leader_id: LeaderId {
                term: 3,
                voted_for: 1,
            },
            committed: true,
        };
        let gate = Gate::new(true);
        gate.heard(&vote, Some(&log_id(2, 7)));
        assert!(!gate.try_open(100), "an earlier term's");
        gate.heard(&vote, Some(&log_id(3, 9)));
        assert!(!gate.try_open(8) && gate.is_closed());
        assert!(gate.try_open(9) && !gate.is_closed());
        assert!(!gate.try_open(9), "once");
    }

    #[test]
    fn a_directory_remembers_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_same_boot(dir.path()).unwrap());
        assert!(is_same_boot(dir.path()).unwrap());
        std::fs::write(dir.path().join(FILE_NAME), "another").unwrap();
        assert!(!is_same_boot(dir.path()).unwrap());
    }
}
