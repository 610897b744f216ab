//! msgpack, one item at a time: a scalar whole, of an array or a map only its head. Copies nothing;
//! a claimed length is believed when the bytes are there.

use crate::error::DecodeError;

/// The extension type that `notepack.io` uses for what JavaScript has beyond msgpack.
const JAVASCRIPT: u8 = 0;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Item<'a> {
    Nil,
    /// JavaScript's `undefined`.
    Undefined,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    String(&'a str),
    /// Binary, or JavaScript's `ArrayBuffer`.
    Binary(&'a [u8]),
    /// JavaScript's `Date`, in milliseconds from 1970.
    Date(i64),
    /// So many items follow.
    Array(usize),
    /// So many pairs of items follow.
    Map(usize),
}

/// Walks over the bytes of one message.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// Length of the whole message, to say where it is wrong.
    length: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            length: message.len(),
            rest: message,
        }
    }

    /// The next item.
    ///
    /// # Errors
    /// [`DecodeError::Msgpack`], [`DecodeError::MsgpackValue`], [`DecodeError::NotUtf8`].
    pub(super) fn next(&mut self) -> Result<Item<'a>, DecodeError> {
        let [head] = self.array()?;
        Ok(match head {
            0x00..=0x7f => Item::Unsigned(head.into()),
            0x80..=0x8f => self.map(usize::from(head & 0x0f))?,
            0x90..=0x9f => self.elements(usize::from(head & 0x0f))?,
            0xa0..=0xbf => self.string(usize::from(head & 0x1f))?,
            0xc0 => Item::Nil,
            0xc2 => Item::Bool(false),
            0xc3 => Item::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length_of(head - 0xc4)?;
                Item::Binary(self.take(length)?)
            }
            0xc7..=0xc9 => self.extension(head - 0xc7)?,
            0xca => Item::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Item::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Item::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Item::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Item::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Item::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => integer(i8::from_be_bytes(self.array()?).into()),
            0xd1 => integer(i16::from_be_bytes(self.array()?).into()),
            0xd2 => integer(i32::from_be_bytes(self.array()?).into()),
            0xd3 => integer(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.fixed_extension(head)?,
            0xd9..=0xdb => {
                let length = self.length_of(head - 0xd9)?;
                self.string(length)?
            }
            0xdc..=0xdd => {
                let count = self.length_of(head - 0xdc + 1)?;
                self.elements(count)?
            }
            0xde..=0xdf => {
                let count = self.length_of(head - 0xde + 1)?;
                self.map(count)?
            }
            0xe0..=0xff => integer(i8::from_be_bytes([head]).into()),
            0xc1 => return Err(self.malformed()),
        })
    }

    /// Goes past one value with all that is in it, without recursion.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut due = 1_usize;
        while due > 0 {
            due -= 1;
            due = due.saturating_add(match self.next()? {
                Item::Array(count) => count,
                Item::Map(count) => count.saturating_mul(2),
                _ => 0,
            });
        }
        Ok(())
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.malformed())
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Msgpack {
            at: self.length - self.rest.len(),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length of 1, 2 or 4 bytes for `size` 0, 1 or 2.
    fn length_of(&mut self, size: u8) -> Result<usize, DecodeError> {
        let length = match size {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?),
        };
        usize::try_from(length).map_err(|_| self.malformed())
    }

    fn string(&mut self, length: usize) -> Result<Item<'a>, DecodeError> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::NotUtf8)?;
        Ok(Item::String(text))
    }

    /// An element has one byte at least: more of them than bytes are left is a lie.
    fn elements(&mut self, count: usize) -> Result<Item<'a>, DecodeError> {
        if count > self.rest.len() {
            return Err(self.malformed());
        }
        Ok(Item::Array(count))
    }

    fn map(&mut self, count: usize) -> Result<Item<'a>, DecodeError> {
        if count > self.rest.len() / 2 {
            return Err(self.malformed());
        }
        Ok(Item::Map(count))
    }

    /// With a length of its own: an `ArrayBuffer`, or nothing that we know.
    fn extension(&mut self, size: u8) -> Result<Item<'a>, DecodeError> {
        let length = self.length_of(size)?;
        match self.array()? {
            [JAVASCRIPT] => Ok(Item::Binary(self.take(length)?)),
            _ => Err(DecodeError::MsgpackValue),
        }
    }

    /// Of 1 byte: `undefined`; of 8: a `Date`; or nothing that we know.
    fn fixed_extension(&mut self, head: u8) -> Result<Item<'a>, DecodeError> {
        let [kind] = self.array()?;
        match (head, kind) {
            (0xd4, JAVASCRIPT) => self.array::<1>().map(|_| Item::Undefined),
            (0xd7, JAVASCRIPT) => Ok(Item::Date(i64::from_be_bytes(self.array()?))),
            _ => Err(DecodeError::MsgpackValue),
        }
    }
}

fn integer(value: i64) -> Item<'static> {
    u64::try_from(value).map_or(Item::Negative(value), Item::Unsigned)
}
