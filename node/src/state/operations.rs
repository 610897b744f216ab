//! The operations of a batch, except connect, resume and publish. Each is applied whole or refused
//! whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_proto::command;
use roomcast_proto::command::op::Kind;

use super::effect::{Effect, OpResult, Refusal};
use super::group::{GroupState, Moment};
use super::lifecycle::Ending;
use super::producer::{AppliedBatch, Turn};
use super::session::Session;
use crate::ids::{Incarnation, Position, SocketId};

/// Bytes of the reason for a disconnect that are kept of it. Part of the format.
const REASON_BYTES_MAX: usize = 256;

impl GroupState {
    pub(super) fn apply_batch(
        &mut self,
        moment: Moment,
        batch: command::Batch,
        effects: &mut Vec<Effect>,
    ) {
        let command::Batch {
            incarnation,
            sequence,
            ops,
        } = batch;
        let Some(producer) = self.producers.get(&incarnation) else {
            effects.push(Effect::UnknownProducer {
                incarnation,
                sequence,
            });
            return;
        };
        match producer.turn(sequence) {
            Turn::Next => {}
            Turn::Old => return,
            Turn::Gap { expected } => {
                effects.push(Effect::Gap {
                    incarnation,
                    sequence,
                    expected,
                });
                return;
            }
            Turn::Repeat(applied) => {
                for (op, result) in applied.results() {
                    let position = Position::new(applied.index, op);
                    effects.push(Effect::Op {
                        incarnation,
                        sequence,
                        op,
                        position,
                        result,
                    });
                }
                return;
            }
        }
        let index = moment.position.index;
        let op_count = u32::try_from(ops.len()).expect("an entry is smaller than 4 GiB");
        let mut notable = Vec::new();
        for (op, operation) in (0..).zip(ops) {
            let position = Position::new(index, op);
            let moment = Moment {
                position,
                incarnation,
                ..moment
            };
            let result = self.apply_operation(moment, operation, effects);
            if result != OpResult::Done {
                notable.push((op, result.clone()));
            }
            effects.push(Effect::Op {
                incarnation,
                sequence,
                op,
                position,
                result,
            });
        }
        if let Some(producer) = self.producers.get_mut(&incarnation) {
            producer.applied(AppliedBatch {
                sequence,
                index,
                op_count,
                notable,
            });
        }
    }

    fn apply_operation(
        &mut self,
        moment: Moment,
        operation: command::Op,
        effects: &mut Vec<Effect>,
    ) -> OpResult {
        let result = match operation.kind.expect("checked when the batch was decoded") {
            Kind::Connect(connect) => self.connect(moment, connect, effects),
            Kind::Resume(resume) => Ok(self.resume(moment, resume, effects)),
            Kind::Join(join) => self.join(moment, join, effects),
            Kind::Leave(leave) => self.leave(moment, leave, effects),
            Kind::Publish(publish) => self.publish(moment, publish, effects),
            Kind::Away(away) => self.away(moment, away, effects),
            Kind::Disconnect(disconnect) => self.disconnect(moment, disconnect, effects),
            Kind::Acknowledge(acknowledge) => self.acknowledge(moment, acknowledge),
            Kind::AcknowledgeAll(report) => self.acknowledge_all(moment, &report),
            Kind::SocketsJoin(join) => self.sockets_join(moment, &join, effects),
            Kind::SocketsLeave(leave) => self.sockets_leave(moment, &leave, effects),
            Kind::DisconnectSockets(disconnect) => {
                self.disconnect_sockets(moment, &disconnect, effects)
            }
            Kind::SetData(set) => self.set_data(moment, &set),
        };
        result.unwrap_or_else(OpResult::Refused)
    }

    /// The session that an operation is for, if the operation's generation and producer own it now.
    pub(super) fn owned(
        &self,
        moment: Moment,
        socket: Option<&command::SocketRef>,
    ) -> Result<&Arc<Session>, Refusal> {
        let socket = socket.ok_or(Refusal::Invalid)?;
        let id = SocketId(bytes16(&socket.id)?);
        let session = self.sessions.get(&id).ok_or(Refusal::Stale)?;
        let owned = session.generation == socket.generation
            && session.owner == moment.incarnation
            && session.is_connected();
        if owned {
            Ok(session)
        } else {
            Err(Refusal::Stale)
        }
    }

    fn join(
        &mut self,
        moment: Moment,
        join: command::Join,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let session = self.owned(moment, join.socket.as_ref())?;
        self.check_names(&join.rooms)?;
        let new = distinct(&join.rooms, |room| !session.is_in(room));
        if new.is_empty() {
            return Ok(OpResult::Done);
        }
        // The room named by its id does not count.
        self.check_room_count(session.open.len() - 1 + new.len())?;
        let id = session.id;
        let new: Vec<String> = new.into_iter().map(str::to_owned).collect();
        self.enter(moment.position, &id, &new, effects);
        Ok(OpResult::Done)
    }

