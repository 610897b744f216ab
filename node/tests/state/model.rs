//! The same rules once more, naively: every event and every membership is kept for ever, and each
//! question is answered by looking at all of them. Nothing here shares code with the state.

use std::collections::{BTreeMap, BTreeSet};

use roomcast::ids::{Position, SocketId};
use roomcast::state::{OpResult, Refusal, ResumeRefusal, Settings, Verdict};
use roomcast_proto::command::{self, op::Kind, resume::Offset};

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
}

/// An idempotency key: namespace, whose, key; body, first position, when.
#[derive(Debug, Clone)]
pub(crate) struct ModelKey {
    name: (String, String, String),
    body: Vec<u8>,
    first: Position,
    at_us: u64,
}

/// The naive state.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) epoch: u64,
    pub(crate) settings: Settings,
    pub(crate) now_us: u64,
    /// Incarnation: node, last sequence.
    pub(crate) producers: BTreeMap<u64, (u64, u64)>,
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

    /// One operation of an accepted batch.
    pub(crate) fn operate(&mut self, incarnation: u64, at: Position, op: &command::Op) -> OpResult {
        let outcome = match op.kind.as_ref().expect("a kind") {
            Kind::Connect(connect) => self.connect(incarnation, at, connect),
            Kind::Resume(resume) => Ok(OpResult::Resume(match self.resume(at, resume) {
                Ok((id, start)) => self.take_over(incarnation, id, start),
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
            intervals: rooms.into_iter().map(|room| (room, at, None)).collect(),
        };
        self.sessions.insert(id, session);
        Ok(OpResult::Done)
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
            self.events.push(ModelEvent {
                position: at,
                namespace: publish.namespace.clone(),
                rooms: publish.rooms.clone(),
                except: publish.except.clone(),
                at_us: self.now_us,
                bytes,
                dropped: false,
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

    fn take_over(&mut self, incarnation: u64, id: SocketId, start: Position) -> Verdict {
        let session = self.sessions.get_mut(&id).expect("judged");
        session.generation += 1;
        session.owner = incarnation;
        session.away_until_us = None;
        session.cursor = session.cursor.max(start);
        let rooms = session.rooms().into_iter().map(Into::into).collect();
        Verdict::Recovered {
            socket: id,
            generation: session.generation,
            start,
            rooms,
        }
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
