//! What a catch-up does to its socket: events and held answers at the pace of the transport, and
//! the step to live delivery.

use std::sync::Arc;

use super::delivery::Mode;
use super::local::LocalSocket;
use crate::engine::{Closed, Frames, PushError};
use crate::ids::Position;

impl LocalSocket {
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
    pub(super) fn try_replay(
        &self,
        position: Position,
        event: Option<&Arc<Frames>>,
    ) -> Result<bool, Closed> {
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
}
