//! Snapshots: the whole state as bytes, the same on every replica, and back. What follows from the
//! rest (members of rooms, events by room, timers, lookups) is not written but rebuilt.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::codec::{Reader, Writer};
use super::encoding::{
    read_event, read_forgotten, read_identity, read_key, read_producer, read_session,
    read_settings, write_forgotten, write_identity, write_key, write_producer, write_session,
    write_settings,
};
use super::group::{FEATURE_LEVEL, GroupState};
use super::limited::Limited;
use super::namespace::{EventMeta, Namespace};
use super::records::Records;
use super::room::{Room, Track};
use super::session::{Presence, Session};
use super::subscribers::Spared;
use super::timers::TimerKey;
use crate::ids::Pid;

const MAGIC: &[u8; 4] = b"RCGS";
/// The format that is written. Still read are 1, without `namespaces_max`, 2, without what
/// acknowledgements need, 3, without durable subscribers, and 4, without lifecycle records.
const VERSION: u8 = 5;

/// Why bytes are not a snapshot that this build can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("not a snapshot of a group's state")]
    NotASnapshot,
    /// Written by a newer build.
    #[error("snapshot has format version {0}; this build understands {VERSION}")]
    UnknownVersion(u8),
    /// The cluster was raised to a level that this build does not have.
    #[error("snapshot needs feature level {0}; this build has {FEATURE_LEVEL}")]
    UnknownLevel(u32),
    /// Ends too early.
    #[error("snapshot is truncated")]
    Truncated,
    /// A value that cannot be.
    #[error("snapshot has an invalid {0}")]
    Invalid(&'static str),
}

impl GroupState {
    /// The whole state; equal states give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.raw(MAGIC);
        out.byte(VERSION);
        out.int(self.index);
        out.int(self.log_time_us);
        out.option(self.founding.as_ref(), write_identity);
        write_settings(&mut out, &self.settings);
        out.int(u64::from(self.feature_level));
        out.count(self.producers.len());
        self.producers
            .values()
            .for_each(|producer| write_producer(&mut out, producer));
        out.count(self.retired.len());
        self.retired
            .iter()
            .for_each(|incarnation| out.int(*incarnation));
        out.count(self.expired.len());
        self.expired.iter().for_each(|pid| out.raw(&pid.0));
        write_forgotten(&mut out, &self.forgotten);
        self.limited.write(&mut out);
        self.records.write(&mut out);
        out.count(self.namespaces.len());
        for namespace in self.namespaces.values() {
            self.write_namespace(&mut out, namespace);
        }
        out.finish()
    }

    /// Digest of the whole state: equal on all replicas at the same index.
    #[must_use]
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.encode())
    }

    /// A state from its bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer build.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Reader::new(bytes);
        if from.array::<4>().ok().as_ref() != Some(MAGIC) {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = from.byte()?;
        if !(1..=VERSION).contains(&version) {
            return Err(SnapshotError::UnknownVersion(version));
        }
        let mut state = Self::new();
        state.index = from.int()?;
        state.log_time_us = from.int()?;
        state.founding = from.option(read_identity)?;
        state.settings = read_settings(&mut from, version)?;
        state.feature_level = from.int32()?;
        if state.feature_level > FEATURE_LEVEL {
            return Err(SnapshotError::UnknownLevel(state.feature_level));
        }
        let producers = from.list(|from| read_producer(from, version))?;
        state.producers = producers
            .into_iter()
            .map(|producer| (producer.incarnation, producer))
            .collect();
        state.retired = from.list(Reader::int)?.into_iter().collect();
        state.expired = from
            .list(|from| Ok(Pid(from.array()?)))?
            .into_iter()
            .collect();
        state.expired_set = state.expired.iter().copied().collect();
        state.forgotten = read_forgotten(&mut from)?;
        if version > 3 {
            state.limited = Limited::read(&mut from)?;
        }
        state.records = match version {
            1..=4 => Records::starting_at(state.position()),
            _ => Records::read(&mut from)?,
        };
        for _ in 0..from.count()? {
            state.read_namespace(&mut from, version)?;
        }
        from.finish()?;
        Ok(state)
    }

    fn write_namespace(&self, out: &mut Writer, namespace: &Namespace) {
        out.text(&namespace.name);
        out.position(namespace.floor);
        out.int(namespace.look_after_us);
        out.position(namespace.everyone.last_dropped);
        write_forgotten(out, &namespace.forgotten);
        out.count(namespace.keys.len());
        namespace
            .keys
            .iter()
            .for_each(|(name, record)| write_key(out, name, record));
        out.count(namespace.rooms.len());
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, (name, room)) in namespace.rooms.iter().enumerate() {
            numbers.insert(name, number);
            out.text(name);
            out.position(room.track.last_dropped);
            out.flag(room.private);
        }
        out.count(namespace.spared.len());
        out.count(namespace.spared.len() + namespace.events.len());
        let spared = namespace.spared.values().map(|spared| &spared.event);
        for event in spared.chain(&namespace.events) {
            out.position(event.position);
            out.int(event.at_us);
            out.int(u64::from(event.bytes));
            out.count(event.rooms.len());
            event
                .rooms
                .iter()
                .for_each(|room| out.count(numbers[&**room]));
        }
        out.count(namespace.sessions.len());
        for session in namespace
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id))
        {
            write_session(out, session, &numbers);
        }
    }

    fn read_namespace(&mut self, from: &mut Reader<'_>, version: u8) -> Result<(), SnapshotError> {
        let name = from.text()?;
        let mut namespace = Namespace::new(Arc::clone(&name), from.position()?);
        if version > 2 {
            namespace.look_after_us = from.int()?;
        }
        namespace.everyone.last_dropped = from.position()?;
        namespace.forgotten = read_forgotten(from)?;
        for (name, record) in from.list(read_key)? {
            namespace.keys.insert(name, record, u32::MAX);
        }
        let names = from.list(|from| {
            let name = from.text()?;
            let track = Track::starting_at(from.position()?);
            let room = Room {
                private: from.flag()?,
                track,
                ..Room::default()
            };
            namespace.rooms.insert(Arc::clone(&name), room);
            Ok(name)
        })?;
        let spared = if version > 3 { from.count()? } else { 0 };
        let events = from.list(|from| read_event(from, &names))?;
        for (number, event) in events.into_iter().enumerate() {
            restore_event(&mut namespace, event, number < spared)?;
        }
        let sessions = from.list(|from| read_session(from, version, &name, &names))?;
        for session in sessions {
            self.restore_session(&mut namespace, session)?;
        }
        if namespace.spared.values().any(|spared| spared.holders == 0) {
            return Err(SnapshotError::Invalid("spared event"));
        }
        if self
            .namespaces
            .insert(Arc::clone(&name), Arc::new(namespace))
            .is_some()
        {
            return Err(SnapshotError::Invalid("namespace"));
        }
        self.settle(&name);
        Ok(())
    }

    fn restore_session(
        &mut self,
        namespace: &mut Namespace,
        mut session: Session,
    ) -> Result<(), SnapshotError> {
        let id = session.id;
        let is_subscriber = session.subscription.is_some();
        namespace.sessions.insert(id);
        namespace.cursors_mut(is_subscriber).add(session.place());
        for interval in &session.open {
            let room = namespace.rooms.get_mut(&interval.room);
            room.ok_or(SnapshotError::Invalid("room"))?
                .enter(id, is_subscriber);
        }
        self.restore_subscriber(namespace, &mut session)?;
        match session.presence {
            Presence::Connected => {
                self.own(session.owner, id);
                self.hold(&id, session.held_by());
            }
            Presence::Away { expires_us } => self.timers.arm(expires_us, TimerKey::Session(id)),
        }
        if let Some(pid) = session.pid {
            self.pids.insert(pid, id);
        }
        match self.sessions.insert(id, Arc::new(session)) {
            None => Ok(()),
            Some(_) => Err(SnapshotError::Invalid("session")),
        }
    }
}

