//! What an application can choose, each with its default and the reason of the default.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::backoff::BackoffOptions;
use crate::endpoint::EndpointOrder;
use crate::event::ResumeToken;

/// Choices of one client, that is of one connection.
#[derive(Clone)]
pub struct ClientOptions {
    /// The order of the endpoints.
    pub order: EndpointOrder,
    /// The delays between attempts to connect.
    pub backoff: BackoffOptions,
    /// How long TCP, WebSocket and Engine.IO handshake may take together; 20 s as in stock
    /// clients.
    pub connect_timeout: Duration,
    /// Added to the handshake's URL, for example `recovery=1` for namespaces where that is
    /// opt-in.
    pub query: Vec<(String, String)>,
    /// Added to the handshake's request, for example `authorization`.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The largest message taken from the server; larger ends the connection. Above the largest
    /// event a server can be configured to allow (4 MB).
    pub message_bytes_max: usize,
    /// The most attachments taken with one event.
    pub attachments_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            order: EndpointOrder::default(),
            backoff: BackoffOptions::default(),
            connect_timeout: Duration::from_secs(20),
            query: Vec::new(),
            headers: Vec::new(),
            message_bytes_max: 8 << 20,
            attachments_max: 256,
        }
    }
}

impl fmt::Debug for ClientOptions {
    /// Without the values of headers and query, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("order", &self.order)
            .field("backoff", &self.backoff)
            .field("connect_timeout", &self.connect_timeout)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("attachments_max", &self.attachments_max)
            .finish_non_exhaustive()
    }
}

/// Choices of one socket, that is of one namespace on the connection.
#[derive(Clone)]
pub struct SocketOptions {
    /// The application's part of the CONNECT payload, a JSON object; what it contains goes
    /// before `pid` and `offset` of the same name, as in stock clients.
    pub auth: Value,
    /// `false` asks the server for a session that cannot be resumed: no pid, no offsets.
    pub recovery: bool,
    /// The name of a durable subscriber, known to the server across processes: what it is owed is
    /// kept until it is acknowledged, within the server's limits for subscribers. It starts where
    /// it connects first; [`Connected::resume`](crate::Connected::resume) says of each connect
    /// where it goes on, or why it starts anew. `"end": true` in `auth` ends it.
    pub subscriber: Option<String>,
    /// Who says that an event was handled.
    pub acknowledgement: Acknowledgement,
    /// A session of an earlier connection or process to go on with.
    pub resume: Option<ResumeToken>,
    /// Events in the inbox at most. At the limit the client stops reading from the connection,
    /// for all its namespaces, until the application takes one.
    pub inbox_events_max: usize,
    /// Emits waiting to be sent at most; further ones are refused with `BufferFull`.
    pub emits_buffered_max: usize,
    /// Bytes of emits waiting to be sent at most; further ones are refused with `BufferFull`.
    pub emit_bytes_buffered_max: usize,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            auth: Value::Object(serde_json::Map::new()),
            recovery: true,
            subscriber: None,
            acknowledgement: Acknowledgement::default(),
            resume: None,
            inbox_events_max: 1024,
            emits_buffered_max: 1024,
            emit_bytes_buffered_max: 8 << 20,
        }
    }
}

impl fmt::Debug for SocketOptions {
    /// Without auth and pid, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketOptions")
            .field("recovery", &self.recovery)
            .field("subscriber", &self.subscriber)
            .field("acknowledgement", &self.acknowledgement)
            .field("inbox_events_max", &self.inbox_events_max)
            .field("emits_buffered_max", &self.emits_buffered_max)
            .field("emit_bytes_buffered_max", &self.emit_bytes_buffered_max)
            .finish_non_exhaustive()
    }
}

/// Who moves the offset that a reconnection brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledgement {
    /// Taking an event from the inbox. A reconnection loses nothing and repeats nothing.
    #[default]
    OnHandOver,
    /// [`Socket::acknowledge`](crate::Socket::acknowledge) only. After a reconnection, and from
    /// another process with the resume token, every event behind the last acknowledged one
    /// comes again: at least once. The server is asked to take nothing but
    /// [`Pubsub::ack`](crate::Pubsub::ack) for an acknowledgement: after a crash, that is where
    /// a durable subscriber goes on.
    Manual,
}
