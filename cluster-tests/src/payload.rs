//! What publishers put into events, so that a receiver can check every byte of it.
//!
//! The event `e` carries publisher, sequence number, body length and a body whose every byte
//! follows from those; the body is text or one binary attachment.

use serde_json::{Value, json};

use crate::oracle::EventId;

/// Name of every event that the oracle judges.
pub const EVENT: &str = "e";
/// Key under which a binary argument stands in a [`Value`], as hexadecimal text.
pub const BINARY: &str = "$binary";

/// The body of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// This many ASCII characters.
    Text(usize),
    /// One attachment of this many bytes.
    Binary(usize),
}

/// Arguments of the event `id`.
#[must_use]
pub fn arguments(id: EventId, body: Body) -> Vec<Value> {
    let (length, body) = match body {
        Body::Text(length) => (length, json!(text(id, length))),
        Body::Binary(length) => (length, json!({ BINARY: hex(&bytes(id, length)) })),
    };
    vec![json!(id.publisher), json!(id.seq), json!(length), body]
}

/// Reads the arguments back; `None` when one byte is not what it was.
#[must_use]
pub fn check(arguments: &[Value]) -> Option<EventId> {
    let [publisher, seq, length, body] = arguments else {
        return None;
    };
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let id = EventId {
        publisher: number(publisher)?,
        seq: number(seq)?,
    };
    let length = usize::try_from(length.as_u64()?).ok()?;
    let intact = match body {
        Value::String(body) => *body == text(id, length),
        body => body.get(BINARY)?.as_str()? == hex(&bytes(id, length)),
    };
    intact.then_some(id)
}

fn letter(id: EventId) -> u8 {
    b'a' + u8::try_from((id.publisher * 7 + id.seq) % 26).unwrap_or(0)
}

fn text(id: EventId, length: usize) -> String {
    char::from(letter(id)).to_string().repeat(length)
}

/// All byte values occur, so that nothing can take it for text.
fn bytes(id: EventId, length: usize) -> Vec<u8> {
    let mut byte = letter(id);
    let mut step = || {
        byte = byte.wrapping_mul(5).wrapping_add(131);
        byte
    };
    (0..length).map(|_| step()).collect()
}

/// Hexadecimal text of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Bytes of hexadecimal text.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_back_and_any_change_is_seen() {
        let id = EventId {
            publisher: 3,
            seq: 77,
        };
        for body in [
            Body::Text(0),
            Body::Text(40),
            Body::Binary(0),
            Body::Binary(300),
        ] {
            let good = arguments(id, body);
            assert_eq!(check(&good), Some(id), "{body:?}");
            let mut other = good.clone();
            other[1] = json!(78);
            assert_ne!(check(&other), Some(id), "{body:?}");
            assert_eq!(check(&good[..3]), None);
        }
        assert_eq!(check(&[json!(3), json!(77), json!(3), json!("zzx")]), None);
        assert_eq!(unhex(&hex(&[0, 127, 255])), Some(vec![0, 127, 255]));
        assert_eq!(unhex("0"), None);
    }
}
