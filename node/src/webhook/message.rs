//! What an application is told and what it answers: JSON, as docs/webhooks.md describes it.

use std::borrow::Cow;

use bytes::Bytes;
use roomcast_proto::engineio::base64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::engine::Handshake;
use crate::socketio::{Event, Recovery, Socket};

/// The body of a request.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message<'a> {
    /// May this client connect? Answered by [`Admitted`].
    Connect {
        namespace: &'a str,
        auth: &'a Value,
        handshake: Shake<'a>,
    },
    /// The socket is in place. Answered by [`Acted`], as an event.
    Connected {
        namespace: &'a str,
        socket: Who<'a>,
        handshake: Shake<'a>,
        recovered: bool,
    },
    /// Its client emitted an event.
    Event {
        namespace: &'a str,
        socket: Who<'a>,
        event: &'a str,
        args: Vec<&'a RawValue>,
        /// Base64, in the order of the placeholders in `args`.
        attachments: Vec<String>,
        wants_answer: bool,
    },
    /// Its transport is gone, or it was disconnected. The answer is not looked at.
    Disconnect {
        namespace: &'a str,
        socket: Who<'a>,
        reason: &'a str,
    },
}

impl Message<'_> {
    /// Its `type`, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Connected { .. } => "connected",
            Self::Event { .. } => "event",
            Self::Disconnect { .. } => "disconnect",
        }
    }

    pub(super) fn to_body(&self) -> Bytes {
        let body = serde_json::to_vec(self).expect("text and JSON");
        body.into()
    }
}

/// A socket.
#[derive(Debug, Serialize)]
pub(super) struct Who<'a> {
    id: &'a str,
    identity: Option<&'a str>,
    data: Option<Value>,
    rooms: Vec<String>,
}

impl<'a> Who<'a> {
    pub(super) fn of(socket: &'a Socket) -> Self {
        Self {
            id: socket.id(),
            identity: socket.identity(),
            data: socket.data(),
            rooms: socket.rooms(),
        }
    }
}

/// An Engine.IO handshake.
#[derive(Debug, Serialize)]
pub(super) struct Shake<'a> {
    query: &'a [(String, String)],
    headers: Vec<(&'a str, Cow<'a, str>)>,
    remote: String,
}

impl<'a> Shake<'a> {
    pub(super) fn of(handshake: &'a Handshake) -> Self {
        let text = |value: &'a http::HeaderValue| String::from_utf8_lossy(value.as_bytes());
        let headers = handshake.headers.iter();
        Self {
            query: &handshake.query,
            headers: headers
                .map(|(name, value)| (name.as_str(), text(value)))
                .collect(),
            remote: handshake.remote.to_string(),
        }
    }
}

/// The message of an event.
pub(super) fn event<'a>(socket: &'a Socket, event: &'a Event, wants_answer: bool) -> Message<'a> {
    let args = event.args.iter();
    Message::Event {
        namespace: socket.namespace(),
        socket: Who::of(socket),
        event: &event.name,
        args: args
            .map(|arg| serde_json::from_slice(arg).expect("an argument is JSON"))
            .collect(),
        attachments: event
            .attachments
            .iter()
            .map(|of| base64::encode(of))
            .collect(),
        wants_answer,
    }
}

/// Who may connect, and who it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admitted {
    pub(super) identity: Option<String>,
    pub(super) data: Option<Value>,
    pub(super) recovery: Recover,
    /// It may not, and this is its `connect_error`.
    pub(super) reject: Option<Reject>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recover {
    #[default]
    Offered,
    OptIn,
    Off,
}

impl From<Recover> for Recovery {
    fn from(recover: Recover) -> Self {
        match recover {
            Recover::Offered => Self::Offered,
            Recover::OptIn => Self::OptIn,
            Recover::Off => Self::Off,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Option<Value>,
}

/// What is done for a socket, and what its client is answered after that.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Acted {
    /// In this order.
    pub(super) operations: Vec<Act>,
    /// Arguments of the client's callback; absent: none is made.
    pub(super) answer: Option<Vec<Box<RawValue>>>,
    /// The event is refused.
    pub(super) error: Option<Refused>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
}

/// One operation of the socket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Act {
    Join(Vec<String>),
    Leave(Vec<String>),
    Emit(Emit),
    SetData(Value),
    /// Of everything else it is the last; true closes the connection, too.
    Disconnect(bool),
}

/// An event to others, or to the socket itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Emit {
    /// Absent, and no `except`: the socket itself. Empty: every socket of the namespace.
    pub(super) rooms: Option<Vec<String>>,
    #[serde(default)]
    pub(super) except: Option<Vec<String>>,
    pub(super) event: String,
    #[serde(default)]
    pub(super) args: Vec<Box<RawValue>>,
    /// Base64, for the placeholders in `args`.
    #[serde(default, deserialize_with = "attachments")]
    pub(super) attachments: Vec<Bytes>,
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) volatile: bool,
}

fn attachments<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let decode = |text: &String| base64::decode(text.as_bytes()).map_err(D::Error::custom);
    texts.iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_be_short_and_has_no_unknown_parts() {
        let acted: Acted = serde_json::from_str(
            r#"{"operations":[{"join":["a"]},{"emit":{"event":"hi","args":[1,"x"]}},
                {"disconnect":false}],"answer":[{"ok":true}]}"#,
        )
        .unwrap();
        assert_eq!(acted.operations.len(), 3);
        let Act::Emit(emit) = &acted.operations[1] else {
            panic!("{acted:?}");
        };
        assert!(emit.rooms.is_none() && emit.args[1].get() == r#""x""#);
        assert!(
            serde_json::from_str::<Acted>("{}")
                .unwrap()
                .answer
                .is_none()
        );
        let typo = serde_json::from_str::<Acted>(r#"{"opperations":[]}"#);
        assert!(typo.is_err(), "what is not understood is not ignored");
        let admitted: Admitted = serde_json::from_str(r#"{"recovery":"opt_in"}"#).unwrap();
        assert!(matches!(admitted.recovery, Recover::OptIn));
    }
}
