//! Events that never stand in the log: their classes, their stamps, and the few that are held for a
//! socket that catches up. (DESIGN, section 3.)

use std::collections::VecDeque;
use std::sync::Arc;

use roomcast_proto::socketio::Parser;

use super::encoded::{event_frames, offset};
use crate::engine::Frames;
use crate::ids::Position;
use crate::limits;
use crate::state::Event;

/// How an event that is not logged is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// On every node, in order per origin, queued like any frame.
    Transient,
    /// On every node, where the transport is writable now.
    Volatile,
    /// On this node alone, where the transport is writable now.
    Local,
}

impl Class {
    /// One of these events reached nobody, or one socket less.
    pub(crate) fn count_dropped(self, count: u64) {
        match self {
            Self::Transient => crate::metrics::transient_dropped().increment(count),
            Self::Volatile | Self::Local => crate::metrics::volatile_dropped().increment(count),
        }
    }
}

/// One such event on its way to this node's sockets. Each gets the position up to which it has
/// everything, so the bytes are shared by those that stand equally far.
#[derive(Debug)]
pub(crate) struct Stamped {
    event: Arc<Event>,
    epoch: u64,
    parser: Parser,
    made: Option<(Option<Position>, Arc<Frames>)>,
}

impl Stamped {
    pub(crate) fn new(event: Arc<Event>, epoch: u64, parser: Parser) -> Self {
        Self {
            event,
            epoch,
            parser,
            made: None,
        }
    }

    /// The frames for a socket that has everything up to `position`: the stamp of a recoverable
    /// one.
    pub(crate) fn frames(&mut self, recoverable: bool, position: Position) -> Arc<Frames> {
        let stamp = recoverable.then_some(position);
        match &self.made {
            Some((made, frames)) if *made == stamp => Arc::clone(frames),
            _ => {
                let stamped = stamp.map(|at| offset(self.epoch, at));
                let frames = event_frames(&self.event, stamped, self.parser);
                self.made = Some((stamp, Arc::clone(&frames)));
                frames
            }
        }
    }

    /// The same event, to be stamped later.
    fn later(&self) -> Self {
        Self::new(Arc::clone(&self.event), self.epoch, self.parser)
    }

    fn bytes(&self) -> usize {
        let attachments = self.event.attachments.iter();
        self.event.event.len() + attachments.map(bytes::Bytes::len).sum::<usize>()
    }
}

/// Transient events of a socket that catches up, in their order.
#[derive(Debug, Default)]
pub(super) struct HeldTransients {
    queue: VecDeque<Stamped>,
    bytes: usize,
}

impl HeldTransients {
    /// Keeps an event, or drops it at the bound.
    pub(super) fn hold(&mut self, event: &Stamped) {
        let bytes = self.bytes + event.bytes();
        if self.queue.len() == limits::SOCKET_TRANSIENTS_HELD_MAX
            || bytes > limits::SOCKET_TRANSIENTS_HELD_BYTES_MAX
        {
            return Class::Transient.count_dropped(1);
        }
        self.bytes = bytes;
        self.queue.push_back(event.later());
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> VecDeque<Stamped> {
        std::mem::take(self).queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::event;

    fn stamped(bytes: usize) -> Stamped {
        let mut event = event(Position::ZERO, &[], &[]);
        event.attachments = vec![vec![0; bytes].into()];
        Stamped::new(Arc::new(event), 35, Parser::Json)
    }

    #[test]
    fn sockets_that_stand_equally_far_share_the_bytes() {
        let event = event(Position::ZERO, &[], &[]);
        let mut stamped = Stamped::new(Arc::new(event), 35, Parser::Json);
        let first = stamped.frames(true, Position::new(36, 1));
        assert_eq!(&first.packets().0[..], br#"42["e","z.10.1"]"#);
        assert!(Arc::ptr_eq(
            &first,
            &stamped.frames(true, Position::new(36, 1))
        ));
        let plain = stamped.frames(false, Position::new(36, 1));
        assert_eq!(&plain.packets().0[..], br#"42["e"]"#);
        assert!(Arc::ptr_eq(
            &plain,
            &stamped.frames(false, Position::new(40, 0))
        ));
    }

    #[test]
    fn the_hold_is_bounded_by_count_and_by_bytes() {
        let mut held = HeldTransients::default();
        for _ in 0..=limits::SOCKET_TRANSIENTS_HELD_MAX {
            held.hold(&stamped(0));
        }
        assert_eq!(held.take().len(), limits::SOCKET_TRANSIENTS_HELD_MAX);
        held.hold(&stamped(limits::SOCKET_TRANSIENTS_HELD_BYTES_MAX));
        held.hold(&stamped(limits::SOCKET_TRANSIENTS_HELD_BYTES_MAX / 2));
        held.hold(&stamped(limits::SOCKET_TRANSIENTS_HELD_BYTES_MAX / 2));
        assert_eq!(held.take().len(), 1, "only what fits");
        assert_eq!(held.take().len(), 0);
    }
}
