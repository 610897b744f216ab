//! The same rules once more, naively: every event and every membership is kept for ever, and each
//! question is answered by looking at all of them. Nothing here shares code with the state.

use std::collections::{BTreeMap, BTreeSet};

use roomcast::ids::{Position, SocketId};
use roomcast::state::Settings;

use crate::model_records::ModelRecords;

/// A session and all its memberships.
#[derive(Debug, Clone)]
pub(crate) struct ModelSession {
    pub(crate) pid: Vec<u8>,
    pub(crate) namespace: String,
    pub(crate) identity: Option<String>,
    pub(crate) data: Vec<u8>,
    pub(crate) recoverable: bool,
    pub(crate) connect: Position,
    pub(crate) generation: u64,
    pub(crate) owner: u64,
    pub(crate) away_until_us: Option<u64>,
    pub(crate) cursor: Position,
    /// As what durable subscriber.
    pub(crate) subscriber: Option<String>,
    /// Only its `ack` moves its cursor.
    pub(crate) manual: bool,
    /// Where its client's view of it began.
    pub(crate) start: Position,
    /// Where it was attached or last listed as an exception: reports up to here are not about it.
    pub(crate) held: Position,
    /// Room, from, to: all there ever were.
    pub(crate) intervals: Vec<(String, Position, Option<Position>)>,
}

/// A replayable event, dropped or not.
#[derive(Debug, Clone)]
pub(crate) struct ModelEvent {
    pub(crate) position: Position,
    pub(crate) namespace: String,
    pub(crate) rooms: Vec<String>,
    pub(crate) except: Vec<String>,
    pub(crate) at_us: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: bool,
    /// It left retention before any limit took it.
    pub(crate) early: bool,
    /// It has left retention.
    pub(crate) beyond: bool,
    /// Durable subscribers that were owed it then, and have not acknowledged it since.
    pub(crate) spared_for: Option<BTreeSet<SocketId>>,
}

/// An idempotency key: namespace, whose, key; body, first position, when.
#[derive(Debug, Clone)]
pub(crate) struct ModelKey {
    pub(crate) name: (String, String, String),
    pub(crate) body: Vec<u8>,
    pub(crate) first: Position,
    pub(crate) at_us: u64,
}

/// The naive state.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) epoch: u64,
    pub(crate) settings: Settings,
    pub(crate) now_us: u64,
    /// Incarnation: node, last sequence.
    pub(crate) producers: BTreeMap<u64, (u64, u64)>,
    /// Incarnation: up to where it has reported its sessions.
    pub(crate) reported: BTreeMap<u64, Position>,
    /// Namespace: log time before which it is not looked at for early drops.
    pub(crate) look_after_us: BTreeMap<String, u64>,
    pub(crate) retired: BTreeSet<u64>,
    pub(crate) sessions: BTreeMap<SocketId, ModelSession>,
    pub(crate) expired: BTreeSet<Vec<u8>>,
    /// Namespace, identity and name of subscribers that came to a limit.
    pub(crate) limited: BTreeSet<(String, Option<String>, String)>,
    pub(crate) events: Vec<ModelEvent>,
    pub(crate) keys: Vec<ModelKey>,
    /// The present entry.
    pub(crate) index: u64,
    pub(crate) records: ModelRecords,
}

impl ModelSession {
    pub(crate) fn rooms(&self) -> BTreeSet<String> {
        let open = self.intervals.iter().filter(|(_, _, to)| to.is_none());
        open.map(|(room, ..)| room.clone()).collect()
    }

    pub(crate) fn was_in(&self, room: &str, at: Position) -> bool {
        self.intervals
            .iter()
            .any(|(name, from, to)| name == room && *from < at && to.is_none_or(|to| at < to))
    }

    /// Owed, not looking at excepts.
    pub(crate) fn reached_by(&self, event: &ModelEvent) -> bool {
        let reached = event.rooms.is_empty()
            || event
                .rooms
                .iter()
                .any(|room| self.was_in(room, event.position));
        event.namespace == self.namespace && event.position > self.connect && reached
    }

    pub(crate) fn is_excepted(&self, event: &ModelEvent) -> bool {
        event
            .except
            .iter()
            .any(|room| self.was_in(room, event.position))
    }
}

impl Model {
    pub(crate) fn new(epoch: u64, settings: Settings) -> Self {
        Self {
            epoch,
            settings,
            now_us: 0,
            producers: BTreeMap::new(),
            reported: BTreeMap::new(),
            look_after_us: BTreeMap::new(),
            retired: BTreeSet::new(),
            sessions: BTreeMap::new(),
            expired: BTreeSet::new(),
            limited: BTreeSet::new(),
            events: Vec::new(),
            keys: Vec::new(),
            index: 0,
            records: ModelRecords::default(),
        }
    }

