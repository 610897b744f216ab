//! Durable subscribers (DESIGN, section 6): sessions that are known by a name, outlive the resume
//! window, and are kept what they are owed until they acknowledge it, within limits of their own.
//!
//! **The rule.** An event that leaves retention, by a limit or early, is *spared* as long as a
//! subscriber is owed it and has not acknowledged it: it stays replayable, in its rooms and in the
//! log. Whoever is owed it is settled once, when it leaves. What is spared for a subscriber counts
//! against its limits, and nothing else does: as long as the namespace keeps an event by itself, it
//! costs its subscribers nothing. With one event or byte too many, or one moment too long away, the
//! subscriber ends, and what was spared for it alone goes; the next connect under its name is told
//! `limit`. Excepts are not looked at, as in a resume's verdict: an event that a subscriber was
//! excepted from may be spared for it, never the other way round.
//!
//! **What it costs.** A publish: nothing. An event that leaves retention: one look at the least
//! cursor of the namespace's subscribers and, if one of them lags behind the event, a look at each
//! subscriber in its rooms, and a place in the list of each that is owed it. That place is taken
//! back once, when the cursor passes. So a namespace keeps, beside its retention, at most
//! `subscribers_max` times the limits of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use super::cursors::Cursors;
use super::effect::{Effect, Refusal};
use super::group::{GroupState, Moment};
use super::lifecycle::Ending;
use super::namespace::{EventMeta, Namespace};
use super::session::Session;
use crate::ids::{Incarnation, Position, SocketId};
use crate::limits::SUBSCRIBER_NAME_BYTES_MAX;

/// Who a durable subscriber is within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriberName {
    /// Who authenticated; nobody else reaches it by its name.
    pub(super) identity: Option<Arc<str>>,
    /// What its client calls it.
    pub(super) name: Arc<str>,
}

/// What a session has that is a durable subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Its name within namespace and identity.
    pub(super) name: Arc<str>,
    /// Where its client's view of it starts: its connect, or the replay of its last resume by name.
    /// A client that comes back with its pid and without an offset has received nothing since.
    pub(super) start: Position,
    /// Events that left retention and are spared for it, oldest first; all after its cursor.
    pub(super) spared: Vector<Position>,
    /// What retention charged for them.
    pub(super) spared_bytes: u64,
}

/// The durable subscribers of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscribers {
    /// All of them.
    pub(super) by_name: OrdMap<SubscriberName, SocketId>,
    /// Their cursors.
    pub(super) cursors: Cursors,
    /// Those that were in a room which they are not in any more.
    pub(super) leavers: OrdSet<SocketId>,
}

/// An event that left retention and is spared for durable subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spared {
    /// The event.
    pub(super) event: EventMeta,
    /// In how many subscribers' lists it stands.
    pub(super) holders: u32,
}

/// Which limit ended a durable subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriberLimit {
    /// It was away for too long.
    Window,
    /// Too many events were spared for it.
    Events,
    /// Their bytes were too many.
    Bytes,
}

impl SubscriberLimit {
    /// The word in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Events => "events",
            Self::Bytes => "bytes",
        }
    }
}

impl Subscription {
    pub(super) fn new(name: Arc<str>, start: Position) -> Self {
        Self {
            name,
            start,
            spared: Vector::new(),
            spared_bytes: 0,
        }
    }
}

impl Namespace {
    /// The cursors among which a session is counted.
    pub(super) fn cursors_mut(&mut self, is_subscriber: bool) -> &mut Cursors {
        if is_subscriber {
            &mut self.subscribers.cursors
        } else {
            &mut self.cursors
        }
    }

    /// One holder of a spared event less; with the last one the event goes. What it was charged.
    fn unspare(&mut self, position: Position) -> u64 {
        let Some(spared) = self.spared.get_mut(&position) else {
            debug_assert!(false, "what stands in a list is spared");
            return 0;
        };
        let bytes = u64::from(spared.event.bytes);
        spared.holders -= 1;
        if spared.holders == 0
            && let Some(spared) = self.spared.remove(&position)
        {
            self.spared_bytes -= bytes;
            self.forget_event(&spared.event);
        }
        bytes
    }
}

