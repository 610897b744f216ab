//! One room: who is in it, which replayable events it has, and how far they were dropped.

use imbl::{OrdSet, Vector};

use crate::ids::{Position, SocketId};

/// The replayable events of a room, or of a whole namespace, by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// Positions of replayable events, ascending.
    positions: Vector<Position>,
    /// The last event that is not replayable any more; zero when there is none. Earlier ones may
    /// still be: see [`super::subscribers`].
    pub(super) last_dropped: Position,
}

/// One room of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Sessions that are in it now, away ones too.
    pub(super) members: OrdSet<SocketId>,
    /// Durable subscribers among them.
    pub(super) subscribers: OrdSet<SocketId>,
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

    /// For snapshots: puts back an event; false when a later one was put back before.
    pub(super) fn restore(&mut self, position: Position) -> bool {
        let is_next = self.positions.back().is_none_or(|last| *last < position);
        if is_next {
            self.positions.push_back(position);
        }
        is_next
    }

    /// Drops the event at `position`. It is the oldest, unless older ones are spared for a durable
    /// subscriber.
    pub(super) fn drop_event(&mut self, position: Position) {
        if self.positions.front() == Some(&position) {
            self.positions.pop_front();
        } else if let Ok(index) = self.positions.binary_search(&position) {
            self.positions.remove(index);
        }
        self.last_dropped = self.last_dropped.max(position);
    }

    /// The newest event there ever was, dropped or not; zero when there was none.
    pub(super) fn last_event(&self) -> Position {
        let newest = self.positions.back().copied().unwrap_or_default();
        newest.max(self.last_dropped)
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
    /// A member more.
    pub(super) fn enter(&mut self, id: SocketId, is_subscriber: bool) {
        self.members.insert(id);
        if is_subscriber {
            self.subscribers.insert(id);
        }
    }

    /// True when nothing but its last dropped position would be lost with it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.track.len() == 0
    }
}
