//! The operations, by the reference model.

use std::collections::BTreeSet;

use roomcast::ids::{Pid, Position, SocketId};
use roomcast::state::{OpResult, Refusal, ResumeRefusal, Verdict};
use roomcast_proto::command::{self, op::Kind, resume::Offset};

use crate::model::{Model, ModelEvent, ModelKey, ModelSession};
use crate::model_records::ending;

/// Namespace, identity and name of a durable subscriber.
type Key = (String, Option<String>, String);

impl Model {
    /// One operation of an accepted batch.
    pub(crate) fn operate(&mut self, incarnation: u64, at: Position, op: &command::Op) -> OpResult {
        let before = self.sessions.clone();
        let outcome = match op.kind.as_ref().expect("a kind") {
            Kind::Connect(connect) => self.connect(incarnation, at, connect),
            Kind::Resume(resume) => Ok(OpResult::Resume(match self.resume(at, resume) {
                Ok((id, start)) => self.take_over(incarnation, at, (id, start), resume),
                Err(reason) => Verdict::NotRecovered(reason),
            })),
            Kind::Join(join) => self.join(incarnation, at, join),
            Kind::Leave(leave) => self.leave(incarnation, at, leave),
            Kind::Publish(publish) => self.publish(incarnation, at, publish),
            Kind::Away(away) => self.away(incarnation, &away.socket),
            Kind::Disconnect(disconnect) => self.disconnect(incarnation, disconnect),
            Kind::Acknowledge(ack) => self.acknowledge(incarnation, at, ack),
            Kind::AcknowledgeAll(report) => self.acknowledge_all(incarnation, at, report),
            Kind::SocketsJoin(join) => self.sockets_join(at, join),
            Kind::SocketsLeave(leave) => self.sockets_leave(at, leave),
            Kind::DisconnectSockets(disconnect) => {
                for id in self.selected(disconnect.sockets.as_ref()) {
                    self.sessions.remove(&id);
                }
                Ok(OpResult::Done)
            }
            Kind::SetData(set) => {
                let id = SocketId(set.socket_id.as_ref().try_into().expect("16 bytes"));
                let session = self.sessions.get_mut(&id);
                match session.filter(|session| session.namespace == set.namespace) {
                    None => Err(Refusal::Stale),
                    Some(session) => {
                        session.data = set.data.to_vec();
                        Ok(OpResult::Done)
                    }
                }
            }
        };
        self.note(at, &before, &ending(op));
        self.judge();
        outcome.unwrap_or_else(OpResult::Refused)
    }

    fn disconnect(
        &mut self,
        incarnation: u64,
        disconnect: &command::Disconnect,
    ) -> Result<OpResult, Refusal> {
        let id = self.owned(incarnation, &disconnect.socket)?;
        if disconnect.by_client && self.sessions[&id].subscriber.is_some() {
            return self.away(incarnation, &disconnect.socket);
        }
        self.sessions.remove(&id);
        Ok(OpResult::Done)
    }

    fn subscriber(&self, (namespace, identity, name): &Key) -> Option<SocketId> {
        let found = self.sessions.iter().find(|(_, session)| {
            session.namespace == *namespace
                && session.identity == *identity
                && session.subscriber.as_ref() == Some(name)
        });
        found.map(|(id, _)| *id)
    }

    /// Makes room for a subscriber of this name; `None` when it is to be none.
    fn subscribe(&mut self, connect: &command::Connect) -> Result<Option<String>, Refusal> {
        let Some(name) = connect.subscriber.clone() else {
            return Ok(None);
        };
        let key = (
            connect.namespace.clone(),
            connect.identity.clone(),
            name.clone(),
        );
        let known = self.subscriber(&key);
        let all = self.sessions.values().filter(|session| {
            session.namespace == connect.namespace && session.subscriber.is_some()
        });
        let is_full = all.count() >= self.settings.subscribers_max as usize;
        if is_full && known.is_none() && !connect.end_subscriber {
            return Err(Refusal::SubscribersFull);
        }
        if !connect.recoverable {
            return Err(Refusal::Invalid);
        }
        self.limited.remove(&key);
        if let Some(known) = known {
            self.sessions.remove(&known);
        }
        Ok(Some(name).filter(|_| !connect.end_subscriber))
    }

