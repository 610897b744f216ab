//! What a client asked for or was asked: answers and where they stand among its events, operations
//! under way, questions that it has not answered.

use std::sync::Arc;

use super::delivery::Mode;
use super::local::LocalSocket;
use crate::engine::{CloseReason, Frames};
use crate::ids::Position;
use crate::limits;

impl LocalSocket {
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
}