impl GroupState {
    fn restore_subscriber(
        &mut self,
        namespace: &mut Namespace,
        session: &mut Session,
    ) -> Result<(), SnapshotError> {
        let (id, name) = (session.id, session.subscriber_name());
        let Some((name, subscription)) = name.zip(session.subscription.as_mut()) else {
            return Ok(());
        };
        if !session.closed.is_empty() {
            namespace.subscribers.leavers.insert(id);
        }
        for position in &subscription.spared {
            let spared = namespace.spared.get_mut(position);
            let spared = spared.ok_or(SnapshotError::Invalid("spared event"))?;
            spared.holders += 1;
            subscription.spared_bytes += u64::from(spared.event.bytes);
            self.sparing.insert(id);
        }
        match namespace.subscribers.by_name.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(SnapshotError::Invalid("subscriber")),
        }
    }
}

fn restore_event(
    namespace: &mut Namespace,
    event: EventMeta,
    is_spared: bool,
) -> Result<(), SnapshotError> {
    let is_in_order = namespace.newest() < Some(event.position);
    let has_left = event.position <= namespace.floor;
    if !is_in_order || is_spared != has_left {
        return Err(SnapshotError::Invalid("event position"));
    }
    if event.rooms.is_empty() {
        restore_position(&mut namespace.everyone, &event)?;
    }
    for name in event.rooms.iter() {
        let room = namespace
            .rooms
            .get_mut(name)
            .ok_or(SnapshotError::Invalid("room"))?;
        restore_position(&mut room.track, &event)?;
    }
    let bytes = u64::from(event.bytes);
    if is_spared {
        namespace.spared_bytes += bytes;
        let (position, holders) = (event.position, 0);
        namespace.spared.insert(position, Spared { event, holders });
    } else {
        namespace.bytes += bytes;
        namespace.events.push_back(event);
    }
    Ok(())
}

fn restore_position(track: &mut Track, event: &EventMeta) -> Result<(), SnapshotError> {
    if track.restore(event.position) {
        Ok(())
    } else {
        Err(SnapshotError::Invalid("event position"))
    }
}
