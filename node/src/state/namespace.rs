//! One namespace: its sessions, rooms, replayable events and keys, and its retention (one floor:
//! everything at or below it is dropped).

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use super::cursors::Cursors;
use super::forgotten::Forgotten;
use super::keys::Keys;
use super::room::{Room, Track};
use super::settings::{Retention, Settings};
use super::subscribers::{Spared, Subscribers};
use crate::ids::{Position, SocketId};

/// What the state keeps of a replayable event; the payload stays in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventMeta {
    /// Where it stands in the log.
    pub(super) position: Position,
    /// Log time, in microseconds.
    pub(super) at_us: u64,
    /// What retention charges for it: payload with attachments, names, overhead.
    pub(super) bytes: u32,
    /// Target rooms, each once; empty for the whole namespace.
    pub(super) rooms: Arc<[Arc<str>]>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespace {
    /// With its leading slash.
    pub(super) name: Arc<str>,
    /// All its sessions, away ones too.
    pub(super) sessions: OrdSet<SocketId>,
    /// Their cursors, but those of durable subscribers.
    pub(super) cursors: Cursors,
    /// Durable subscribers among the sessions.
    pub(super) subscribers: Subscribers,
    /// Rooms that have a member or a replayable event.
    pub(super) rooms: OrdMap<Arc<str>, Room>,
    /// Events for the whole namespace: a room that every session is in from its connect.
    pub(super) everyone: Track,
    /// Events within retention, oldest first.
    pub(super) events: Vector<EventMeta>,
    /// Sum of what they are charged.
    pub(super) bytes: u64,
    /// Events that have left retention, and of which nobody has decided yet whether they are spared
    /// or go: empty between operations, see [`super::subscribers`].
    pub(super) leaving: Vector<EventMeta>,
    /// Events that have left retention and are spared.
    pub(super) spared: OrdMap<Position, Spared>,
    /// Sum of what those are charged.
    pub(super) spared_bytes: u64,
    /// The last event that has left retention.
    pub(super) floor: Position,
    /// Last dropped positions of deleted rooms.
    pub(super) forgotten: Forgotten,
    /// Idempotency keys.
    pub(super) keys: Keys,
    /// Its floor when it became empty, while it is: see `GroupState::dormant`.
    pub(super) dormant_at: Option<Position>,
    /// How long its events are kept, as the settings say.
    pub(super) retention: Retention,
    /// The armed retention timer, in microseconds of log time.
    pub(super) retention_due_us: Option<u64>,
    /// No look for early drops before this log time, in microseconds: the last one was in vain.
    pub(super) look_after_us: u64,
    /// The armed look, in microseconds of log time.
    pub(super) look_due_us: Option<u64>,
    /// The armed timer of the oldest key, in microseconds of log time.
    pub(super) keys_due_us: Option<u64>,
}

impl Namespace {
    /// Empty; events up to `floor` may have existed in an earlier life of this namespace.
    pub(super) fn new(name: Arc<str>, floor: Position, settings: &Settings) -> Self {
        Self {
            retention: settings.retention_of(&name),
            name,
            sessions: OrdSet::new(),
            cursors: Cursors::default(),
            subscribers: Subscribers::default(),
            rooms: OrdMap::new(),
            everyone: Track::starting_at(floor),
            events: Vector::new(),
            bytes: 0,
            leaving: Vector::new(),
            spared: OrdMap::new(),
            spared_bytes: 0,
            floor,
            forgotten: Forgotten::starting_at(floor),
            keys: Keys::default(),
            dormant_at: None,
            retention_due_us: None,
            look_after_us: 0,
            look_due_us: None,
            keys_due_us: None,
        }
    }

