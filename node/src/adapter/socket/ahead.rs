//! What has its place in a socket's stream behind the point that its replay has reached, in the
//! order of the log: answers and events that expect one, which no replay brings, and, while the
//! socket joins, events that one would.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tally::{Bound, Tally};
use crate::engine::Frames;
use crate::ids::Position;

/// Frames at their place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) position: Position,
    pub(super) frames: Arc<Frames>,
    pub(super) source: Source,
}

/// Where else frames could come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From nowhere.
    Kept,
    /// From the log.
    Log,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    queue: VecDeque<Placed>,
    /// The events in the queue, while the socket joins.
    joining: Option<(Tally, Bound)>,
}

impl Ahead {
    /// From here on events are held, within this bound.
    pub(super) fn begin_joining(&mut self, bound: Bound) {
        self.joining.get_or_insert((Tally::default(), bound));
    }

    /// From here on none are; all of them have left.
    pub(super) fn end_joining(&mut self) {
        debug_assert!(self.queue.is_empty(), "what is held leaves first");
        self.joining = None;
    }

    /// Whether events are held.
    pub(super) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// Holds an event that the log also has, if the socket joins. At the bound it joins no more:
    /// the log has to bring all of these, and false is the answer.
    pub(super) fn hold(
        &mut self,
        position: Position,
        frames: impl FnOnce() -> Arc<Frames>,
    ) -> bool {
        let Some((joining, bound)) = &mut self.joining else {
            return false;
        };
        let frames = frames();
        if !joining.take_in(&frames, *bound) {
            self.joining = None;
            self.queue.retain(|placed| placed.source == Source::Kept);
            return false;
        }
        self.queue.push_back(Placed {
            position,
            frames,
            source: Source::Log,
        });
        true
    }

    /// Holds what no log brings back; its bound is the caller's.
    pub(super) fn keep(&mut self, position: Position, frames: Arc<Frames>) {
        self.queue.push_back(Placed {
            position,
            frames,
            source: Source::Kept,
        });
    }

    pub(super) fn front(&self) -> Option<&Placed> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) {
        let Some(placed) = self.queue.pop_front() else {
            return;
        };
        if let (Source::Log, Some((joining, _))) = (placed.source, &mut self.joining) {
            joining.let_go(&placed.frames);
        }
    }
}
