//! Delivers a group's committed log to the sockets of this node, in log order: one task per group,
//! the only writer of its index. It never waits for a socket.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::acknowledge::Roll;
use super::completion::{Attach, Attached, Completion, Failure, Opening, Outcome};
use super::encoded::{Encoded, offset};
use super::expiries::Expiries;
use super::index::Index;
use super::lease::Lease;
use super::pending::Pending;
use super::replica::{Applied, Replica};
use super::requests::Requests;
use super::socket::{CatchUps, Identity, LocalSocket};
use super::unlogged::{Class, Stamped};
use crate::engine::{CloseReason, Frames};
use crate::ids::{GroupId, Incarnation, Position, SocketId};
use crate::state::{Effect, Event, OpResult, ResumeRefusal, Verdict};
use roomcast_proto::socketio::Parser;

/// What others ask of the fan-out.
#[derive(Debug)]
pub(crate) enum Ask {
    /// An event that is not logged.
    Emit(Arc<Event>, Class),
    /// What this node owns; nothing while it has no lease, for then what it knows is no list.
    Roll(oneshot::Sender<Option<Roll>>),
    /// This node lost its lease: nothing of the old life may be delivered.
    LoseAll,
}

/// What the fan-out reports upward about sockets it started or stopped.
pub(crate) trait Sockets: CatchUps {
    /// A socket was attached, but nobody waits for it any more: its session goes away.
    fn abandoned(&self, socket: &LocalSocket);
}

/// How far the fan-out has come; shared with catch-up.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Position>);

impl Progress {
    /// Everything up to here has been fanned out.
    pub(crate) fn position(&self) -> Position {
        *self.0.lock()
    }
}

/// The fan-out task of one group.
pub(crate) struct Fanout<S> {
    pub(crate) group: GroupId,
    /// How the clients of this node speak.
    pub(crate) parser: Parser,
    pub(crate) replica: Arc<Replica>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) expiries: Expiries,
    pub(crate) progress: Arc<Progress>,
    pub(crate) sockets: Arc<S>,
    pub(crate) index: Index,
    /// Rooms of sockets whose connect is being applied: their join precedes their attach.
    pub(crate) arriving: Vec<(SocketId, Vec<Arc<str>>)>,
    pub(crate) deliveries: metrics::Counter,
    pub(crate) live: metrics::Gauge,
}

