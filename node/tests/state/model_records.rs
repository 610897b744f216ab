//! What became of sessions, by the reference model: it compares all sessions before and after.

use std::collections::{BTreeMap, BTreeSet};

use roomcast::ids::{Position, SocketId};
use roomcast_proto::command::{self, op::Kind};

use crate::model::{Model, ModelSession};
use crate::print;

/// Records that an entry drops beside as many as it writes.
const DROPPED_MAX: usize = 1_024;

/// One record, kept or not.
#[derive(Debug, Clone)]
pub(crate) struct ModelRecord {
    pub(crate) position: Position,
    pub(crate) at_us: u64,
    pub(crate) namespace: String,
    pub(crate) socket: SocketId,
    /// As [`print::record`] has it.
    pub(crate) text: String,
    /// Rooms that it concerns.
    pub(crate) rooms: BTreeSet<String>,
}

/// All records there ever were, and which of them are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelRecords {
    pub(crate) all: Vec<ModelRecord>,
    /// Of the present entry.
    fresh: Vec<ModelRecord>,
    pub(crate) dropped: usize,
}

impl ModelRecords {
    /// Where the last one stands that is not kept.
    pub(crate) fn complete_after(&self) -> Position {
        let dropped = self.all[..self.dropped].last();
        dropped.map_or(Position::ZERO, |record| record.position)
    }
}

impl Model {
    /// Writes down what differs from `before`; who is gone has ended as `ending` says.
    pub(crate) fn note(
        &mut self,
        at: Position,
        before: &BTreeMap<SocketId, ModelSession>,
        ending: &str,
    ) {
        let after = self.sessions.clone();
        for (id, old) in before {
            match after.get(id) {
                Some(new) if new.connect == old.connect => self.note_changes(at, id, (old, new)),
                _ => {
                    for room in shared(id, old.rooms()) {
                        self.record(at, (id, old), &format!("left {room}"), [room].into());
                    }
                    self.record(at, (id, old), ending, BTreeSet::new());
                }
            }
        }
        for (id, new) in &after {
            if before.get(id).is_none_or(|old| old.connect != new.connect) {
                self.record(at, (id, new), "connected", BTreeSet::new());
                for room in shared(id, new.rooms()) {
                    self.record(at, (id, new), &format!("joined {room}"), [room].into());
                }
            }
        }
    }

    fn note_changes(
        &mut self,
        at: Position,
        id: &SocketId,
        (old, new): (&ModelSession, &ModelSession),
    ) {
        let (was_in, is_in) = (shared(id, old.rooms()), shared(id, new.rooms()));
        for room in is_in.difference(&was_in) {
            self.record(
                at,
                (id, new),
                &format!("joined {room}"),
                [room.clone()].into(),
            );
        }
        for room in was_in.difference(&is_in) {
            self.record(
                at,
                (id, new),
                &format!("left {room}"),
                [room.clone()].into(),
            );
        }
        match (old.away_until_us, new.away_until_us) {
            (None, Some(_)) => self.record(at, (id, new), "away", new.rooms()),
            (Some(_), None) => self.record(at, (id, new), "back", new.rooms()),
            _ => {}
        }
        if old.data != new.data {
            self.record(at, (id, new), "updated", new.rooms());
        }
    }

    fn record(
        &mut self,
        position: Position,
        (id, session): (&SocketId, &ModelSession),
        what: &str,
        rooms: BTreeSet<String>,
    ) {
        let data = String::from_utf8_lossy(&session.data);
        let who = session.identity.as_deref().unwrap_or("nobody");
        let (at, socket) = (print::position(position), print::socket(id));
        self.records.fresh.push(ModelRecord {
            position,
            at_us: self.now_us,
            namespace: session.namespace.clone(),
            socket: *id,
            text: format!("{at} {socket} {what} as {who} '{data}'"),
            rooms,
        });
    }

    /// The end of an entry.
    pub(crate) fn settle_records(&mut self) {
        let records = &mut self.records;
        let fresh = std::mem::take(&mut records.fresh);
        for _ in 0..fresh.len() + DROPPED_MAX {
            let Some(oldest) = records.all.get(records.dropped) else {
                break;
            };
            let is_old = oldest.at_us + self.settings.retention_ms * 1000 <= self.now_us;
            let count = records.all.len() - records.dropped + fresh.len();
            if !is_old && count <= self.settings.lifecycle_records as usize {
                break;
            }
            records.dropped += 1;
        }
        records.all.extend(fresh);
        records.all.sort_by_key(|record| record.position);
        if self.settings.lifecycle_records == 0 {
            records.dropped = records.all.len();
        }
    }
}

fn shared(id: &SocketId, mut rooms: BTreeSet<String>) -> BTreeSet<String> {
    rooms.remove(&id.to_string());
    rooms
}

/// Why an operation ends sessions.
pub(crate) fn ending(op: &command::Op) -> String {
    let reason = match op.kind.as_ref().expect("a kind") {
        Kind::Connect(connect) if connect.end_subscriber => "subscriber ended",
        Kind::Connect(_) => "subscriber replaced",
        Kind::Away(_) => "transport close",
        Kind::Disconnect(disconnect) => &disconnect.reason,
        Kind::DisconnectSockets(_) => "server namespace disconnect",
        _ => "nothing else ends a session",
    };
    format!("disconnected ({reason})")
}