    fn owned(
        &self,
        incarnation: u64,
        socket: &Option<command::SocketRef>,
    ) -> Result<SocketId, Refusal> {
        let socket = socket.as_ref().ok_or(Refusal::Invalid)?;
        let id = SocketId(
            socket
                .id
                .as_ref()
                .try_into()
                .map_err(|_| Refusal::Invalid)?,
        );
        let session = self.sessions.get(&id).ok_or(Refusal::Stale)?;
        let fits = session.owner == incarnation
            && session.generation == socket.generation
            && session.away_until_us.is_none();
        fits.then_some(id).ok_or(Refusal::Stale)
    }

    fn connect(
        &mut self,
        incarnation: u64,
        at: Position,
        connect: &command::Connect,
    ) -> Result<OpResult, Refusal> {
        let id = SocketId(connect.id.as_ref().try_into().expect("16 bytes"));
        let pid = connect.pid.to_vec();
        if self.sessions.contains_key(&id) || self.sessions.values().any(|s| s.pid == pid) {
            return Err(Refusal::Invalid);
        }
        let mut rooms: BTreeSet<String> = connect.rooms.iter().cloned().collect();
        rooms.remove(&id.to_string());
        if rooms.len() > self.settings.rooms_per_socket_max as usize {
            return Err(Refusal::Limit);
        }
        self.check_namespace_count(&connect.namespace)?;
        let subscriber = self.subscribe(connect)?;
        rooms.insert(id.to_string());
        let session = ModelSession {
            pid,
            namespace: connect.namespace.clone(),
            identity: connect.identity.clone(),
            data: connect.data.to_vec(),
            recoverable: connect.recoverable,
            connect: at,
            generation: 1,
            owner: incarnation,
            away_until_us: None,
            cursor: at,
            held: at,
            subscriber,
            manual: connect.manual,
            start: at,
            intervals: rooms.into_iter().map(|room| (room, at, None)).collect(),
        };
        self.sessions.insert(id, session);
        Ok(OpResult::Done)
    }

    /// Namespaces exist while anything is in them.
    fn check_namespace_count(&self, name: &str) -> Result<(), Refusal> {
        let sessions = self.sessions.values().map(|session| &session.namespace);
        let events = self.events.iter().filter(|event| !event.dropped);
        let keys = self.keys.iter().map(|key| &key.name.0);
        let events = events.map(|event| &event.namespace);
        let existing: BTreeSet<&String> = sessions.chain(events).chain(keys).collect();
        let is_full = existing.len() >= self.settings.namespaces_max as usize;
        if is_full && !existing.contains(&name.to_owned()) {
            return Err(Refusal::NamespacesFull);
        }
        Ok(())
    }

    fn join(
        &mut self,
        incarnation: u64,
        at: Position,
        join: &command::Join,
    ) -> Result<OpResult, Refusal> {
        let id = self.owned(incarnation, &join.socket)?;
        let session = self.sessions.get_mut(&id).expect("owned");
        let rooms = session.rooms();
        let mut new: BTreeSet<String> = join.rooms.iter().cloned().collect();
        new.retain(|room| !rooms.contains(room));
        if !new.is_empty()
            && rooms.len() - 1 + new.len() > self.settings.rooms_per_socket_max as usize
        {
            return Err(Refusal::Limit);
        }
        session
            .intervals
            .extend(new.into_iter().map(|room| (room, at, None)));
        Ok(OpResult::Done)
    }

    fn leave(
        &mut self,
        incarnation: u64,
        at: Position,
        leave: &command::Leave,
    ) -> Result<OpResult, Refusal> {
        let id = self.owned(incarnation, &leave.socket)?;
        if leave.rooms.contains(&id.to_string()) {
            return Err(Refusal::Invalid);
        }
        let session = self.sessions.get_mut(&id).expect("owned");
        for (room, _, to) in &mut session.intervals {
            if to.is_none() && leave.rooms.contains(room) {
                *to = Some(at);
            }
        }
        Ok(OpResult::Done)
    }

