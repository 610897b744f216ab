//! Engine.IO: packets, polling payloads, the handshake's query.

use bytes::Bytes;
use roomcast_proto::DecodeError;
use roomcast_proto::engineio::handshake::QUERY_PARAMETERS_MAX;
use roomcast_proto::engineio::{
    OpenPacket, Packet, Query, RequestKind, Target, Transport, payload,
};

/// Packets of a payload in this check.
const PACKETS_MAX: usize = 8;

/// The bytes as one text packet and as a polling payload.
pub(crate) fn payload(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(packet) = Packet::decode_text(bytes.clone()) {
        assert_eq!(packet.encode_text(), bytes, "a packet has one text");
        if let Packet::Open(data) = &packet {
            open(data);
        }
    }
    let texts = split(&bytes);
    match payload::decode(&bytes, PACKETS_MAX) {
        Ok(packets) => {
            assert!(packets.len() <= PACKETS_MAX);
            let encoded: Vec<Bytes> = packets.iter().map(Packet::encode_text).collect();
            assert_eq!(encoded, texts, "the packets between the separators");
            assert_eq!(payload::encode(&encoded), bytes, "a payload has one text");
        }
        Err(DecodeError::TooManyPackets { .. }) => assert!(texts.len() > PACKETS_MAX),
        Err(_) => {
            let mut texts = texts.into_iter();
            assert!(texts.any(|text| Packet::decode_text(text).is_err()));
        }
    }
}

/// The payload's packets by way of taking the first of them again and again.
fn split(payload: &Bytes) -> Vec<Bytes> {
    let mut texts = Vec::new();
    let mut rest = Some(payload.clone());
    while let Some(payload) = rest {
        let (first, after) = payload::split_first(&payload);
        assert!(!first.contains(&payload::SEPARATOR));
        texts.push(first);
        rest = after;
    }
    texts
}

fn open(data: &Bytes) {
    let Ok(open) = OpenPacket::decode(data) else {
        return;
    };
    let Ok(Packet::Open(again)) = Packet::decode_text(open.encode()) else {
        panic!("{open:?} encodes to an open packet");
    };
    assert_eq!(OpenPacket::decode(&again), Ok(open));
}

/// The bytes as the query of a request.
pub(crate) fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(query) = Query::parse(text) else {
        return;
    };
    assert!(query.rest.len() <= QUERY_PARAMETERS_MAX);
    let pairs = pairs(&query);
    let bytes: usize = pairs
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!(bytes <= text.len(), "unescaping adds nothing");
    let again: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    assert_eq!(Query::parse(&again.join("&")), Ok(query.clone()));
    for kind in [RequestKind::Get, RequestKind::Upgrade, RequestKind::Other] {
        for enabled in [&[Transport::WebSocket][..], &[Transport::Polling]] {
            verdict(&query, kind, enabled);
        }
    }
}

/// Every parameter that the query kept.
fn pairs(query: &Query) -> Vec<(&str, &str)> {
    let known = [
        ("EIO", &query.eio),
        ("transport", &query.transport),
        ("sid", &query.sid),
    ];
    let known = known
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let rest = query.rest.iter().map(|(key, value)| (&key[..], &value[..]));
    known.chain(rest).collect()
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn verdict(query: &Query, kind: RequestKind, enabled: &[Transport]) {
    match query.verify(kind, enabled) {
        Ok(Target::Existing { sid, transport }) => {
            assert_eq!(query.sid, Some(sid));
            assert!(enabled.contains(&transport));
        }
        Ok(Target::New { transport }) => {
            assert_eq!((&query.sid, query.eio.as_deref()), (&None, Some("4")));
            assert_eq!(query.transport.as_deref(), Some(transport.name()));
            assert!(enabled.contains(&transport) && kind != RequestKind::Other);
        }
        Err(error) => {
            let body = serde_json::from_str::<serde_json::Value>(&error.body());
            let body = body.expect("the body is JSON");
            assert_eq!(body["code"], error.code());
            assert!(error.status() == 400 && error.code() <= 5);
        }
    }
}