    /// Puts a session into rooms that it is not in; none is nothing.
    pub(super) fn enter(
        &mut self,
        position: Position,
        socket: &SocketId,
        new: &[String],
        effects: &mut Vec<Effect>,
    ) {
        if new.is_empty() {
            return;
        }
        let session = self.session_mut(socket);
        let (owner, name) = (session.owner, Arc::clone(&session.namespace));
        let is_subscriber = session.subscription.is_some();
        let namespace = self.namespace_mut(&name);
        let rooms: Vec<Arc<str>> = new.iter().map(|room| namespace.intern(room)).collect();
        for room in &rooms {
            namespace.room_mut(room).enter(*socket, is_subscriber);
        }
        let session = self.session_mut(socket);
        for room in &rooms {
            session.open(Arc::clone(room), position);
        }
        let session = Arc::clone(&self.sessions[socket]);
        self.note_joined(position, &session, &rooms);
        effects.push(Effect::Joined {
            position,
            socket: *socket,
            owner,
            namespace: name,
            rooms,
        });
    }

    fn leave(
        &mut self,
        moment: Moment,
        leave: command::Leave,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let session = self.owned(moment, leave.socket.as_ref())?;
        let id = session.id;
        let own_room = id.to_string();
        if leave.rooms.contains(&own_room) {
            return Err(Refusal::Invalid);
        }
        let left = distinct(&leave.rooms, |room| session.is_in(room));
        if left.is_empty() {
            return Ok(OpResult::Done);
        }
        let left: Vec<String> = left.into_iter().map(str::to_owned).collect();
        self.exit(moment.position, &id, &left, effects);
        Ok(OpResult::Done)
    }

    /// Takes a session out of rooms that it is in; none is nothing.
    pub(super) fn exit(
        &mut self,
        position: Position,
        socket: &SocketId,
        left: &[String],
        effects: &mut Vec<Effect>,
    ) {
        if left.is_empty() {
            return;
        }
        let session = self.session_mut(socket);
        let (owner, name) = (session.owner, Arc::clone(&session.namespace));
        let mut rooms = Vec::with_capacity(left.len());
        let mut last_events = Vec::with_capacity(left.len());
        let namespace = self.namespace_mut(&name);
        for room in left {
            let room = namespace.intern(room);
            last_events.push(namespace.remove_member(&room, socket));
            rooms.push(room);
        }
        let (oldest, newest) = (namespace.oldest(), namespace.newest());
        let session = self.session_mut(socket);
        for (room, last_event) in rooms.iter().zip(last_events) {
            session.close(room, position, last_event, newest);
        }
        session.prune(oldest);
        let session = Arc::clone(&self.sessions[socket]);
        self.note_left(position, &session, &rooms);
        self.note_leaver(socket);
        effects.push(Effect::Left {
            position,
            socket: *socket,
            owner,
            namespace: name,
            rooms,
        });
    }

    fn away(
        &mut self,
        moment: Moment,
        away: command::Away,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let socket = self.owned(moment, away.socket.as_ref())?.id;
        self.go_away(moment, socket, effects);
        Ok(OpResult::Done)
    }

    fn go_away(&mut self, moment: Moment, socket: SocketId, effects: &mut Vec<Effect>) {
        if self.lose_transport(moment, &socket, "transport close", effects) {
            let Moment {
                position,
                incarnation: owner,
                ..
            } = moment;
            effects.push(Effect::WentAway {
                position,
                socket,
                owner,
            });
        }
    }

    fn disconnect(
        &mut self,
        moment: Moment,
        disconnect: command::Disconnect,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let session = self.owned(moment, disconnect.socket.as_ref())?;
        let (socket, is_subscriber) = (session.id, session.subscription.is_some());
        if disconnect.by_client && is_subscriber {
            self.go_away(moment, socket, effects);
        } else {
            let ending = Ending::Disconnected(cut(&disconnect.reason));
            self.end_session(moment.position, &socket, ending, effects);
        }
        Ok(OpResult::Done)
    }

    /// A session that the caller has just seen.
    pub(super) fn session_mut(&mut self, id: &SocketId) -> &mut Session {
        Arc::make_mut(self.sessions.get_mut(id).expect("the caller has seen it"))
    }

    /// Enters a connected session with its owner.
    pub(super) fn own(&mut self, owner: Incarnation, id: SocketId) {
        if let Some(producer) = self.producers.get_mut(&owner) {
            producer.sessions.insert(id);
        }
    }

    /// Refuses a room name that is too long.
    pub(super) fn check_names(&self, rooms: &[String]) -> Result<(), Refusal> {
        let bytes_max = self.settings.room_name_bytes_max as usize;
        let fits = rooms.iter().all(|room| room.len() <= bytes_max);
        if fits { Ok(()) } else { Err(Refusal::Limit) }
    }

    pub(super) fn check_room_count(&self, count: usize) -> Result<(), Refusal> {
        let fits = count <= self.settings.rooms_per_socket_max as usize;
        if fits { Ok(()) } else { Err(Refusal::Limit) }
    }
}

/// As much of a reason as is kept.
fn cut(reason: &str) -> &str {
    let fits = |end: &usize| reason.is_char_boundary(*end);
    let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(fits);
    &reason[..end.unwrap_or(0)]
}

/// The names that pass, each once, in their first order.
pub(super) fn distinct<'a>(rooms: &'a [String], passes: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let mut seen: BTreeSet<&'a str> = BTreeSet::new();
    let mut names = Vec::with_capacity(rooms.len());
    for room in rooms {
        if passes(room) && seen.insert(room) {
            names.push(room.as_str());
        }
    }
    names
}

/// An id of 16 bytes.
pub(super) fn bytes16(bytes: &Bytes) -> Result<[u8; 16], Refusal> {
    <[u8; 16]>::try_from(bytes.as_ref()).map_err(|_| Refusal::Invalid)
}
