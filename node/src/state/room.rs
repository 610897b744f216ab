//! One room: who is in it, which replayable events it has, and how far they were dropped.

use imbl::{OrdSet, Vector};

use crate::ids::{Position, SocketId};

/// The replayable events of a room, or of a whole namespace, by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// Positions of replayable events, ascending.
    positions: Vector<Position>,
    /// The last event that is not replayable any more; zero when there is none.
    pub(super) last_dropped: Position,
}

/// One room of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Sessions that are in it now, away ones too.
    pub(super) members: OrdSet<SocketId>,
    /// It is the room of one socket, named by its id. Ids never come back, so nothing is remembered
    /// of it when it is deleted.
    pub(super) private: bool,
    /// Its events.
    pub(super) track: Track,
}

impl Track {
    /// No events; what was dropped before is known.
    pub(super) fn starting_at(last_dropped: Position) -> Self {
        Self {
            positions: Vector::new(),
            last_dropped,
        }
    }

    /// Appends an event.
    pub(super) fn push(&mut self, position: Position) {
        debug_assert!(self.last_event() < position, "events come in log order");
        self.positions.push_back(position);
    }

    /// Drops the oldest event, which stands at `position`.
    pub(super) fn drop_front(&mut self, position: Position) {
        let front = self.positions.pop_front();
        debug_assert_eq!(front, Some(position), "events are dropped in log order");
        self.last_dropped = position;
    }

    /// The newest event there ever was, dropped or not; zero when there was none.
    pub(super) fn last_event(&self) -> Position {
        self.positions.back().copied().unwrap_or(self.last_dropped)
    }

    /// Index of the first replayable event later than `after`.
    pub(super) fn index_after(&self, after: Position) -> usize {
        match self.positions.binary_search(&after) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }

    /// How many events are replayable.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// A replayable event by its index.
    pub(super) fn get(&self, index: usize) -> Option<Position> {
        self.positions.get(index).copied()
    }
}

impl Room {
    /// True when nothing but its last dropped position would be lost with it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.track.len() == 0
    }
}
