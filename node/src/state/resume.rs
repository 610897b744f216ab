//! Resume: apply itself decides, at the position of the entry, so that every replica gives the same
//! verdict (DESIGN, section 4, "Resume"; P4, P7).

use std::sync::Arc;

use roomcast_proto::command;
use roomcast_proto::command::resume::Offset;

use super::effect::{Effect, OpResult, ResumeRefusal, Verdict};
use super::group::{GroupState, Moment};
use super::namespace::Namespace;
use super::operations::bytes16;
use super::session::{Presence, Session};
use super::timers::TimerKey;
use crate::ids::{Pid, Position, SocketId};

impl GroupState {
    pub(super) fn resume(
        &mut self,
        moment: Moment,
        resume: command::Resume,
        effects: &mut Vec<Effect>,
    ) -> OpResult {
        OpResult::Resume(match self.judge(moment.position, &resume) {
            Ok((socket, start)) => {
                let acknowledged = if resume.moved { Position::ZERO } else { start };
                self.take_over(moment, socket, (start, acknowledged), effects)
            }
            Err(reason) => Verdict::NotRecovered(reason),
        })
    }

    /// Which session goes on from where, or why none does. Changes nothing.
    fn judge(
        &self,
        position: Position,
        resume: &command::Resume,
    ) -> Result<(SocketId, Position), ResumeRefusal> {
        let pid = Pid(bytes16(&resume.pid).map_err(|_| ResumeRefusal::Unknown)?);
        let session = self.pids.get(&pid).and_then(|id| self.sessions.get(id));
        let Some(session) = session else {
            let expired = self.expired_set.contains(&pid);
            return Err(if expired {
                ResumeRefusal::Expired
            } else {
                ResumeRefusal::Unknown
            });
        };
        if *session.namespace != *resume.namespace {
            return Err(ResumeRefusal::Unknown);
        }
        if session.identity.as_deref() != resume.identity.as_deref() {
            return Err(ResumeRefusal::OtherIdentity);
        }
        let start = self.start_of(session, position, resume.offset.as_ref())?;
        let namespace = self
            .namespaces
            .get(&session.namespace)
            .ok_or(ResumeRefusal::Unknown)?;
        if lost_after(session, namespace, start) {
            return Err(ResumeRefusal::Dropped);
        }
        Ok((session.id, start))
    }

    /// Where the replay starts: at the client's offset, or at the connect position when there is
    /// none, when it is another log's, or when it is older than the session.
    fn start_of(
        &self,
        session: &Session,
        position: Position,
        offset: Option<&Offset>,
    ) -> Result<Position, ResumeRefusal> {
        match offset {
            // `unreadable: false` says nothing about an offset, so there is none.
            None | Some(Offset::Unreadable(false)) => Ok(session.connected_at),
            Some(Offset::Unreadable(true)) => Err(ResumeRefusal::Invalid),
            Some(Offset::Known(offset)) if Some(offset.epoch) != self.epoch() => {
                Ok(session.connected_at)
            }
            Some(Offset::Known(offset)) => {
                let known = Position::new(offset.index, offset.op);
                if known > position {
                    return Err(ResumeRefusal::Invalid);
                }
                Ok(known.max(session.connected_at))
            }
        }
    }

    fn take_over(
        &mut self,
        moment: Moment,
        socket: SocketId,
        (start, acknowledged): (Position, Position),
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        let Moment {
            position,
            incarnation,
            wall_ms,
        } = moment;
        let name = Arc::clone(&self.session_mut(&socket).namespace);
        let oldest = self
            .namespaces
            .get(&name)
            .and_then(|namespace| namespace.oldest());
        let session = self.session_mut(&socket);
        let (old_owner, old_presence) = (session.owner, session.presence);
        let old_generation = session.generation;
        session.since_ms = wall_ms;
        session.prune(oldest);
        self.change_session(&socket, |session| {
            session.generation += 1;
            session.owner = incarnation;
            session.presence = Presence::Connected;
            session.cursor = session.cursor.max(acknowledged);
            // What lies between its offset and here is not there before somebody says so.
            session.held = Some(position);
        });
        let session = self.session_mut(&socket);
        let generation = session.generation;
        let rooms = session.rooms().cloned().collect();
        match old_presence {
            Presence::Away { expires_us } => {
                self.timers.cancel(expires_us, TimerKey::Session(socket));
            }
            Presence::Connected => {
                if let Some(producer) = self.producers.get_mut(&old_owner) {
                    producer.sessions.remove(&socket);
                }
                effects.push(Effect::Fenced {
                    position,
                    socket,
                    owner: old_owner,
                    generation: old_generation,
                });
            }
        }
        self.own(incarnation, socket);
        Verdict::Recovered {
            socket,
            generation,
            start,
            rooms,
        }
    }
}

/// True when an event owed to the session after `start` has been dropped: last dropped positions,
/// room by room, within the membership intervals. An except is not looked at (the state does not
/// keep them): a dropped event that the session was excepted from counts as owed, which can only
/// turn a recovery into a fresh session, never hide a hole.
pub(super) fn lost_after(session: &Session, namespace: &Namespace, start: Position) -> bool {
    let start = start.max(session.connected_at);
    if session.lost_through > start || namespace.everyone.last_dropped > start {
        return true;
    }
    let lost_open = session
        .open
        .iter()
        .any(|interval| namespace.last_dropped(&interval.room) > start.max(interval.from));
    lost_open
        || session.closed.iter().any(|interval| {
            let Some(last_inside) = interval.last_inside else {
                return false;
            };
            let last_dropped = if namespace.floor >= last_inside {
                last_inside
            } else {
                // Below the floor, hence inside or before the interval, never after it.
                namespace.last_dropped(&interval.room)
            };
            last_dropped > start.max(interval.from)
        })
}
