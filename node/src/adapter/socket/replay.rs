//! What a catch-up does to its socket: events and what is held, at the pace of the transport, and
//! the step to live delivery. Only the one catch-up task of a socket calls this.

use std::pin::pin;
use std::sync::Arc;

use super::ahead::Source;
use super::delivery::{Delivery, Mode};
use super::local::LocalSocket;
use super::tally::Bound;
use crate::engine::{Closed, Frames, PushError};
use crate::ids::Position;
use crate::limits;

/// What is held of the log for one socket.
const JOINING: Bound = Bound {
    frames_max: limits::SOCKET_JOINING_EVENTS_MAX,
    bytes_max: limits::SOCKET_JOINING_BYTES_MAX,
};

/// How a catch-up goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The socket is live: it is over.
    Live,
    /// The log has to be read.
    Behind {
        /// The socket has everything up to here.
        after: Position,
        /// What is later than this is held.
        through: Position,
    },
}

/// Why a step was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stalled {
    /// The outbox has no space for so many bytes.
    Full(usize),
    /// Somebody else delivers the rest, or nobody.
    Stopped,
}

impl LocalSocket {
    /// Waits until the transport has taken most of what it was given and `bytes` more fit.
    ///
    /// # Errors
    /// [`Closed`] when somebody else delivers the rest, or nobody.
    pub(crate) async fn space(&self, bytes: usize) -> Result<(), Closed> {
        let mut stopped = pin!(self.stopped.notified());
        stopped.as_mut().enable();
        // The transport may go on without this socket, even with a newer one of its namespace.
        if self.is_stopped() {
            return Err(Closed);
        }
        tokio::select! {
            biased;
            () = stopped => Err(Closed),
            space = self.session.space(bytes) => space,
        }
    }

    /// Puts the answers held up to `position` into the outbox, then the replay's `event` of that
    /// position; it counts as delivered in the same step.
    ///
    /// # Errors
    /// [`Stalled`]; what left before that is not to be repeated.
    pub(crate) fn replay(&self, position: Position, event: &Arc<Frames>) -> Result<(), Stalled> {
        let mut delivery = self.delivery.lock();
        self.release(&mut delivery, position)?;
        self.fits(event)?;
        delivery.delivered = delivery.delivered.max(position);
        Ok(())
    }

    /// The replay has read everything up to `cursor`. Turns live if the fan-out has seen nothing
    /// for this socket that neither the replay nor `ahead` covers; in one step, so that nothing
    /// falls between replay and live delivery.
    ///
    /// # Errors
    /// [`Stalled`]; what left before that is not to be repeated.
    pub(crate) fn reach(&self, cursor: Position) -> Result<Reached, Stalled> {
        let mut delivery = self.delivery.lock();
        self.release(&mut delivery, cursor)?;
        delivery.delivered = delivery.delivered.max(cursor);
        if delivery.owed_through > delivery.delivered {
            return Ok(Reached::Behind {
                after: delivery.delivered,
                through: if delivery.ahead.is_joining() {
                    delivery.owed_through
                } else {
                    Position::MAX
                },
            });
        }
        self.release(&mut delivery, Position::MAX)?;
        delivery.mode = Mode::Live;
        delivery.ahead.end_joining();
        for mut event in delivery.transients.take() {
            self.push_transient(&mut event, delivery.delivered);
        }
        Ok(Reached::Live)
    }

    /// The replay is about to read the last of what the socket is owed: from here on events are
    /// held, so that the end of the replay stands still while it comes nearer.
    pub(crate) fn join(&self) {
        self.join_within(JOINING);
    }

    pub(super) fn join_within(&self, bound: Bound) {
        let mut delivery = self.delivery.lock();
        if delivery.mode == Mode::CatchingUp {
            delivery.ahead.begin_joining(bound);
        }
    }

    /// Puts answers without a place and what is held up to `through` into the outbox.
    fn release(&self, delivery: &mut Delivery, through: Position) -> Result<(), Stalled> {
        if delivery.mode != Mode::CatchingUp {
            return Err(Stalled::Stopped);
        }
        while let Some(frames) = delivery.unplaced.front() {
            self.fits(frames)?;
            delivery.kept.let_go(frames);
            delivery.unplaced.pop_front();
        }
        while let Some(placed) = delivery.ahead.front()
            && placed.position <= through
        {
            self.fits(&placed.frames)?;
            match placed.source {
                Source::Kept => delivery.kept.let_go(&placed.frames),
                Source::Log => delivery.delivered = placed.position,
            }
            delivery.ahead.pop();
        }
        Ok(())
    }

    fn fits(&self, frames: &Arc<Frames>) -> Result<(), Stalled> {
        match self.session.try_push(frames) {
            Ok(()) => Ok(()),
            Err(PushError::Full) => Err(Stalled::Full(frames.len())),
            Err(PushError::Closed) => Err(Stalled::Stopped),
        }
    }
}
