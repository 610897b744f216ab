//! Padded standard base64 (RFC 4648, section 4), as polling carries binary messages.
//!
//! Strict: no whitespace, no missing padding, no stray bits; so every value has one text.

use bytes::Bytes;

use crate::error::DecodeError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        group
            .iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
        let [a, b, c] = group;
        let sextets = [
            a >> 2,
            (a << 4 | b >> 4) & 63,
            (b << 2 | c >> 6) & 63,
            c & 63,
        ];
        for (place, sextet) in sextets.into_iter().enumerate() {
            let letter = ALPHABET.get(usize::from(sextet)).copied().unwrap_or(b'=');
            text.push(char::from(if place > chunk.len() { b'=' } else { letter }));
        }
    }
    text
}

/// The bytes of `text`.
///
/// # Errors
/// [`DecodeError::Base64`] for anything that [`encode`] does not write.
pub fn decode(text: &[u8]) -> Result<Bytes, DecodeError> {
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return Err(DecodeError::Base64);
    }
    let letters = text.get(..text.len() - padding).unwrap_or_default();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut bit_count) = (0_u32, 0_u32);
    for &letter in letters {
        bits = bits << 6 | u32::from(sextet(letter).ok_or(DecodeError::Base64)?);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count & 0xff) as u8);
            bits &= (1 << bit_count) - 1;
        }
    }
    if bits != 0 {
        return Err(DecodeError::Base64);
    }
    Ok(Bytes::from(bytes))
}

fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}
