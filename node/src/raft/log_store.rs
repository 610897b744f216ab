//! A group's log behind openraft's traits: what entries, votes and marks are in the records of
//! [`crate::wal`]. An append is answered after fdatasync; a vote is on stable storage before
//! `save_vote` returns.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use prost::Message;
use roomcast_proto::peer as pb;
use tokio::sync::oneshot;

use super::api::ReadError;
use super::convert::{membership_from_wire, membership_to_wire};
use super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES, PAGE_ENTRY_COUNT_MAX};
use super::types::{Content, LeaderId, LogEntry, LogId, TypeConfig, Vote, log_id};
use crate::wal::{Done, EntryId, GroupLog, Record, SavedVote};

/// What a record's payload is: nothing, a new leader's first entry.
const KIND_BLANK: u8 = 0;
/// An encoded command.
const KIND_COMMAND: u8 = 1;
/// An encoded membership.
const KIND_MEMBERSHIP: u8 = 2;

/// A group's log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: GroupLog,
}

impl LogStore {
    /// Over a group's part of the node's log.
    pub(crate) fn new(log: GroupLog) -> Self {
        Self { log }
    }

    /// First index that Raft has not given up; history before it may still be here.
    pub(crate) fn first(&self) -> u64 {
        self.log.marks().first()
    }

    /// Those of these commands that are here, in the order asked for: at least one when there is
    /// one, and no more than `bytes_max` with it. Also how many indexes were looked at. Blocks.
    pub(crate) fn some_commands(
        &self,
        indexes: &[u64],
        bytes_max: usize,
    ) -> io::Result<(Vec<LogEntry>, usize)> {
        let mut found: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        for (at, &index) in indexes.iter().enumerate() {
            let Some(entry) = self.entry(index)? else {
                continue;
            };
            if let Content::Command(command) = &entry.content {
                bytes += command.len();
                if bytes > bytes_max && !found.is_empty() {
                    return Ok((found, at));
                }
                found.push(entry);
            }
        }
        Ok((found, indexes.len()))
    }

    /// Which of these entries are not here, when everything up to `applied` is applied.
    pub(crate) fn lacking(&self, indexes: &[u64], applied: u64) -> Vec<u64> {
        let settled = self.settled(applied);
        let (here, later) = indexes.split_at(indexes.partition_point(|index| *index <= settled));
        [&self.log.lacking(here), later].concat()
    }

    /// Up to where the log holds what was applied, and nothing else. Less than `applied` between
    /// the install of a snapshot and the purge that follows it: behind it there may be entries of
    /// a former leader's that nobody has committed.
    pub(crate) fn settled(&self, applied: u64) -> u64 {
        let marks = self.log.marks();
        let index = |id: Option<EntryId>| id.map_or(0, |id| id.index);
        if index(marks.last) >= applied {
            return applied;
        }
        index(marks.committed).max(index(marks.purged))
    }

    /// Commands by index, in the order asked for. Blocks on the disk when they are not cached.
    /// The caller asks for applied entries only.
    pub(crate) fn commands(&self, indexes: &[u64]) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let mut commands = Vec::with_capacity(indexes.len());
        for &index in indexes {
            let entry = self.entry(index)?;
            match entry.map(|entry| entry.content) {
                Some(Content::Command(command)) => commands.push((index, command)),
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
        self.log.read(index)?.map(to_entry).transpose()
    }

    /// The index behind the last entry.
    fn next(&self) -> u64 {
        self.log.marks().next()
    }

    /// Makes a change and waits until it is on stable storage.
    async fn durably(&self, change: impl FnOnce(Done) -> io::Result<()>) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        // A caller that no longer waits is being dropped with its node.
        change(Box::new(|result| drop(done.send(result))))?;
        let closed = |_| io::Error::new(io::ErrorKind::NotConnected, "the log is closed");
        wait.await.map_err(closed)?
    }

