//! A socket as the node that owns it sees it: who it is, and what the fan-out gives it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use roomcast_proto::socketio::Parser;
use tokio::sync::Notify;

use super::arrival::Arrival;
use super::delivery::{Delivery, Frozen, Mode};
use super::ending::Ending;
use crate::adapter::unlogged::{Class, Stamped};
use crate::engine::{Frames, PushError, SessionHandle};
use crate::ids::{Incarnation, Pid, Position, SocketId};
use crate::metrics;

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
    /// Asked when it falls behind.
    pub(super) catch_ups: Arc<dyn CatchUps>,
    /// Tells its catch-up that it was stopped.
    pub(super) stopped: Notify,
    /// Where its deliveries stand.
    pub(super) delivery: Mutex<Delivery>,
    /// Whether the log has ended it.
    pub(super) ending: Mutex<Ending>,
}

/// Who brings sockets what they missed. Asked under a socket's lock: never waits, and does not
/// touch the socket.
pub(crate) trait CatchUps: fmt::Debug + Send + Sync + 'static {
    /// Everything up to here has been fanned out.
    fn fanned_out(&self) -> Position;
    /// A socket has to catch up from `start`.
    fn catch_up(&self, socket: Arc<LocalSocket>, start: Position);
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
    pub(crate) catch_ups: Arc<dyn CatchUps>,
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
        {
            let mut delivery = socket.delivery.lock();
            delivery.owed_through = resumed;
            delivery.arrival = Arrival::new(start, resumed);
        }
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
            catch_ups: identity.catch_ups,
            stopped: Notify::new(),
            delivery: Mutex::new(Delivery::new(mode, delivered)),
            ending: Mutex::default(),
        }
    }

    /// Delivers an event of the log, from the fan-out. While the socket is catching up, a replay
    /// brings it, or it is held until the replay has come near enough; one with a `request` for an
    /// answer is not replayed, hence always held.
    pub(crate) fn deliver(
        self: &Arc<Self>,
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
                let frames = frames();
                let pushed = self.session.try_push(&frames);
                if pushed == Err(PushError::Full) {
                    self.fall_behind(&mut delivery);
                    return self.leave_to_catch_up(&mut delivery, position, request, || frames);
                }
                delivery.delivered = position;
                pushed.is_ok()
            }
            Mode::CatchingUp => self.leave_to_catch_up(&mut delivery, position, request, frames),
            Mode::Live | Mode::Closed => false,
        }
    }

    fn leave_to_catch_up(
        &self,
        delivery: &mut Delivery,
        position: Position,
        request: Option<u64>,
        frames: impl FnOnce() -> Arc<Frames>,
    ) -> bool {
        if request.is_some() {
            self.keep_at(delivery, position, frames());
            return true;
        }
        let held = delivery.ahead.hold(position, frames);
        if !held {
            delivery.owed_through = position;
        }
        held
    }

    /// The outbox of a live socket is full: from here on its events come from the log. What is in
    /// the outbox stays and is written in order. It is bounded, and its bytes are shared with the
    /// other sockets; to drop it one would have to tell, frame by frame, what the log can bring
    /// back from what it cannot: answers, questions, frames of the connection's other sockets.
    pub(super) fn fall_behind(self: &Arc<Self>, delivery: &mut Delivery) {
        metrics::fell_behind().increment(1);
        delivery.mode = Mode::CatchingUp;
        // What it was not given of what was fanned out it is not owed.
        let start = delivery.delivered.max(self.catch_ups.fanned_out());
        (delivery.delivered, delivery.owed_through) = (start, start);
        self.catch_ups.catch_up(Arc::clone(self), start);
    }

    /// Delivers a volatile event, stamped with what this socket surely has, or drops it: the
    /// transport is not writable now, or the socket is catching up. (DESIGN, section 6, "Offsets on
    /// everything".)
    pub(crate) fn deliver_volatile(&self, event: &mut Stamped) -> bool {
        let delivery = self.delivery.lock();
        if delivery.mode != Mode::Live || !self.session.is_writable() {
            return false;
        }
        let frames = event.frames(self.recoverable, delivery.delivered);
        self.session.try_push(&frames).is_ok()
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

    /// The last position up to which everything owed is in the outbox.
    #[must_use]
    pub fn delivered(&self) -> Position {
        self.delivery.lock().delivered
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
        Class::Transient.count_dropped(delivery.transients.take().len() as u64);
        let asked = delivery.asked.drain(..).collect();
        delivery.close();
        self.stopped.notify_waiters();
        Some(Frozen { delivered, asked })
    }

    /// Nothing is delivered from here on.
    pub(crate) fn stop(&self) {
        self.delivery.lock().close();
        self.stopped.notify_waiters();
    }

    /// Whether deliveries have stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.delivery.lock().mode == Mode::Closed
    }

    /// A full outbox drops the event: its socket is slow, and it would not be replayed either.
    pub(super) fn push_transient(&self, event: &mut Stamped, delivered: Position) -> bool {
        let pushed = self
            .session
            .try_push(&event.frames(self.recoverable, delivered));
        if pushed == Err(PushError::Full) {
            Class::Transient.count_dropped(1);
        }
        pushed.is_ok()
    }
}
