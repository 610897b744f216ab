//! What a group has received of a snapshot that is not complete. It outlives the connection that
//! brought it, not the process: the file is temporary and swept at the next start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::raft::snapshot::{SnapshotFile, SnapshotStore, SnapshotWriter};
use crate::raft::types::{LogId, SnapshotMeta};

/// The snapshot that one group receives, if it does; clones share it. Every call blocks.
#[derive(Clone)]
pub(in crate::raft) struct Arriving {
    /// Where it will belong.
    snapshots: Arc<SnapshotStore>,
    /// What is here of it.
    partial: Arc<Mutex<Option<Partial>>>,
    /// Transfers so far; a number is not used again.
    transfers: Arc<AtomicU64>,
}

struct Partial {
    /// Which one it is.
    offered: Offered,
    /// Its file so far.
    writer: SnapshotWriter,
    /// The transfer that may go on with it; an earlier one, whose connection is dead, may not.
    transfer: u64,
}

/// Which snapshot is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// What it contains.
    pub(super) meta: SnapshotMeta,
    /// Length of its state.
    pub(super) len: u64,
    /// XXH3-64 of its state.
    pub(super) checksum: u64,
}

/// One transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

impl Arriving {
    /// Nothing yet.
    pub(in crate::raft) fn new(snapshots: Arc<SnapshotStore>) -> Self {
        Self {
            snapshots,
            partial: Arc::default(),
            transfers: Arc::default(),
        }
    }

    /// Begins a transfer, or goes on with one that broke: how much of it is here. What is here of
    /// another snapshot goes, and so does the right of an earlier transfer to add to this one.
    pub(super) fn begin(&self, offered: Offered) -> io::Result<(Ticket, u64)> {
        let mut partial = self.partial.lock();
        let transfer = self.transfers.fetch_add(1, Ordering::Relaxed);
        if let Some(partial) = partial.as_mut()
            && partial.offered == offered
        {
            partial.transfer = transfer;
            return Ok((Ticket(transfer), partial.writer.state_len));
        }
        let writer = self.snapshots.begin(offered.meta.clone())?;
        *partial = Some(Partial {
            offered,
            writer,
            transfer,
        });
        Ok((Ticket(transfer), 0))
    }

    /// Adds a piece; how much is here now.
    pub(super) fn add(&self, ticket: Ticket, offset: u64, piece: &[u8]) -> io::Result<u64> {
        let mut slot = self.partial.lock();
        let partial = of(ticket, &mut slot)?;
        let end = offset + piece.len() as u64;
        if offset != partial.writer.state_len || end > partial.offered.len {
            return Err(io::Error::other(format!(
                "a piece from {offset} to {end} of {} does not follow byte {}",
                partial.offered.len, partial.writer.state_len
            )));
        }
        let written = partial.writer.write(piece);
        if written.is_err() {
            // Nobody knows how much of the piece is in the file.
            *slot = None;
        }
        written.map(|()| end)
    }

    /// The whole file, durable under its temporary name. Nothing is kept of one that is not what
    /// was offered.
    pub(super) fn complete(&self, ticket: Ticket) -> io::Result<SnapshotFile> {
        let partial = {
            let mut partial = self.partial.lock();
            of(ticket, &mut partial)?;
            partial.take()
        };
        let partial = partial.ok_or_else(superseded)?;
        let file = partial.writer.finish()?;
        if (file.state_len, file.state_checksum) != (partial.offered.len, partial.offered.checksum)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the snapshot is not the one that was offered",
            ));
        }
        Ok(file)
    }

    /// What contains no more than this is not worth keeping.
    pub(in crate::raft) fn forget_upto(&self, last: Option<LogId>) {
        let mut partial = self.partial.lock();
        if partial
            .as_ref()
            .is_some_and(|partial| partial.offered.meta.last_log_id <= last)
        {
            *partial = None;
        }
    }
}

fn of(ticket: Ticket, partial: &mut Option<Partial>) -> io::Result<&mut Partial> {
    partial
        .as_mut()
        .filter(|partial| partial.transfer == ticket.0)
        .ok_or_else(superseded)
}

fn superseded() -> io::Error {
    io::Error::new(
        io::ErrorKind::Interrupted,
        "another transfer goes on with it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{StoredMembership, log_id};

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(log_id(1, index)),
            last_membership: StoredMembership::default(),
        }
    }

    fn store(dir: &tempfile::TempDir, name: &str) -> Arc<SnapshotStore> {
        Arc::new(SnapshotStore::open(dir.path().join(name)).unwrap())
    }

    fn offer(file: &SnapshotFile) -> Offered {
        Offered {
            meta: file.meta.clone(),
            len: file.state_len,
            checksum: file.state_checksum,
        }
    }

    fn made(store: &SnapshotStore, index: u64, state: &[u8]) -> SnapshotFile {
        let mut writer = store.begin(meta(index)).unwrap();
        writer.write(state).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_broken_transfer_goes_on_and_its_remains_add_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let offered = offer(&made(&store(&dir, "theirs"), 7, b"the whole state"));
        let ours = store(&dir, "ours");
        let arriving = Arriving::new(Arc::clone(&ours));
        let (first, at) = arriving.begin(offered.clone()).unwrap();
        assert_eq!(at, 0);
        assert_eq!(arriving.add(first, 0, b"the ").unwrap(), 4);
        assert!(arriving.add(first, 0, b"the ").is_err(), "not twice");

        let (second, at) = arriving.begin(offered).unwrap();
        assert_eq!(at, 4);
        assert!(arriving.add(first, 4, b"whole").is_err(), "superseded");
        arriving.add(second, 4, b"whole").unwrap();
        assert!(arriving.complete(first).is_err());
        assert!(arriving.add(second, 9, b" state and more").is_err());
        arriving.add(second, 9, b" state").unwrap();
        let file = arriving.complete(second).unwrap();
        assert_eq!(file.state().unwrap(), "the whole state");
        ours.keep(&file).unwrap();
        assert_eq!(ours.current().unwrap().meta, meta(7));
    }

    #[test]
    fn another_snapshot_begins_anew_and_a_wrong_one_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = store(&dir, "theirs");
        let older = offer(&made(&theirs, 7, b"state"));
        let newer = offer(&made(&theirs, 9, b"state"));
        let other = Offered {
            checksum: older.checksum + 1,
            ..older.clone()
        };
        let arriving = Arriving::new(store(&dir, "ours"));
        let count = || std::fs::read_dir(dir.path().join("ours")).unwrap().count();
        for offered in [older, newer.clone(), other] {
            let (ticket, at) = arriving.begin(offered).unwrap();
            assert_eq!((at, count()), (0, 1), "one file at a time");
            arriving.add(ticket, 0, b"state").unwrap();
        }
        let (ticket, _) = arriving.begin(newer.clone()).unwrap();
        arriving.add(ticket, 0, b"stale").unwrap();
        let wrong = arriving.complete(ticket).unwrap_err();
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
        assert_eq!(count(), 0);
        let (ticket, at) = arriving.begin(newer).unwrap();
        assert_eq!(at, 0);
        arriving.forget_upto(Some(log_id(1, 8)));
        arriving.add(ticket, 0, b"st").unwrap();
        arriving.forget_upto(Some(log_id(1, 9)));
        assert_eq!(count(), 0);
        assert!(arriving.add(ticket, 2, b"ate").is_err());
    }
}