    /// Entries of a range from its start: at least one when there is one, and no more than
    /// `bytes_soft` (one entry may exceed it) or a page's count.
    fn page(&self, from: u64, to: u64, bytes_soft: usize) -> io::Result<Vec<LogEntry>> {
        let mut page = Vec::new();
        let mut bytes = 0;
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
        // What was given up meanwhile may have been trimmed: it is no entry of Raft's any more.
        if from < self.first() {
            page.clear();
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

fn to_entry(record: Record) -> io::Result<LogEntry> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let content = match record.kind {
        KIND_BLANK => Content::Blank,
        KIND_COMMAND => Content::Command(record.payload),
        KIND_MEMBERSHIP => {
            let wire =
                pb::Membership::decode(record.payload).map_err(|e| damaged(e.to_string()))?;
            let membership = membership_from_wire(wire).map_err(|e| damaged(e.to_string()))?;
            Content::Membership(membership.into())
        }
        kind => return Err(damaged(format!("entries of kind {kind} are unknown"))),
    };
    Ok(LogEntry {
        log_id: log_id(record.id.term, record.id.index),
        content,
    })
}

pub(crate) fn to_record(entry: LogEntry) -> Record {
    let (kind, payload) = match entry.content {
        Content::Blank => (KIND_BLANK, Bytes::new()),
        Content::Command(command) => (KIND_COMMAND, command),
        Content::Membership(membership) => (
            KIND_MEMBERSHIP,
            membership_to_wire(&membership).encode_to_vec().into(),
        ),
    };
    Record {
        id: from_log_id(&entry.log_id),
        kind,
        payload,
    }
}

fn to_log_id(id: EntryId) -> LogId {
    log_id(id.term, id.index)
}

fn from_log_id(id: &LogId) -> EntryId {
    EntryId {
        term: id.leader_id.term,
        index: id.index,
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<LogEntry>> {
        let (from, to) = bounds(&range);
        // The contract is "what is stored", not "from the beginning of the range".
        let indexes = from.max(self.first())..to.min(self.next());
        let entries = indexes.map(|index| self.entry(index));
        let entries: io::Result<Vec<LogEntry>> = entries.filter_map(Result::transpose).collect();
        let first = self.first();
        let mut entries = entries?;
        entries.retain(|entry| entry.log_id.index >= first);
        Ok(entries)
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
        let to = to.min(self.next());
        let pages = stream::try_unfold(from, move |from| {
            let page = store.page(from, to, PAGE_BYTES);
            async move {
                let page = page?;
                if page.is_empty() && from < to {
                    return Err(io::Error::other(format!(
                        "entry {from} is missing in the log"
                    )));
                }
                let next = from + page.len() as u64;
                let more = !page.is_empty();
                Ok(more.then(|| (stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(pages.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.marks().vote.map(|vote| Vote {
            leader_id: LeaderId {
                term: vote.term,
                voted_for: vote.voted_for,
            },
            committed: vote.committed,
        }))
    }

    /// The only guard that a message of entries stays below the peer link's limit.
    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<LogEntry>> {
        self.page(from, to, PAGE_BYTES)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let marks = self.log.marks();
        Ok(LogState {
            last_purged_log_id: marks.purged.map(to_log_id),
            last_log_id: marks.last.map(to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = SavedVote {
            term: vote.leader_id.term,
            voted_for: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        self.durably(|done| self.log.save_vote(vote, done)).await
    }

    /// With the entries that are written next, without an fsync of its own: it only saves a
    /// restarted node the wait for a leader before it applies.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed.as_ref().map(from_log_id) {
            Some(committed) => self.log.save_committed(committed),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let marks = self.log.marks();
        Ok(marks.committed.min(marks.last).map(to_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(to_record).collect();
        let done = |result| callback.io_completed(result);
        self.log.append(records, Box::new(done))
    }

    /// Waits for the disk, so that a crash cannot bring back a conflicting tail behind a snapshot
    /// that was installed after it. Rare.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.as_ref().map_or(0, |last| last.index + 1);
        if from >= self.next() {
            return Ok(());
        }
        self.durably(|done| self.log.truncate(from, done)).await
    }

    /// Moves a pointer: what is wanted as history stays, see [`crate::wal::Wal::reclaim`].
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.durably(|done| self.log.purge(from_log_id(&upto), done))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_records_and_come_back() {
        for content in [Content::Blank, Content::Command(Bytes::from_static(b"abc"))] {
            let entry = LogEntry {
                log_id: log_id(3, 7),
                content,
            };
            let record = to_record(entry.clone());
            let back = to_entry(record.clone()).unwrap();
            assert_eq!(back.log_id, entry.log_id);
            assert!(back.content == entry.content);
            assert!(to_entry(Record { kind: 9, ..record }).is_err());
        }
    }
}