impl GroupState {
    /// The session of a durable subscriber.
    pub(super) fn subscriber(&self, namespace: &str, name: &SubscriberName) -> Option<&Session> {
        let namespace = self.namespaces.get(namespace)?;
        let id = namespace.subscribers.by_name.get(name)?;
        self.sessions.get(id).map(AsRef::as_ref)
    }

    /// Refuses a name that is none, or to make one subscriber more than there may be.
    pub(super) fn check_subscriber(
        &self,
        namespace: &str,
        name: &SubscriberName,
    ) -> Result<(), Refusal> {
        if name.name.is_empty() || name.name.len() > SUBSCRIBER_NAME_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        let known = self.namespaces.get(namespace);
        let is_full = known.is_some_and(|namespace| {
            let by_name = &namespace.subscribers.by_name;
            by_name.len() >= self.settings.subscribers_max as usize && !by_name.contains_key(name)
        });
        if is_full {
            return Err(Refusal::SubscribersFull);
        }
        Ok(())
    }

    /// Decides about the events that have just left retention: each is spared or goes for good.
    /// Follows every change of a namespace that can drop events.
    pub(super) fn spare_or_drop(&mut self, name: &str) {
        let Some(namespace) = self.namespaces.get_mut(name) else {
            return;
        };
        if namespace.leaving.is_empty() {
            return;
        }
        let leaving = std::mem::take(&mut Arc::make_mut(namespace).leaving);
        for event in leaving {
            let owed = self.subscribers_owed(name, &event);
            let (position, bytes) = (event.position, u64::from(event.bytes));
            let Some(namespace) = self.namespaces.get_mut(name).map(Arc::make_mut) else {
                return;
            };
            if owed.is_empty() {
                namespace.forget_event(&event);
                continue;
            }
            namespace.spared_bytes += bytes;
            let holders = u32::try_from(owed.len()).expect("no more than subscribers_max");
            namespace.spared.insert(position, Spared { event, holders });
            for id in owed {
                if let Some(subscription) = &mut self.session_mut(&id).subscription {
                    subscription.spared.push_back(position);
                    subscription.spared_bytes += bytes;
                }
                self.sparing.insert(id);
                if self.limit_passed(&id).is_some() {
                    self.overrun.insert(id);
                }
            }
        }
    }

    /// Durable subscribers that are owed an event and have not acknowledged it.
    fn subscribers_owed(&self, name: &str, event: &EventMeta) -> BTreeSet<SocketId> {
        let mut owed = BTreeSet::new();
        let Some(namespace) = self.namespaces.get(name) else {
            return owed;
        };
        let subscribers = &namespace.subscribers;
        let least = subscribers.cursors.least(|owner| self.cursor_of(owner));
        if least.is_none_or(|least| least >= event.position) {
            return owed;
        }
        if event.rooms.is_empty() {
            owed.extend(subscribers.by_name.values());
        }
        for room in event.rooms.iter().filter_map(|r| namespace.rooms.get(r)) {
            owed.extend(&room.subscribers);
        }
        owed.extend(&subscribers.leavers);
        owed.retain(|id| {
            self.cursor(id) < Some(event.position)
                && self.sessions.get(id).is_some_and(|s| s.is_owed(event))
        });
        owed
    }

    /// Lets go what was spared for a session up to its cursor.
    pub(super) fn release(&mut self, id: &SocketId) {
        if self.sparing.contains(id)
            && let Some(cursor) = self.cursor(id)
        {
            self.release_through(id, cursor);
        }
    }

    /// The same for all sessions that follow an incarnation whose cursor has moved.
    pub(super) fn release_followers(&mut self, incarnation: Incarnation) {
        let follows = |id: &&SocketId| {
            let session = self.sessions.get(*id);
            session.is_some_and(|session| session.follows() == Some(incarnation))
        };
        let followers: Vec<SocketId> = self.sparing.iter().filter(follows).copied().collect();
        for id in &followers {
            self.release(id);
        }
    }