impl<S: Sockets> Fanout<S> {
    /// Runs until both channels are closed.
    pub(crate) async fn run(
        mut self,
        mut applied: mpsc::Receiver<Applied>,
        mut asks: mpsc::Receiver<Ask>,
    ) {
        loop {
            tokio::select! {
                biased;
                Some(ask) = asks.recv() => self.ask(ask),
                Some(applied) = applied.recv() => self.applied(applied),
                else => return,
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Emit(event, class) => self.emit(event, class),
            Ask::Roll(reply) => {
                if reply.send(self.roll()).is_err() {
                    tracing::trace!("nobody waits for the roll any more");
                }
            }
            Ask::LoseAll => self.close_all(CloseReason::NoQuorum),
        }
    }

    fn roll(&self) -> Option<Roll> {
        let incarnation = self.pending.incarnation();
        let owns = self.lease.holds() && self.pending.is_registered();
        owns.then(|| Roll {
            incarnation,
            through: self.progress.position(),
            sockets: self.index.sockets_of(incarnation),
        })
    }

    fn applied(&mut self, applied: Applied) {
        match applied {
            Applied::Entry { index, effects } => {
                for effect in effects {
                    self.effect(effect);
                }
                self.arriving.clear();
                *self.progress.0.lock() = Position::new(index, u32::MAX);
            }
            Applied::Restored => {
                // What happened in between was not seen here, neither events nor the fate of what
                // is open. A new life detaches the sessions of this one; its sockets resume.
                let incarnation = self.pending.incarnation();
                self.end_life(incarnation, Failure::UnknownOutcome, CloseReason::NoQuorum);
                *self.progress.0.lock() = self.replica.view().position();
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Published(event) => self.deliver(&event),
            Effect::Joined {
                socket,
                owner,
                rooms,
                ..
            } => self.joined(socket, owner, rooms),
            Effect::Left {
                socket,
                owner,
                rooms,
                ..
            } if self.has(socket, owner) => self.index.leave(socket, &rooms),
            Effect::Fenced {
                socket,
                owner,
                generation,
                ..
            } if self.has(socket, owner) => self.fence(socket, generation),
            Effect::Kicked {
                socket,
                owner,
                close,
                ..
            } if self.has(socket, owner) => {
                if let Some(member) = self.remove(socket) {
                    member.kick(close);
                }
            }
            Effect::WentAway { socket, owner, .. } if self.has(socket, owner) => {
                self.end(socket, None);
            }
            Effect::Ended {
                socket,
                owner,
                limit,
                ..
            } => {
                if let Some(limit) = limit {
                    crate::metrics::subscribers_ended(limit.word()).increment(1);
                }
                if self.has(socket, owner) {
                    // It has not kept up with what it is owed, and is owed nothing more.
                    self.end(socket, limit.map(|_| CloseReason::SlowConsumer));
                }
            }
            Effect::Expired {
                runner, session, ..
            } if self.pending.incarnation() == runner => self.expiries.push(session),
            Effect::Op {
                incarnation,
                sequence,
                op,
                position,
                result,
            } => {
                let completion = self.pending.take(incarnation, sequence, op);
                self.complete(completion, incarnation, position, result);
            }
            Effect::Registered { incarnation, .. } if self.pending.registered(incarnation) => {
                // Detached by this entry, if an older life left any.
                self.close_all(CloseReason::Fenced);
            }
            Effect::Detached { incarnation, .. } | Effect::UnknownProducer { incarnation, .. } => {
                self.end_life(incarnation, Failure::Unavailable, CloseReason::Fenced);
            }
            _ => {}
        }
    }

    /// Everything that this node owned as `incarnation` goes: nothing after this position is
    /// delivered. If that is its present life, the life ends.
    fn end_life(&mut self, incarnation: Incarnation, failure: Failure, reason: CloseReason) {
        for id in self.index.owned_by(incarnation) {
            if let Some(socket) = self.remove(id) {
                socket.stop();
                socket.session.close(reason);
            }
        }
        if self.pending.end(incarnation, failure) {
            tracing::warn!(
                group = self.group,
                ?reason,
                "this node's sockets are cut off"
            );
            self.lease.revoke();
        }
    }

    /// Whether an effect is about a socket as this node owns it.
    fn has(&self, socket: SocketId, owner: Incarnation) -> bool {
        self.index
            .get(socket)
            .is_some_and(|local| local.owner == owner)
    }

    fn joined(&mut self, socket: SocketId, owner: Incarnation, rooms: Vec<Arc<str>>) {
        if self.has(socket, owner) {
            self.index.join(socket, &rooms);
        } else if self.pending.incarnation() == owner {
            self.arriving.push((socket, rooms));
        }
    }

    fn deliver(&mut self, event: &Event) {
        let epoch = self.replica.epoch();
        if let Some(request) = &event.request
            && self.pending.incarnation() == request.incarnation
        {
            self.requests.expect(request.number, &request.expected);
        }
        let mut encoded = Encoded::new(event, epoch, self.parser);
        let (position, request) = (
            event.position,
            event.request.as_ref().map(|request| request.number),
        );
        let mut delivered = 0_u64;
        self.index.each_target(event, |socket| {
            let frames = || encoded.frames(socket.recoverable);
            delivered += u64::from(socket.deliver(position, request, frames));
        });
        self.deliveries.increment(delivered);
    }

    fn emit(&mut self, event: Arc<Event>, class: Class) {
        let mut stamped = Stamped::new(Arc::clone(&event), self.replica.epoch(), self.parser);
        let (mut delivered, mut dropped) = (0_u64, 0_u64);
        self.index.each_target(&event, |socket| match class {
            // It counts for itself what it drops: it may also hold an event.
            Class::Transient => delivered += u64::from(socket.deliver_transient(&mut stamped)),
            Class::Volatile | Class::Local => {
                let written = socket.deliver_volatile(&mut stamped);
                delivered += u64::from(written);
                dropped += u64::from(!written);
            }
        });
        self.deliveries.increment(delivered);
        if dropped > 0 {
            class.count_dropped(dropped);
        }
    }

    /// A session has no transport any more, or is at its end; with a reason its client does not
    /// know yet.
    fn end(&mut self, id: SocketId, reason: Option<CloseReason>) {
        let Some(socket) = self.remove(id) else {
            return;
        };
        socket.stop();
        if let Some(reason) = reason {
            socket.session.close(reason);
        }
    }

    fn fence(&mut self, id: SocketId, generation: u64) {
        if self
            .index
            .get(id)
            .is_some_and(|socket| socket.generation <= generation)
            && let Some(socket) = self.remove(id)
        {
            socket.stop();
            socket.session.close(CloseReason::Fenced);
        }
    }

    fn remove(&mut self, id: SocketId) -> Option<Arc<LocalSocket>> {
        let removed = self.index.remove(id);
        self.live.decrement(f64::from(u8::from(removed.is_some())));
        removed
    }

    fn close_all(&mut self, reason: CloseReason) {
        for socket in self.index.drain() {
            self.live.decrement(1.0);
            socket.stop();
            socket.session.close(reason);
        }
    }

    fn complete(
        &mut self,
        completion: Completion,
        owner: Incarnation,
        position: Position,
        result: OpResult,
    ) {
        let epoch = self.replica.epoch();
        match completion {
            Completion::Nothing => {}
            Completion::Call(call) => call(match result {
                OpResult::Done | OpResult::Resume(_) => Outcome::Applied(offset(epoch, position)),
                OpResult::Duplicate { first } => Outcome::Duplicate(offset(epoch, first)),
                OpResult::Refused(refusal) => Outcome::Refused(refusal),
            }),
            Completion::Attach(attach) => self.attach(*attach, owner, position, result),
        }
    }

    fn attach(&mut self, attach: Attach, owner: Incarnation, position: Position, result: OpResult) {
        match result {
            OpResult::Done => {
                let id = attach.id.expect("a connect carries its socket's id");
                let identity = self.identity(&attach, owner, id, 1);
                let socket = LocalSocket::live(identity, attach.session.clone(), position);
                let arrived = self
                    .arriving
                    .iter()
                    .rposition(|(arriving, _)| *arriving == id);
                let rooms = arrived
                    .map(|at| self.arriving.swap_remove(at).1)
                    .unwrap_or_default();
                self.begin(attach, Arc::new(socket), rooms, None);
            }
            OpResult::Resume(Verdict::Recovered {
                socket: id,
                pid,
                generation,
                start,
                rooms,
            }) => {
                let mut identity = self.identity(&attach, owner, id, generation);
                identity.pid = pid.unwrap_or(identity.pid);
                let socket =
                    LocalSocket::catching_up(identity, attach.session.clone(), start, position);
                self.begin(attach, Arc::new(socket), rooms, Some(start));
            }
            OpResult::Resume(Verdict::NotRecovered(reason)) => {
                attach.finish(Attached::NotRecovered(reason));
            }
            OpResult::Refused(refusal) => {
                attach.finish(Attached::Refused(refusal));
            }
            OpResult::Duplicate { .. } => {}
        }
    }

    /// CONNECT is the first frame of a socket, unless its client had it at another node; replay and
    /// live events follow it.
    fn begin(
        &mut self,
        attach: Attach,
        socket: Arc<LocalSocket>,
        rooms: Vec<Arc<str>>,
        start: Option<Position>,
    ) {
        match &attach.opening {
            Opening::Connect { resume_refused } => {
                let resume = (start, *resume_refused);
                socket.answer_now(&connect_frames(&socket, resume, self.replica.epoch()));
            }
            Opening::Moved { asked } => {
                socket.forget_arrival();
                socket.ask_again(asked.clone());
            }
        }
        self.remove(socket.id);
        self.live.increment(1.0);
        self.index.insert(Arc::clone(&socket));
        self.index.join(socket.id, &rooms);
        let attached = Attached::Socket {
            socket: Arc::clone(&socket),
            recovered: start.is_some(),
        };
        if !attach.finish(attached) {
            self.sockets.abandoned(&socket);
            return;
        }
        if let Some(start) = start {
            self.sockets.catch_up(socket, start);
        }
    }

    fn identity(
        &self,
        attach: &Attach,
        owner: Incarnation,
        id: SocketId,
        generation: u64,
    ) -> Identity {
        Identity {
            id,
            pid: attach.pid,
            namespace: Arc::clone(&attach.namespace),
            identity: attach.identity.clone(),
            recoverable: attach.recoverable,
            parser: self.parser,
            generation,
            owner,
            catch_ups: Arc::<S>::clone(&self.sockets),
        }
    }
}

fn connect_frames(
    socket: &LocalSocket,
    resume: (Option<Position>, Option<ResumeRefusal>),
    epoch: u64,
) -> Arc<Frames> {
    let resume = match resume {
        (Some(start), _) => Some(format!(
            r#"{{"ok":true,"from":"{}"}}"#,
            offset(epoch, start)
        )),
        (None, Some(reason)) => Some(format!(r#"{{"ok":false,"reason":"{}"}}"#, reason.word())),
        (None, None) => None,
    };
    let pid = socket.recoverable.then(|| socket.pid.reveal());
    Frames::of(socket.parser.connect(
        &socket.namespace,
        &socket.id_text,
        pid.as_deref(),
        resume.as_ref().map(String::as_bytes),
    ))
}

#[cfg(test)]
mod lives;
#[cfg(test)]
mod tests;
