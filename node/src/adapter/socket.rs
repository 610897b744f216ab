//! A socket as the node that owns it sees it: where its deliveries stand, and its outbox.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use roomcast_proto::socketio::Parser;

use super::unlogged::{Class, HeldTransients, Stamped};
use crate::engine::{CloseReason, Closed, Frames, PushError, SessionHandle};
use crate::ids::{Incarnation, Pid, Position, SocketId};
use crate::limits;
use arrival::Arrival;

pub(super) mod arrival;

/// One socket of this node. The fan-out pushes into it while it is live; its catch-up task while
/// not.
#[derive(Debug)]
pub struct LocalSocket {
    /// Its id.
    pub id: SocketId,
    /// Its id's text, which is also the name of its own room.
    pub id_text: Arc<str>,
    /// The bearer secret of its session; never in lists or logs.
    pub(crate) pid: Pid,
    /// Namespace, with its leading slash.
    pub namespace: Arc<str>,
    /// Who it is, when authentication said so.
    pub identity: Option<Arc<str>>,
    /// Whether its events carry offsets and its session outlives its transport.
    pub recoverable: bool,
    /// How its client speaks.
    pub(crate) parser: Parser,
    /// The generation under which this node owns the session.
    pub generation: u64,
    /// The life of this node as a producer in which it does.
    pub(crate) owner: Incarnation,
    /// The Engine.IO session that carries it.
    pub(crate) session: SessionHandle,
    delivery: Mutex<Delivery>,
}

/// Where a socket's deliveries stand. (DESIGN, section 4, "Live and catching up".)
#[derive(Debug)]
struct Delivery {
    mode: Mode,
    /// Everything owed up to here is in the outbox.
    delivered: Position,
    /// While catching up: how far the replay has to come at least; the position of the resume, then
    /// of the last event that the fan-out saw for this socket.
    owed_through: Position,
    /// While catching up: answers, and events that expect one, whose position is not reached yet.
    held: VecDeque<(Position, Arc<Frames>)>,
    /// While catching up: what leaves when the socket turns live.
    transients: HeldTransients,
    /// Requests that the client has not answered, oldest first.
    asked: VecDeque<u64>,
    /// Operations issued for this socket, and how many of them have a fate.
    issued: u64,
    settled: u64,
    /// Answers that leave when so many operations are settled.
    waiting: VecDeque<(u64, Arc<Frames>)>,
    /// Events of the client whose answer is still to be given.
    answers_due: usize,
    /// What of all that has arrived at the client.
    arrival: Arrival,
}

/// A socket that was stopped to go on at another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Everything owed up to here was delivered.
    pub(crate) delivered: Position,
    /// Requests that the client has not answered, oldest first.
    pub(crate) asked: Vec<u64>,
}

impl Delivery {
    /// Nothing is under way that only this node can finish.
    fn is_quiet(&self) -> bool {
        self.settled == self.issued
            && self.answers_due == 0
            && self.waiting.is_empty()
            && self.held.is_empty()
    }

    fn ask(&mut self, request: u64) {
        if self.asked.len() == limits::SOCKET_REQUESTS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(request);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    CatchingUp,
    Closed,
}

/// Everything about a new local socket that does not change.
pub(crate) struct Identity {
    pub(crate) id: SocketId,
    pub(crate) pid: Pid,
    pub(crate) namespace: Arc<str>,
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) recoverable: bool,
    pub(crate) parser: Parser,
    pub(crate) generation: u64,
    pub(crate) owner: Incarnation,
}

impl LocalSocket {
    /// A socket that is live from `position` on.
    pub(crate) fn live(identity: Identity, session: SessionHandle, position: Position) -> Self {
        Self::new(identity, session, Mode::Live, position)
    }

    /// A socket resumed at `resumed` that has everything up to `start`. It stays in catch-up at
    /// least until it has what it is owed up to `resumed`: the fan-out delivers only what comes
    /// later.
    pub(crate) fn catching_up(
        identity: Identity,
        session: SessionHandle,
        start: Position,
        resumed: Position,
    ) -> Self {
        let socket = Self::new(identity, session, Mode::CatchingUp, start);
        socket.delivery.lock().owed_through = resumed;
        socket.delivery.lock().arrival = Arrival::new(start, resumed);
        socket
    }

    fn new(identity: Identity, session: SessionHandle, mode: Mode, delivered: Position) -> Self {
        Self {
            id_text: identity.id.to_string().into(),
            id: identity.id,
            pid: identity.pid,
            namespace: identity.namespace,
            identity: identity.identity,
            recoverable: identity.recoverable,
            parser: identity.parser,
            generation: identity.generation,
            owner: identity.owner,
            session,
            delivery: Mutex::new(Delivery {
                mode,
                delivered,
                owed_through: Position::ZERO,
                held: VecDeque::new(),
                transients: HeldTransients::default(),
                asked: VecDeque::new(),
                issued: 0,
                settled: 0,
                waiting: VecDeque::new(),
                answers_due: 0,
                arrival: Arrival::new(delivered, delivered),
            }),
        }
    }

