//! Runs the wire vectors of `testdata/` both ways.

use std::fmt::Write as _;

use bytes::Bytes;
use roomcast_proto::engineio::{self, Query, RequestKind, Target, Transport, payload};
use roomcast_proto::socketio::{
    self, Assembled, Assembler, Decoder, Limits, Outgoing, Parser, encode,
};
use roomcast_proto::{DecodeError, Offset};

const LIMITS: Limits = Limits {
    attachments_max: 10,
    json_depth_max: 5,
    namespace_bytes_max: 12,
};

/// One line of a file: bytes, what they mean, and whether that encodes to the same bytes again.
struct Vector {
    line: usize,
    bytes: Bytes,
    meaning: String,
    both_ways: bool,
}

fn vectors(file: &str) -> Vec<Vector> {
    let mut found = Vec::new();
    for (place, line) in file.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let both_ways = line.contains(" <=> ");
        let arrow = if both_ways { " <=> " } else { " => " };
        let (bytes, meaning) = line.split_once(arrow).expect("an arrow in each line");
        let meaning = meaning.to_owned();
        found.push(Vector {
            line: place + 1,
            bytes: unescape(bytes),
            meaning,
            both_ways,
        });
    }
    assert!(found.len() > 10, "a file of vectors");
    found
}

/// `\xNN` is a byte; everything else, JSON's escapes too, is itself.
fn unescape(text: &str) -> Bytes {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits after \\x"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    Bytes::from(bytes)
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                write!(text, "\\x{:02x}", u32::from(c)).expect("a String grows");
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a String grows");
        }
    }
    text
}

fn describe_engine(packet: &engineio::Packet) -> String {
    use engineio::Packet;
    let (name, data) = match packet {
        Packet::Open(data) => ("open", &data[..]),
        Packet::Close => ("close", &[][..]),
        Packet::Ping(data) => ("ping", &data[..]),
        Packet::Pong(data) => ("pong", &data[..]),
        Packet::Message(data) => ("message", &data[..]),
        Packet::Binary(data) => ("binary", &data[..]),
        Packet::Upgrade => ("upgrade", &[][..]),
        Packet::Noop => ("noop", &[][..]),
    };
    format!("{name} {}", text(data)).trim_end().to_owned()
}

fn describe(packet: &socketio::Packet) -> String {
    use socketio::Packet;
    match packet {
        Packet::Connect { namespace, auth } => {
            let auth = auth
                .as_ref()
                .map_or_else(|| "-".to_owned(), |auth| text(auth));
            format!("connect {namespace} {auth}")
        }
        Packet::Disconnect { namespace } => format!("disconnect {namespace}"),
        Packet::Event {
            namespace,
            id,
            data,
            attachments,
        } => {
            let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            format!(
                "event {namespace} id={id} attachments={attachments} {}",
                text(data)
            )
        }
        Packet::Ack {
            namespace,
            id,
            data,
            attachments,
        } => {
            format!(
                "ack {namespace} id={id} attachments={attachments} {}",
                text(data)
            )
        }
        Packet::ConnectError { namespace, data } => {
            format!("connect_error {namespace} {}", text(data))
        }
    }
}

fn decode_both(bytes: &Bytes) -> Result<socketio::Packet, DecodeError> {
    match engineio::Packet::decode_text(bytes.clone())? {
        engineio::Packet::Message(message) => socketio::decode(message, &LIMITS),
        other => panic!("{other:?} is no message"),
    }
}

