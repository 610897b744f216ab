//! One room whose membership is told: its members as of the chain's end, and who is told.

use std::collections::BTreeMap;

use roomcast_proto::offset::Offset;
use serde_json::{Map, Value, json};

use super::diff::Diff;
use crate::ids::SocketId;
use crate::pubsub::answer::{Code, Refusal, reply};
use crate::pubsub::members::{fitting, member_bytes, member_json};
use crate::socketio::{Ack, Io, OperationError, Socket};
use crate::state::Member;
use crate::{limits, metrics};

/// One connection of a session.
pub(super) type Life = (SocketId, u64);

/// What a client wants.
#[derive(Debug)]
pub(super) enum Request {
    /// To be told from now on.
    Subscribe(Subscribe),
    /// To be told no more.
    End {
        /// Who.
        life: Life,
    },
}

/// See [`Request`].
#[derive(Debug)]
pub(super) struct Subscribe {
    /// Who.
    pub(super) socket: Socket,
    /// Where it begins.
    pub(super) ack: Ack,
    /// What it is told first.
    pub(super) start: Start,
    /// Who may ask.
    pub(super) grant: Grant,
}

/// Who is told of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// Whoever asks.
    Any,
    /// Its members, as long as they are.
    Members,
}

/// What a subscriber is told first.
#[derive(Debug)]
pub(super) enum Start {
    /// The members with ids after this one.
    Members(Option<SocketId>),
    /// What became of the room since an offset that this node has applied.
    Since(Offset),
}

/// Who is told.
#[derive(Debug)]
struct Subscriber {
    socket: Socket,
    grant: Grant,
    /// It has missed a diff, and is told nothing before it knows that.
    behind: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Room {
    io: Io,
    name: String,
    /// As of the chain's end.
    members: BTreeMap<SocketId, Member>,
    /// The offset of the last diff.
    end: Offset,
    /// Where the members were looked at last.
    read: Offset,
    /// By their connections.
    subscribers: BTreeMap<Life, Subscriber>,
    /// Who was told, or wanted to be, and is not any more.
    ended: Vec<Life>,
}

impl Room {
    /// Reads the members.
    pub(super) fn open(io: Io, name: String) -> Self {
        let roster = io.roster(&name);
        let (members, end) = (by_id(roster.members()), roster.offset());
        Self {
            members,
            end,
            read: end,
            subscribers: BTreeMap::new(),
            ended: Vec::new(),
            io,
            name,
        }
    }

    /// Whether nobody is told.
    pub(super) fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Who is told no more since the last time, unless they wanted that: they have gone, have left
    /// the room, or were refused.
    pub(super) fn ended(&mut self) -> Vec<Life> {
        std::mem::take(&mut self.ended)
    }

    /// Tells what has changed.
    pub(super) fn catch_up(&mut self) {
        let (diff, end) = self.changes();
        if !diff.is_empty() {
            self.tell(diff, end);
        }
        let (members, ended) = (&self.members, &mut self.ended);
        self.subscribers.retain(|life, subscriber| {
            let has_gone = subscriber.socket.is_gone();
            let has_left = subscriber.grant == Grant::Members && !members.contains_key(&life.0);
            if has_gone || has_left {
                ended.push(*life);
            }
            !(has_gone || has_left)
        });
        self.tell_who_is_behind();
    }

    /// Brings the members up to now.
    fn changes(&mut self) -> (Diff, Offset) {
        let mut diff = Diff::default();
        let roster = self.io.roster(&self.name);
        let now = roster.offset();
        if let Some(touched) = roster.touched(self.read) {
            for id in touched {
                let member = roster.member(&id);
                diff.note(self.members.get(&id), member.as_ref());
                match member {
                    Some(member) => self.members.insert(id, member),
                    None => self.members.remove(&id),
                };
            }
        } else {
            // The records have a gap: the lists have none.
            let members = by_id(roster.members());
            let before = self.members.values();
            let gone = before.filter(|member| !members.contains_key(&member.id));
            gone.for_each(|member| diff.note(Some(member), None));
            for (id, member) in &members {
                diff.note(self.members.get(id), Some(member));
            }
            self.members = members;
        }
        self.read = now;
        (diff, now)
    }

    fn tell(&mut self, diff: Diff, end: Offset) {
        let mut object = self.object(end);
        self.end = end;
        let is_too_large = diff.is_too_large();
        match is_too_large {
            true => drop(object.insert("more".into(), true.into())),
            false => diff.write(&mut object),
        }
        let kind = if is_too_large { "more" } else { "full" };
        self.send(object, kind, false);
    }

