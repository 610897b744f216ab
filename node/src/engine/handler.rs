//! What this floor calls upward: who may open a session, and what happens to its messages.

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER,
    USER_AGENT,
};

use super::close::CloseReason;
use super::moving::{Adopted, Departed};
use super::session::SessionHandle;

/// A message of the client, without its Engine.IO type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text; valid UTF-8. Holds exactly its own memory: keeping it pins nothing else.
    Text(Bytes),
    /// Bytes. Holds exactly its own memory.
    Binary(Bytes),
}

impl Message {
    /// Bytes of the message.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the message has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The upper floor's side of one session. Its calls come from the session's task, one at a time.
#[async_trait]
pub trait Handler: Send {
    /// A message arrived. While this runs nothing more is read from the client (backpressure);
    /// writing and the heartbeat go on. When the session ends meanwhile, this is dropped at an
    /// await and [`Handler::on_close`] follows.
    ///
    /// # Errors
    /// The reason to end the session with.
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason>;

    /// A PONG proved that the first `message_count` messages pushed to this session have arrived
    /// (see [`SessionHandle::pushed_count`]).
    ///
    /// # Errors
    /// The reason to end the session with.
    async fn on_arrived(&mut self, message_count: u64) -> Result<(), CloseReason> {
        let _: u64 = message_count;
        Ok(())
    }

    /// Gives the session's upper half up, to go on at another node: waits until nothing is under
    /// way for it (the caller bounds that), then stops everything in one step. Once it has, no
    /// other call follows, [`Handler::on_close`] neither. `None`: the session goes on here. While
    /// this runs nothing is read or written; dropped at an await, it has changed nothing.
    async fn depart(&mut self) -> Option<Departed> {
        None
    }

    /// The session ended; called exactly once, last, beside the flush and the close of the
    /// transport. Must come to an end: the session's task waits for it.
    async fn on_close(&mut self, reason: CloseReason);
}

/// Decides about new sessions and gives each its handler.
pub trait Acceptor: Send + Sync {
    /// Whether the node takes sessions now; asked of every well-formed handshake.
    ///
    /// # Errors
    /// What passes by itself (no quorum, overload): 503, and the client comes again.
    fn admit(&self) -> Result<(), Refused>;

    /// Whether this client may have a session: its origin, for example.
    ///
    /// # Errors
    /// What only the user can cure: 403 with these words, code 4 of the reference.
    fn authorize(&self, handshake: &Handshake) -> Result<(), Forbidden> {
        let _: &Handshake = handshake;
        Ok(())
    }

    /// A session is open; its OPEN packet is already in the outbox.
    fn open(&self, handshake: Handshake, session: SessionHandle) -> Box<dyn Handler>;

    /// A session that another node's handler gave up goes on here; what was not written there is
    /// already in the outbox. `None` when `state` is not understood.
    fn adopt(&self, state: Bytes, session: SessionHandle) -> Option<Adopted> {
        let _: (Bytes, SessionHandle) = (state, session);
        None
    }
}

/// A handshake refused for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Seconds for `Retry-After`.
    pub retry_after_s: u32,
    /// For the body and the log; the client's user may see it.
    pub reason: String,
}

/// A handshake refused for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Forbidden {
    /// The message of the answer.
    pub message: String,
}

/// What is known of a client when its session opens. May hold secrets (query, `authorization`,
/// `cookie`): the upper floor keeps what it needs and drops the rest; `Debug` shows no values.
#[derive(Clone)]
pub struct Handshake {
    /// Query parameters in their order, decoded, without `EIO`, `transport` and `sid`.
    pub query: Vec<(String, String)>,
    /// The headers named in [`HEADERS_KEPT`] that the request had.
    pub headers: HeaderMap,
    /// The other end of the TCP connection: the balancer when there is one.
    pub remote: SocketAddr,
}

/// The headers a handshake keeps: what applications ask for, bounded and known.
pub const HEADERS_KEPT: [HeaderName; 10] = [
    HOST,
    USER_AGENT,
    ORIGIN,
    REFERER,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

impl Handshake {
    /// Keeps the chosen headers of a request.
    pub(crate) fn new(
        query: Vec<(String, String)>,
        headers: &HeaderMap,
        remote: SocketAddr,
    ) -> Self {
        let mut kept = HeaderMap::new();
        for name in &HEADERS_KEPT {
            for value in headers.get_all(name) {
                let mut value: HeaderValue = value.clone();
                value.set_sensitive(*name == AUTHORIZATION || *name == COOKIE);
                kept.append(name, value);
            }
        }
        Self {
            query,
            headers: kept,
            remote,
        }
    }

    /// The first query parameter of this name.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a kept header, when it is plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.query.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Handshake")
            .field("query", &names)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("remote", &self.remote)
            .finish()
    }
}
