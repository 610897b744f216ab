//! The Engine.IO handshake: the request's query, the errors that refuse it, the open packet that
//! answers it. Which sids exist is the caller's to know. (Engine.IO v4, "Handshake".)

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::error::DecodeError;

/// The protocol version in `EIO`.
pub const VERSION: &str = "4";
/// Parameters that a query may have; more are refused as a bad request.
pub const QUERY_PARAMETERS_MAX: usize = 256;

/// The server's first packet. Members and their order are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPacket {
    /// The session's id.
    pub sid: String,
    /// Transports that the session may be moved to.
    pub upgrades: Vec<String>,
    /// Milliseconds from a pong to the next ping.
    #[serde(rename = "pingInterval")]
    pub ping_interval_ms: u64,
    /// Milliseconds that a pong may take.
    #[serde(rename = "pingTimeout")]
    pub ping_timeout_ms: u64,
    /// Largest message that the server takes, in bytes.
    #[serde(rename = "maxPayload")]
    pub max_payload: u64,
}

impl OpenPacket {
    /// The whole text packet, `0{…}`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(128).writer();
        text.get_mut().put_u8(b'0');
        serde_json::to_writer(&mut text, self).expect("strings and integers always serialize");
        text.into_inner().freeze()
    }

    /// Reads the content of [`crate::engineio::Packet::Open`].
    ///
    /// # Errors
    /// [`DecodeError::OpenPacket`].
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(data).map_err(|_| DecodeError::OpenPacket)
    }
}

/// A transport, as `transport` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// What kind of HTTP request carries a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A plain GET.
    Get,
    /// A GET that asks for a WebSocket.
    Upgrade,
    /// Any other method.
    Other,
}

/// What a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new session.
    New {
        /// What carries it at first.
        transport: Transport,
    },
    /// Something of a session that should exist: the caller answers
    /// [`HandshakeError::UnknownSid`] when it does not.
    Existing {
        /// The session.
        sid: String,
        /// What this request speaks.
        transport: Transport,
    },
}

/// The query of a request to the Engine.IO path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// `EIO`, the version that the client speaks.
    pub eio: Option<String>,
    /// `transport`, by name.
    pub transport: Option<String>,
    /// `sid`; an empty one counts as none, as in the reference.
    pub sid: Option<String>,
    /// Every other parameter in its order, for the application: `t` and `b64` included.
    pub rest: Vec<(String, String)>,
}

impl Query {
    /// Reads the part of a URL after `?`. Broken escapes stay as they are and bad UTF-8 is
    /// replaced, as in the reference.
    ///
    /// # Errors
    /// [`HandshakeError::BadRequest`] for a repeated `EIO`, `transport` or `sid`, or for more than
    /// [`QUERY_PARAMETERS_MAX`] parameters.
    pub fn parse(text: &str) -> Result<Self, HandshakeError> {
        let mut query = Self::default();
        for (place, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if place >= QUERY_PARAMETERS_MAX {
                return Err(HandshakeError::BadRequest);
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescape(key), unescape(value));
            let known = match key.as_str() {
                "EIO" => &mut query.eio,
                "transport" => &mut query.transport,
                "sid" => &mut query.sid,
                _ => {
                    query.rest.push((key, value));
                    continue;
                }
            };
            if known.replace(value).is_some() {
                return Err(HandshakeError::BadRequest);
            }
        }
        query.sid = query.sid.filter(|sid| !sid.is_empty());
        Ok(query)
    }

    /// The first other parameter of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.rest
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Judges the request in the reference's order: transport, sid, method, version. The version of
    /// a request for an existing session is not looked at.
    ///
    /// # Errors
    /// [`HandshakeError`], all but `UnknownSid` and `Forbidden`.
    pub fn verify(
        &self,
        kind: RequestKind,
        enabled: &[Transport],
    ) -> Result<Target, HandshakeError> {
        let name = self.transport.as_deref();
        let Some(&transport) = enabled.iter().find(|known| Some(known.name()) == name) else {
            return Err(HandshakeError::UnknownTransport);
        };
        if let Some(sid) = &self.sid {
            return Ok(Target::Existing {
                sid: sid.clone(),
                transport,
            });
        }
        match (kind, transport) {
            (RequestKind::Other, _) => return Err(HandshakeError::BadMethod),
            (RequestKind::Get, Transport::WebSocket)
            | (RequestKind::Upgrade, Transport::Polling) => {
                return Err(HandshakeError::BadRequest);
            }
            (RequestKind::Get, Transport::Polling)
            | (RequestKind::Upgrade, Transport::WebSocket) => {}
        }
        if self.eio.as_deref() != Some(VERSION) {
            return Err(HandshakeError::UnsupportedVersion);
        }
        Ok(Target::New { transport })
    }
}

/// The reference's table of refusals; codes and messages are the wire's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Code 0.
    #[error("Transport unknown")]
    UnknownTransport,
    /// Code 1.
    #[error("Session ID unknown")]
    UnknownSid,
    /// Code 2.
    #[error("Bad handshake method")]
    BadMethod,
    /// Code 3.
    #[error("Bad request")]
    BadRequest,
    /// Code 4, with the application's own words or `Forbidden`.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// Code 5.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
}

impl HandshakeError {
    /// Code 4 without words of the application's own.
    pub const FORBIDDEN: Self = Self::Forbidden(Cow::Borrowed("Forbidden"));

    /// The number in the body.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadMethod => 2,
            Self::BadRequest => 3,
            Self::Forbidden(_) => 4,
            Self::UnsupportedVersion => 5,
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Forbidden(_) => 403,
            _ => 400,
        }
    }

    /// The answer's JSON, `{"code":0,"message":"Transport unknown"}`.
    #[must_use]
    pub fn body(&self) -> String {
        let message = serde_json::Value::from(self.to_string());
        format!(r#"{{"code":{},"message":{message}}}"#, self.code())
    }
}

/// Form decoding: `+` is a space, `%41` an `A`.
fn unescape(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'%', [high, low, next @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, next),
                _ => (first, after),
            },
            (b'+', _) => (b' ', after),
            _ => (first, after),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