    /// Delivers an event of the log, from the fan-out. While the socket is catching up, a replay
    /// brings it; one with a `request` for an answer is not replayed but held until its place is
    /// reached.
    pub(crate) fn deliver(
        &self,
        position: Position,
        request: Option<u64>,
        frames: impl FnOnce() -> Arc<Frames>,
    ) -> bool {
        let mut delivery = self.delivery.lock();
        if let Some(request) = request {
            delivery.ask(request);
        }
        match delivery.mode {
            Mode::Live if position > delivery.delivered => {
                delivery.delivered = position;
                self.push(&frames())
            }
            Mode::CatchingUp if request.is_none() => {
                delivery.owed_through = position;
                false
            }
            Mode::CatchingUp => {
                self.hold(&mut delivery, (position, frames()));
                true
            }
            Mode::Live | Mode::Closed => false,
        }
    }

    /// Delivers a volatile event, stamped with what this socket surely has, or drops it: the
    /// transport is not writable now, or the socket is catching up. (DESIGN, section 6, "Offsets on
    /// everything".)
    pub(crate) fn deliver_volatile(&self, event: &mut Stamped) -> bool {
        let delivery = self.delivery.lock();
        if delivery.mode != Mode::Live || !self.session.is_writable() {
            return false;
        }
        self.push(&event.frames(self.recoverable, delivery.delivered))
    }

    /// Delivers a transient event: queued like any frame. While the socket is catching up it is
    /// held, for it is stamped with what the socket has when it leaves.
    pub(crate) fn deliver_transient(&self, event: &mut Stamped) -> bool {
        let mut delivery = self.delivery.lock();
        match delivery.mode {
            Mode::Live => self.push_transient(event, delivery.delivered),
            Mode::CatchingUp => {
                delivery.transients.hold(event);
                false
            }
            Mode::Closed => false,
        }
    }

    /// Whether the client was asked for this answer and has not given one yet.
    pub(crate) fn take_asked(&self, request: u64) -> bool {
        let asked = &mut self.delivery.lock().asked;
        let found = asked.iter().position(|open| *open == request);
        found.is_some_and(|at| asked.remove(at).is_some())
    }

    /// Puts an answer into the stream at its position: after the events before it, before those
    /// after.
    pub(crate) fn answer_at(&self, position: Position, frames: Arc<Frames>) {
        let mut delivery = self.delivery.lock();
        match delivery.mode {
            Mode::Live => {
                self.push(&frames);
            }
            Mode::CatchingUp => self.hold(&mut delivery, (position, frames)),
            Mode::Closed => {}
        }
    }

    /// Sends an answer as soon as the operations issued so far are settled.
    pub(crate) fn answer_after_issued(&self, frames: Arc<Frames>) {
        let mut delivery = self.delivery.lock();
        if delivery.mode == Mode::Closed {
            return;
        }
        if delivery.settled >= delivery.issued {
            self.push(&frames);
        } else if delivery.waiting.len() < limits::SOCKET_ANSWERS_HELD_MAX {
            let issued = delivery.issued;
            delivery.waiting.push_back((issued, frames));
        } else {
            self.session.close(CloseReason::SlowConsumer);
        }
    }

    /// Sends a frame now, whatever the mode: for answers that have no place of their own.
    pub(crate) fn answer_now(&self, frames: &Arc<Frames>) {
        if self.delivery.lock().mode != Mode::Closed {
            self.push(frames);
        }
    }

    /// An operation was issued for this socket.
    pub(crate) fn operation_issued(&self) {
        self.delivery.lock().issued += 1;
    }

    /// An operation of this socket has its fate; answers that waited for it leave.
    pub(crate) fn operation_settled(&self) {
        let mut delivery = self.delivery.lock();
        delivery.settled += 1;
        while delivery
            .waiting
            .front()
            .is_some_and(|(issued, _)| *issued <= delivery.settled)
        {
            if let Some((_, frames)) = delivery.waiting.pop_front() {
                self.push(&frames);
            }
        }
    }

    /// Puts the held answers up to `position` into the outbox, then the replay's `event` of that
    /// position; at the pace of the transport, and each in one step with what counts as delivered.
    ///
    /// # Errors
    /// [`Closed`] when somebody else delivers the rest, or nobody.
    pub(crate) async fn replay(
        &self,
        position: Position,
        event: Option<&Arc<Frames>>,
    ) -> Result<(), Closed> {
        loop {
            self.session.space().await?;
            if self.try_replay(position, event)? {
                return Ok(());
            }
        }
    }

