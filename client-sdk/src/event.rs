//! What passes between the application and a socket: arguments, events, and notices of state.

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::socket::Responder;

/// The arguments of an event or an acknowledgement: JSON values, and binary attachments that
/// the values refer to by placeholders.
///
/// ```
/// use roomcast_client::Args;
/// use serde_json::json;
///
/// let args = Args::new().json("photo.png").binary(&b"\x89PNG"[..]);
/// assert_eq!(args.values()[1], json!({"_placeholder": true, "num": 0}));
/// let args: Args = [json!("hello"), json!(1)].into();
/// assert_eq!(args.values().len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args {
    /// In order; a placeholder stands where an attachment belongs.
    values: Vec<Value>,
    /// In the order of the placeholders' numbers.
    attachments: Vec<Bytes>,
}

impl Args {
    /// No arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// From received parts; placeholders are left in `values`.
    pub(crate) fn from_parts(values: Vec<Value>, attachments: Vec<Bytes>) -> Self {
        Self {
            values,
            attachments,
        }
    }

    /// Appends a JSON argument.
    #[must_use]
    pub fn json(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Appends a binary argument.
    #[must_use]
    pub fn binary(mut self, bytes: impl Into<Bytes>) -> Self {
        let placeholder = self.attach(bytes);
        self.values.push(placeholder);
        self
    }

    /// Adds an attachment without an argument and returns its placeholder, to be put anywhere
    /// inside a JSON argument.
    pub fn attach(&mut self, bytes: impl Into<Bytes>) -> Value {
        let number = self.attachments.len();
        self.attachments.push(bytes.into());
        json!({"_placeholder": true, "num": number})
    }

    /// The arguments.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The attachments.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Both, by value.
    pub fn into_parts(self) -> (Vec<Value>, Vec<Bytes>) {
        (self.values, self.attachments)
    }
}

impl From<Vec<Value>> for Args {
    fn from(values: Vec<Value>) -> Self {
        Self::from_parts(values, Vec::new())
    }
}

impl<const N: usize> From<[Value; N]> for Args {
    fn from(values: [Value; N]) -> Self {
        Vec::from(values).into()
    }
}

impl From<Value> for Args {
    fn from(value: Value) -> Self {
        vec![value].into()
    }
}

impl From<&str> for Args {
    fn from(text: &str) -> Self {
        Value::from(text).into()
    }
}

/// One event from the server.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event's name.
    pub name: String,
    /// The arguments without name and offset; a placeholder stands for each attachment.
    pub args: Vec<Value>,
    /// The binary attachments, by the numbers of the placeholders.
    pub attachments: Vec<Bytes>,
    /// The position that the server stamped on it; `None` without recovery and on events with
    /// an acknowledgement, which are not replayed.
    pub offset: Option<String>,
    /// Present when the server waits for an answer.
    pub ack: Option<Responder>,
}

/// What an [`Inbox`](crate::Inbox) yields, in the order in which it happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The namespace is connected. With `recovered`, the events missed follow.
    Connected(Connected),
    /// An event.
    Event(Event),
    /// The namespace is no longer connected. See [`DisconnectReason::is_final`].
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// The server refused the CONNECT. As in stock clients there is no further attempt before
    /// [`Socket::connect`](crate::Socket::connect) is called.
    ConnectError {
        /// The server's reason, usually `{"message": ...}`.
        data: Value,
    },
}

/// The namespace was connected.
#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    /// The socket's id; also the name of its own room.
    pub id: String,
    /// The session of before goes on: same id and rooms, and nothing was missed.
    pub recovered: bool,
    /// What the server says about the attempt to resume, if there was one.
    pub resume: Option<ResumeReport>,
    /// The endpoint on which it is connected.
    pub endpoint: String,
}

/// The member `resume` of the server's CONNECT, sent after every attempted resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeReport {
    /// Whether the session was resumed.
    pub ok: bool,
    /// The position from which events follow.
    pub from: Option<String>,
    /// Why not: `unknown`, `expired`, `dropped`, `other_identity`, `invalid` or `limit`.
    pub reason: Option<String>,
}

/// The two values that resume a session, on any connection and from any process. A bearer
/// secret: whoever has it can take the session over.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// The session's private id, from the server's CONNECT. Without it a durable subscriber
    /// starts from `offset`, and anybody else anew.
    pub pid: Option<String>,
    /// The offset of the last event that the application has handled, if any.
    pub offset: Option<String>,
}

impl fmt::Debug for ResumeToken {
    /// Without the pid, which must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeToken")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Why a namespace is no longer connected; the words are the stock client's where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The server closed the transport; the code and word of its WebSocket close, if it sent one.
    TransportClose {
        /// The close code, 4001 to 4006 for Roomcast's own reasons.
        code: Option<u16>,
        /// The word that goes with it.
        word: String,
    },
    /// The transport failed.
    TransportError(String),
    /// No ping within the server's ping interval + ping timeout.
    PingTimeout,
    /// The server sent something that the protocol does not allow.
    ParseError(String),
    /// The server disconnected this socket; there is no reconnection by itself.
    ServerDisconnect,
    /// The application disconnected this socket or closed the client.
    ClientDisconnect,
    /// The application cut the connection to see what happens.
    Cut,
}

impl DisconnectReason {
    /// Whether the socket stays disconnected until `Socket::connect` is called.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::ServerDisconnect | Self::ClientDisconnect)
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransportClose { code: None, .. } => f.write_str("transport close"),
            Self::TransportClose {
                code: Some(code),
                word,
            } => write!(f, "transport close ({code} {word})"),
            Self::TransportError(error) => write!(f, "transport error ({error})"),
            Self::PingTimeout => f.write_str("ping timeout"),
            Self::ParseError(error) => write!(f, "parse error ({error})"),
            Self::ServerDisconnect => f.write_str("io server disconnect"),
            Self::ClientDisconnect => f.write_str("io client disconnect"),
            Self::Cut => f.write_str("cut"),
        }
    }
}