    fn publish(
        &mut self,
        incarnation: u64,
        at: Position,
        publish: &command::Publish,
    ) -> Result<OpResult, Refusal> {
        let mut scope = "server".to_owned();
        if publish.socket.is_some() {
            let id = self.owned(incarnation, &publish.socket)?;
            let session = &self.sessions[&id];
            if session.namespace != publish.namespace {
                return Err(Refusal::Invalid);
            }
            scope = match &session.identity {
                Some(identity) => format!("identity {identity}"),
                None => format!("session {id}"),
            };
        }
        let attached: usize = publish.attachments.iter().map(|bytes| bytes.len()).sum();
        let bytes = (publish.event.len() + attached) as u64;
        if bytes > u64::from(self.settings.event_bytes_max) {
            return Err(Refusal::TooLarge);
        }
        self.check_namespace_count(&publish.namespace)?;
        if let Some(key) = &publish.key {
            let name = (publish.namespace.clone(), scope, key.clone());
            let body = format!(
                "{:?}",
                (
                    &publish.rooms,
                    &publish.except,
                    &publish.event,
                    &publish.attachments
                )
            );
            let body = body.into_bytes();
            match self.keys.iter().find(|key| key.name == name) {
                Some(key) if key.body == body => {
                    return Ok(OpResult::Duplicate { first: key.first });
                }
                Some(_) => return Err(Refusal::KeyReused),
                None => self.keys.push(ModelKey {
                    name,
                    body,
                    first: at,
                    at_us: self.now_us,
                }),
            }
        }
        if publish.request.is_none() {
            let distinct = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
            let rooms = distinct(&publish.rooms).into_iter();
            let names = rooms.chain(distinct(&publish.except));
            self.events.push(ModelEvent {
                position: at,
                namespace: publish.namespace.clone(),
                rooms: publish.rooms.clone(),
                except: publish.except.clone(),
                at_us: self.now_us,
                bytes: bytes + 64 + names.map(|name| 32 + name.len() as u64).sum::<u64>(),
                dropped: false,
                early: false,
                beyond: false,
                spared_for: None,
            });
        }
        self.enforce();
        Ok(OpResult::Done)
    }

    fn away(
        &mut self,
        incarnation: u64,
        socket: &Option<command::SocketRef>,
    ) -> Result<OpResult, Refusal> {
        let id = self.owned(incarnation, socket)?;
        let until_us = self.now_us + self.window_us(&self.sessions[&id]);
        let session = self.sessions.get_mut(&id).expect("owned");
        session.away_until_us = Some(until_us);
        if !session.recoverable {
            self.sessions.remove(&id);
        }
        Ok(OpResult::Done)
    }

    fn acknowledge(
        &mut self,
        incarnation: u64,
        at: Position,
        ack: &command::Acknowledge,
    ) -> Result<OpResult, Refusal> {
        let id = self.owned(incarnation, &ack.socket)?;
        let offset = ack.offset.ok_or(Refusal::Invalid)?;
        let handled = Position::new(offset.index, offset.op);
        if offset.epoch != self.epoch || handled > at {
            return Err(Refusal::Invalid);
        }
        let session = self.sessions.get_mut(&id).expect("owned");
        session.cursor = session.cursor.max(handled);
        Ok(OpResult::Done)
    }

