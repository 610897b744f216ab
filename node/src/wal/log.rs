//! The handle of a node's log, and of each group's part of it. Calls that change something return
//! when the change can be read, and tell when it is durable; nothing here waits for the disk but
//! [`GroupLog::read`] of an old entry.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::disk::{Disk, RealDisk};
use super::frame::{Head, Kind, Place};
use super::index::{EntryId, Index, Marks, Record, SavedVote};
use super::reader::Files;
use super::reclaim::LookedAt;
use super::recovery::{self, OpenError};
use super::segment::SegmentId;
use super::space::Gauge;
pub(crate) use super::tail::Done;
use super::tail::{Batch, Tail};
use super::writer::Writer;
use crate::ids::GroupId;

/// Told why, when the log must not go on.
pub(crate) type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// How a log is set up.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Number of groups.
    pub(crate) groups: u32,
    /// Whose log it is: files of another owner are refused.
    pub(crate) owner: u64,
    /// A segment is sealed before it grows beyond this.
    pub(crate) segment_bytes: u32,
    /// Bytes of the disk that are left free, see [`super::Space`].
    pub(crate) reserve_bytes: u64,
    /// Entries in memory, per group; those that are not written yet come on top.
    pub(crate) cache_bytes: usize,
}

/// What the handles of a log share. Lock order: a group's index, then the tail.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    /// One per group.
    pub(super) groups: Vec<Mutex<Index>>,
    pub(super) tail: Mutex<Tail>,
    /// The writer waits here for something to write.
    wake: Condvar,
    pub(super) files: Files,
    pub(super) space: Gauge,
    /// One at a time makes room; the segment that was looked through last.
    pub(super) reclaiming: Mutex<LookedAt>,
    /// Everything before this place is written; segment and offset.
    written: AtomicU64,
    on_fatal: OnFatal,
}

impl Shared {
    /// What the writer writes next; waits for it. `None` when the log is closed.
    pub(super) fn next_batch(&self) -> Option<Batch> {
        let mut tail = self.tail.lock();
        while tail.is_empty() {
            if tail.closed {
                return None;
            }
            self.wake.wait(&mut tail);
        }
        Some(tail.take())
    }

    /// Everything before this place is written.
    pub(super) fn written(&self, place: Place) {
        let packed = u64::from(place.segment.0) << 32 | u64::from(place.offset);
        self.written.store(packed, Ordering::Release);
    }

    fn written_place(&self) -> Place {
        let packed = self.written.load(Ordering::Acquire);
        Place {
            segment: SegmentId((packed >> 32) as u32),
            offset: packed as u32,
        }
    }

    /// Everything before this place is durable.
    pub(super) fn synced(&self, place: Place) {
        self.tail.lock().synced = place;
    }

    /// The disk failed: nothing is taken any more. Answers with what was still waiting.
    pub(super) fn failed(&self, error: &io::Error) -> Batch {
        let rest = {
            let mut tail = self.tail.lock();
            tail.closed = true;
            tail.take()
        };
        (self.on_fatal)(&format!("the log could not be written: {error}"));
        rest
    }

    /// Queues frames that belong to no group, and waits until they are durable.
    pub(super) fn put_durably(&self, put: impl FnOnce(&mut Tail)) -> io::Result<()> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        {
            let mut tail = self.tail.lock();
            if tail.closed {
                return Err(closed());
            }
            put(&mut tail);
            tail.tell(Box::new(move |result| drop(done.send(result))));
        }
        self.wake.notify_one();
        wait.recv().unwrap_or_else(|_| Err(closed()))
    }
}

/// A node's log; clones share it.
#[derive(Clone)]
pub(crate) struct Wal {
    pub(super) shared: Arc<Shared>,
    writing: Arc<Writing>,
    /// A torn end was cut off at start.
    torn: bool,
}

