//! The errors of this crate, one enum for each thing an application asks for.

use std::time::Duration;

/// A client or a socket could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The endpoint list is empty.
    #[error("at least one endpoint is needed")]
    NoEndpoint,
    /// One endpoint cannot be used.
    #[error("endpoint {endpoint} {reason}")]
    Endpoint {
        /// The text as given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The namespace does not begin with `/`, or has a comma or a query.
    #[error("namespace {0:?} must begin with a slash and contain neither comma nor query")]
    Namespace(String),
    /// This client has a socket in the namespace already; a second one needs a second client.
    #[error("namespace {0} has a socket on this client already")]
    NamespaceInUse(String),
    /// The CONNECT payload is a JSON object on the wire.
    #[error("auth must be a JSON object")]
    AuthNotObject,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// An emit was refused; nothing of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// `emits_buffered_max` or `emit_bytes_buffered_max` is reached: the connection is down or
    /// slower than the application.
    #[error("{count} emits of {bytes} bytes are waiting to be sent, which is the limit")]
    BufferFull {
        /// Emits waiting.
        count: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// Larger than what the server takes in one message (`maxPayload` of its handshake).
    #[error("a message of {bytes} bytes is larger than the server's limit of {max}")]
    TooLarge {
        /// The largest single message of the emit.
        bytes: usize,
        /// The server's limit.
        max: usize,
    },
    /// Socket.IO reserves this event name.
    #[error("event name {0:?} is reserved")]
    ReservedName(String),
    /// The socket was disconnected for good, by the server or by the application, and
    /// `Socket::connect` has not been called since.
    #[error("the socket is disconnected")]
    Disconnected,
    /// The acknowledgement belongs to a connection that is gone: the server no longer waits.
    #[error("the connection that asked for this acknowledgement is gone")]
    StaleAck,
}

/// No acknowledgement came. The variants say whether the server may have acted on the emit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The emit was refused at once; surely not sent.
    #[error("not sent: {0}")]
    Refused(#[from] EmitError),
    /// The deadline passed before the emit could be sent; it was taken back.
    #[error("not sent within {0:?}")]
    NotSent(Duration),
    /// Sent, and not answered before the deadline: the server may have acted on it or not.
    #[error("not acknowledged within {0:?}, outcome unknown")]
    Timeout(Duration),
    /// Sent, and the connection was lost before the answer: the server may have acted or not.
    #[error("the connection was lost before the acknowledgement, outcome unknown")]
    UnknownOutcome,
    /// The socket was closed before the emit was sent; surely not sent.
    #[error("not sent: the socket was closed")]
    Closed,
}

impl AckError {
    /// Whether the server has surely not seen the emit, so that sending it again is safe.
    pub fn is_surely_not_sent(&self) -> bool {
        match self {
            Self::Refused(_) | Self::NotSent(_) | Self::Closed => true,
            Self::Timeout(_) | Self::UnknownOutcome => false,
        }
    }
}
