//! JSON text with placeholders to msgpack with binary in their places. The text was checked where
//! it entered; no value is built of it, and nesting costs no stack.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, Error, Visitor};

use super::writer::Writer;
use crate::socketio::binary::Levels;
use crate::socketio::json::{self, Bracket, Token, Tokens};

/// What the closing bracket of an array or object tells and msgpack wants at the opening one.
#[derive(Debug, Clone, Copy, Default)]
struct Container {
    /// Values, and names of members.
    item_count: usize,
    /// The attachment whose placeholder it is.
    stands_for: Option<usize>,
}

/// Writes `text`. A placeholder becomes its attachment where it stands first; again it becomes nil,
/// as one without attachment does: otherwise a few bytes of JSON could become megabytes, over and
/// over.
pub(super) fn json(writer: &mut Writer, text: &[u8], attachments: &[Bytes]) {
    write(writer, text, attachments, None);
}

/// Writes an array with one more element at its end.
pub(super) fn array_and(writer: &mut Writer, text: &[u8], attachments: &[Bytes], last: &str) {
    write(writer, text, attachments, Some(last));
}

fn write(writer: &mut Writer, text: &[u8], attachments: &[Bytes], last: Option<&str>) {
    let text = std::str::from_utf8(text).unwrap_or_default();
    debug_assert!(!text.is_empty(), "checked JSON comes in here");
    let containers = measure(text, attachments.len());
    let mut containers = containers.into_iter();
    let mut attachments: Vec<Option<&Bytes>> = attachments.iter().map(Some).collect();
    let mut tokens = Tokens::new(text);
    let mut more = usize::from(last.is_some());
    while let Some(token) = tokens.next() {
        match token {
            Token::Open(bracket) => {
                let container = containers.next().unwrap_or_default();
                if let Some(number) = container.stands_for {
                    match attachments.get_mut(number).and_then(Option::take) {
                        Some(bytes) => writer.binary(bytes),
                        None => writer.nil(),
                    }
                    skip(&mut tokens, &mut containers);
                } else if bracket == Bracket::Array {
                    writer.array(container.item_count + more);
                } else {
                    writer.map(container.item_count / 2);
                }
                more = 0;
            }
            Token::Close | Token::Colon => {}
            Token::String(token) => writer.string(&text_of(token)),
            Token::Scalar("null") => writer.nil(),
            Token::Scalar("true") => writer.boolean(true),
            Token::Scalar("false") => writer.boolean(false),
            Token::Scalar(number) => write_number(writer, number),
        }
    }
    if let Some(last) = last {
        writer.string(last);
    }
}

/// Every array and object of `text`, in the order in which they open.
fn measure(text: &str, attachment_count: usize) -> Vec<Container> {
    let mut containers: Vec<Container> = Vec::new();
    let mut open = Vec::new();
    let mut levels = Levels::default();
    for token in Tokens::new(text) {
        if let Token::Open(_) = token {
            open.push(containers.len());
            containers.push(Container::default());
        }
        let Some(closed) = levels.take(token) else {
            continue;
        };
        let place = open.pop().unwrap_or_default();
        if let Some(container) = containers.get_mut(place) {
            container.item_count = closed.item_count;
            container.stands_for = closed.attachment(attachment_count);
        }
    }
    containers
}

/// Goes past the rest of a container, and past the measures of those in it.
fn skip(tokens: &mut Tokens<'_>, containers: &mut impl Iterator<Item = Container>) {
    let mut depth = 1_usize;
    while depth > 0 {
        match tokens.next() {
            Some(Token::Open(_)) => {
                containers.next();
                depth += 1;
            }
            Some(Token::Close) => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// What JavaScript counts as an integer stays one where msgpack has a form for it.
fn write_number(writer: &mut Writer, number: &str) {
    if let Ok(value) = number.parse::<u64>() {
        writer.unsigned(value);
    } else if let (Ok(value), true) = (number.parse::<i64>(), number != "-0") {
        writer.integer(value);
    } else {
        // Too large a number becomes infinite, as in `JSON.parse`.
        writer.float(number.parse().unwrap_or(f64::NAN));
    }
}

/// The text of a string token; what is no text of it, a lone surrogate, becomes U+FFFD.
fn text_of(token: &str) -> Cow<'_, str> {
    json::string_text(token).unwrap_or_else(|| {
        let mut deserializer = serde_json::Deserializer::from_str(token);
        let bytes = deserializer.deserialize_bytes(Surrogates);
        String::from_utf8_lossy(&bytes.unwrap_or_default())
            .into_owned()
            .into()
    })
}

/// The bytes of a string, in which serde_json gives a lone surrogate the three bytes that UTF-8
/// would give it if it had any.
struct Surrogates;

impl Visitor<'_> for Surrogates {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        let mut text = bytes.to_vec();
        for place in 0..text.len() {
            if let Some([first @ 0xed, second @ 0xa0..=0xbf, third]) =
                text.get_mut(place..place + 3)
            {
                (*first, *second, *third) = (0xef, 0xbf, 0xbd);
            }
        }
        Ok(text)
    }
}
