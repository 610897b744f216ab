//! `presence`: who is in a room, and from then on what becomes of it, as a chain of diffs.
//!
//! A client asks `presence` (room, options, ack). Its options are `{}` or one of these:
//! - `{"after": offset}`: it has the membership as of that offset, of this node or any other;
//! - `{"page": id}`: more of the list, after that member;
//! - `{"end": true}`: it wants to be told no more; answered `{"ok":true}`.
//!
//! The answer is `{"ok":true,"offset":…,"count":…,"members":[…],"next":…}`, members as `members`
//! lists them, connected and away. With `after` it is another, if what became of the room since
//! then is still kept and not too much:
//! `{"ok":true,"room":…,"from":…,"offset":…,"count":…,"join":[…],"leave":[…]}`.
//! It may take [`limits::PRESENCE_INTERVAL`]: until the next diff.
//!
//! From there on the socket gets events `presence` with one argument, at most one in each interval:
//! `{"room","from","offset","count","join":[member],"leave":[id],"away":[id],"back":[id],
//! "update":[{"id","data"}]}`, empty lists left out. It is the net change between two offsets: who
//! came and went in between is not told. `join` sets a member, known or not; what names a member
//! that is not known is passed over. Each `from` is the `offset` of what came before, the answer
//! first. So a client that applies the chain, and whatever pages it asks for between, has the
//! membership as of its last `offset`, exactly; `since` alone is not kept up.
//!
//! Diffs are not logged, and may be lost by a client that does not read. Two things show it:
//! - `from` is not what the client has: it asks again, best with `after`;
//! - `"more": true` instead of lists: a diff was lost, or the change is beyond
//!   [`limits::PRESENCE_DIFF_MAX`] members or [`limits::PAGE_BYTES_MAX`]. It asks again, and passes
//!   over what comes before the answer.
//!
//! It ends with the socket's connection; a client that has resumed asks again with `after`.
//!
//! One task on each node for each room: it follows the room's lifecycle through the replicated
//! records, so that a storm costs one diff for each interval, whatever its size.

mod diff;
mod room;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{MissedTickBehavior, sleep, timeout};

use super::answer::{Refusal, reply};
use super::request::{argument, parse_offset, room_name};
use crate::ids::SocketId;
use crate::socketio::{Ack, Event, Io, OperationError, Socket};
use crate::{limits, metrics};
use room::{Grant, Life, Request, Room, Start, Subscribe};

/// Namespace and room.
type Key = (String, String);

/// The rooms of this node whose membership is told. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    places: Arc<Mutex<Places>>,
}

#[derive(Debug, Default)]
struct Places {
    /// The way to each room's task.
    rooms: BTreeMap<Key, mpsc::Sender<Request>>,
    /// The rooms of each socket, by its connection.
    sockets: BTreeMap<Life, BTreeSet<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Options {
    after: Option<String>,
    page: Option<String>,
    #[serde(default)]
    end: bool,
}

impl Presence {
    /// Answers a `presence` request about any room: whether its client may ask is up to the caller.
    pub async fn answer(&self, socket: &Socket, event: &Event, ack: Option<Ack>) {
        self.answer_to(Grant::Any, socket, event, ack).await;
    }

    /// Answers one about a room that the socket is in, others are `forbidden`: to join grants it,
    /// and to leave ends it, after the diff that tells so.
    pub async fn answer_member(&self, socket: &Socket, event: &Event, ack: Option<Ack>) {
        // Its join may be under way: nobody need wait for that before an answer.
        let joined = async {
            while !socket.is_settled() {
                sleep(limits::PRESENCE_INTERVAL / 10).await;
            }
        };
        let _late = timeout(limits::PRESENCE_JOIN_DEADLINE, joined).await;
        self.answer_to(Grant::Members, socket, event, ack).await;
    }

