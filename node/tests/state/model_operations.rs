//! The operations, by the reference model.

use std::collections::BTreeSet;

use roomcast::ids::{Position, SocketId};
use roomcast::state::{OpResult, Refusal, ResumeRefusal, Verdict};
use roomcast_proto::command::{self, op::Kind, resume::Offset};

use crate::model::{Model, ModelEvent, ModelKey, ModelSession};

impl Model {
    /// One operation of an accepted batch.
    pub(crate) fn operate(&mut self, incarnation: u64, at: Position, op: &command::Op) -> OpResult {
        let outcome = match op.kind.as_ref().expect("a kind") {
            Kind::Connect(connect) => self.connect(incarnation, at, connect),
            Kind::Resume(resume) => Ok(OpResult::Resume(match self.resume(at, resume) {
                Ok((id, start)) => self.take_over(incarnation, at, (id, start), resume.moved),
                Err(reason) => Verdict::NotRecovered(reason),
            })),
            Kind::Join(join) => self.join(incarnation, at, join),
            Kind::Leave(leave) => self.leave(incarnation, at, leave),
            Kind::Publish(publish) => self.publish(incarnation, at, publish),
            Kind::Away(away) => self.away(incarnation, &away.socket),
            Kind::Disconnect(disconnect) => self.owned(incarnation, &disconnect.socket).map(|id| {
                self.sessions.remove(&id);
                OpResult::Done
            }),
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
                let session = self.sessions.get(&id);
                let known = session.is_some_and(|session| session.namespace == set.namespace);
                known.then_some(OpResult::Done).ok_or(Refusal::Stale)
            }
        };
        outcome.unwrap_or_else(OpResult::Refused)
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
        rooms.insert(id.to_string());
        let session = ModelSession {
            pid,
            namespace: connect.namespace.clone(),
            identity: connect.identity.clone(),
            recoverable: connect.recoverable,
            connect: at,
            generation: 1,
            owner: incarnation,
            away_until_us: None,
            cursor: at,
            held: at,
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
        let session = self.sessions.get_mut(&id).expect("owned");
        session.away_until_us = Some(self.now_us + self.settings.resume_window_ms * 1000);
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
            if owned && session.held < through {
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
        let pid = resume.pid.to_vec();
        let Some((id, session)) = self.sessions.iter().find(|(_, session)| session.pid == pid)
        else {
            let expired = self.expired.contains(&pid);
            return Err(if expired {
                ResumeRefusal::Expired
            } else {
                ResumeRefusal::Unknown
            });
        };
        if session.namespace != resume.namespace {
            return Err(ResumeRefusal::Unknown);
        }
        if session.identity != resume.identity {
            return Err(ResumeRefusal::OtherIdentity);
        }
        let start = match &resume.offset {
            None => session.connect,
            Some(Offset::Unreadable(_)) => return Err(ResumeRefusal::Invalid),
            Some(Offset::Known(known)) if known.epoch != self.epoch => session.connect,
            Some(Offset::Known(known)) => Position::new(known.index, known.op),
        };
        if start > at {
            return Err(ResumeRefusal::Invalid);
        }
        let start = start.max(session.connect);
        if self.lost(session, start) {
            return Err(ResumeRefusal::Dropped);
        }
        Ok((*id, start))
    }

    fn take_over(
        &mut self,
        incarnation: u64,
        at: Position,
        (id, start): (SocketId, Position),
        moved: bool,
    ) -> Verdict {
        let session = self.sessions.get_mut(&id).expect("judged");
        session.generation += 1;
        session.owner = incarnation;
        session.away_until_us = None;
        if !moved {
            session.cursor = session.cursor.max(start);
        }
        session.held = at;
        let rooms = session.rooms().into_iter().map(Into::into).collect();
        Verdict::Recovered {
            socket: id,
            generation: session.generation,
            start,
            rooms,
        }
    }
}
