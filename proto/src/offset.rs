//! [`Offset`]: a position of a log as clients see it, `<epoch>.<index>.<op>` in base 36.
//!
//! Opaque to clients, who only store it and send it back. Exactly one text stands for each value,
//! so that texts may be compared for equality. (DESIGN, section 2.)

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::error::DecodeError;

const RADIX: u32 = 36;
/// Digits of `u64::MAX` in base 36.
const DIGITS_MAX: usize = 13;

/// A position on the wire. Not ordered: positions of different epochs have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    /// Which log: random, written by a log's first entry.
    pub epoch: u64,
    /// Index of the entry in that log.
    pub index: u64,
    /// Operation within the entry, from 0.
    pub op: u32,
}

impl Offset {
    /// No offset's text is longer, in bytes.
    pub const TEXT_BYTES_MAX: usize = DIGITS_MAX + 1 + DIGITS_MAX + 1 + 7;
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base36(f, self.epoch)?;
        f.write_char('.')?;
        write_base36(f, self.index)?;
        f.write_char('.')?;
        write_base36(f, u64::from(self.op))
    }
}

impl FromStr for Offset {
    type Err = DecodeError;

    /// Accepts what `Display` writes and nothing else.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut parts = text.splitn(3, '.');
        let mut next = || {
            parts
                .next()
                .and_then(parse_base36)
                .ok_or(DecodeError::Offset)
        };
        let (epoch, index, op) = (next()?, next()?, next()?);
        let op = u32::try_from(op).map_err(|_| DecodeError::Offset)?;
        Ok(Self { epoch, index, op })
    }
}

fn write_base36(f: &mut fmt::Formatter<'_>, mut value: u64) -> fmt::Result {
    let mut digits = [0_u8; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    for digit in digits.iter_mut().rev() {
        let low = u32::try_from(value % u64::from(RADIX)).expect("a remainder below 36");
        *digit = char::from_digit(low, RADIX).map_or(b'0', |c| c as u8);
        value /= u64::from(RADIX);
        start -= 1;
        if value == 0 {
            break;
        }
    }
    for digit in digits.iter().skip(start) {
        f.write_char(char::from(*digit))?;
    }
    Ok(())
}

/// `from_str_radix` also takes signs, capitals and leading zeros, which are not canonical.
fn parse_base36(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'))
        && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return None;
    }
    u64::from_str_radix(text, RADIX).ok()
}
