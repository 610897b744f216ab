//! The operations: each is one event with an acknowledgement.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::event::Args;
use crate::pubsub::answer::{Answer, History, Members, Published};
use crate::pubsub::error::PubsubError;
use crate::socket::{AckPending, Socket};

/// Longer than the 5 s that a server waits for a leader before it refuses.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The `pubsub` operations of one namespace.
#[derive(Debug, Clone)]
pub struct Pubsub {
    /// What carries them.
    socket: Socket,
    /// How long an answer may take.
    timeout: Duration,
}

impl Pubsub {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            timeout: TIMEOUT,
        }
    }

    /// Changes how long an answer may take, 10 s unless told.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Joins a room; returns the position of the join. Every event of the room behind it comes.
    ///
    /// # Errors
    /// [`PubsubError`], as do all operations here.
    pub async fn join(&self, room: &str) -> Result<String, PubsubError> {
        self.ask("join", Args::from(room)).await?.offset()
    }

    /// Leaves a room; returns the position of the leave. No event of the room behind it comes.
    ///
    /// # Errors
    /// See [`Pubsub::join`].
    pub async fn leave(&self, room: &str) -> Result<String, PubsubError> {
        self.ask("leave", Args::from(room)).await?.offset()
    }

    /// Publishes an event to a room, or to what a [`Publish`] says. Once this returns, the event
    /// is durable.
    ///
    /// # Errors
    /// See [`Pubsub::join`]; after `unknown_outcome` try again with the same key.
    pub async fn publish(
        &self,
        target: impl Into<Publish>,
        event: &str,
        args: impl Into<Args>,
    ) -> Result<Published, PubsubError> {
        let answer = self.start_publish(target, event, args)?.wait().await?;
        Ok(Answer::read(answer)?.published())
    }

    /// As [`Pubsub::publish`], but returns as soon as it is queued, so that many can be
    /// outstanding. [`Pubsub::published`] reads the answer.
    ///
    /// # Errors
    /// See [`Pubsub::join`]; nothing was sent.
    pub fn start_publish(
        &self,
        target: impl Into<Publish>,
        event: &str,
        args: impl Into<Args>,
    ) -> Result<AckPending, PubsubError> {
        let (mut values, attachments) = args.into().into_parts();
        values.splice(0..0, [target.into().into_json(), event.into()]);
        let args = Args::from_parts(values, attachments);
        let pending = self.socket.request("publish", args, self.timeout);
        pending.map_err(|error| crate::error::AckError::from(error).into())
    }

    /// Waits for the answer to [`Pubsub::start_publish`].
    ///
    /// # Errors
    /// See [`Pubsub::publish`].
    pub async fn published(&self, pending: AckPending) -> Result<Published, PubsubError> {
        Ok(Answer::read(pending.wait().await?)?.published())
    }

    /// The members of a room, a page at a time.
    ///
    /// # Errors
    /// See [`Pubsub::join`].
    pub async fn members(&self, room: &str, query: MembersQuery) -> Result<Members, PubsubError> {
        let args = Args::from([room.into(), query.into_json()]);
        self.ask("members", args).await?.members()
    }

    /// The events of a room, a page at a time.
    ///
    /// # Errors
    /// See [`Pubsub::join`].
    pub async fn history(&self, room: &str, query: HistoryQuery) -> Result<History, PubsubError> {
        let args = Args::from([room.into(), query.into_json()]);
        self.ask("history", args).await?.history()
    }

    /// Tells the server that everything up to `offset` was handled: it moves the session's
    /// cursor, which retention and durable subscribers go by.
    ///
    /// # Errors
    /// See [`Pubsub::join`].
    pub async fn ack(&self, offset: &str) -> Result<(), PubsubError> {
        self.ask("ack", Args::from(offset)).await?;
        Ok(())
    }

    async fn ask(&self, event: &str, args: Args) -> Result<Answer, PubsubError> {
        let answer = self.socket.emit_with_ack(event, args, self.timeout).await?;
        Answer::read(answer)
    }
}

/// Whom a publish reaches, and how. A plain room name converts into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publish {
    /// The rooms whose members get it, each once.
    rooms: Vec<String>,
    /// Rooms whose members do not.
    except: Vec<String>,
    /// The idempotency key.
    key: Option<String>,
    /// Not logged: only who is connected and can take it now.
    is_volatile: bool,
}

