//! One session: a Socket.IO socket that outlives its transports and its gateway (P5), with its
//! rooms as membership intervals (P3).

use std::sync::Arc;

use bytes::Bytes;

use super::cursors::Place;
use super::query::Member;
use super::subscribers::Subscription;
use crate::ids::{Incarnation, Pid, Position, SocketId};

/// Closed intervals kept per session. Beyond it the oldest is given up as if its events had been
/// dropped: a client that joins and leaves without end costs itself a resume, not us memory.
pub(super) const CLOSED_INTERVALS_MAX: usize = 1024;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The socket's id, the same for the whole life of the session.
    pub id: SocketId,
    /// What a client resumes with; `None` when it was connected without recovery and without one.
    pub pid: Option<Pid>,
    /// Namespace, with its leading slash.
    pub namespace: Arc<str>,
    /// Who authenticated; a resume must yield the same.
    pub identity: Option<Arc<str>>,
    /// JSON that member lists show, or empty.
    pub data: Bytes,
    /// False: the session ends when its transport does.
    pub recoverable: bool,
    /// Where it connected; it is owed nothing at or before that.
    pub connected_at: Position,
    /// Grows with each resume; operations of an older one are refused.
    pub generation: u64,
    /// The incarnation that owns it, or owned it before it went away.
    pub owner: Incarnation,
    /// Connected or away.
    pub presence: Presence,
    /// Leader's wall clock when `presence` began, Unix milliseconds; for people.
    pub since_ms: u64,
    /// It surely has everything up to here by itself; see [`super::cursors`] for what it follows.
    pub(super) cursor: Position,
    /// It does not follow its owner's cursor, unless that moves beyond this position.
    pub(super) held: Option<Position>,
    /// Only its client's `ack` moves its cursor: it follows nobody, and no resume moves it.
    pub manual: bool,
    /// What makes it a durable subscriber, if it is one.
    pub(super) subscription: Option<Box<Subscription>>,
    /// Rooms it is in, sorted by name.
    pub(super) open: Vec<OpenInterval>,
    /// Rooms it was in, by their end; only those that a replayable event may fall into.
    pub(super) closed: Vec<ClosedInterval>,
    /// The last event inside intervals that are not kept any more: dropped, hence lost to a resume
    /// that starts before it.
    pub(super) lost_through: Position,
}

/// Whether a session has a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its owner holds a transport, as far as the log knows.
    Connected,
    /// Its transport is gone; the session ends at this log time, in microseconds.
    Away {
        /// Log time, in microseconds.
        expires_us: u64,
    },
}

/// A membership that goes on: events later than `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenInterval {
    pub(super) room: Arc<str>,
    pub(super) from: Position,
}

/// A membership that has ended: events between `from` and `to`, both exclusive (each is the
/// position of a join or leave itself).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedInterval {
    pub(super) room: Arc<str>,
    pub(super) from: Position,
    pub(super) to: Position,
    /// The room's last replayable event inside, dropped or not. Tells later whether anything inside
    /// was dropped without asking what was published to the room after the leave.
    pub(super) last_inside: Option<Position>,
}

impl Session {
    /// True while its owner holds a transport.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.presence == Presence::Connected
    }

    /// The incarnation whose cursor counts for it too.
    pub(super) fn follows(&self) -> Option<Incarnation> {
        (self.is_connected() && self.held.is_none() && !self.manual).then_some(self.owner)
    }

    /// The name under which it is a durable subscriber.
    #[must_use]
    pub fn subscriber(&self) -> Option<&str> {
        let subscription = self.subscription.as_ref()?;
        Some(&subscription.name)
    }

    /// Events of its namespace that are kept only because it is owed them.
    #[must_use]
    pub fn spared_count(&self) -> usize {
        let subscription = self.subscription.as_ref();
        subscription.map_or(0, |subscription| subscription.spared.len())
    }

    /// Where it is counted among the cursors of its namespace.
    pub(super) fn place(&self) -> Place {
        (self.follows(), self.cursor)
    }

    /// The incarnation that it will follow, and from where on.
    pub(super) fn held_by(&self) -> Option<(Incarnation, Position)> {
        let at = self.held.filter(|_| self.is_connected())?;
        Some((self.owner, at))
    }

    /// Names of the rooms it is in, its own id's included, in order.
    pub fn rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        self.open.iter().map(|interval| &interval.room)
    }

    /// As member lists show it.
    pub(crate) fn as_member(&self) -> Member {
        Member {
            id: self.id,
            connected: self.is_connected(),
            since_ms: self.since_ms,
            identity: self.identity.clone(),
            data: self.data.clone(),
        }
    }

    /// True when it is in the room now.
    #[must_use]
    pub fn is_in(&self, room: &str) -> bool {
        self.find(room).is_ok()
    }

    /// True when it was in the room at a position that is still replayable.
    #[must_use]
    pub fn was_in(&self, room: &str, position: Position) -> bool {
        if let Ok(index) = self.find(room)
            && self.open[index].from < position
        {
            return true;
        }
        let inside = |closed: &ClosedInterval| closed.from < position && position < closed.to;
        self.closed
            .iter()
            .any(|closed| inside(closed) && *closed.room == *room)
    }

    /// Starts a membership; the caller knows that there is none.
    pub(super) fn open(&mut self, room: Arc<str>, from: Position) {
        match self.find(&room) {
            Ok(_) => debug_assert!(false, "a room is joined once"),
            Err(index) => self.open.insert(index, OpenInterval { room, from }),
        }
    }

    /// Ends a membership. `last_event` is the room's last event ever, `newest` the namespace's last
    /// replayable one.
    pub(super) fn close(
        &mut self,
        room: &str,
        to: Position,
        last_event: Position,
        newest: Option<Position>,
    ) {
        let Ok(index) = self.find(room) else { return };
        let OpenInterval { room, from } = self.open.remove(index);
        let last_inside = Some(last_event).filter(|&last| last > from);
        if newest.is_none_or(|newest| newest <= from) {
            // Nothing replayable falls into it, neither as a target nor as an except.
            self.lost_through = self.lost_through.max(last_inside.unwrap_or_default());
            return;
        }
        self.closed.push(ClosedInterval {
            room,
            from,
            to,
            last_inside,
        });
    }

    /// Gives up closed intervals that no replayable event falls into any more; `oldest` is the
    /// namespace's first replayable event.
    pub(super) fn prune(&mut self, oldest: Option<Position>) {
        let spent = self
            .closed
            .partition_point(|closed| oldest.is_none_or(|oldest| closed.to <= oldest));
        for closed in self.closed.drain(..spent) {
            self.lost_through = self
                .lost_through
                .max(closed.last_inside.unwrap_or_default());
        }
        let excess = self.closed.len().saturating_sub(CLOSED_INTERVALS_MAX);
        for closed in self.closed.drain(..excess) {
            // Excepts inside can no longer be judged either, so nothing before its end is replayed.
            self.lost_through = self.lost_through.max(closed.to);
        }
    }

    fn find(&self, room: &str) -> Result<usize, usize> {
        self.open
            .binary_search_by(|interval| (*interval.room).cmp(room))
    }
}
