//! What an application implements for a namespace.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::ack::Ack;
use super::io::Io;
use super::namespace::Outcome;
use super::refusal::{Code, Refusal};
use super::socket::Socket;
use crate::engine::Handshake;

/// One namespace's handlers. Those of one socket run in order; a slow one delays only its own
/// socket.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Decides about a connect, and says who it is. It runs before connects and resumes alike: a
    /// resume must yield the session's identity.
    ///
    /// # Errors
    /// A [`Rejection`] is sent to the client as CONNECT_ERROR, which a stock client does not retry.
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection>;

    /// As [`Handler::admit`], for handlers that may have to put a client off: what passes by itself
    /// is no [`Rejection`], which a stock client does not come back from.
    ///
    /// # Errors
    /// A rejection, or that the client had better come again.
    async fn decide(&self, request: &ConnectRequest<'_>) -> Result<Admission, Unadmitted> {
        let admitted = self.admit(request).await;
        admitted.map_err(Unadmitted::Rejected)
    }

    /// The socket is live. `socket.recovered()` tells a resume from a new one.
    async fn on_connect(&self, socket: &Socket);

    /// An event of the client; `ack` when it asked for an answer.
    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>);

    /// The socket's transport is gone or the socket was disconnected; `reason` in Socket.IO's
    /// words.
    async fn on_disconnect(&self, socket: &Socket, reason: &str);

    /// A session of the namespace has ended while it was away: its resume window ran out, or a
    /// limit of a durable subscriber. One node of the cluster is told, at most once: its end or an
    /// overload loses it. Who must not miss one follows the lifecycle: see [`Io::follow`]. By
    /// default nothing.
    async fn on_expire(&self, io: &Io, session: ExpiredSession) {
        let _: (&Io, ExpiredSession) = (io, session);
    }

    /// An event of the application on another node: see [`Io::server_side_emit`].
    ///
    /// # Errors
    /// Why it was refused; by default, that nobody handles it.
    async fn on_server_event(&self, io: &Io, event: Event) -> Outcome {
        let _: &Io = io;
        Err(Refusal::new(
            Code::UnknownEvent,
            format!("there is no event {:?} here", event.name),
        ))
    }
}

/// A session that ended while it was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredSession {
    /// Its socket's id.
    pub id: String,
    /// Its namespace, with the leading slash.
    pub namespace: String,
    /// Who it was, when the application said so.
    pub identity: Option<String>,
    /// The data that the application gave it.
    pub data: Option<Value>,
}

/// A client that wants to connect to a namespace.
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    /// Namespace, with its leading slash.
    pub namespace: &'a str,
    /// The client's `auth`, `pid` and `offset` taken out.
    pub auth: &'a Value,
    /// The Engine.IO handshake.
    pub handshake: &'a Arc<Handshake>,
}

/// Who a client is, as the application says.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Its identity, when it has one.
    pub identity: Option<String>,
    /// JSON that member lists show.
    pub data: Option<Value>,
    /// Whether the client may resume.
    pub recovery: Recovery,
}

/// Whether a client gets a `pid` and offsets to resume with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// Unless it declines.
    #[default]
    Offered,
    /// If it asks for it: handlers that count their arguments see the ones that were sent. A stock
    /// client asks with `auth: {recovery: true}` or with `recovery=1` in its query.
    OptIn,
    /// Never: its handlers see exactly the arguments that were sent.
    Off,
}

/// Why a client was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unadmitted {
    /// For good: its client is told by a CONNECT_ERROR.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// For now: its transport is closed, so that its client comes again.
    #[error("nobody can decide now")]
    Later,
}

/// A refused connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// For the client's `connect_error`.
    pub message: String,
    /// Its `data`, if any.
    pub data: Option<Value>,
}

impl Rejection {
    /// A refusal with words alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
        }
    }

    /// The same with `data` for the client's program.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// What a client gets whose admission failed: nothing about the inside.
    pub(crate) fn internal() -> Self {
        Self::new("internal error")
    }
}

/// What layers that box their errors let through: ours as it was, anything else for the log only.
impl From<tower::BoxError> for Rejection {
    fn from(error: tower::BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(rejection) => *rejection,
            Err(error) => {
                tracing::warn!(error, "a connect middleware failed");
                Self::internal()
            }
        }
    }
}

/// An event a client sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The arguments after the name, each as the client's own JSON text.
    pub args: Vec<Bytes>,
    /// Binary attachments, in the order of their placeholders.
    pub attachments: Vec<Bytes>,
}

/// The handlers of a namespace, shared by its sockets.
pub type SharedHandler = Arc<dyn Handler>;