    /// Lets go what was spared for a session up to a position.
    pub(super) fn release_through(&mut self, id: &SocketId, through: Position) {
        let session = self.session_mut(id);
        let name = Arc::clone(&session.namespace);
        let Some(subscription) = &mut session.subscription else {
            return;
        };
        let mut released = Vec::new();
        while subscription.spared.front().is_some_and(|at| *at <= through) {
            released.extend(subscription.spared.pop_front());
        }
        if released.is_empty() {
            return;
        }
        if subscription.spared.is_empty() {
            self.sparing.remove(id);
        }
        let mut bytes = 0;
        self.change_namespace(&name, |namespace| {
            bytes = released.into_iter().map(|at| namespace.unspare(at)).sum();
        });
        if let Some(subscription) = &mut self.session_mut(id).subscription {
            subscription.spared_bytes -= bytes;
        }
    }

    /// Keeps in mind whether a durable subscriber may be owed events of rooms that it has left.
    pub(super) fn note_leaver(&mut self, id: &SocketId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let has_left = session.subscription.is_some() && !session.closed.is_empty();
        let name = Arc::clone(&session.namespace);
        let Some(namespace) = self.namespaces.get_mut(&name) else {
            return;
        };
        if namespace.subscribers.leavers.contains(id) == has_left {
            return;
        }
        let leavers = &mut Arc::make_mut(namespace).subscribers.leavers;
        if has_left {
            leavers.insert(*id);
        } else {
            leavers.remove(id);
        }
    }

    /// Which limit a session is beyond, of those on what is spared for it.
    fn limit_passed(&self, id: &SocketId) -> Option<SubscriberLimit> {
        let subscription = self.sessions.get(id)?.subscription.as_ref()?;
        if subscription.spared.len() as u64 > self.settings.subscriber_events {
            return Some(SubscriberLimit::Events);
        }
        let is_over = subscription.spared_bytes > self.settings.subscriber_bytes;
        is_over.then_some(SubscriberLimit::Bytes)
    }

    /// Lowered limits hold at once.
    pub(super) fn check_spared(&mut self) {
        let beyond = |id: &&SocketId| self.limit_passed(id).is_some();
        let beyond: Vec<SocketId> = self.sparing.iter().filter(beyond).copied().collect();
        self.overrun.extend(beyond);
    }

    /// Ends the durable subscribers that this entry has brought beyond their limits; the last thing
    /// that it does.
    pub(super) fn end_overrun(&mut self, moment: Moment, effects: &mut Vec<Effect>) {
        let position = Position::new(moment.position.index, u32::MAX);
        for id in std::mem::take(&mut self.overrun) {
            // It may have acknowledged enough meanwhile.
            if let Some(limit) = self.limit_passed(&id) {
                self.end_at_limit(position, &id, limit, effects);
            }
        }
    }

    /// The session that has a name gives it up and ends, for another one or for good, as `reason`
    /// says.
    pub(super) fn end_subscriber(
        &mut self,
        (position, reason): (Position, &str),
        namespace: &Arc<str>,
        name: &SubscriberName,
        effects: &mut Vec<Effect>,
    ) {
        self.limited.take(namespace, name);
        let Some(session) = self.subscriber(namespace, name) else {
            return;
        };
        let (id, owner, generation) = (session.id, session.owner, session.generation);
        if session.is_connected() {
            effects.push(Effect::Fenced {
                position,
                socket: id,
                owner,
                generation,
            });
        }
        self.end_session(position, &id, Ending::Disconnected(reason), effects);
    }
}

impl Session {
    /// What makes the session known to its namespace, if it is a durable subscriber.
    pub(super) fn subscriber_name(&self) -> Option<SubscriberName> {
        let subscription = self.subscription.as_ref()?;
        Some(SubscriberName {
            identity: self.identity.clone(),
            name: Arc::clone(&subscription.name),
        })
    }

    /// Whether an event was for it, acknowledged or not; excepts are not looked at.
    fn is_owed(&self, event: &EventMeta) -> bool {
        let at = event.position;
        at > self.connected_at
            && (event.rooms.is_empty() || event.rooms.iter().any(|room| self.was_in(room, at)))
    }
}