/// The writer's thread; it ends with the last handle.
struct Writing {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writing {
    fn close(&self) {
        {
            let mut tail = self.shared.tail.lock();
            if !tail.closed {
                // The last batch is attested as the ones before: damage there is then no torn end.
                tail.mark_synced();
            }
            tail.closed = true;
        }
        self.shared.wake.notify_all();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer panicked");
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `dir`, creates it when there is none. Blocks.
    pub(crate) fn open(dir: &Path, options: Options, on_fatal: OnFatal) -> Result<Self, OpenError> {
        let disk = RealDisk::open(dir).map_err(OpenError::Disk)?;
        Self::open_on(Arc::new(disk), options, on_fatal)
    }

    /// Opens the log on a disk, and starts its writer. Blocks.
    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        on_fatal: OnFatal,
    ) -> Result<Self, OpenError> {
        let (wal, writer) = Self::recover(disk, options, on_fatal)?;
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread
            .spawn(move || writer.run())
            .map_err(OpenError::Disk)?;
        *wal.writing.thread.lock() = Some(thread);
        Ok(wal)
    }

    /// The log on a disk, and its writer, for the caller to run.
    fn recover(
        disk: Arc<dyn Disk>,
        options: Options,
        on_fatal: OnFatal,
    ) -> Result<(Self, Writer), OpenError> {
        let found = recovery::recover(&*disk, &options)?;
        let marks = found.groups.iter().map(|group| group.marks).collect();
        let tail = Tail::new(
            options.segment_bytes,
            found.next,
            found.segments,
            marks,
            found.catalog,
        );
        let shared = Arc::new(Shared {
            disk,
            options,
            groups: found.groups.into_iter().map(Mutex::new).collect(),
            tail: Mutex::new(tail),
            wake: Condvar::new(),
            files: Files::default(),
            space: Gauge::default(),
            reclaiming: Mutex::default(),
            written: AtomicU64::new(0),
            on_fatal,
        });
        shared.written(Place {
            segment: found.next,
            offset: 0,
        });
        let wal = Self {
            shared: Arc::clone(&shared),
            writing: Arc::new(Writing {
                shared: Arc::clone(&shared),
                thread: Mutex::new(None),
            }),
            torn: found.torn,
        };
        Ok((wal, Writer::new(shared)))
    }

    /// Waits until everything that was queued is durable. Blocks.
    ///
    /// # Errors
    /// The log is closed.
    #[cfg(test)]
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.shared.put_durably(|_| {})
    }

    /// Whether a torn end was cut off at start.
    pub(crate) fn was_torn(&self) -> bool {
        self.torn
    }

