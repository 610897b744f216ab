//! Where a socket's deliveries stand: everything behind its one lock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ahead::Ahead;
use super::arrival::Arrival;
use super::tally::Tally;
use crate::adapter::unlogged::HeldTransients;
use crate::engine::Frames;
use crate::ids::Position;
use crate::limits;

/// Where a socket's deliveries stand. (DESIGN, section 4, "Live and catching up".)
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) mode: Mode,
    /// Everything owed up to here is in the outbox.
    pub(super) delivered: Position,
    /// While catching up: how far the replay has to come at least; the position of the resume, then
    /// of the last event that the fan-out saw for this socket and that is not in `ahead`.
    pub(super) owed_through: Position,
    /// While catching up: what has its place behind the replay.
    pub(super) ahead: Ahead,
    /// While catching up: answers without a place of their own, which leave when there is space.
    pub(super) unplaced: VecDeque<Arc<Frames>>,
    /// While catching up: what leaves when the socket turns live.
    pub(super) transients: HeldTransients,
    /// Requests that the client has not answered, oldest first.
    pub(super) asked: VecDeque<u64>,
    /// Operations issued for this socket, and how many of them have a fate.
    pub(super) issued: u64,
    pub(super) settled: u64,
    /// Answers that leave when so many operations are settled.
    pub(super) waiting: VecDeque<(u64, Arc<Frames>)>,
    /// What no log brings back: all of `unplaced` and `waiting`, and some of `ahead`.
    pub(super) kept: Tally,
    /// Events of the client whose answer is still to be given.
    pub(super) answers_due: usize,
    /// What of all that has arrived at the client.
    pub(super) arrival: Arrival,
}

impl Delivery {
    pub(super) fn new(mode: Mode, delivered: Position) -> Self {
        Self {
            mode,
            delivered,
            owed_through: Position::ZERO,
            ahead: Ahead::default(),
            unplaced: VecDeque::new(),
            transients: HeldTransients::default(),
            asked: VecDeque::new(),
            issued: 0,
            settled: 0,
            waiting: VecDeque::new(),
            kept: Tally::default(),
            answers_due: 0,
            arrival: Arrival::new(delivered, delivered),
        }
    }

    /// Nothing is under way that only this node can finish.
    pub(super) fn is_quiet(&self) -> bool {
        self.settled == self.issued && self.answers_due == 0 && self.kept.is_empty()
    }

    pub(super) fn ask(&mut self, request: u64) {
        if self.asked.len() == limits::SOCKET_REQUESTS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(request);
    }

    /// Nothing is delivered from here on, and nothing waits any more.
    pub(super) fn close(&mut self) {
        self.mode = Mode::Closed;
        self.ahead = Ahead::default();
        self.unplaced = VecDeque::new();
        self.waiting = VecDeque::new();
        self.kept = Tally::default();
        self.transients.take();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The fan-out pushes into the outbox.
    Live,
    /// One catch-up task pushes into the outbox.
    CatchingUp,
    /// Nobody does.
    Closed,
}

/// A socket that was stopped to go on at another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Everything owed up to here was delivered.
    pub(crate) delivered: Position,
    /// Requests that the client has not answered, oldest first.
    pub(crate) asked: Vec<u64>,
}
