//! Text to [`Packet`], by the rules of the reference decoder (socket.io-parser 4.2.6).
//!
//! Stricter than it where it accepts what no client sends: an event, ack or connect error without
//! payload, an ack without id, an id on other packets, an empty attachment count.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::socketio::packet::{Namespace, Packet};
use crate::socketio::{args, json};

/// What a peer may send at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attachments of one packet; the reference's default is 10 (CVE-2026-33151).
    pub attachments_max: usize,
    /// Arrays and objects around a value, the payload's own included.
    pub json_depth_max: usize,
    /// Length of a namespace, in bytes.
    pub namespace_bytes_max: usize,
}

impl Limits {
    /// What a server takes from clients. The depth leaves room for the arrays and objects that an
    /// answer wraps around a client's payload, below [`Limits::CLIENT`]'s.
    pub const SERVER: Self = Self {
        attachments_max: 10,
        json_depth_max: 100,
        namespace_bytes_max: 256,
    };
    /// What our client takes from a server. `serde_json` itself refuses deeper values.
    pub const CLIENT: Self = Self {
        attachments_max: 256,
        json_depth_max: 127,
        namespace_bytes_max: 256,
    };
}

/// The type digit of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// Decodes the content of an Engine.IO message. Payloads share the memory of `text`; they are well
/// formed JSON of the right kind, without whitespace around them, within `limits`.
///
/// # Errors
/// Any [`DecodeError`] that is named for Socket.IO. The reference closes the connection on all.
pub fn decode(text: Bytes, limits: &Limits) -> Result<Packet, DecodeError> {
    let whole = std::str::from_utf8(&text).map_err(|_| DecodeError::NotUtf8)?;
    let (kind, rest) = take_kind(whole)?;
    let (attachments, rest) = match kind {
        Kind::BinaryEvent | Kind::BinaryAck => take_attachments(rest, limits)?,
        _ => (0, rest),
    };
    let (namespace, rest) = take_namespace(rest, limits)?;
    let (id, payload) = take_id(rest)?;
    if id.is_some() && matches!(kind, Kind::Connect | Kind::Disconnect | Kind::ConnectError) {
        return Err(DecodeError::IdUnexpected);
    }
    let keep = |payload: &str| text.slice_ref(payload.as_bytes());
    match kind {
        Kind::Connect if payload.is_empty() => Ok(Packet::Connect {
            namespace,
            auth: None,
        }),
        Kind::Connect => {
            let auth = checked(payload, &["{"], "an object", limits)?;
            Ok(Packet::Connect {
                namespace,
                auth: Some(keep(auth)),
            })
        }
        Kind::Disconnect if payload.is_empty() => Ok(Packet::Disconnect { namespace }),
        Kind::Disconnect => Err(DecodeError::PayloadUnexpected),
        Kind::ConnectError => {
            let data = checked(payload, &["{", "\""], "an object or a string", limits)?;
            Ok(Packet::ConnectError {
                namespace,
                data: keep(data),
            })
        }
        Kind::Event | Kind::BinaryEvent => {
            let data = checked(payload, &["["], "an array", limits)?;
            args::check_name(data)?;
            Ok(Packet::Event {
                namespace,
                id,
                data: keep(data),
                attachments,
            })
        }
        Kind::Ack | Kind::BinaryAck => {
            let id = id.ok_or(DecodeError::IdMissing)?;
            let data = checked(payload, &["["], "an array", limits)?;
            Ok(Packet::Ack {
                namespace,
                id,
                data: keep(data),
                attachments,
            })
        }
    }
}

fn take_kind(text: &str) -> Result<(Kind, &str), DecodeError> {
    let first = text.bytes().next().ok_or(DecodeError::Empty)?;
    let kind = match first {
        b'0' => Kind::Connect,
        b'1' => Kind::Disconnect,
        b'2' => Kind::Event,
        b'3' => Kind::Ack,
        b'4' => Kind::ConnectError,
        b'5' => Kind::BinaryEvent,
        b'6' => Kind::BinaryAck,
        unknown => return Err(DecodeError::UnknownPacketType(unknown)),
    };
    Ok((kind, text.get(1..).unwrap_or_default()))
}

fn take_attachments<'a>(text: &'a str, limits: &Limits) -> Result<(usize, &'a str), DecodeError> {
    let (digits, rest) = take_digits(text);
    let rest = rest.strip_prefix('-').ok_or(DecodeError::AttachmentCount)?;
    if digits.is_empty() {
        return Err(DecodeError::AttachmentCount);
    }
    // Digits that do not parse are too many for the type, hence too many for the limit.
    match digits.parse::<usize>() {
        Ok(count) if count <= limits.attachments_max => Ok((count, rest)),
        _ => Err(DecodeError::TooManyAttachments {
            max: limits.attachments_max,
        }),
    }
}

/// A namespace ends at a comma or with the text: `40/random` is legal.
fn take_namespace<'a>(text: &'a str, limits: &Limits) -> Result<(Namespace, &'a str), DecodeError> {
    if !text.starts_with('/') {
        return Ok((Namespace::ROOT, text));
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    if name.len() > limits.namespace_bytes_max {
        return Err(DecodeError::NamespaceTooLong {
            max: limits.namespace_bytes_max,
        });
    }
    Ok((Namespace::new(name)?, rest))
}

fn take_id(text: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let (digits, rest) = take_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let id = digits.parse().map_err(|_| DecodeError::IdOverflow)?;
    Ok((Some(id), rest))
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The payload without trailing whitespace, if it is JSON that begins as `starts` say.
fn checked<'a>(
    payload: &'a str,
    starts: &[&str],
    expected: &'static str,
    limits: &Limits,
) -> Result<&'a str, DecodeError> {
    if payload.is_empty() {
        return Err(DecodeError::PayloadMissing);
    }
    if !starts.iter().any(|start| payload.starts_with(start)) {
        return Err(DecodeError::PayloadKind { expected });
    }
    json::check(payload, limits.json_depth_max)
}
