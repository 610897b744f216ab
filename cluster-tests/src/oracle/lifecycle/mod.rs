//! The judge of a namespace's lifecycle: what clients did to their sessions, what a follower was
//! told of them, and the verdict.
//!
//! A client knows when its session began, where each answered join and leave stands, and that it is
//! over. An unanswered one may have worked or not, but once at most. All that the follower is told
//! must come from one of these, each once, and all of these must be told.

mod audit;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::report::LifecycleReport;
use crate::client::{Signal, Tap};
use crate::offset::Offset;

/// What a client asks for about a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To be a member.
    Join,
    /// To be none any more.
    Leave,
}

/// What became of a session, as a follower is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Connected,
    /// It is a member of this room.
    Joined(String),
    /// It is no member of this room any more.
    Left(String),
    /// Its connection is gone.
    Away,
    /// It was away and has resumed.
    Back,
    /// It has ended.
    Disconnected,
    /// It has ended by its resume window.
    Expired,
    /// It has other data.
    Updated,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What became of a session, with its socket's id.
    Fate(String, Fate),
    /// Everything up to here has been told.
    Mark,
    /// Something between the last and this is not kept.
    Gap,
}

/// One message of a follower's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    offset: Offset,
    /// Nothing more has this offset.
    last: bool,
    told: Told,
}

/// Attempts at one change of one room.
#[derive(Debug, Default)]
struct Attempts {
    count: usize,
    /// Where the answered ones stand.
    answered: Vec<Offset>,
}

impl Attempts {
    /// Of which nobody knows whether they worked.
    fn open_count(&self) -> usize {
        self.count.saturating_sub(self.answered.len())
    }
}

/// What a client asked of one room.
#[derive(Debug, Default)]
struct Wishes {
    joins: Attempts,
    leaves: Attempts,
}

impl Wishes {
    fn attempts(&mut self, change: Change) -> &mut Attempts {
        match change {
            Change::Join => &mut self.joins,
            Change::Leave => &mut self.leaves,
        }
    }
}

#[derive(Debug)]
struct Session {
    /// Whose it is.
    client: usize,
    rooms: BTreeMap<String, Wishes>,
}

#[derive(Debug)]
struct Client {
    name: String,
    /// Ids, the present one last.
    sessions: Vec<String>,
    /// It has gone for good.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Register {
    clients: Vec<Client>,
    /// By the ids of their sockets.
    sessions: HashMap<String, Session>,
    /// Connections whose client has not learned whether they made it a session.
    unanswered: usize,
    messages: Vec<Message>,
    /// Streams of the follower.
    streams: u64,
}

impl Register {
    /// What the client's session of this number, from 1, asked of a room.
    fn wishes(&mut self, client: usize, session: usize, room: &str) -> Option<&mut Wishes> {
        let id = self.clients[client].sessions.get(session.checked_sub(1)?)?;
        let rooms = &mut self.sessions.get_mut(id)?.rooms;
        Some(rooms.entry(room.to_owned()).or_default())
    }
}

/// A handle to the record of a run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<Mutex<Register>>);

impl Lifecycle {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a client.
    #[must_use]
    pub fn client(&self, name: &str) -> usize {
        let mut register = self.0.lock();
        register.clients.push(Client {
            name: name.to_owned(),
            sessions: Vec::new(),
            is_over: false,
        });
        register.clients.len() - 1
    }

    /// A client has a session that is not a resumed one.
    pub fn connected(&self, client: usize, id: &str) {
        let mut register = self.0.lock();
        register.clients[client].sessions.push(id.to_owned());
        let rooms = BTreeMap::new();
        register
            .sessions
            .insert(id.to_owned(), Session { client, rooms });
    }

    /// Sees all signals of a registered client.
    #[must_use]
    pub fn tap(&self, client: usize) -> Tap {
        let lifecycle = self.clone();
        Arc::new(move |signal: &Signal| {
            if let Signal::Connected {
                id,
                recovered: false,
                ..
            } = signal
            {
                lifecycle.connected(client, id);
            }
        })
    }

    /// A client is about to ask for a change in its present session.
    pub fn asking(&self, client: usize, change: Change, room: &str) {
        let mut register = self.0.lock();
        let present = register.clients[client].sessions.len();
        if let Some(wishes) = register.wishes(client, present, room) {
            wishes.attempts(change).count += 1;
        }
    }

    /// A change in the client's session of this number, from 1, was answered.
    pub fn answered(
        &self,
        (client, session): (usize, u64),
        change: Change,
        room: &str,
        offset: Offset,
    ) {
        let mut register = self.0.lock();
        let session = usize::try_from(session).expect("sessions are few");
        if let Some(wishes) = register.wishes(client, session, room) {
            wishes.attempts(change).answered.push(offset);
        }
    }

    /// A client goes for good: its session is to end, now or by its resume window.
    pub fn closing(&self, client: usize) {
        self.0.lock().clients[client].is_over = true;
    }

    /// Connections of clients without a session that were lost before CONNECT's answer: each may
    /// have made a session that nobody knows of.
    pub fn unanswered(&self, count: usize) {
        self.0.lock().unanswered += count;
    }

    /// The follower has a new stream.
    pub fn followed(&self) {
        self.0.lock().streams += 1;
    }

    /// The follower was told, and goes on behind `offset` if it was its `last` message.
    pub fn told(&self, offset: Offset, last: bool, told: Told) {
        self.0.lock().messages.push(Message { offset, last, told });
    }

    /// Everything that the follower was told, in this order, but for its marks.
    #[must_use]
    pub fn story(&self) -> Vec<(Offset, Told)> {
        let register = self.0.lock();
        let told = register.messages.iter().map(|m| (m.offset, m.told.clone()));
        told.filter(|(_, told)| *told != Told::Mark).collect()
    }

    /// The verdict over everything so far. What is on its way counts as lost.
    #[must_use]
    pub fn audit(&self) -> LifecycleReport {
        audit::audit(&self.0.lock())
    }
}

#[cfg(test)]
mod tests;
