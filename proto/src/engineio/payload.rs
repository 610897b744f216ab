//! The polling payload: text packets joined by the record separator. (Engine.IO v4, "HTTP
//! long-polling".)

use bytes::{BufMut, Bytes, BytesMut};

use crate::engineio::Packet;
use crate::error::DecodeError;

/// Stands between packets; no packet contains it.
pub const SEPARATOR: u8 = 0x1e;

/// Splits the first packet off a payload; the rest, if there is any, shares its memory. The packet
/// does not when there is a rest: keeping a small message must not pin a large payload.
#[must_use]
pub fn split_first(payload: &Bytes) -> (Bytes, Option<Bytes>) {
    let mut parts = payload.splitn(2, |&byte| byte == SEPARATOR);
    match (parts.next(), parts.next()) {
        (Some(first), Some(rest)) => (Bytes::copy_from_slice(first), Some(payload.slice_ref(rest))),
        _ => (payload.clone(), None),
    }
}

/// Splits and decodes a payload; a bad packet refuses the whole of it.
///
/// # Errors
/// Those of [`Packet::decode_text`], and [`DecodeError::TooManyPackets`].
pub fn decode(payload: &Bytes, packets_max: usize) -> Result<Vec<Packet>, DecodeError> {
    let mut packets = Vec::new();
    for text in payload.split(|&byte| byte == SEPARATOR) {
        if packets.len() == packets_max {
            return Err(DecodeError::TooManyPackets { max: packets_max });
        }
        packets.push(Packet::decode_text(payload.slice_ref(text))?);
    }
    Ok(packets)
}

/// Joins packets that are already text, see [`Packet::encode_text`]. None of them may contain the
/// separator; checked JSON and base64 cannot.
#[must_use]
pub fn encode(texts: &[Bytes]) -> Bytes {
    let length: usize = texts.iter().map(|text| text.len() + 1).sum();
    let mut payload = BytesMut::with_capacity(length);
    for (place, text) in texts.iter().enumerate() {
        debug_assert!(!text.contains(&SEPARATOR), "a packet would be split in two");
        if place > 0 {
            payload.put_u8(SEPARATOR);
        }
        payload.put_slice(text);
    }
    payload.freeze()
}