    /// True when only what histories need would be lost with it: how far its rooms were dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.events.is_empty() && self.keys.len() == 0
    }

    /// The first replayable event.
    pub(super) fn oldest(&self) -> Option<Position> {
        let spared = self.spared.get_min().map(|(position, _)| *position);
        spared.or_else(|| self.events.front().map(|event| event.position))
    }

    /// The last replayable event.
    pub(super) fn newest(&self) -> Option<Position> {
        let kept = self.events.back().map(|event| event.position);
        kept.or_else(|| self.spared.get_max().map(|(position, _)| *position))
    }

    /// The first replayable event later than `after`.
    pub(super) fn first_after(&self, after: Position) -> Option<&EventMeta> {
        let later = (Bound::Excluded(after), Bound::Unbounded);
        if let Some((_, spared)) = self.spared.range(later).next() {
            return Some(&spared.event);
        }
        let found = self
            .events
            .binary_search_by(|event| event.position.cmp(&after));
        self.events.get(match found {
            Ok(index) => index + 1,
            Err(index) => index,
        })
    }

    /// The last dropped event of a room, exact or later.
    pub(super) fn last_dropped(&self, room: &str) -> Position {
        match self.rooms.get(room) {
            Some(room) => room.track.last_dropped,
            None => self.forgotten.last_dropped(room),
        }
    }

    /// The shared copy of a room's name, made if need be.
    pub(super) fn intern(&self, room: &str) -> Arc<str> {
        match self.rooms.get_key_value(room) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(room),
        }
    }

    /// The room, made if need be.
    pub(super) fn room_mut(&mut self, name: &Arc<str>) -> &mut Room {
        let forgotten = &mut self.forgotten;
        self.rooms.entry(Arc::clone(name)).or_insert_with(|| Room {
            track: Track::starting_at(forgotten.take(name)),
            ..Room::default()
        })
    }

    /// Takes a member out; returns the room's last event ever.
    pub(super) fn remove_member(&mut self, name: &Arc<str>, socket: &SocketId) -> Position {
        let Some(room) = self.rooms.get_mut(name) else {
            return Position::ZERO;
        };
        room.members.remove(socket);
        room.subscribers.remove(socket);
        let last_event = room.track.last_event();
        self.tidy_room(name);
        last_event
    }

    /// Adds a replayable event and drops what is now beyond the limits.
    pub(super) fn record(&mut self, event: EventMeta, settings: &Settings) {
        if event.rooms.is_empty() {
            self.everyone.push(event.position);
        }
        for name in event.rooms.iter() {
            self.room_mut(name).track.push(event.position);
        }
        self.bytes += u64::from(event.bytes);
        self.events.push_back(event);
        self.enforce_size(settings);
    }

    /// Drops the oldest events while there are too many, by count or bytes.
    pub(super) fn enforce_size(&mut self, settings: &Settings) {
        while self.bytes > settings.retention_bytes
            || self.events.len() as u64 > settings.retention_count
        {
            self.drop_oldest();
        }
    }

    /// Drops the events that were published at or before `at_us`.
    pub(super) fn drop_until(&mut self, at_us: u64) {
        while self
            .events
            .front()
            .is_some_and(|event| event.at_us <= at_us)
        {
            self.drop_oldest();
        }
    }

    /// The oldest event leaves retention; a durable subscriber may still have it spared.
    pub(super) fn drop_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else {
            return;
        };
        self.bytes -= u64::from(event.bytes);
        self.floor = event.position;
        if self.subscribers.by_name.is_empty() {
            self.forget_event(&event);
        } else {
            self.leaving.push_back(event);
        }
    }

    /// An event is not replayable any more.
    pub(super) fn forget_event(&mut self, event: &EventMeta) {
        if event.rooms.is_empty() {
            self.everyone.drop_event(event.position);
        }
        for name in event.rooms.iter() {
            if let Some(room) = self.rooms.get_mut(name) {
                room.track.drop_event(event.position);
            }
            self.tidy_room(name);
        }
    }

    /// Deletes a room without members and events. No verdict needs it: an open interval has a
    /// member; a closed one asks the room only while its last event inside is replayable.
    fn tidy_room(&mut self, name: &Arc<str>) {
        if self.rooms.get(name).is_some_and(Room::is_empty)
            && let Some((name, room)) = self.rooms.remove_with_key(name)
            && !room.private
        {
            self.forgotten.remember(name, room.track.last_dropped);
        }
    }
}
