//! Resume: apply itself decides, at the position of the entry, so that every replica gives the same
//! verdict (DESIGN, section 4, "Resume"; P4, P7).

use std::sync::Arc;

use roomcast_proto::command;
use roomcast_proto::command::resume::Offset;

use super::effect::{Effect, OpResult, ResumeRefusal, Verdict};
use super::group::{GroupState, Moment};
use super::namespace::Namespace;
use super::operations::bytes16;
use super::records::LifecycleKind;
use super::session::{Presence, Session};
use super::subscribers::SubscriberName;
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
            Ok((socket, start)) => self.take_over(moment, socket, start, &resume, effects),
            Err(reason) => Verdict::NotRecovered(reason),
        })
    }

    /// The session that a client comes back to: a durable subscriber by its name, any other by its
    /// pid.
    fn wanted(&self, resume: &command::Resume) -> Result<&Session, ResumeRefusal> {
        if let Some(name) = &resume.subscriber {
            let name = SubscriberName {
                identity: resume.identity.as_deref().map(Arc::from),
                name: Arc::from(name.as_str()),
            };
            return self.subscriber(&resume.namespace, &name).ok_or_else(|| {
                let namespace = Arc::from(resume.namespace.as_str());
                if self.limited.contains(&namespace, &name) {
                    ResumeRefusal::Limit
                } else {
                    ResumeRefusal::Unknown
                }
            });
        }
        let pid = Pid(bytes16(&resume.pid).map_err(|_| ResumeRefusal::Unknown)?);
        let session = self.pids.get(&pid).and_then(|id| self.sessions.get(id));
        match session {
            Some(session) if *session.namespace == *resume.namespace => Ok(session),
            None if self.expired_set.contains(&pid) => Err(ResumeRefusal::Expired),
            _ => Err(ResumeRefusal::Unknown),
        }
    }

    /// Which session goes on from where, or why none does. Changes nothing.
    fn judge(
        &self,
        position: Position,
        resume: &command::Resume,
    ) -> Result<(SocketId, Position), ResumeRefusal> {
        let session = self.wanted(resume)?;
        if session.identity.as_deref() != resume.identity.as_deref() {
            return Err(ResumeRefusal::OtherIdentity);
        }
        let start = self.start_of(session, position, resume)?;
        let namespace = self
            .namespaces
            .get(&session.namespace)
            .ok_or(ResumeRefusal::Unknown)?;
        if self.has_lost(session, namespace, start) {
            return Err(ResumeRefusal::Dropped);
        }
        Ok((session.id, start))
    }

    /// Where the replay starts: at the client's offset, or where its view of the session began when
    /// there is none, when it is another log's, or when it is older than the session.
    fn start_of(
        &self,
        session: &Session,
        position: Position,
        resume: &command::Resume,
    ) -> Result<Position, ResumeRefusal> {
        match &resume.offset {
            // `unreadable: false` says nothing about an offset, so there is none.
            None | Some(Offset::Unreadable(false)) => Ok(self.begin_of(session, resume)),
            Some(Offset::Unreadable(true)) => Err(ResumeRefusal::Invalid),
            Some(Offset::Known(offset)) if Some(offset.epoch) != self.epoch() => {
                Ok(self.begin_of(session, resume))
            }
            Some(Offset::Known(offset)) => {
                let known = Position::new(offset.index, offset.op);
                if known > position {
                    return Err(ResumeRefusal::Invalid);
                }
                // Of a former life of the name; a stock client sends such a one with the new pid.
                let is_by_name = resume.subscriber.is_some() && !brings_pid(session, resume);
                if is_by_name && known < session.connected_at {
                    return Err(ResumeRefusal::Dropped);
                }
                Ok(known.max(session.connected_at))
            }
        }
    }

    /// Where a client's view of a session begins, which has received nothing: at its connect. A
    /// durable subscriber's that has come back by its name begins there, and one that comes back
    /// now has everything that it has acknowledged. So has one whose beginning is gone: all that is
    /// owed to it and gone, it has acknowledged.
    fn begin_of(&self, session: &Session, resume: &command::Resume) -> Position {
        let Some(subscription) = &session.subscription else {
            return session.connected_at;
        };
        let namespace = self.namespaces.get(&session.namespace);
        let is_gone = |start| namespace.is_none_or(|of| self.has_lost(session, of, start));
        if brings_pid(session, resume) && !is_gone(subscription.start) {
            return subscription.start;
        }
        self.cursor(&session.id).unwrap_or(session.cursor)
    }

    /// True when an event owed to the session after `start` has been dropped. A durable subscriber
    /// is kept what it has not acknowledged, whatever its rooms say of others' events.
    pub(super) fn has_lost(
        &self,
        session: &Session,
        namespace: &Namespace,
        start: Position,
    ) -> bool {
        let is_kept = session.subscription.is_some() && self.cursor(&session.id) <= Some(start);
        if is_kept {
            return session.lost_through > start;
        }
        lost_after(session, namespace, start)
    }

    fn take_over(
        &mut self,
        moment: Moment,
        socket: SocketId,
        start: Position,
        resume: &command::Resume,
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
        let begins = !resume.moved && !brings_pid(session, resume);
        if let Some(subscription) = session.subscription.as_mut().filter(|_| begins) {
            subscription.start = start;
        }
        self.note_leaver(&socket);
        self.change_session(&socket, |session| {
            session.generation += 1;
            session.owner = incarnation;
            session.presence = Presence::Connected;
            if !resume.moved {
                session.manual = resume.manual;
            }
            if !resume.moved && !session.manual {
                session.cursor = session.cursor.max(start);
            }
            // What lies between its offset and here is not there before somebody says so.
            session.held = Some(position);
        });
        let session = self.session_mut(&socket);
        let generation = session.generation;
        let pid = session.pid;
        let rooms = session.rooms().cloned().collect();
        match old_presence {
            Presence::Away { expires_us } => {
                self.timers.cancel(expires_us, TimerKey::Session(socket));
                self.note_of(position, &socket, LifecycleKind::Back);
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
            pid,
            generation,
            start,
            rooms,
        }
    }
}

/// Whether the client says that it had the session itself, and not only its name.
fn brings_pid(session: &Session, resume: &command::Resume) -> bool {
    session.pid.is_some_and(|pid| pid.0[..] == resume.pid[..])
}

/// True when an event owed to the session after `start` has been dropped: last dropped positions,
/// room by room, within the membership intervals. An except is not looked at (the state does not
/// keep them): a dropped event that the session was excepted from counts as owed, which can only
/// turn a recovery into a fresh session, never hide a hole.
fn lost_after(session: &Session, namespace: &Namespace, start: Position) -> bool {
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
