//! The elements of an event's or ack's array, as slices of its bytes.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::DecodeError;
use crate::socketio::json::{self, Bracket, Token, Tokens};

/// Elements that [`split`] gives at most, so that a megabyte of `1,1,1` does not become forty.
pub const ARGUMENTS_MAX: usize = 4096;

/// What JSON calls whitespace.
const JSON_SPACES: [char; 4] = [' ', '\t', '\n', '\r'];

/// Names that neither side may emit. (Socket.IO v5; socket.io-parser, `RESERVED_EVENTS`.)
pub const RESERVED_EVENT_NAMES: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The top-level elements of a JSON array; each shares the memory of `array`.
///
/// # Errors
/// [`DecodeError::NotUtf8`], [`DecodeError::Json`] (also for JSON that is no array),
/// [`DecodeError::TooManyArguments`].
pub fn split(array: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let text = std::str::from_utf8(array).map_err(|_| DecodeError::NotUtf8)?;
    let mut elements = Elements {
        array,
        found: Vec::new(),
        overflow: false,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = json
        .deserialize_seq(&mut elements)
        .and_then(|()| json.end());
    match outcome {
        Ok(()) => Ok(elements.found),
        Err(_) if elements.overflow => Err(DecodeError::TooManyArguments { max: ARGUMENTS_MAX }),
        Err(error) => Err(json::malformed(&error)),
    }
}

/// The event's name: the first element's text, or its digits when it is a number.
///
/// # Errors
/// [`DecodeError::EventName`], [`DecodeError::ReservedEventName`], [`DecodeError::NotUtf8`].
/// `array` is taken to be well formed, as a decoded packet's data is.
pub fn event_name(array: &Bytes) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(array).map_err(|_| DecodeError::NotUtf8)?;
    name_of(text).map(|name| name.into_owned())
}

/// Takes an event apart: its name as [`event_name`] reads it, and a JSON array of what follows.
///
/// # Errors
/// Those of [`event_name`]. `array` is taken to be well formed, as a decoded packet's data is.
pub fn named(array: &Bytes) -> Result<(String, Bytes), DecodeError> {
    let text = std::str::from_utf8(array).map_err(|_| DecodeError::NotUtf8)?;
    let name = name_of(text)?.into_owned();
    let mut tokens = Tokens::new(text);
    // The bracket and the name.
    tokens.by_ref().take(2).for_each(drop);
    let rest = tokens.rest().trim_start_matches(JSON_SPACES);
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    let mut arguments = BytesMut::with_capacity(rest.len() + 1);
    arguments.put_u8(b'[');
    arguments.put_slice(rest.as_bytes());
    Ok((name, arguments.freeze()))
}

/// Makes an event of a name and a JSON array of arguments, of which nothing is known yet; empty
/// stands for none.
///
/// # Errors
/// Those of [`check_event`].
pub fn with_name(name: &str, arguments: &str, json_depth_max: usize) -> Result<Bytes, DecodeError> {
    let arguments = arguments.trim_matches(JSON_SPACES);
    let inner = match arguments {
        "" => "]",
        _ => arguments
            .strip_prefix('[')
            .ok_or(DecodeError::PayloadKind {
                expected: "an array",
            })?
            .trim_start_matches(JSON_SPACES),
    };
    let comma = if inner == "]" { "" } else { "," };
    // What is well formed behind the name is well formed without it.
    let event = format!("[{}{comma}{inner}", serde_json::Value::from(name));
    check_event(&event.into(), json_depth_max)
}

/// Checks an event that did not come through [`crate::socketio::decode()`]: a JSON array, first a
/// name that is not reserved. Returns it without whitespace around it.
///
/// # Errors
/// Those of [`crate::socketio::decode()`] for an event's payload.
pub fn check_event(array: &Bytes, json_depth_max: usize) -> Result<Bytes, DecodeError> {
    let array = check_array(array, json_depth_max)?;
    event_name(&array)?;
    Ok(array)
}

/// Checks what should be a JSON array; returns it without whitespace around it.
///
/// # Errors
/// Those of [`crate::socketio::decode()`] for an ack's payload.
pub fn check_array(array: &Bytes, json_depth_max: usize) -> Result<Bytes, DecodeError> {
    let text = std::str::from_utf8(array).map_err(|_| DecodeError::NotUtf8)?;
    let text = json::check(text.trim_start_matches(JSON_SPACES), json_depth_max)?;
    if !text.starts_with('[') {
        return Err(DecodeError::PayloadKind {
            expected: "an array",
        });
    }
    Ok(array.slice_ref(text.as_bytes()))
}

/// A JSON array of elements that are JSON already.
#[must_use]
pub fn join(elements: &[Bytes]) -> Bytes {
    let length: usize = elements.iter().map(|element| element.len() + 1).sum();
    let mut array = BytesMut::with_capacity(length + 2);
    array.put_u8(b'[');
    for (place, element) in elements.iter().enumerate() {
        if place > 0 {
            array.put_u8(b',');
        }
        array.put_slice(element);
    }
    array.put_u8(b']');
    array.freeze()
}

/// Checks the name in an event's array, which is well formed.
pub(crate) fn check_name(array: &str) -> Result<(), DecodeError> {
    name_of(array).map(|_| ())
}

fn name_of(array: &str) -> Result<std::borrow::Cow<'_, str>, DecodeError> {
    let mut tokens = Tokens::new(array);
    if tokens.next() != Some(Token::Open(Bracket::Array)) {
        return Err(DecodeError::PayloadKind {
            expected: "an array",
        });
    }
    match tokens.next() {
        Some(Token::String(token)) => {
            let name = json::string_text(token).ok_or(DecodeError::EventName)?;
            match RESERVED_EVENT_NAMES
                .into_iter()
                .find(|reserved| *reserved == name)
            {
                Some(reserved) => Err(DecodeError::ReservedEventName(reserved)),
                None => Ok(name),
            }
        }
        Some(Token::Scalar(number)) if number.starts_with(is_number_start) => Ok(number.into()),
        _ => Err(DecodeError::EventName),
    }
}

fn is_number_start(first: char) -> bool {
    first == '-' || first.is_ascii_digit()
}

/// Collects elements, and stops at the bound instead of after it.
struct Elements<'a> {
    array: &'a Bytes,
    found: Vec<Bytes>,
    overflow: bool,
}

impl<'de> Visitor<'de> for &mut Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            if self.found.len() == ARGUMENTS_MAX {
                self.overflow = true;
                return Err(serde::de::Error::custom("too many elements"));
            }
            self.found
                .push(self.array.slice_ref(element.get().as_bytes()));
        }
        Ok(())
    }
}
