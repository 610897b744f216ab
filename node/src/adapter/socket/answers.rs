//! What a client asked for or was asked: answers and where they stand among its events, operations
//! under way, questions that it has not answered. None of it is in the log, so it is kept in memory
//! while the outbox is full; at the bound the transport is closed.

use std::sync::Arc;

use super::delivery::{Delivery, Mode};
use super::local::LocalSocket;
use super::tally::Bound;
use crate::engine::{CloseReason, Frames, PushError};
use crate::ids::Position;
use crate::limits;

/// What is kept for one socket.
const KEPT: Bound = Bound {
    frames_max: limits::SOCKET_ANSWERS_HELD_MAX,
    bytes_max: limits::SOCKET_ANSWERS_HELD_BYTES_MAX,
};

impl LocalSocket {
    /// Whether the client was asked for this answer and has not given one yet.
    pub(crate) fn take_asked(&self, request: u64) -> bool {
        let asked = &mut self.delivery.lock().asked;
        let found = asked.iter().position(|open| *open == request);
        found.is_some_and(|at| asked.remove(at).is_some())
    }

    /// Puts an answer into the stream at its position: after the events before it, before those
    /// after.
    pub(crate) fn answer_at(self: &Arc<Self>, position: Position, frames: Arc<Frames>) {
        let mut delivery = self.delivery.lock();
        if delivery.mode == Mode::Live {
            if self.session.try_push(&frames) != Err(PushError::Full) {
                return;
            }
            self.fall_behind(&mut delivery);
        }
        if delivery.mode == Mode::CatchingUp {
            self.keep_at(&mut delivery, position, frames);
        }
    }

    /// Sends an answer as soon as the operations issued so far are settled.
    pub(crate) fn answer_after_issued(self: &Arc<Self>, frames: Arc<Frames>) {
        let mut delivery = self.delivery.lock();
        if delivery.mode == Mode::Closed {
            return;
        }
        if delivery.settled >= delivery.issued {
            self.send(&mut delivery, frames);
        } else if self.keep(&mut delivery, &frames) {
            let issued = delivery.issued;
            delivery.waiting.push_back((issued, frames));
        }
    }

    /// Sends a frame now, whatever the mode: for answers that have no place of their own.
    pub(crate) fn answer_now(self: &Arc<Self>, frames: &Arc<Frames>) {
        let mut delivery = self.delivery.lock();
        if delivery.mode != Mode::Closed {
            self.send(&mut delivery, Arc::clone(frames));
        }
    }

    /// Whether every operation that was issued for this socket has a fate.
    pub(crate) fn is_settled(&self) -> bool {
        let delivery = self.delivery.lock();
        delivery.settled >= delivery.issued
    }

    /// An operation was issued for this socket.
    pub(crate) fn operation_issued(&self) {
        self.delivery.lock().issued += 1;
    }

    /// An operation of this socket has its fate; answers that waited for it leave.
    pub(crate) fn operation_settled(self: &Arc<Self>) {
        let mut delivery = self.delivery.lock();
        delivery.settled += 1;
        while delivery
            .waiting
            .front()
            .is_some_and(|(issued, _)| *issued <= delivery.settled)
        {
            if let Some((_, frames)) = delivery.waiting.pop_front() {
                delivery.kept.let_go(&frames);
                self.send(&mut delivery, frames);
            }
        }
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

    /// Pushes an answer without a place, or keeps it until the catch-up finds space: none overtakes
    /// another.
    fn send(self: &Arc<Self>, delivery: &mut Delivery, frames: Arc<Frames>) {
        if delivery.unplaced.is_empty() && self.session.try_push(&frames) != Err(PushError::Full) {
            return;
        }
        if delivery.mode == Mode::Live {
            self.fall_behind(delivery);
        }
        if self.keep(delivery, &frames) {
            delivery.unplaced.push_back(frames);
        }
    }

    /// Keeps frames that no log brings back for when their place is reached.
    pub(super) fn keep_at(&self, delivery: &mut Delivery, position: Position, frames: Arc<Frames>) {
        if self.keep(delivery, &frames) {
            delivery.ahead.keep(position, frames);
        }
    }

    fn keep(&self, delivery: &mut Delivery, frames: &Arc<Frames>) -> bool {
        let taken = delivery.kept.take_in(frames, KEPT);
        if !taken {
            self.session.close(CloseReason::SlowConsumer);
        }
        taken
    }
}