    /// As far as there is space now; whether that was all.
    fn try_replay(&self, position: Position, event: Option<&Arc<Frames>>) -> Result<bool, Closed> {
        let mut delivery = self.delivery.lock();
        // The transport may go on without this socket, even with a newer one of its namespace.
        if delivery.mode == Mode::Closed {
            return Err(Closed);
        }
        while let Some((at, frames)) = delivery.held.front()
            && *at <= position
        {
            if !self.fits(frames)? {
                return Ok(false);
            }
            delivery.held.pop_front();
        }
        if let Some(frames) = event {
            if !self.fits(frames)? {
                return Ok(false);
            }
            delivery.delivered = delivery.delivered.max(position);
        }
        Ok(true)
    }

    fn fits(&self, frames: &Arc<Frames>) -> Result<bool, Closed> {
        match self.session.try_push(frames) {
            Ok(()) => Ok(true),
            Err(PushError::Full) => Ok(false),
            Err(PushError::Closed) => Err(Closed),
        }
    }

    /// Turns live if the fan-out has seen nothing for this socket that `cursor` does not cover; in
    /// one step, so that nothing falls between replay and live delivery.
    pub(crate) fn try_go_live(&self, cursor: Position) -> bool {
        let mut delivery = self.delivery.lock();
        delivery.delivered = delivery.delivered.max(cursor);
        if delivery.mode != Mode::CatchingUp || delivery.owed_through > cursor {
            return delivery.mode != Mode::CatchingUp;
        }
        delivery.mode = Mode::Live;
        while let Some((_, frames)) = delivery.held.pop_front() {
            self.push(&frames);
        }
        for mut event in delivery.transients.take() {
            self.push_transient(&mut event, delivery.delivered);
        }
        true
    }

    /// The last position up to which everything owed is in the outbox.
    #[must_use]
    pub fn delivered(&self) -> Position {
        self.delivery.lock().delivered
    }

    /// Puts what the client was asked at another node, and has not answered there.
    pub(crate) fn ask_again(&self, asked: Vec<u64>) {
        let mut delivery = self.delivery.lock();
        asked.into_iter().for_each(|request| delivery.ask(request));
    }

    /// A handler has an event of this socket to answer.
    pub(crate) fn answer_opened(&self) {
        self.delivery.lock().answers_due += 1;
    }

    /// It was answered, or will not be.
    pub(crate) fn answer_closed(&self) {
        self.delivery.lock().answers_due -= 1;
    }

    /// Whether nothing is under way that only this node can finish: operations, answers.
    pub(crate) fn is_quiet(&self) -> bool {
        self.delivery.lock().is_quiet()
    }

    /// Stops a quiet socket, to go on at another node; `None` if it is stopped already or something
    /// is under way. The fan-out had reached `progress` before.
    pub(crate) fn freeze(&self, progress: Position) -> Option<Frozen> {
        let mut delivery = self.delivery.lock();
        if !delivery.is_quiet() {
            return None;
        }
        let delivered = match delivery.mode {
            // What it was not given up to there it is not owed.
            Mode::Live => delivery.delivered.max(progress),
            Mode::CatchingUp => delivery.delivered,
            Mode::Closed => return None,
        };
        delivery.mode = Mode::Closed;
        Class::Transient.count_dropped(delivery.transients.take().len() as u64);
        Some(Frozen {
            delivered,
            asked: delivery.asked.drain(..).collect(),
        })
    }

    /// Nothing is delivered from here on.
    pub(crate) fn stop(&self) {
        let mut delivery = self.delivery.lock();
        delivery.mode = Mode::Closed;
        delivery.held.clear();
        delivery.transients.take();
        delivery.waiting.clear();
    }

    /// Whether deliveries have stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.delivery.lock().mode == Mode::Closed
    }

    fn hold(&self, delivery: &mut Delivery, held: (Position, Arc<Frames>)) {
        if delivery.held.len() < limits::SOCKET_ANSWERS_HELD_MAX {
            delivery.held.push_back(held);
        } else {
            self.session.close(CloseReason::SlowConsumer);
        }
    }

    /// A full outbox drops the event: its socket is slow, and it would not be replayed either.
    fn push_transient(&self, event: &mut Stamped, delivered: Position) -> bool {
        let pushed = self
            .session
            .try_push(&event.frames(self.recoverable, delivered));
        if pushed == Err(PushError::Full) {
            Class::Transient.count_dropped(1);
        }
        pushed.is_ok()
    }

    /// A full outbox closes the transport: the client resumes, and nothing is lost.
    fn push(&self, frames: &Arc<Frames>) -> bool {
        match self.session.try_push(frames) {
            Ok(()) => true,
            Err(PushError::Full) => {
                self.session.close(CloseReason::SlowConsumer);
                false
            }
            Err(PushError::Closed) => false,
        }
    }
}

#[cfg(test)]
mod tests;
