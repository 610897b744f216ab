//! msgpack to JSON text: what JSON cannot hold becomes attachments with placeholders, or what
//! `JSON.stringify` would make of it.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::date::iso_8601;
use super::reader::{Item, Reader};
use crate::error::DecodeError;
use crate::socketio::decode::Limits;

/// The member by which the reader of JSON knows a placeholder.
const PLACEHOLDER: &str = "_placeholder";

/// Takes one value out of a message.
#[derive(Debug)]
pub(super) struct Extract<'a> {
    /// The message; attachments share its memory.
    message: &'a Bytes,
    limits: &'a Limits,
    /// JSON so far.
    text: Bounded,
    /// Binary found so far.
    attachments: Vec<Bytes>,
    /// How many, also when they are not kept.
    attachment_count: usize,
    /// A map was found that a reader of JSON would take for a placeholder.
    has_false_placeholder: bool,
}

/// A value that was taken out.
#[derive(Debug)]
pub(super) struct Extracted {
    /// JSON; empty when it is too large.
    pub(super) json: Bytes,
    /// What its placeholders stand for.
    pub(super) attachments: Vec<Bytes>,
    /// What both come to.
    pub(super) bytes: usize,
    /// More than allowed: nothing of it was kept.
    pub(super) is_too_large: bool,
}

impl<'a> Extract<'a> {
    /// Keeps at most `bytes_max` of JSON and attachments together.
    pub(super) fn new(message: &'a Bytes, limits: &'a Limits, bytes_max: usize) -> Self {
        Self {
            message,
            limits,
            text: Bounded {
                kept: BytesMut::new(),
                bytes: 0,
                bytes_max,
            },
            attachments: Vec::new(),
            attachment_count: 0,
            has_false_placeholder: false,
        }
    }

    /// Takes the value that `item` begins, with all in it; `depth` containers are around it.
    pub(super) fn value(
        &mut self,
        item: Item<'a>,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        match item {
            Item::Nil | Item::Undefined => self.scalar(&()),
            Item::Bool(value) => self.scalar(&value),
            Item::Unsigned(value) => self.scalar(&value),
            Item::Negative(value) => self.scalar(&value),
            // serde_json writes null for what is no number, as `JSON.stringify` does.
            Item::Float(value) => self.scalar(&value),
            Item::String(value) => self.scalar(value),
            Item::Date(milliseconds) => self.scalar(&iso_8601(milliseconds)),
            Item::Binary(bytes) => return self.attachment(bytes),
            Item::Array(count) => return self.array(count, reader, self.deeper(depth)?),
            Item::Map(count) => return self.map(count, reader, self.deeper(depth)?),
        }
        Ok(())
    }

    /// What was taken.
    ///
    /// # Errors
    /// [`DecodeError::Placeholder`]: beside attachments, a map that only looks like a placeholder
    /// could name one that is not there, and every client with the other parser would close on it.
    pub(super) fn finish(self) -> Result<Extracted, DecodeError> {
        if self.has_false_placeholder && self.attachment_count > 0 {
            return Err(DecodeError::Placeholder);
        }
        let is_too_large = self.text.is_full();
        Ok(Extracted {
            bytes: self.text.bytes,
            json: self.text.kept.freeze(),
            attachments: self.attachments,
            is_too_large,
        })
    }

    fn deeper(&self, depth: usize) -> Result<usize, DecodeError> {
        let max = self.limits.json_depth_max;
        if depth >= max {
            return Err(DecodeError::TooDeep { max });
        }
        Ok(depth + 1)
    }

    fn array(
        &mut self,
        count: usize,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.text.put(b"[");
        for place in 0..count {
            if place > 0 {
                self.text.put(b",");
            }
            let item = reader.next()?;
            self.value(item, reader, depth)?;
        }
        self.text.put(b"]");
        Ok(())
    }

    fn map(
        &mut self,
        count: usize,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.text.put(b"{");
        let mut is_first = true;
        for _ in 0..count {
            let name = reader.next()?;
            let item = reader.next()?;
            // `JSON.stringify` leaves such members out.
            if item == Item::Undefined {
                continue;
            }
            if !is_first {
                self.text.put(b",");
            }
            is_first = false;
            match name {
                Item::String(name) => self.scalar(name),
                // JavaScript and Python make text of them for JSON.
                Item::Unsigned(number) => self.scalar(&number.to_string()),
                Item::Negative(number) => self.scalar(&number.to_string()),
                _ => return Err(DecodeError::MsgpackValue),
            }
            self.text.put(b":");
            self.has_false_placeholder |=
                name == Item::String(PLACEHOLDER) && item == Item::Bool(true);
            self.value(item, reader, depth)?;
        }
        self.text.put(b"}");
        Ok(())
    }

    fn attachment(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let max = self.limits.attachments_max;
        let number = self.attachment_count;
        if number == max {
            return Err(DecodeError::TooManyAttachments { max });
        }
        self.attachment_count += 1;
        self.text
            .put(format!(r#"{{"{PLACEHOLDER}":true,"num":{number}}}"#).as_bytes());
        self.text.count(bytes.len());
        if self.text.is_full() {
            self.attachments = Vec::new();
        } else {
            self.attachments.push(self.message.slice_ref(bytes));
        }
        Ok(())
    }

    fn scalar<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.text, value).expect("a scalar always serializes");
    }
}

/// Text up to a bound; beyond it only counts, and keeps nothing.
#[derive(Debug)]
struct Bounded {
    kept: BytesMut,
    /// All that was put or counted.
    bytes: usize,
    bytes_max: usize,
}

impl Bounded {
    fn put(&mut self, piece: &[u8]) {
        self.count(piece.len());
        if !self.is_full() {
            self.kept.put_slice(piece);
        }
    }

    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_full() {
            self.kept = BytesMut::new();
        }
    }

    fn is_full(&self) -> bool {
        self.bytes > self.bytes_max
    }
}

impl io::Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.put(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
