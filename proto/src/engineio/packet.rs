//! One Engine.IO packet, as text: a type character, then data. (Engine.IO v4, "Packet encoding".)
//!
//! A binary WebSocket frame is a [`Packet::Binary`] as it stands and does not come through here.

use bytes::{BufMut, Bytes, BytesMut};

use crate::engineio::base64;
use crate::error::DecodeError;

/// A packet; contents are slices of what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// `0`: the server's handshake, JSON; see [`crate::engineio::OpenPacket`].
    Open(Bytes),
    /// `1`: the peer ends the session.
    Close,
    /// `2`: the server's heartbeat, or a client's `probe` during an upgrade.
    Ping(Bytes),
    /// `3`: the answer to a ping, with its data.
    Pong(Bytes),
    /// `4`: a message in UTF-8.
    Message(Bytes),
    /// `b` and base64 in text; a message of bytes.
    Binary(Bytes),
    /// `5`: the client finishes an upgrade.
    Upgrade,
    /// `6`: nothing; releases a pending poll.
    Noop,
}

impl Packet {
    /// Decodes one text packet. Contents of all but [`Packet::Binary`] are valid UTF-8 and share
    /// the memory of `text`.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], [`DecodeError::NotUtf8`], [`DecodeError::UnknownEngineType`],
    /// [`DecodeError::UnexpectedData`], [`DecodeError::Base64`].
    pub fn decode_text(text: Bytes) -> Result<Self, DecodeError> {
        if std::str::from_utf8(&text).is_err() {
            return Err(DecodeError::NotUtf8);
        }
        let Some(&kind) = text.first() else {
            return Err(DecodeError::Empty);
        };
        let data = text.slice(1..);
        match kind {
            b'0' => Ok(Self::Open(data)),
            b'1' => without_data(&data, Self::Close),
            b'2' => Ok(Self::Ping(data)),
            b'3' => Ok(Self::Pong(data)),
            b'4' => Ok(Self::Message(data)),
            b'5' => without_data(&data, Self::Upgrade),
            b'6' => without_data(&data, Self::Noop),
            b'b' => Ok(Self::Binary(base64::decode(&data)?)),
            unknown => Err(DecodeError::UnknownEngineType(unknown)),
        }
    }

    /// The packet as text; [`Packet::Binary`] as `b` and base64.
    #[must_use]
    pub fn encode_text(&self) -> Bytes {
        match self {
            Self::Open(data) => prefixed(b'0', data),
            Self::Close => Bytes::from_static(b"1"),
            Self::Ping(data) => prefixed(b'2', data),
            Self::Pong(data) => prefixed(b'3', data),
            Self::Message(data) => prefixed(b'4', data),
            Self::Binary(data) => prefixed(b'b', base64::encode(data).as_bytes()),
            Self::Upgrade => Bytes::from_static(b"5"),
            Self::Noop => Bytes::from_static(b"6"),
        }
    }
}

fn without_data(data: &Bytes, packet: Packet) -> Result<Packet, DecodeError> {
    if data.is_empty() {
        Ok(packet)
    } else {
        Err(DecodeError::UnexpectedData)
    }
}

fn prefixed(kind: u8, data: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(1 + data.len());
    text.put_u8(kind);
    text.put_slice(data);
    text.freeze()
}
