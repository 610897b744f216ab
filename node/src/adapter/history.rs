//! Events read back from the log by position: from this node's log, or from a peer's when this one
//! has a hole there. All or nothing: never short.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use roomcast_proto::command::{Command, Op, Publish, op::Kind};
use roomcast_proto::ops::Ops;

use crate::ids::{GroupId, Position};
use crate::limits;
use crate::raft::Consensus;
use crate::state::Event;

/// Reads a group's events.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) group: GroupId,
    pub(crate) consensus: Consensus,
}

/// Some event could not be read, here or elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the log has no event at {0}, here or at a peer")]
pub(crate) struct Unreadable(pub(crate) Position);

impl History {
    /// Entries up to here can be read.
    pub(crate) fn applied(&self) -> u64 {
        self.consensus.status(self.group).applied
    }

    /// Waits until entries up to here are applied; false when that takes too long.
    pub(crate) async fn reaches(&self, index: u64) -> bool {
        let mut status = self.consensus.watch(self.group);
        let reached = async {
            while self.applied() < index {
                if status.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        let reached = tokio::time::timeout(limits::READ_WAIT_DEADLINE, reached);
        reached.await.unwrap_or(false)
    }

    /// The events at `positions`, in that order. Positions are in ascending order.
    pub(crate) async fn events(&self, positions: &[Position]) -> Result<Vec<Event>, Unreadable> {
        // A view may be ahead of what the log counts as applied, which follows a moment later.
        if let Some(last) = positions.last()
            && !self.reaches(last.index).await
        {
            return Err(Unreadable(*last));
        }
        let mut indexes: Vec<u64> = positions.iter().map(|position| position.index).collect();
        indexes.dedup();
        let entries = self.entries(&indexes).await;
        let mut events = Vec::with_capacity(positions.len());
        let mut current: Option<(u64, Decoded)> = None;
        for &position in positions {
            if current
                .as_ref()
                .is_none_or(|(index, _)| *index != position.index)
            {
                let decoded = entries.get(&position.index).and_then(decode);
                current = decoded.map(|decoded| (position.index, decoded));
            }
            let event = current
                .as_mut()
                .and_then(|(_, decoded)| decoded.event(position));
            events.push(event.ok_or(Unreadable(position))?);
        }
        Ok(events)
    }

    async fn entries(&self, indexes: &[u64]) -> BTreeMap<u64, Bytes> {
        if indexes.is_empty() {
            return BTreeMap::new();
        }
        match self.consensus.read_anywhere(self.group, indexes).await {
            Ok(entries) => entries.into_iter().collect(),
            Err(error) => {
                tracing::warn!(group = self.group, %error, "no peer has the entries");
                BTreeMap::new()
            }
        }
    }
}

/// One entry, decoded as far as its last event that was asked for: however much a batch holds, an
/// event costs no more than to step over what stands before it.
struct Decoded {
    wall_ms: u64,
    ops: Ops,
}

fn decode(command: &Bytes) -> Option<Decoded> {
    let command = Command::decode(command.clone()).ok()?;
    Some(Decoded {
        wall_ms: command.wall_ms,
        ops: Ops::of_command(command.body?)?,
    })
}

impl Decoded {
    /// The event at a position of this entry, later than those asked for before.
    fn event(&mut self, position: Position) -> Option<Event> {
        match self.ops.advance_to(position.op)? {
            Op {
                kind: Some(Kind::Publish(publish)),
            } => Some(event(&publish, position, self.wall_ms)),
            Op { .. } => None,
        }
    }
}

fn event(publish: &Publish, position: Position, wall_ms: u64) -> Event {
    let rooms = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
    Event {
        position,
        namespace: publish.namespace.as_str().into(),
        rooms: rooms(&publish.rooms),
        except: rooms(&publish.except),
        event: publish.event.clone(),
        attachments: publish.attachments.clone(),
        wall_ms,
        request: None,
    }
}

#[cfg(test)]
mod tests;
