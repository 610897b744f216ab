//! Socket.IO packets in msgpack: what decodes is JSON with placeholders, as from the other parser.

use bytes::Bytes;
use roomcast_proto::socketio::{Assembled, Decoder, Limits, Outgoing, Packet, Parser};
use serde_json::Value;

use super::{args, socketio};

/// JSON and attachments of one packet, in bytes.
const EVENT_BYTES_MAX: usize = 2000;

/// The bytes as a binary message.
pub(crate) fn msgpack(bytes: &[u8]) {
    let Some((packet, attachments)) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    assert_eq!(attachments.len(), packet.attachments());
    assert!(attachments.len() <= Limits::SERVER.attachments_max);
    assert!(packet.namespace().len() <= Limits::SERVER.namespace_bytes_max);
    let (Packet::Event { data, .. } | Packet::Ack { data, .. }) = &packet else {
        return;
    };
    let binary: usize = attachments.iter().map(Bytes::len).sum();
    assert!(data.len() + binary <= EVENT_BYTES_MAX);
    let value = serde_json::from_slice::<Value>(data).expect("a payload is JSON");
    if !attachments.is_empty() {
        assert!(socketio::placeholders_are_within(&value, attachments.len()));
    }
    if let Packet::Event { .. } = &packet {
        args::name(data);
    }
    let encoded = encode(&packet, &attachments);
    let again = decode(encoded).expect("what was decoded encodes");
    assert_eq!(again.0.namespace(), packet.namespace());
}

fn decode(message: Bytes) -> Option<(Packet, Vec<Bytes>)> {
    let mut decoder = Decoder::new(Parser::Msgpack, Limits::SERVER, EVENT_BYTES_MAX);
    match decoder.binary(message) {
        Ok(Some(Assembled::Whole {
            packet,
            attachments,
        })) => Some((packet, attachments)),
        Ok(Some(Assembled::TooLarge { bytes, .. })) => {
            assert!(bytes > EVENT_BYTES_MAX);
            None
        }
        Ok(None) => panic!("nothing is due in msgpack"),
        Err(_) => None,
    }
}

fn encode(packet: &Packet, attachments: &[Bytes]) -> Bytes {
    let namespace = packet.namespace();
    let messages = match packet {
        Packet::Event { id, data, .. } => Parser::Msgpack.event(&Outgoing {
            namespace,
            data,
            offset: None,
            id: *id,
            attachments,
        }),
        Packet::Ack { id, data, .. } => Parser::Msgpack.ack(namespace, *id, data, attachments),
        _ => panic!("{packet:?} has no array"),
    };
    assert!(messages.text.is_empty() && messages.binary.len() == 1);
    messages.binary[0].clone()
}
