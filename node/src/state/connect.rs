//! Connect: a new session, an ordinary one or a durable subscriber, at its position.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_proto::command;

use super::effect::{Effect, OpResult, Refusal};
use super::group::{GroupState, Moment};
use super::operations::{bytes16, distinct};
use super::records::LifecycleKind;
use super::session::{Presence, Session};
use super::subscribers::{SubscriberName, Subscription};
use crate::ids::{Pid, Position, SocketId};

impl GroupState {
    pub(super) fn connect(
        &mut self,
        moment: Moment,
        connect: command::Connect,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let (id, pid) = self.check_ids(&connect)?;
        self.check_names(&connect.rooms)?;
        let own_room = id.to_string();
        let rooms = distinct(&connect.rooms, |room| room != own_room);
        self.check_room_count(rooms.len())?;
        self.check_namespace_count(&connect.namespace)?;
        let subscriber = self.take_name(moment.position, &connect, effects)?;

        let namespace = self.namespace_mut(&connect.namespace);
        let name = Arc::clone(&namespace.name);
        namespace.sessions.insert(id);
        let names = std::iter::once(own_room.as_str()).chain(rooms);
        let rooms: Vec<Arc<str>> = names.map(|room| namespace.intern(room)).collect();
        for room in &rooms {
            namespace.room_mut(room).enter(id, subscriber.is_some());
        }
        namespace.room_mut(&rooms[0]).private = true;
        if let Some(subscriber) = &subscriber {
            let by_name = &mut namespace.subscribers.by_name;
            by_name.insert(subscriber.clone(), id);
        }
        self.settle(&name);
        let mut session = new_session(moment, &name, (id, pid), (connect, subscriber));
        for room in &rooms {
            session.open(Arc::clone(room), moment.position);
        }
        self.namespace_mut(&name)
            .cursors_mut(session.subscription.is_some())
            .add(session.place());
        self.note(moment.position, &session, LifecycleKind::Connected);
        self.note_joined(moment.position, &session, &rooms);
        self.sessions.insert(id, Arc::new(session));
        if let Some(pid) = pid {
            self.pids.insert(pid, id);
        }
        self.own(moment.incarnation, id);
        let Moment {
            position,
            incarnation: owner,
            ..
        } = moment;
        effects.push(Effect::Joined {
            position,
            socket: id,
            owner,
            namespace: name,
            rooms,
        });
        Ok(OpResult::Done)
    }

    fn check_ids(&self, connect: &command::Connect) -> Result<(SocketId, Option<Pid>), Refusal> {
        let id = SocketId(bytes16(&connect.id)?);
        let pid = if connect.pid.is_empty() && !connect.recoverable {
            None
        } else {
            Some(Pid(bytes16(&connect.pid)?))
        };
        let taken =
            self.sessions.contains_key(&id) || pid.is_some_and(|pid| self.pids.contains_key(&pid));
        if taken || !connect.namespace.starts_with('/') {
            return Err(Refusal::Invalid);
        }
        Ok((id, pid))
    }

    /// The name under which the new session is a durable subscriber, if it is to be one. Who had it
    /// ends: it was not what this client could go on with, or it is to end. Changes nothing but
    /// that, and nothing at all when it refuses.
    fn take_name(
        &mut self,
        position: Position,
        connect: &command::Connect,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SubscriberName>, Refusal> {
        let Some(name) = &connect.subscriber else {
            return Ok(None);
        };
        let name = SubscriberName {
            identity: connect.identity.as_deref().map(Arc::from),
            name: Arc::from(name.as_str()),
        };
        if !connect.end_subscriber {
            self.check_subscriber(&connect.namespace, &name)?;
        }
        if !connect.recoverable {
            return Err(Refusal::Invalid);
        }
        let namespace = Arc::from(connect.namespace.as_str());
        let reason = match connect.end_subscriber {
            true => "subscriber ended",
            false => "subscriber replaced",
        };
        self.end_subscriber((position, reason), &namespace, &name, effects);
        Ok(Some(name).filter(|_| !connect.end_subscriber))
    }
}

fn new_session(
    moment: Moment,
    namespace: &Arc<str>,
    (id, pid): (SocketId, Option<Pid>),
    (connect, subscriber): (command::Connect, Option<SubscriberName>),
) -> Session {
    let subscription = subscriber.map(|of| Subscription::new(of.name, moment.position));
    Session {
        id,
        pid,
        namespace: Arc::clone(namespace),
        identity: connect.identity.map(Arc::from),
        // Copied: a slice would keep the whole entry in memory.
        data: Bytes::copy_from_slice(&connect.data),
        recoverable: connect.recoverable,
        connected_at: moment.position,
        generation: 1,
        owner: moment.incarnation,
        presence: Presence::Connected,
        since_ms: moment.wall_ms,
        cursor: moment.position,
        held: None,
        manual: connect.manual,
        subscription: subscription.map(Box::new),
        open: Vec::with_capacity(1 + connect.rooms.len()),
        closed: Vec::new(),
        lost_through: Position::ZERO,
    }
}