    /// Log time passes; what is due happens.
    pub(crate) fn pass(&mut self, elapsed_us: u64) {
        self.now_us += elapsed_us;
        let now = self.now_us;
        let is_due = |session: &ModelSession| session.away_until_us.is_some_and(|due| due <= now);
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| is_due(s))
            .map(|(id, _)| *id)
            .collect();
        let before = self.sessions.clone();
        for id in due {
            self.expire(id);
        }
        self.note(Position::new(self.index, u32::MAX), &before, "expired");
        self.enforce();
    }

    fn expire(&mut self, id: SocketId) {
        let session = self.sessions.remove(&id).expect("it is there");
        self.expired.insert(session.pid);
        if let Some(name) = session.subscriber {
            let key = (session.namespace, session.identity, name);
            self.limited.insert(key);
        }
        self.judge();
    }

    /// Up to where all sessions of a namespace have everything, but durable subscribers.
    pub(crate) fn acknowledged(&self, namespace: &str) -> Option<Position> {
        let sessions = self.sessions.values();
        let sessions = sessions.filter(|session| session.namespace == namespace);
        let sessions = sessions.filter(|session| session.subscriber.is_none());
        sessions.map(|session| session.cursor).min()
    }

    fn acknowledged_by_all(&self, namespace: &str) -> Option<Position> {
        let sessions = self.sessions.values();
        let sessions = sessions.filter(|session| session.namespace == namespace);
        sessions.map(|session| session.cursor).min()
    }

    /// Who is spared what has left retention, and who still needs it.
    pub(crate) fn judge(&mut self) {
        let sessions = &self.sessions;
        let open = self.events.iter_mut().filter(|e| e.beyond && !e.dropped);
        for event in open {
            let waits = |session: &ModelSession| {
                session.subscriber.is_some()
                    && session.cursor < event.position
                    && session.reached_by(event)
            };
            let mut spared_for = event.spared_for.clone().unwrap_or_else(|| {
                let waiting = sessions.iter().filter(|(_, session)| waits(session));
                waiting.map(|(id, _)| *id).collect()
            });
            spared_for.retain(|id| {
                let session = sessions.get(id);
                session.is_some_and(|session| session.cursor < event.position)
            });
            event.dropped = spared_for.is_empty();
            event.spared_for = Some(spared_for);
        }
    }

    /// What is spared for a session alone or with others.
    pub(crate) fn spared(&self, id: &SocketId) -> Vec<&ModelEvent> {
        let is_spared = |event: &&ModelEvent| {
            let spared_for = event.spared_for.as_ref();
            spared_for.is_some_and(|spared_for| spared_for.contains(id))
        };
        self.events.iter().filter(is_spared).collect()
    }

    /// Durable subscribers beyond their limits end.
    pub(crate) fn end_overrun(&mut self) {
        let ids: Vec<SocketId> = self.sessions.keys().copied().collect();
        for id in ids {
            let spared = self.spared(&id);
            let bytes: u64 = spared.iter().map(|event| event.bytes).sum();
            let too_many = spared.len() as u64 > self.settings.subscriber_events;
            if too_many || bytes > self.settings.subscriber_bytes {
                let limit = if too_many { "events" } else { "bytes" };
                let before = self.sessions.clone();
                self.expire(id);
                let ending = format!("disconnected (subscriber limit: {limit})");
                self.note(Position::new(self.index, u32::MAX), &before, &ending);
            }
        }
    }

    /// How long a session may be away.
    pub(crate) fn window_us(&self, session: &ModelSession) -> u64 {
        match session.subscriber {
            Some(_) => self.settings.subscriber_window_ms * 1000,
            None => self.settings.resume_window_ms * 1000,
        }
    }

    /// Age of the oldest kept event that somebody has not acknowledged.
    pub(crate) fn lag_us(&self) -> u64 {
        let lags = self.events.iter().filter(|event| !event.dropped);
        let lags = lags.filter(|e| Some(e.position) > self.acknowledged_by_all(&e.namespace));
        let lags = lags.filter(|e| self.acknowledged_by_all(&e.namespace).is_some());
        lags.map(|event| self.now_us - event.at_us)
            .max()
            .unwrap_or(0)
    }

    /// Drops what everybody has acknowledged and is older than the minimum, in namespaces whose
    /// turn it is.
    pub(crate) fn drop_early(&mut self) {
        const LOOK_EVERY_US: u64 = 5_000_000;
        let (now, settings) = (self.now_us, self.settings);
        let (min, max) = (
            settings.retention_min_ms * 1000,
            settings.retention_ms * 1000,
        );
        for namespace in crate::steps::NAMESPACES {
            let acknowledged = self.acknowledged(namespace);
            let look_after = self.look_after_us.entry(namespace.to_owned()).or_default();
            let of_it = |event: &&mut ModelEvent| event.namespace == namespace && !event.beyond;
            let mut kept = self.events.iter_mut().filter(of_it).peekable();
            let due = |event: &ModelEvent| (event.at_us + min).max(*look_after);
            let looks =
                |event: &&mut ModelEvent| due(event) <= now && due(event) < event.at_us + max;
            if !kept.peek().is_some_and(looks) {
                continue;
            }
            for event in kept {
                if event.at_us + min > now {
                    break;
                }
                if acknowledged.is_some_and(|acknowledged| event.position > acknowledged) {
                    *look_after = (now / LOOK_EVERY_US + 1) * LOOK_EVERY_US;
                    break;
                }
                (event.beyond, event.early) = (true, true);
            }
        }
        self.judge();
    }

    /// Drops what is outside the limits.
    pub(crate) fn enforce(&mut self) {
        let (now, settings) = (self.now_us, self.settings);
        let namespaces: BTreeSet<String> = self
            .events
            .iter()
            .map(|event| event.namespace.clone())
            .collect();
        for namespace in namespaces {
            let mut kept: Vec<&mut ModelEvent> = self
                .events
                .iter_mut()
                .filter(|event| event.namespace == namespace && !event.beyond)
                .collect();
            let mut bytes: u64 = kept.iter().map(|event| event.bytes).sum();
            let mut count = kept.len() as u64;
            for event in &mut kept {
                let old = event.at_us + settings.retention_ms * 1000 <= now;
                if !old && bytes <= settings.retention_bytes && count <= settings.retention_count {
                    break;
                }
                event.beyond = true;
                bytes -= event.bytes;
                count -= 1;
            }
        }
        self.judge();
        self.keys
            .retain(|key| key.at_us + settings.key_window_ms * 1000 > now);
        let namespaces: BTreeSet<String> = self.keys.iter().map(|key| key.name.0.clone()).collect();
        for namespace in namespaces {
            while self
                .keys
                .iter()
                .filter(|key| key.name.0 == namespace)
                .count()
                > settings.keys_max as usize
            {
                let oldest = self.keys.iter().position(|key| key.name.0 == namespace);
                self.keys.remove(oldest.expect("there are too many"));
            }
        }
    }

    pub(crate) fn register(&mut self, node: u64, incarnation: u64) {
        if self.retired.contains(&incarnation) || self.producers.contains_key(&incarnation) {
            return;
        }
        let older: Vec<u64> = self
            .producers
            .iter()
            .filter(|(_, (of, _))| *of == node)
            .map(|(incarnation, _)| *incarnation)
            .collect();
        older.into_iter().for_each(|older| self.detach(older));
        self.producers.insert(incarnation, (node, 0));
    }

    pub(crate) fn detach(&mut self, incarnation: u64) {
        if self.producers.remove(&incarnation).is_none() {
            return;
        }
        self.retired.insert(incarnation);
        let model = self.clone();
        self.sessions.retain(|_, session| {
            let lost = session.owner == incarnation && session.away_until_us.is_none();
            if lost {
                session.away_until_us = Some(model.now_us + model.window_us(session));
            }
            !lost || session.recoverable
        });
        let at = Position::new(self.index, 0);
        self.note(at, &model.sessions, "disconnected (node lost)");
    }

    /// Was anything that reached the session after `start` dropped? Excepts are not looked at, and
    /// a room that was left counts as dropped with its last event inside, spared for others or not:
    /// the documented conservative cases.
    pub(crate) fn lost(&self, session: &ModelSession, start: Position) -> bool {
        let last_left = |(room, from, to): &(String, Position, Option<Position>)| {
            let mut of_room = self
                .events
                .iter()
                .filter(|event| event.namespace == session.namespace && event.rooms.contains(room));
            let inside = |e: &&ModelEvent| e.position > *from && Some(e.position) < *to;
            let last = of_room.rfind(inside);
            last.is_some_and(|last| last.beyond && last.position > start)
        };
        let is_kept = session.subscriber.is_some() && start >= session.cursor;
        if !is_kept && session.intervals.iter().any(last_left) {
            return true;
        }
        let later = |event: &&ModelEvent| event.position > start && event.dropped;
        self.events
            .iter()
            .filter(later)
            .any(|event| session.reached_by(event))
    }

    /// The same, to the letter: an event that the session was excepted from is not owed.
    pub(crate) fn lost_exactly(&self, session: &ModelSession, start: Position) -> bool {
        let later = |event: &&ModelEvent| event.position > start && event.dropped;
        let owed = |event: &ModelEvent| session.reached_by(event) && !session.is_excepted(event);
        self.events.iter().filter(later).any(owed)
    }
}