impl Publish {
    /// To the members of `room`.
    pub fn to(room: impl Into<String>) -> Self {
        Self {
            rooms: vec![room.into()],
            ..Self::default()
        }
    }

    /// Also to the members of `room`.
    #[must_use]
    pub fn and_to(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// But not to the members of `room`.
    #[must_use]
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.except.push(room.into());
        self
    }

    /// With an idempotency key: tried again with it, the event is logged once.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Not logged, not replayed, dropped for who cannot take it now.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    fn into_json(mut self) -> Value {
        let is_plain = self.except.is_empty() && self.key.is_none() && !self.is_volatile;
        if is_plain && self.rooms.len() == 1 {
            return self.rooms.remove(0).into();
        }
        let mut target = Map::new();
        target.insert("rooms".to_owned(), json!(self.rooms));
        if !self.except.is_empty() {
            target.insert("except".to_owned(), json!(self.except));
        }
        if let Some(key) = self.key {
            target.insert("key".to_owned(), key.into());
        }
        if self.is_volatile {
            target.insert("volatile".to_owned(), true.into());
        }
        target.into()
    }
}

impl<S: Into<String>> From<S> for Publish {
    fn from(room: S) -> Self {
        Self::to(room)
    }
}

/// Which page of a member list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersQuery {
    /// Also those whose connection is gone and whose resume window runs.
    pub away: bool,
    /// Behind this id, the `next` of the page before.
    pub after: Option<String>,
    /// Members of the page at most, 1,000 unless told; 0 is the count alone.
    pub limit: Option<u32>,
}

impl MembersQuery {
    fn into_json(self) -> Value {
        let mut query = Map::new();
        if self.away {
            query.insert("away".to_owned(), true.into());
        }
        if let Some(after) = self.after {
            query.insert("after".to_owned(), after.into());
        }
        insert_limit(&mut query, self.limit);
        query.into()
    }
}

/// Which page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Where the page starts.
    start: HistoryStart,
    /// Events of the page at most.
    limit: Option<u32>,
}

/// Where a page of history starts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HistoryStart {
    Oldest,
    After(String),
    Last(u32),
}

impl HistoryQuery {
    /// From the oldest event that is kept.
    pub fn oldest() -> Self {
        Self {
            start: HistoryStart::Oldest,
            limit: None,
        }
    }

    /// Behind `offset`.
    pub fn after(offset: impl Into<String>) -> Self {
        Self {
            start: HistoryStart::After(offset.into()),
            limit: None,
        }
    }

    /// The newest `count` events.
    pub fn last(count: u32) -> Self {
        Self {
            start: HistoryStart::Last(count),
            limit: None,
        }
    }

    /// Events of the page at most, up to 500.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    fn into_json(self) -> Value {
        let mut query = Map::new();
        match self.start {
            HistoryStart::Oldest => {}
            HistoryStart::After(offset) => {
                query.insert("after".to_owned(), offset.into());
            }
            HistoryStart::Last(count) => {
                query.insert("last".to_owned(), count.into());
            }
        }
        insert_limit(&mut query, self.limit);
        query.into()
    }
}

fn insert_limit(query: &mut Map<String, Value>, limit: Option<u32>) {
    if let Some(limit) = limit {
        query.insert("limit".to_owned(), limit.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_target_is_a_string_and_others_are_objects() {
        assert_eq!(Publish::from("r").into_json(), json!("r"));
        assert_eq!(
            Publish::to("a")
                .and_to("b")
                .except("c")
                .key("k")
                .volatile()
                .into_json(),
            json!({"rooms": ["a", "b"], "except": ["c"], "key": "k", "volatile": true})
        );
        let keyed = Publish::to("a").key("k").into_json();
        assert_eq!(keyed, json!({"rooms": ["a"], "key": "k"}));
    }

    #[test]
    fn queries_contain_only_what_was_asked() {
        assert_eq!(MembersQuery::default().into_json(), json!({}));
        let count = MembersQuery {
            limit: Some(0),
            ..MembersQuery::default()
        };
        assert_eq!(count.into_json(), json!({"limit": 0}));
        assert_eq!(HistoryQuery::oldest().into_json(), json!({}));
        let after = HistoryQuery::after("o").limit(5).into_json();
        assert_eq!(after, json!({"after": "o", "limit": 5}));
        assert_eq!(HistoryQuery::last(3).into_json(), json!({"last": 3}));
    }
}
