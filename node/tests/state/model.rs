//! The same rules once more, naively: every event and every membership is kept for ever, and each
//! question is answered by looking at all of them. Nothing here shares code with the state.

use std::collections::{BTreeMap, BTreeSet};

use roomcast::ids::{Position, SocketId};
use roomcast::state::Settings;

/// A session and all its memberships.
#[derive(Debug, Clone)]
pub(crate) struct ModelSession {
    pub(crate) pid: Vec<u8>,
    pub(crate) namespace: String,
    pub(crate) identity: Option<String>,
    pub(crate) recoverable: bool,
    pub(crate) connect: Position,
    pub(crate) generation: u64,
    pub(crate) owner: u64,
    pub(crate) away_until_us: Option<u64>,
    pub(crate) cursor: Position,
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
    /// Dropped before any limit took it.
    pub(crate) early: bool,
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
    pub(crate) events: Vec<ModelEvent>,
    pub(crate) keys: Vec<ModelKey>,
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
            events: Vec::new(),
            keys: Vec::new(),
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
        for id in due {
            let session = self.sessions.remove(&id).expect("just listed");
            self.expired.insert(session.pid);
        }
        self.enforce();
    }

    /// Up to where all sessions of a namespace have everything.
    pub(crate) fn acknowledged(&self, namespace: &str) -> Option<Position> {
        let sessions = self.sessions.values();
        let sessions = sessions.filter(|session| session.namespace == namespace);
        sessions.map(|session| session.cursor).min()
    }

    /// Age of the oldest kept event that somebody has not acknowledged.
    pub(crate) fn lag_us(&self) -> u64 {
        let lags = self.events.iter().filter(|event| !event.dropped);
        let lags = lags.filter(|e| Some(e.position) > self.acknowledged(&e.namespace));
        let lags = lags.filter(|e| self.acknowledged(&e.namespace).is_some());
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
            let of_it = |event: &&mut ModelEvent| event.namespace == namespace && !event.dropped;
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
                (event.dropped, event.early) = (true, true);
            }
        }
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
                .filter(|event| event.namespace == namespace && !event.dropped)
                .collect();
            let mut bytes: u64 = kept.iter().map(|event| event.bytes).sum();
            let mut count = kept.len() as u64;
            for event in &mut kept {
                let old = event.at_us + settings.retention_ms * 1000 <= now;
                if !old && bytes <= settings.retention_bytes && count <= settings.retention_count {
                    break;
                }
                event.dropped = true;
                bytes -= event.bytes;
                count -= 1;
            }
        }
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
        let until = self.now_us + self.settings.resume_window_ms * 1000;
        self.sessions.retain(|_, session| {
            let lost = session.owner == incarnation && session.away_until_us.is_none();
            if lost {
                session.away_until_us = Some(until);
            }
            !lost || session.recoverable
        });
    }

    /// Was anything that reached the session after `start` dropped? Excepts are not looked at: the
    /// documented conservative case.
    pub(crate) fn lost(&self, session: &ModelSession, start: Position) -> bool {
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