    async fn answer_to(&self, grant: Grant, socket: &Socket, event: &Event, ack: Option<Ack>) {
        match read(event) {
            Err(refusal) => reply(ack, Err(refusal)),
            Ok((room, Options { end: true, .. })) => {
                self.end(socket, &room);
                reply(ack, Ok(r#"[{"ok":true}]"#.to_owned()));
            }
            Ok((room, options)) => {
                // Without an answer it would not know where the chain begins.
                let Some(ack) = ack else { return };
                match start(socket, options).await {
                    Ok(start) => {
                        let socket = socket.clone();
                        self.subscribe(
                            &room,
                            Subscribe {
                                socket,
                                ack,
                                start,
                                grant,
                            },
                        );
                    }
                    Err(refusal) => reply(Some(ack), Err(refusal)),
                }
            }
        }
    }

    fn subscribe(&self, room: &str, subscribe: Subscribe) {
        let socket = &subscribe.socket.clone();
        let key = (socket.namespace().to_owned(), room.to_owned());
        let mut places = self.places.lock();
        let rooms = places.sockets.get(&socket.life());
        let is_new = rooms.is_none_or(|rooms| !rooms.contains(room));
        let are_many = is_new
            && rooms.is_some_and(|rooms| rooms.len() >= limits::PRESENCE_ROOMS_PER_SOCKET_MAX);
        let too_many =
            !places.rooms.contains_key(&key) && places.rooms.len() >= limits::PRESENCE_ROOMS_MAX;
        let request = Request::Subscribe(subscribe);
        if are_many || too_many {
            return Room::refuse(request, OperationError::Overloaded);
        }
        let sender = places.rooms.entry(key.clone()).or_insert_with(|| {
            metrics::presence_rooms().increment(1.0);
            self.spawn(key.clone(), socket.io())
        });
        match sender.try_send(request) {
            Ok(()) => {
                let rooms = places.sockets.entry(socket.life()).or_default();
                rooms.insert(room.to_owned());
            }
            Err(TrySendError::Full(request)) => {
                Room::refuse(request, OperationError::Overloaded);
            }
            Err(TrySendError::Closed(request)) => {
                // Its task has panicked; the next one asks a new one.
                places.close(&key);
                Room::refuse(request, OperationError::Unavailable);
            }
        }
    }

    /// Starts a room's task.
    fn spawn(&self, key: Key, io: Io) -> mpsc::Sender<Request> {
        let (sender, requests) = mpsc::channel(limits::PRESENCE_REQUESTS_MAX);
        let presence = self.clone();
        tokio::spawn(async move { presence.serve(key, io, requests).await });
        sender
    }

    /// A room's task: whatever is asked is answered between two diffs.
    async fn serve(&self, key: Key, io: Io, mut requests: mpsc::Receiver<Request>) {
        let mut room = Room::open(io, key.1.clone());
        let mut ticks = tokio::time::interval(limits::PRESENCE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Asked before the state is read: an answer has all that its client has seen.
            let asked: Vec<Request> = std::iter::from_fn(|| requests.try_recv().ok()).collect();
            room.catch_up();
            asked.into_iter().for_each(|request| room.take(request));
            let ended = room.ended();
            if !ended.is_empty() {
                let mut places = self.places.lock();
                ended.iter().for_each(|life| places.leave(life, &key.1));
            }
            if room.is_idle() {
                let mut places = self.places.lock();
                if requests.is_empty() {
                    return places.close(&key);
                }
            }
        }
    }

    fn end(&self, socket: &Socket, room: &str) {
        let mut places = self.places.lock();
        places.leave(&socket.life(), room);
        places.end(socket, room);
    }
}

impl Places {
    /// The socket is not told of the room any more.
    fn leave(&mut self, life: &Life, room: &str) {
        if let Some(rooms) = self.sockets.get_mut(life) {
            rooms.remove(room);
            if rooms.is_empty() {
                self.sockets.remove(life);
            }
        }
    }

    fn end(&self, socket: &Socket, room: &str) {
        let key = (socket.namespace().to_owned(), room.to_owned());
        let life = socket.life();
        if let Some(sender) = self.rooms.get(&key) {
            // With a full queue it stays until it is found to have gone.
            let _full = sender.try_send(Request::End { life });
        }
    }

    fn close(&mut self, key: &Key) {
        self.rooms.remove(key);
        metrics::presence_rooms().decrement(1.0);
    }
}

fn read(event: &Event) -> Result<(String, Options), Refusal> {
    let room = room_name(event)?;
    let options: Options = argument(event, 1, "the options")?.unwrap_or_default();
    let given = [options.after.is_some(), options.page.is_some(), options.end];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Refusal::invalid("after, page and end exclude each other"));
    }
    Ok((room, options))
}

/// What it is told first.
async fn start(socket: &Socket, options: Options) -> Result<Start, Refusal> {
    if let Some(page) = options.page {
        let page =
            SocketId::parse(&page).ok_or_else(|| Refusal::invalid("page is no socket's id"))?;
        return Ok(Start::Members(Some(page)));
    }
    let Some(after) = options.after else {
        return Ok(Start::Members(None));
    };
    let after = parse_offset(&after)?;
    match socket.io().has_applied(after).await {
        true => Ok(Start::Since(after)),
        false => Err(Refusal::from(OperationError::Unavailable)),
    }
}

#[cfg(test)]
impl Presence {
    /// Whether nobody is told anything.
    pub(super) fn is_empty(&self) -> bool {
        let places = self.places.lock();
        places.rooms.is_empty() && places.sockets.is_empty()
    }
}