    /// One group's part.
    pub(crate) fn group(&self, id: GroupId) -> GroupLog {
        GroupLog {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// Writes out what waits and ends the writer; later changes fail. Blocks.
    pub(crate) fn close(&self) {
        self.writing.close();
    }

    /// Bytes of the index and of entries in memory, over all groups.
    pub(crate) fn memory_bytes(&self) -> usize {
        let groups = self.shared.groups.iter();
        groups.map(|group| group.lock().memory_bytes()).sum()
    }
}

/// One group's part of a log; clones share it.
#[derive(Clone)]
pub(crate) struct GroupLog {
    shared: Arc<Shared>,
    id: GroupId,
}

impl GroupLog {
    pub(super) fn index(&self) -> &Mutex<Index> {
        &self.shared.groups[self.id as usize]
    }

    /// Where the group's log stands.
    pub(crate) fn marks(&self) -> Marks {
        self.index().lock().marks
    }

    /// The term of an entry that is here.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        self.index().lock().term(index)
    }

    /// Appends entries behind the last one, in order.
    ///
    /// # Errors
    /// The log is closed; or the entries do not follow the last one: nothing was appended.
    pub(crate) fn append(&self, records: Vec<Record>, done: Done) -> io::Result<()> {
        let mut index = self.index().lock();
        let mut before = index.marks.last.map(|last| last.index);
        for record in &records {
            if let Some(before) = before
                && record.id.index != before + 1
            {
                return Err(io::Error::other(format!(
                    "entry {} of group {} does not follow entry {before}",
                    record.id.index, self.id
                )));
            }
            before = Some(record.id.index);
        }
        let mut tail = self.shared.tail.lock();
        if tail.closed {
            return Err(closed());
        }
        for record in records {
            let head = Head {
                kind: Kind::Entry,
                detail: record.kind,
                group: self.id,
                term: record.id.term,
                index: record.id.index,
            };
            let slot = tail.put(head, &record.payload);
            index.push(record.id, slot);
            index.cache(record);
            tail.marks[self.id as usize] = index.marks;
        }
        tail.tell(done);
        drop(tail);
        index.evict(self.shared.options.cache_bytes, self.shared.written_place());
        drop(index);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Removes the entries from `next` on.
    ///
    /// # Errors
    /// The log is closed.
    pub(crate) fn truncate(&self, next: u64, done: Done) -> io::Result<()> {
        let before = next.checked_sub(1).and_then(|before| self.term(before));
        let head = Head {
            term: before.unwrap_or_default(),
            ..Head::of(Kind::Truncate, next)
        };
        self.change(head, done, |index| index.truncate(next))
    }

    /// Raft gives up what is up to `upto`, also beyond the last entry. What is wanted as history
    /// stays, see [`Wal::reclaim`].
    ///
    /// # Errors
    /// The log is closed.
    pub(crate) fn purge(&self, upto: EntryId, done: Done) -> io::Result<()> {
        let marks = self.marks();
        let jumps = marks.last.map(|last| last.index) < Some(upto.index);
        if jumps && let Some(committed) = marks.committed {
            // What is committed stays: after a restart too.
            let head = Head {
                term: committed.term,
                ..Head::of(Kind::Committed, committed.index)
            };
            self.change(head, Box::new(drop), |_| {})?;
        }
        let head = Head {
            detail: u8::from(jumps),
            term: upto.term,
            ..Head::of(Kind::Purge, upto.index)
        };
        self.change(head, done, |index| index.purge(upto))
    }

    /// Saves a vote.
    ///
    /// # Errors
    /// The log is closed.
    pub(crate) fn save_vote(&self, vote: SavedVote, done: Done) -> io::Result<()> {
        let head = Head {
            detail: u8::from(vote.committed),
            term: vote.term,
            ..Head::of(Kind::Vote, vote.voted_for)
        };
        self.change(head, done, |index| index.marks.vote = Some(vote))
    }

    /// Saves how far the group is committed, with whatever is written next.
    ///
    /// # Errors
    /// The log is closed.
    pub(crate) fn save_committed(&self, committed: EntryId) -> io::Result<()> {
        let mut index = self.index().lock();
        let known = Some(committed) <= index.marks.last;
        if !known || Some(committed) <= index.marks.committed {
            return Ok(());
        }
        index.marks.committed = Some(committed);
        let head = Head {
            group: self.id,
            term: committed.term,
            ..Head::of(Kind::Committed, committed.index)
        };
        let mut tail = self.shared.tail.lock();
        if tail.closed {
            return Err(closed());
        }
        if tail.is_empty() {
            // It only saves a restarted node the wait for a leader: not worth a write of its own.
            tail.marks[self.id as usize] = index.marks;
        } else {
            tail.put_mark(self.id, head, index.marks);
        }
        Ok(())
    }

    fn change(&self, head: Head, done: Done, make: impl FnOnce(&mut Index)) -> io::Result<()> {
        let mut index = self.index().lock();
        let mut tail = self.shared.tail.lock();
        if tail.closed {
            return Err(closed());
        }
        make(&mut index);
        let head = Head {
            group: self.id,
            ..head
        };
        tail.put_mark(self.id, head, index.marks);
        tail.tell(done);
        drop(tail);
        drop(index);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// An entry; from the disk when it is not in memory. `None` when it is not here.
    ///
    /// # Errors
    /// The disk, or damage.
    pub(crate) fn read(&self, index: u64) -> io::Result<Option<Record>> {
        // Twice: the entry may be copied to an archive and its segment removed in between.
        for _ in 0..2 {
            let slot = {
                let entries = self.index().lock();
                if let Some(record) = entries.cached(index) {
                    return Ok(Some(record.clone()));
                }
                entries.slot(index)
            };
            let Some(slot) = slot else {
                return Ok(None);
            };
            match self
                .shared
                .files
                .read(&*self.shared.disk, self.id, index, slot)
            {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok((head, payload)) => {
                    let (term, kind) = (head.term, head.detail);
                    return Ok(Some(Record {
                        id: EntryId { term, index },
                        kind,
                        payload,
                    }));
                }
            }
        }
        Ok(None)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the log is closed")
}