    /// A lost diff shows at once, not with the next one.
    fn tell_who_is_behind(&mut self) {
        let mut subscribers = self.subscribers.values();
        if subscribers.any(|subscriber| subscriber.behind) {
            let mut object = self.object(self.end);
            object.insert("more".into(), true.into());
            self.send(object, "more", true);
        }
    }

    /// Tells those that are behind, or all others.
    fn send(&mut self, object: Map<String, Value>, kind: &'static str, behind: bool) {
        let Ok(mut telling) = self.io.telling("presence", Value::from(object)) else {
            return;
        };
        let subscribers = self.subscribers.values_mut();
        for subscriber in subscribers.filter(|subscriber| subscriber.behind == behind) {
            subscriber.behind = !telling.tell(&subscriber.socket);
            metrics::presence_diffs(kind).increment(u64::from(!subscriber.behind));
        }
    }

    /// What every diff has.
    fn object(&self, end: Offset) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("room".into(), self.name.as_str().into());
        object.insert("from".into(), self.end.to_string().into());
        object.insert("offset".into(), end.to_string().into());
        object.insert("count".into(), self.members.len().into());
        object
    }

    /// Does what a client wants, between two diffs.
    pub(super) fn take(&mut self, request: Request) {
        match request {
            Request::End { life } => drop(self.subscribers.remove(&life)),
            Request::Subscribe(subscribe) => self.subscribe(subscribe),
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe {
            socket,
            ack,
            start,
            grant,
        } = subscribe;
        let life = socket.life();
        if grant == Grant::Members && !self.members.contains_key(&life.0) {
            self.ended.push(life);
            let refusal = Refusal::new(Code::Forbidden, "members alone are told of a room");
            return reply(Some(ack), Err(refusal));
        }
        let answer = match start {
            Start::Members(after) => self.page(after),
            Start::Since(from) => self.since(from),
        };
        // At once: where it is answered, its diffs begin.
        ack.send_now(Value::from(vec![answer]).to_string().as_bytes());
        if socket.is_gone() {
            self.ended.push(life);
        } else {
            let subscriber = Subscriber {
                socket,
                grant,
                behind: false,
            };
            self.subscribers.insert(life, subscriber);
        }
    }

    /// A page of the members.
    fn page(&self, after: Option<SocketId>) -> Value {
        let behind = self.members.values();
        let behind = behind.skip_while(|member| after.is_some_and(|after| member.id <= after));
        let (members, next) = fitting(behind, limits::MEMBERS_PAGE_MAX);
        json!({
            "ok": true,
            "offset": self.end.to_string(),
            "count": self.members.len(),
            "members": members,
            "next": next.map(|id| id.to_string()),
        })
    }

    /// What became of the room; the first page when that cannot be told.
    fn since(&self, from: Offset) -> Value {
        // Whose change comes with the next diff is told twice: as it was, and as it is.
        let touched = self.io.roster(&self.name).touched(from);
        let few = touched.filter(|touched| touched.len() <= limits::PRESENCE_DIFF_MAX);
        let Some(touched) = few else {
            return self.page(None);
        };
        let (mut join, mut leave, mut bytes) = (Vec::new(), Vec::new(), 0);
        for id in touched {
            match self.members.get(&id) {
                Some(member) => {
                    bytes += member_bytes(member);
                    join.push(member_json(member));
                }
                None => leave.push(id.to_string()),
            }
        }
        if bytes > limits::PAGE_BYTES_MAX {
            return self.page(None);
        }
        let mut object = self.object(self.end);
        object.insert("ok".into(), true.into());
        object.insert("from".into(), from.to_string().into());
        for (name, list) in [("join", json!(join)), ("leave", json!(leave))] {
            if list != json!([]) {
                object.insert(name.into(), list);
            }
        }
        object.into()
    }

    /// Refuses what a client wants, when there is no room.
    pub(super) fn refuse(request: Request, error: OperationError) {
        if let Request::Subscribe(subscribe) = request {
            reply(Some(subscribe.ack), Err(Refusal::from(error)));
        }
    }
}

fn by_id(members: Vec<Member>) -> BTreeMap<SocketId, Member> {
    let members = members.into_iter();
    members.map(|member| (member.id, member)).collect()
}
