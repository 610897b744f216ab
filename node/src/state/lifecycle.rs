//! How producers come and go, and how sessions go away and end.

use std::sync::Arc;

use roomcast_proto::command;

use super::effect::Effect;
use super::group::{GroupState, Moment};
use super::producer::Producer;
use super::records::LifecycleKind;
use super::session::Presence;
use super::subscribers::SubscriberLimit;
use super::timers::TimerKey;
use crate::ids::{Incarnation, NodeId, Pid, Position, SocketId};

/// Pids whose resume window ran out, remembered to tell `expired` from `unknown`.
const EXPIRED_MAX: usize = 10_000;
/// Incarnations that ended, remembered so that a late `Register` cannot revive one (its old batches
/// would then count as new).
const RETIRED_MAX: usize = 1024;

/// Why a session ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    /// Somebody wanted it to, or its transport went and it is not recoverable.
    Disconnected(&'a str),
    /// Its resume window ran out.
    Expired,
    /// It is a durable subscriber beyond one of its limits.
    Limit(SubscriberLimit),
}

impl Ending<'_> {
    /// What the records say of it.
    fn kind(self) -> LifecycleKind {
        let reason = match self {
            Self::Disconnected(reason) => reason,
            Self::Limit(SubscriberLimit::Events) => "subscriber limit: events",
            Self::Limit(SubscriberLimit::Bytes) => "subscriber limit: bytes",
            Self::Expired | Self::Limit(SubscriberLimit::Window) => {
                return LifecycleKind::Expired;
            }
        };
        let reason = reason.into();
        LifecycleKind::Disconnected { reason }
    }
}

impl GroupState {
    pub(super) fn register(
        &mut self,
        moment: Moment,
        register: command::Register,
        effects: &mut Vec<Effect>,
    ) {
        let command::Register {
            node_id: node,
            incarnation,
        } = register;
        if self.retired.contains(&incarnation) {
            return;
        }
        if !self.producers.contains_key(&incarnation) {
            let older: Vec<Incarnation> = self
                .producers
                .values()
                .filter(|producer| producer.node == node)
                .map(|producer| producer.incarnation)
                .collect();
            for older in older {
                self.detach(moment, older, effects);
            }
            self.producers
                .insert(incarnation, Producer::new(node, incarnation));
        }
        effects.push(Effect::Registered { node, incarnation });
    }

    pub(super) fn detach(
        &mut self,
        moment: Moment,
        incarnation: Incarnation,
        effects: &mut Vec<Effect>,
    ) {
        let Some(producer) = self.producers.get(&incarnation) else {
            return;
        };
        let (node, sessions): (NodeId, _) = (producer.node, producer.sessions.clone());
        self.retired.push_back(incarnation);
        if self.retired.len() > RETIRED_MAX {
            self.retired.pop_front();
        }
        for socket in &sessions {
            self.lose_transport(moment, socket, "node lost", effects);
        }
        // Last: its sessions took along how far they followed it.
        self.producers.remove(&incarnation);
        effects.push(Effect::Detached {
            position: moment.position,
            node,
            incarnation,
        });
    }

    pub(super) fn expire(
        &mut self,
        position: Position,
        socket: &SocketId,
        effects: &mut Vec<Effect>,
    ) {
        let session = self.sessions.get(socket);
        if session.is_some_and(|session| session.subscription.is_some()) {
            return self.end_at_limit(position, socket, SubscriberLimit::Window, effects);
        }
        let pid = session.and_then(|session| session.pid);
        self.end_session(position, socket, Ending::Expired, effects);
        self.remember_expired(pid);
    }

    /// A durable subscriber is beyond one of its limits: it ends, and its name is told so.
    pub(super) fn end_at_limit(
        &mut self,
        position: Position,
        socket: &SocketId,
        limit: SubscriberLimit,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get(socket) else {
            return;
        };
        let (pid, namespace) = (session.pid, Arc::clone(&session.namespace));
        let name = session.subscriber_name();
        self.end_session(position, socket, Ending::Limit(limit), effects);
        self.remember_expired(pid);
        if let Some(name) = name {
            self.limited.remember(namespace, name, position);
        }
    }

    fn remember_expired(&mut self, pid: Option<Pid>) {
        if let Some(pid) = pid
            && self.expired_set.insert(pid).is_none()
        {
            self.expired.push_back(pid);
            if self.expired.len() > EXPIRED_MAX
                && let Some(oldest) = self.expired.pop_front()
            {
                self.expired_set.remove(&oldest);
            }
        }
    }

    /// A session's transport is gone: it goes away, or ends for this reason when it is not
    /// recoverable. True when it went away. The caller takes care of the owner's index if the owner
    /// goes on.
    pub(super) fn lose_transport(
        &mut self,
        moment: Moment,
        socket: &SocketId,
        reason: &'static str,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(session) = self.sessions.get(socket) else {
            return false;
        };
        if !session.recoverable {
            let ending = Ending::Disconnected(reason);
            self.end_session(moment.position, socket, ending, effects);
            return false;
        }
        let window_us = match session.subscription {
            Some(_) => self.settings.subscriber_window_us(),
            None => self.settings.resume_window_us(),
        };
        let expires_us = self.log_time_us.saturating_add(window_us);
        let owner = session.owner;
        self.change_session(socket, |session| {
            session.presence = Presence::Away { expires_us };
            session.since_ms = moment.wall_ms;
            session.held = None;
        });
        self.timers.arm(expires_us, TimerKey::Session(*socket));
        self.note_of(moment.position, socket, LifecycleKind::Away);
        if let Some(producer) = self.producers.get_mut(&owner) {
            producer.sessions.remove(socket);
        }
        true
    }

    /// Removes a session with everything that refers to it.
    pub(super) fn end_session(
        &mut self,
        position: Position,
        socket: &SocketId,
        ending: Ending<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.sparing.contains(socket) {
            self.release_through(socket, Position::new(u64::MAX, u32::MAX));
        }
        let Some(session) = self.sessions.remove(socket) else {
            return;
        };
        if let Some(pid) = session.pid {
            self.pids.remove(&pid);
        }
        if let Presence::Away { expires_us } = session.presence {
            self.timers.cancel(expires_us, TimerKey::Session(*socket));
        }
        if let Some(producer) = self.producers.get_mut(&session.owner) {
            producer.sessions.remove(socket);
        }
        self.unhold(socket, session.held_by());
        let name = Arc::clone(&session.namespace);
        let rooms: Vec<Arc<str>> = session.rooms().cloned().collect();
        self.change_namespace(&name, |namespace| {
            namespace.sessions.remove(socket);
            namespace
                .cursors_mut(session.subscription.is_some())
                .remove(session.place());
            if let Some(name) = session.subscriber_name() {
                namespace.subscribers.by_name.remove(&name);
                namespace.subscribers.leavers.remove(socket);
            }
            for room in &rooms {
                namespace.remove_member(room, socket);
            }
        });
        self.note_left(position, &session, &rooms);
        self.note(position, &session, ending.kind());
        let (socket, owner) = (*socket, session.owner);
        let limit = match ending {
            Ending::Limit(limit) => Some(limit),
            Ending::Expired | Ending::Disconnected(_) => None,
        };
        effects.push(Effect::Left {
            position,
            socket,
            owner,
            namespace: name.clone(),
            rooms,
        });
        effects.push(Effect::Ended {
            position,
            socket,
            owner,
            namespace: name,
            expired: !matches!(ending, Ending::Disconnected(_)),
            limit,
        });
    }
}