    /// Every session of the incarnation is moved one by one.
    fn acknowledge_all(
        &mut self,
        incarnation: u64,
        at: Position,
        report: &command::AcknowledgeAll,
    ) -> Result<OpResult, Refusal> {
        let position = |p: Option<command::Position>| p.map(|p| Position::new(p.index, p.op));
        let through = position(report.through).ok_or(Refusal::Invalid)?;
        let mut cursors = report.except.iter().map(|except| position(except.cursor));
        if through > at || report.incarnation != incarnation || cursors.any(|c| c > Some(at)) {
            return Err(Refusal::Invalid);
        }
        for except in &report.except {
            if let Ok(id) = self.owned(incarnation, &except.socket) {
                let session = self.sessions.get_mut(&id).expect("owned");
                if session.manual {
                    continue;
                }
                let cursor = position(except.cursor).expect("checked");
                session.cursor = session.cursor.max(cursor);
                session.held = session.held.max(through);
            }
        }
        let reported = self.reported.entry(incarnation).or_default();
        if report.more || through <= *reported {
            return Ok(OpResult::Done);
        }
        *reported = through;
        for session in self.sessions.values_mut() {
            let owned = session.owner == incarnation && session.away_until_us.is_none();
            if owned && session.held < through && !session.manual {
                session.cursor = session.cursor.max(through);
            }
        }
        Ok(OpResult::Done)
    }

    fn resume(
        &self,
        at: Position,
        resume: &command::Resume,
    ) -> Result<(SocketId, Position), ResumeRefusal> {
        let id = self.wanted(resume)?;
        let session = &self.sessions[&id];
        let begin = if session.subscriber.is_none() {
            session.connect
        } else if session.pid == resume.pid && !self.lost(session, session.start) {
            session.start
        } else {
            session.cursor
        };
        if session.namespace != resume.namespace {
            return Err(ResumeRefusal::Unknown);
        }
        if session.identity != resume.identity {
            return Err(ResumeRefusal::OtherIdentity);
        }
        let start = match &resume.offset {
            None => begin,
            Some(Offset::Unreadable(_)) => return Err(ResumeRefusal::Invalid),
            Some(Offset::Known(known)) if known.epoch != self.epoch => begin,
            Some(Offset::Known(known)) => Position::new(known.index, known.op),
        };
        if start > at {
            return Err(ResumeRefusal::Invalid);
        }
        let of_this_log = |known: &command::Offset| known.epoch == self.epoch;
        let is_known = matches!(&resume.offset, Some(Offset::Known(known)) if of_this_log(known));
        let is_by_name = resume.subscriber.is_some() && session.pid != resume.pid;
        if is_known && is_by_name && start < session.connect {
            return Err(ResumeRefusal::Dropped);
        }
        let start = start.max(session.connect);
        if self.lost(session, start) {
            return Err(ResumeRefusal::Dropped);
        }
        Ok((id, start))
    }

    fn wanted(&self, resume: &command::Resume) -> Result<SocketId, ResumeRefusal> {
        if let Some(name) = &resume.subscriber {
            let (namespace, identity) = (resume.namespace.clone(), resume.identity.clone());
            let key = (namespace, identity, name.clone());
            let limited = self.limited.contains(&key);
            return self.subscriber(&key).ok_or(match limited {
                true => ResumeRefusal::Limit,
                false => ResumeRefusal::Unknown,
            });
        }
        let pid = resume.pid.to_vec();
        let found = self.sessions.iter().find(|(_, s)| s.pid == pid);
        found.map(|(id, _)| *id).ok_or({
            match self.expired.contains(&pid) {
                true => ResumeRefusal::Expired,
                false => ResumeRefusal::Unknown,
            }
        })
    }

    fn take_over(
        &mut self,
        incarnation: u64,
        at: Position,
        (id, start): (SocketId, Position),
        resume: &command::Resume,
    ) -> Verdict {
        let session = self.sessions.get_mut(&id).expect("judged");
        session.generation += 1;
        session.owner = incarnation;
        session.away_until_us = None;
        if !resume.moved {
            session.manual = resume.manual;
            if session.pid != resume.pid {
                session.start = start;
            }
        }
        if !resume.moved && !session.manual {
            session.cursor = session.cursor.max(start);
        }
        session.held = at;
        let rooms = session.rooms().into_iter().map(Into::into).collect();
        Verdict::Recovered {
            socket: id,
            pid: <[u8; 16]>::try_from(session.pid.clone()).ok().map(Pid),
            generation: session.generation,
            start,
            rooms,
        }
    }
}
