//! A group's log on disk, behind openraft's traits: the seam where another log can come. It owns
//! the
//! `raft-log` instance of one group. An append is answered after fdatasync; a vote is on stable
//! storage before `save_vote` returns; nothing is ever deleted but by `purge`.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::RwLock;
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;
use tokio::sync::oneshot;

use super::api::{FatalHook, ReadError};
use super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES, PAGE_ENTRY_COUNT_MAX};
use super::types::{Content, LogEntry, LogId, TypeConfig, Vote, log_id};
use super::wal_record::{Flushed, Waiter, WalPayload, WalTypes, WalVote};

/// A log file is closed at this size; the newest two are in memory as a whole.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Read buffer of one file at start.
const READ_BUFFER_BYTES: usize = 1024 * 1024;
/// The flusher takes what comes within this time into one fdatasync. Not 0, with which every
/// append would get its own.
const FLUSH_LINGER: Duration = Duration::from_micros(50);
/// Appends waiting for the disk; when full, the group's Raft core waits.
const FLUSH_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A group's log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    /// What clones share.
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` once closed. Held for one operation in memory, or one entry from disk.
    log: RwLock<Option<RaftLog<WalTypes>>>,
    /// First index that was not purged.
    first: AtomicU64,
    /// Told when the disk fails.
    on_fatal: FatalHook,
}

impl LogStore {
    /// Opens the log in `dir`, creates it when there is none. Blocks.
    pub(crate) fn open(dir: &Path, cache_bytes: usize, on_fatal: FatalHook) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let dir = dir
            .to_str()
            .ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        let mut config = raft_log::Config::new(dir);
        config.log_cache_capacity = Some(cache_bytes);
        config.wal.chunk_max_size = Some(FILE_BYTES_MAX);
        config.wal.read_buffer_size = Some(READ_BUFFER_BYTES);
        config.wal.flush_batch_wait = Some(FLUSH_LINGER);
        config.wal.flush_queue_max_bytes = Some(FLUSH_QUEUE_BYTES_MAX);
        let log = RaftLog::<WalTypes>::open(Arc::new(config))?;
        let first = log.log_state().purged().map_or(0, |purged| purged.1 + 1);
        let shared = Shared {
            log: RwLock::new(Some(log)),
            first: AtomicU64::new(first),
            on_fatal,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Writes out what is queued and releases the directory. Later calls fail. Blocks.
    pub(crate) fn close(&self) {
        let log = self.shared.log.write().take();
        drop(log);
    }

    /// First index that is still here.
    pub(crate) fn first(&self) -> u64 {
        self.shared.first.load(Ordering::Acquire)
    }

    /// Commands by index, in the order asked for. Blocks on the disk when they are not cached.
    /// The caller asks for applied entries only.
    pub(crate) fn commands(&self, indexes: &[u64]) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let mut commands = Vec::with_capacity(indexes.len());
        for &index in indexes {
            let first = self.first();
            if index < first {
                return Err(ReadError::Hole { first });
            }
            match self.entry(index)?.map(|entry| entry.content) {
                Some(Content::Command(command)) => commands.push((index, command)),
                // Purged since we asked where the log begins.
                None if index < self.first() => {
                    return Err(ReadError::Hole {
                        first: self.first(),
                    });
                }
                _ => return Err(ReadError::NotACommand { index }),
            }
        }
        Ok(commands)
    }

    fn entry(&self, index: u64) -> io::Result<Option<LogEntry>> {
        self.with(|log| {
            log.read(index, index + 1)
                .next()
                .transpose()
                .map(|e| e.map(to_entry))
        })
    }

    /// The index behind the last entry.
    fn next(&self) -> io::Result<u64> {
        self.with(|log| Ok(log.log_state().last().map_or(0, |last| last.1 + 1)))
    }

    fn with<T>(&self, f: impl FnOnce(&RaftLog<WalTypes>) -> io::Result<T>) -> io::Result<T> {
        f(self.shared.log.read().as_ref().ok_or_else(closed)?)
    }

    fn with_mut<T>(
        &self,
        f: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<T>,
    ) -> io::Result<T> {
        f(self.shared.log.write().as_mut().ok_or_else(closed)?)
    }

    fn flushed(&self, waiter: Waiter) -> Flushed {
        Flushed {
            waiter,
            on_fatal: self.shared.on_fatal.clone(),
        }
    }

    /// Makes a change and waits until it is on stable storage.
    async fn write_durably(
        &self,
        change: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        let flushed = self.flushed(Waiter::Caller(done));
        self.with_mut(|log| {
            change(log)?;
            log.flush(true, Some(flushed))
        })?;
        wait.await.map_err(|_| closed())?
    }

    /// Entries of a range from its start: at least one when there is one, and no more than
    /// `bytes_soft` (one entry may exceed it) or a page's count.
    fn page(&self, from: u64, to: u64, bytes_soft: usize) -> io::Result<Vec<LogEntry>> {
        let mut page = Vec::new();
        let mut bytes = 0;
        // The lock is taken anew for each entry: an append does not wait for a page from disk.
        for index in from..to.min(from.saturating_add(PAGE_ENTRY_COUNT_MAX)) {
            let Some(entry) = self.entry(index)? else {
                break;
            };
            bytes += match &entry.content {
                Content::Command(command) => command.len(),
                Content::Blank | Content::Membership(_) => 0,
            };
            if bytes > ENTRY_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push(entry);
            if bytes >= bytes_soft {
                break;
            }
        }
        Ok(page)
    }
}

/// A range's first index, and the one behind its last.
fn bounds<RB: RangeBounds<u64>>(range: &RB) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the log is closed")
}

fn to_entry((id, payload): ((u64, u64), WalPayload)) -> LogEntry {
    LogEntry {
        log_id: log_id(id.0, id.1),
        content: payload.0,
    }
}

fn to_log_id(id: Option<&(u64, u64)>) -> Option<LogId> {
    id.map(|&(term, index)| log_id(term, index))
}

fn from_log_id(id: &LogId) -> (u64, u64) {
    (id.leader_id.term, id.index)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<LogEntry>> {
        let (from, to) = bounds(&range);
        let next = self.next()?;
        // Entry by entry, so that an append does not wait for a long read. The contract is "what is
        // stored", not "from the beginning of the range".
        let indexes = from.max(self.first())..to.min(next);
        indexes
            .map(|index| self.entry(index))
            .filter_map(Result::transpose)
            .collect()
    }

    /// What apply reads, page by page: after a restart that may be a whole log. An entry that is
    /// not there is an error, because nothing would be as wrong as to apply around it.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (store, (from, to)) = (self.clone(), bounds(&range));
        let next = self.next();
        let to = to.min(*next.as_ref().unwrap_or(&to));
        let failed = next.err();
        let pages = stream::try_unfold((from, failed), move |(from, failed)| {
            let page = match failed {
                Some(e) => Err(e),
                None => store.page(from, to, PAGE_BYTES),
            };
            async move {
                let page = page?;
                if page.is_empty() && from < to {
                    return Err(io::Error::other(format!(
                        "entry {from} is missing in the log"
                    )));
                }
                let next = from + page.len() as u64;
                let more = !page.is_empty();
                Ok(more.then(|| (stream::iter(page.into_iter().map(Ok)), (next, None))))
            }
        });
        Box::pin(pages.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.with(|log| Ok(log.log_state().vote().map(|vote| vote.0)))
    }

    /// The only guard that a message of entries stays below the peer link's limit.
    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<LogEntry>> {
        self.page(from, to, PAGE_BYTES)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.with(|log| {
            let state = log.log_state();
            Ok(LogState {
                last_purged_log_id: to_log_id(state.purged()),
                last_log_id: to_log_id(state.last()),
            })
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = WalVote(*vote);
        self.write_durably(|log| log.save_vote(vote).map(drop))
            .await
    }

    /// In the same stream of records as the entries, without an fsync of its own: it only saves a
    /// restarted node the wait for a leader before it applies.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed.as_ref().map(from_log_id) else {
            return Ok(());
        };
        self.with_mut(|log| {
            let state = log.log_state();
            let known = Some(&committed) <= state.last();
            if !known || Some(&committed) <= state.committed() {
                return Ok(());
            }
            log.commit(committed).map(drop)
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.with(|log| {
            let state = log.log_state();
            Ok(to_log_id(state.committed().min(state.last())))
        })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = self.flushed(Waiter::Append(callback));
        let records = entries
            .into_iter()
            .map(|entry| (from_log_id(&entry.log_id), WalPayload(entry.content)));
        self.with_mut(|log| {
            log.append(records)?;
            log.flush(true, Some(flushed))
        })
    }

    /// Waits for the disk, so that a crash cannot bring back a conflicting tail behind a snapshot
    /// that was installed after it. Rare.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.as_ref().map_or(0, |last| last.index + 1);
        self.write_durably(|log| {
            let next = log.log_state().last().map_or(0, |last| last.1 + 1);
            if from >= next {
                Ok(())
            } else {
                log.truncate(from).map(drop)
            }
        })
        .await
    }

    /// `raft-log` deletes files only after the record of the purge is on stable storage.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.write_durably(|log| log.purge(from_log_id(&upto)).map(drop))
            .await?;
        self.shared
            .first
            .fetch_max(upto.index + 1, Ordering::AcqRel);
        Ok(())
    }
}