#[test]
fn engine_packets_match_their_vectors_both_ways() {
    for vector in vectors(include_str!("../testdata/engineio.txt")) {
        let decoded = engineio::Packet::decode_text(vector.bytes.clone());
        let meaning = match &decoded {
            Ok(packet) => describe_engine(packet),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(meaning, vector.meaning, "line {}", vector.line);
        if vector.both_ways {
            assert_eq!(
                decoded.unwrap().encode_text(),
                vector.bytes,
                "line {}",
                vector.line
            );
        }
    }
}

#[test]
fn socket_packets_match_their_vectors_both_ways() {
    for vector in vectors(include_str!("../testdata/socketio.txt")) {
        let decoded = decode_both(&vector.bytes);
        let meaning = match &decoded {
            Ok(packet) => describe(packet),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(meaning, vector.meaning, "line {}", vector.line);
        if vector.both_ways {
            assert_eq!(
                encode::packet(&decoded.unwrap()),
                vector.bytes,
                "line {}",
                vector.line
            );
        }
    }
}

#[test]
fn msgpack_packets_match_their_vectors_both_ways() {
    for vector in vectors(include_str!("../testdata/msgpack.txt")) {
        let outcome = Decoder::new(Parser::Msgpack, LIMITS, 96).binary(vector.bytes.clone());
        assert_eq!(
            describe_assembled(outcome.clone()),
            vector.meaning,
            "line {}",
            vector.line
        );
        if vector.both_ways {
            let bytes = in_msgpack(outcome);
            assert_eq!(text(&bytes), text(&vector.bytes), "line {}", vector.line);
        }
    }
}

/// The binary message that our side makes of a packet.
fn in_msgpack(outcome: Result<Option<Assembled>, DecodeError>) -> Bytes {
    let Ok(Some(Assembled::Whole {
        packet,
        attachments,
    })) = outcome
    else {
        panic!("{outcome:?} is no packet");
    };
    let member = |data: &[u8], name: &str| {
        let data: serde_json::Value = serde_json::from_slice(data).expect("an object");
        data.get(name).map(ToString::to_string)
    };
    let text_member = |data: &[u8], name: &str| {
        let member = member(data, name)?;
        Some(serde_json::from_str::<String>(&member).expect("a string"))
    };
    let messages = match &packet {
        socketio::Packet::Connect { namespace, auth } => {
            let auth = auth.as_ref().expect("a sid at least");
            let (sid, pid) = (
                text_member(auth, "sid").expect("a sid"),
                text_member(auth, "pid"),
            );
            let resume = member(auth, "resume");
            let resume = resume.as_ref().map(String::as_bytes);
            Parser::Msgpack.connect(namespace, &sid, pid.as_deref(), resume)
        }
        socketio::Packet::Disconnect { namespace } => Parser::Msgpack.disconnect(namespace),
        socketio::Packet::Event {
            namespace,
            id,
            data,
            ..
        } => Parser::Msgpack.event(&Outgoing {
            namespace,
            data,
            offset: None,
            id: *id,
            attachments: &attachments,
        }),
        socketio::Packet::Ack {
            namespace,
            id,
            data,
            ..
        } => Parser::Msgpack.ack(namespace, *id, data, &attachments),
        socketio::Packet::ConnectError { namespace, data } => {
            let message = text_member(data, "message").expect("a message");
            let rest = member(data, "data");
            let rest = rest.as_ref().map(String::as_bytes);
            Parser::Msgpack.connect_error(namespace, &message, rest)
        }
    };
    assert!(messages.text.is_empty(), "one binary message is all");
    messages.binary[0].clone()
}

#[test]
fn offsets_match_their_vectors_both_ways() {
    for vector in vectors(include_str!("../testdata/offsets.txt")) {
        let decoded = std::str::from_utf8(&vector.bytes)
            .unwrap()
            .parse::<Offset>();
        let meaning = match &decoded {
            Ok(offset) => format!("{} {} {}", offset.epoch, offset.index, offset.op),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(meaning, vector.meaning, "line {}", vector.line);
        if vector.both_ways {
            let again = decoded.unwrap().to_string();
            assert_eq!(again, vector.bytes, "line {}", vector.line);
            assert!(again.len() <= Offset::TEXT_BYTES_MAX);
        }
    }
}

#[test]
fn handshakes_are_judged_as_the_reference_does() {
    for vector in vectors(include_str!("../testdata/handshake.txt")) {
        let request = std::str::from_utf8(&vector.bytes).unwrap();
        let (kind, query) = request.split_once(' ').unwrap_or((request, ""));
        let kind = match kind {
            "get" => RequestKind::Get,
            "upgrade" => RequestKind::Upgrade,
            "other" => RequestKind::Other,
            unknown => panic!("{unknown} is no request"),
        };
        assert_eq!(judge(kind, query), vector.meaning, "line {}", vector.line);
    }
}

fn judge(kind: RequestKind, query: &str) -> String {
    let enabled = [Transport::Polling, Transport::WebSocket];
    let outcome = Query::parse(query)
        .and_then(|query| query.verify(kind, &enabled).map(|target| (query, target)));
    match outcome {
        Ok((query, target)) => {
            let target = match target {
                Target::New { transport } => format!("new {}", transport.name()),
                Target::Existing { sid, transport } => {
                    format!("existing {} {sid}", transport.name())
                }
            };
            let rest: Vec<_> = query
                .rest
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("{target} {}", rest.join("|")).trim_end().to_owned()
        }
        Err(error) => format!("{} {}", error.status(), error.body()),
    }
}

#[test]
fn a_polling_payload_is_packets_between_separators() {
    let wire = Bytes::from_static(b"4hello\x1e2\x1ebAQID");
    let packets = payload::decode(&wire, 3).unwrap();
    let described: Vec<_> = packets.iter().map(describe_engine).collect();
    assert_eq!(
        described,
        ["message hello", "ping", "binary \\x01\\x02\\x03"]
    );
    let texts: Vec<_> = packets.iter().map(engineio::Packet::encode_text).collect();
    assert_eq!(payload::encode(&texts), wire);
    assert_eq!(
        payload::decode(&wire, 2),
        Err(DecodeError::TooManyPackets { max: 2 })
    );
    assert_eq!(
        payload::decode(&Bytes::from_static(b"2\x1e"), 3),
        Err(DecodeError::Empty)
    );
    assert_eq!(payload::decode(&Bytes::new(), 3), Err(DecodeError::Empty));
}

#[test]
fn attachments_are_assembled_as_the_transcript_says() {
    for paragraph in include_str!("../testdata/assembler.txt").split("\n\n") {
        let mut assembler = Assembler::new(48);
        let mut outcome = String::new();
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            let input = Bytes::copy_from_slice(line.get(2..).unwrap_or_default().as_bytes());
            match line.get(..2).unwrap_or(line) {
                "< " => {
                    let packet = socketio::decode(input, &LIMITS);
                    outcome = describe_assembled(packet.and_then(|packet| assembler.text(packet)));
                }
                "b " | "b" => outcome = describe_assembled(assembler.binary(input)),
                _ => {
                    assert_eq!(outcome, line, "in paragraph:\n{paragraph}");
                    let closed = line.starts_with("error");
                    assert!(
                        closed || assembler.is_pending() == (line == "pending"),
                        "{line}"
                    );
                }
            }
        }
    }
}

fn describe_assembled(outcome: Result<Option<Assembled>, DecodeError>) -> String {
    match outcome {
        Ok(None) => "pending".to_owned(),
        Ok(Some(Assembled::Whole {
            packet,
            attachments,
        })) => {
            let attachments: Vec<_> = attachments.iter().map(|bytes| text(bytes)).collect();
            format!("whole {} with {attachments:?}", describe(&packet))
        }
        Ok(Some(Assembled::TooLarge { packet, bytes })) => {
            format!("too large {} at {bytes}", describe(&packet))
        }
        Err(error) => format!("error: {error}"),
    }
}
