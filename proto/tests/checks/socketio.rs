//! Socket.IO: packets, and the messages of one connection put together.

use bytes::Bytes;
use roomcast_proto::socketio::{self, Assembled, Assembler, Limits, Packet, binary, encode};
use roomcast_proto::{DecodeError, engineio};
use serde_json::Value;

use super::args;

/// Payload and attachments of one packet in the check of the assembler, in bytes.
const EVENT_BYTES_MAX: usize = 64;

/// The bytes as the content of an Engine.IO message.
pub(crate) fn packet(bytes: &[u8]) {
    let text = Bytes::copy_from_slice(bytes);
    for limits in [Limits::SERVER, Limits::CLIENT] {
        if let Ok(packet) = socketio::decode(text.clone(), &limits) {
            bounded(&packet, &text, &limits);
            survives(&packet, &limits);
        }
    }
    let narrow = socketio::decode(text.clone(), &Limits::SERVER);
    if narrow.is_ok() {
        let wide = socketio::decode(text, &Limits::CLIENT);
        assert_eq!(narrow, wide, "limits refuse, they change nothing");
    }
}

/// Its parts are no larger than the limits and lie within what was received.
fn bounded(packet: &Packet, text: &Bytes, limits: &Limits) {
    assert!(packet.attachments() <= limits.attachments_max);
    assert!(packet.namespace().len() <= limits.namespace_bytes_max);
    let data = match packet {
        Packet::Connect { auth, .. } => auth.as_ref(),
        Packet::Event { data, .. } => {
            args::name(data);
            Some(data)
        }
        Packet::Ack { data, .. } | Packet::ConnectError { data, .. } => Some(data),
        Packet::Disconnect { .. } => None,
    };
    let Some(data) = data else {
        return;
    };
    assert!(text.as_ptr_range().contains(&data.as_ptr()));
    assert!(data.len() < text.len());
    assert_eq!(data.trim_ascii(), data, "no whitespace around a payload");
}

/// It decodes to itself again, with an offset behind its arguments too.
fn survives(packet: &Packet, limits: &Limits) {
    let again = socketio::decode(message(encode::packet(packet)), limits);
    assert_eq!(again.as_ref(), Ok(packet));
    let Packet::Event {
        namespace,
        id,
        data,
        attachments,
    } = packet
    else {
        return;
    };
    let text = encode::event(namespace, data, Some("1.2.3"), *id, *attachments);
    let Ok(Packet::Event { data: stamped, .. }) = socketio::decode(message(text), limits) else {
        panic!("an event with an offset is an event");
    };
    if let (Some(mut before), Some(after)) = (args::elements(data), args::elements(&stamped)) {
        before.push(Bytes::from_static(b"\"1.2.3\""));
        assert_eq!(before, after);
    }
}

fn message(text: Bytes) -> Bytes {
    match engineio::Packet::decode_text(text) {
        Ok(engineio::Packet::Message(message)) => message,
        other => panic!("{other:?} is no message"),
    }
}

/// The lines as the messages of one connection: `b` begins a binary one, anything else is text.
pub(crate) fn assembler(bytes: &[u8]) {
    let mut assembler = Assembler::new(EVENT_BYTES_MAX);
    let mut due: Option<(Packet, Vec<Bytes>)> = None;
    for line in bytes.split(|&byte| byte == b'\n') {
        let outcome = match line.split_first() {
            Some((b'b', message)) => {
                let message = Bytes::copy_from_slice(message);
                if let Some((_, sent)) = &mut due {
                    sent.push(message.clone());
                }
                assembler.binary(message)
            }
            _ => text(&mut assembler, line, &mut due),
        };
        match outcome {
            Err(error) => return refused(&error, due.is_some()),
            Ok(None) => {
                let (packet, sent) = due.as_ref().expect("something is due");
                assert!(assembler.is_pending() && sent.len() < packet.attachments());
            }
            Ok(Some(assembled)) => {
                assert!(!assembler.is_pending());
                whole(assembled, due.take().expect("a packet came first"));
            }
        }
    }
}

/// Hands a text over and notes its packet as due, unless another one is.
fn text(
    assembler: &mut Assembler,
    line: &[u8],
    due: &mut Option<(Packet, Vec<Bytes>)>,
) -> Result<Option<Assembled>, DecodeError> {
    let packet = socketio::decode(Bytes::copy_from_slice(line), &Limits::SERVER)?;
    let outcome = assembler.text(packet.clone());
    if due.is_some() {
        assert_eq!(outcome, Err(DecodeError::TextAmidAttachments));
        return outcome;
    }
    if let Packet::Event { data, .. } | Packet::Ack { data, .. } = &packet
        && packet.attachments() > 0
        && let Ok(value) = serde_json::from_slice::<Value>(data)
    {
        let within = placeholders_are_within(&value, packet.attachments());
        assert_eq!(outcome.is_ok(), within, "placeholders mean what JSON says");
    }
    *due = Some((packet, Vec::new()));
    outcome
}

fn refused(error: &DecodeError, was_due: bool) {
    match error {
        DecodeError::BinaryUnexpected => assert!(!was_due),
        DecodeError::TextAmidAttachments => assert!(was_due),
        _ => {}
    }
}

/// What was put together is what was sent, or too large for it.
fn whole(assembled: Assembled, (sent, messages): (Packet, Vec<Bytes>)) {
    let payload = match &sent {
        Packet::Event { data, .. } | Packet::Ack { data, .. } => data.len(),
        Packet::Connect { .. } | Packet::Disconnect { .. } | Packet::ConnectError { .. } => 0,
    };
    let total = payload + messages.iter().map(Bytes::len).sum::<usize>();
    assert_eq!(messages.len(), sent.attachments());
    match assembled {
        Assembled::Whole {
            packet,
            attachments,
        } => {
            assert_eq!((packet, attachments), (sent, messages));
            assert!(total <= EVENT_BYTES_MAX);
        }
        Assembled::TooLarge { packet, bytes } => {
            assert_eq!((packet, bytes), (sent, total));
            assert!(total > EVENT_BYTES_MAX);
        }
    }
}

/// The meaning of placeholders, by way of values.
pub(crate) fn placeholders_are_within(value: &Value, count: usize) -> bool {
    match value {
        Value::Array(elements) => elements.iter().all(|v| placeholders_are_within(v, count)),
        Value::Object(members) => {
            let named = binary::placeholder_number(value).is_some_and(|n| n < count);
            let number = members.get("num").and_then(Value::as_f64);
            let whole = number.is_some_and(|n| n.fract() == 0.0 && n >= 0.0 && n < count as f64);
            let legal = members.get("_placeholder") != Some(&Value::Bool(true)) || named || whole;
            legal && members.values().all(|v| placeholders_are_within(v, count))
        }
        _ => true,
    }
}
