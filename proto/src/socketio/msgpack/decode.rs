//! A binary message to a packet with its attachments.
//!
//! Stricter than the reference where it accepts what no client sends: a field given twice, numbers
//! that are not written as integers, an ack without id, an id on other packets.

use bytes::Bytes;

use super::extract::{Extract, Extracted};
use super::reader::{Item, Reader};
use crate::error::DecodeError;
use crate::socketio::args;
use crate::socketio::binary::Assembled;
use crate::socketio::decode::Limits;
use crate::socketio::packet::{Namespace, Packet};

/// Decodes the content of a binary Engine.IO message. Payloads are JSON as from
/// [`crate::socketio::decode()`]; JSON and attachments of a packet have `event_bytes_max` together.
///
/// # Errors
/// Any [`DecodeError`] that is named for Socket.IO or msgpack.
pub(crate) fn decode(
    message: &Bytes,
    limits: &Limits,
    event_bytes_max: usize,
) -> Result<Assembled, DecodeError> {
    let mut reader = Reader::new(message);
    let Item::Map(count) = reader.next()? else {
        return Err(DecodeError::PacketField("type"));
    };
    let mut fields = Fields::default();
    for _ in 0..count {
        match reader.next()? {
            Item::String("type") => once(&mut fields.kind, "type", reader.next()?)?,
            Item::String("nsp") => once(&mut fields.namespace, "nsp", reader.next()?)?,
            Item::String("id") => once(&mut fields.id, "id", reader.next()?)?,
            Item::String("data") => {
                let item = reader.next()?;
                let mut extract = Extract::new(message, limits, event_bytes_max);
                extract.value(item, &mut reader, 0)?;
                once(&mut fields.data, "data", (item, extract.finish()?))?;
            }
            // Clients send their `options` along.
            Item::String(_) => reader.skip()?,
            _ => return Err(DecodeError::MsgpackValue),
        }
    }
    reader.end()?;
    fields.packet(limits)
}

/// A packet's map, as it came.
#[derive(Debug, Default)]
struct Fields<'a> {
    kind: Option<Item<'a>>,
    namespace: Option<Item<'a>>,
    id: Option<Item<'a>>,
    /// The item that begins it, and all of it.
    data: Option<(Item<'a>, Extracted)>,
}

impl Fields<'_> {
    fn packet(self, limits: &Limits) -> Result<Assembled, DecodeError> {
        let Some(Item::Unsigned(kind)) = self.kind else {
            return Err(DecodeError::PacketField("type"));
        };
        let namespace = namespace(self.namespace, limits)?;
        let id = match self.id {
            None | Some(Item::Undefined) => None,
            Some(Item::Unsigned(id)) => Some(id),
            Some(_) => return Err(DecodeError::PacketField("id")),
        };
        let data = Data(self.data.filter(|(item, _)| *item != Item::Undefined));
        if id.is_some() && !matches!(kind, 2 | 3) {
            return Err(DecodeError::IdUnexpected);
        }
        match kind {
            0 => data.connect(namespace),
            1 if data.0.is_none() => Ok(whole(Packet::Disconnect { namespace })),
            1 => Err(DecodeError::PayloadUnexpected),
            2 => data.event(namespace, id),
            3 => data.ack(namespace, id.ok_or(DecodeError::IdMissing)?),
            4 => data.connect_error(namespace),
            _ => {
                let unknown = u8::try_from(kind).unwrap_or(u8::MAX);
                Err(DecodeError::UnknownPacketType(unknown))
            }
        }
    }
}

/// A packet's `data`, when it has any.
struct Data<'a>(Option<(Item<'a>, Extracted)>);

impl Data<'_> {
    fn connect(self, namespace: Namespace) -> Result<Assembled, DecodeError> {
        let auth = match self.0 {
            None => None,
            Some((Item::Map(_), data)) => Some(without_attachments(data)?),
            Some(_) => {
                let expected = "an object";
                return Err(DecodeError::PayloadKind { expected });
            }
        };
        Ok(whole(Packet::Connect { namespace, auth }))
    }

    fn event(self, namespace: Namespace, id: Option<u64>) -> Result<Assembled, DecodeError> {
        let data = self.array()?;
        if !data.is_too_large {
            let json = std::str::from_utf8(&data.json).map_err(|_| DecodeError::NotUtf8)?;
            args::check_name(json)?;
        }
        let packet = Packet::Event {
            namespace,
            id,
            data: data.json,
            attachments: data.attachments.len(),
        };
        Ok(assembled(
            packet,
            data.attachments,
            data.is_too_large.then_some(data.bytes),
        ))
    }

    fn ack(self, namespace: Namespace, id: u64) -> Result<Assembled, DecodeError> {
        let data = self.array()?;
        let packet = Packet::Ack {
            namespace,
            id,
            data: data.json,
            attachments: data.attachments.len(),
        };
        Ok(assembled(
            packet,
            data.attachments,
            data.is_too_large.then_some(data.bytes),
        ))
    }

    fn connect_error(self, namespace: Namespace) -> Result<Assembled, DecodeError> {
        match self.0 {
            None => Err(DecodeError::PayloadMissing),
            Some((Item::Map(_) | Item::String(_), data)) => {
                let data = without_attachments(data)?;
                Ok(whole(Packet::ConnectError { namespace, data }))
            }
            Some(_) => {
                let expected = "an object or a string";
                Err(DecodeError::PayloadKind { expected })
            }
        }
    }

    fn array(self) -> Result<Extracted, DecodeError> {
        match self.0 {
            None => Err(DecodeError::PayloadMissing),
            Some((Item::Array(_), data)) => Ok(data),
            Some(_) => {
                let expected = "an array";
                Err(DecodeError::PayloadKind { expected })
            }
        }
    }
}

/// A field that is given twice has no value.
fn once<T>(field: &mut Option<T>, name: &'static str, value: T) -> Result<(), DecodeError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::PacketField(name)),
    }
}

fn namespace(item: Option<Item<'_>>, limits: &Limits) -> Result<Namespace, DecodeError> {
    match item {
        Some(Item::String(name)) if name.len() > limits.namespace_bytes_max => {
            Err(DecodeError::NamespaceTooLong {
                max: limits.namespace_bytes_max,
            })
        }
        Some(Item::String(name)) => Namespace::new(name),
        _ => Err(DecodeError::PacketField("nsp")),
    }
}

/// CONNECT and CONNECT_ERROR are kept as JSON alone, and refused when they are too large for that.
fn without_attachments(data: Extracted) -> Result<Bytes, DecodeError> {
    if !data.attachments.is_empty() || data.is_too_large {
        return Err(DecodeError::TooManyAttachments { max: 0 });
    }
    Ok(data.json)
}

fn whole(packet: Packet) -> Assembled {
    assembled(packet, Vec::new(), None)
}

fn assembled(packet: Packet, attachments: Vec<Bytes>, too_large: Option<usize>) -> Assembled {
    match too_large {
        Some(bytes) => Assembled::TooLarge { packet, bytes },
        None => Assembled::Whole {
            packet,
            attachments,
        },
    }
}
