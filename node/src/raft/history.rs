//! Commands that this node's log lacks, from other members: those somebody waits for, and those
//! that are fetched in the background until this node can serve them itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use roomcast_proto::peer as pb;

use super::api::ReadError;
use super::consensus::Consensus;
use super::convert::entry_from_wire;
use super::log_store::to_record;
use super::peers::Class;
use super::settings::{
    BACKFILL_STORE_BYTES, BACKFILL_TIMEOUT, QUESTION_ENTRY_COUNT_MAX, QUESTION_TIMEOUT,
};
use super::state_machine::blocking;
use super::types::{Content, LogEntry};
use crate::ids::{GroupId, NodeId};
use crate::wal::{Record, Space, Wal};

/// What a backfill has brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Backfilled {
    /// Entries that are in this node's log now.
    pub entries: usize,
    /// Their bytes there.
    pub bytes: u64,
}

/// Entries on their way into this node's log.
struct Filling {
    wal: Wal,
    group: GroupId,
    /// Not stored yet.
    waiting: Vec<Record>,
    waiting_bytes: usize,
    stored: Backfilled,
}

impl Filling {
    async fn take(&mut self, entries: Vec<LogEntry>) -> io::Result<()> {
        for entry in entries {
            let record = to_record(entry);
            self.waiting_bytes += record.payload.len();
            self.waiting.push(record);
        }
        match self.waiting_bytes >= BACKFILL_STORE_BYTES {
            true => self.store().await,
            false => Ok(()),
        }
    }

    async fn store(&mut self) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if records.is_empty() {
            return Ok(());
        }
        records.sort_unstable_by_key(|record| record.id.index);
        let (wal, group) = (self.wal.clone(), self.group);
        let (entries, bytes) = blocking(move || wal.backfill(group, &records)).await?;
        self.stored.entries += entries;
        self.stored.bytes += bytes;
        Ok(())
    }
}

/// A question for entries to one member.
struct Question<'a> {
    group: GroupId,
    indexes: &'a [u64],
    background: bool,
}

impl Consensus {
    /// As [`Self::read`], and what is missing here from other members. All or nothing.
    ///
    /// # Errors
    /// [`ReadError::Hole`] when the members that answer do not have all of them.
    pub async fn read_anywhere(
        &self,
        group: GroupId,
        indexes: &[u64],
    ) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let hole = match self.read(group, indexes).await {
            Err(hole @ ReadError::Hole { .. }) => hole,
            here => return here,
        };
        tracing::debug!(group, %hole, "asking other members for entries");
        let leader = self.status(group).leader;
        let mut members = self.others();
        // The leader has applied most.
        members.sort_by_key(|&id| Some(id) != leader);
        let mut found = BTreeMap::new();
        let here = self.group(group).read_some(indexes.to_vec(), usize::MAX);
        let (here, _) = here.await?;
        found.extend(here.into_iter().filter_map(command));
        for member in members {
            let mut rest = indexes.to_vec();
            rest.retain(|index| !found.contains_key(index));
            let question = Question {
                group,
                indexes: &rest,
                background: false,
            };
            let entries = self.ask_all(member, &question).await;
            found.extend(entries.into_iter().filter_map(command));
        }
        let all = indexes.iter().map(|index| found.get_key_value(index));
        let all: Option<Vec<_>> = all.map(|one| one.map(|(i, c)| (*i, c.clone()))).collect();
        all.ok_or(hole)
    }

    /// Those of a group's applied entries that this node's log lacks, in the order asked for.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn lacking(&self, group: GroupId, indexes: Vec<u64>) -> io::Result<Vec<u64>> {
        self.group(group).lacking(indexes).await
    }

    /// Fetches entries from other members at the pace that they send in bulk, and stores what they
    /// have of them: from then on this node serves them itself. Ends early on a disk that is nearly
    /// full. `indexes` in ascending order; their entries need not fit into memory.
    ///
    /// # Errors
    /// The disk.
    pub async fn backfill(&self, group: GroupId, indexes: &[u64]) -> io::Result<Backfilled> {
        let leader = self.status(group).leader;
        let mut members = self.others();
        // The leader has enough to do.
        members.sort_by_key(|&id| Some(id) == leader);
        let mut filling = Filling {
            wal: self.inner.wal.clone(),
            group,
            waiting: Vec::new(),
            waiting_bytes: 0,
            stored: Backfilled::default(),
        };
        let mut rest = indexes.to_vec();
        for member in members {
            let mut lacking = Vec::new();
            let mut asked = rest.as_slice();
            while !asked.is_empty() && self.inner.wal.space() == Space::Enough {
                let question = Question {
                    group,
                    indexes: &asked[..asked.len().min(QUESTION_ENTRY_COUNT_MAX)],
                    background: true,
                };
                let Some((entries, looked_at)) = self.ask(member, &question).await else {
                    break;
                };
                let (answered, later) = asked.split_at(looked_at.clamp(1, asked.len()));
                let found: BTreeSet<u64> = entries.iter().map(|e| e.log_id.index).collect();
                lacking.extend(answered.iter().filter(|index| !found.contains(index)));
                filling.take(entries).await?;
                asked = later;
            }
            lacking.extend_from_slice(asked);
            rest = lacking;
        }
        filling.store().await?;
        Ok(filling.stored)
    }

    fn others(&self) -> Vec<NodeId> {
        let members = self.members().into_iter().map(|member| member.id);
        members.filter(|&id| id != self.node_id()).collect()
    }

    /// What a member has of the wanted entries; less when it stops answering.
    async fn ask_all(&self, member: NodeId, question: &Question<'_>) -> Vec<LogEntry> {
        let mut found = Vec::new();
        let mut rest = question.indexes;
        while !rest.is_empty() {
            let page = Question {
                indexes: rest,
                ..*question
            };
            let Some((entries, looked_at)) = self.ask(member, &page).await else {
                break;
            };
            found.extend(entries);
            rest = rest.get(looked_at.max(1)..).unwrap_or_default();
        }
        found
    }

    /// A page of the wanted entries, and how many of the first a member has looked at for it.
    async fn ask(&self, member: NodeId, question: &Question<'_>) -> Option<(Vec<LogEntry>, usize)> {
        let (class, limit) = match question.background {
            true => (Class::Bulk, BACKFILL_TIMEOUT),
            false => (Class::Traffic, QUESTION_TIMEOUT),
        };
        let mut client = self.inner.local.peers.client(member, class)?;
        let request = pb::ReadEntriesRequest {
            header: Some(self.header(member)),
            group: question.group,
            indexes: question.indexes.to_vec(),
            background: question.background,
        };
        let group = question.group;
        let answer = match tokio::time::timeout(limit, client.read_entries(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(member, group, error = %status, "entries not read");
                return None;
            }
            Err(_) => return None,
        };
        let asked: BTreeSet<u64> = question.indexes.iter().copied().collect();
        let wanted = |entry: &LogEntry| asked.contains(&entry.log_id.index);
        let entries = answer.entries.into_iter();
        let entries = entries.map_while(|entry| entry_from_wire(entry).ok());
        Some((entries.filter(wanted).collect(), answer.looked_at as usize))
    }
}

fn command(entry: LogEntry) -> Option<(u64, Bytes)> {
    match entry.content {
        Content::Command(command) => Some((entry.log_id.index, command)),
        Content::Blank | Content::Membership(_) => None,
    }
}
