//! Offsets: one text for each value, one value for each text.

use roomcast_proto::Offset;

/// The bytes as an offset's text.
pub(crate) fn offset(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(offset) = text.parse::<Offset>() else {
        return;
    };
    assert_eq!(offset.to_string(), text, "only the canonical text parses");
    assert!(text.len() <= Offset::TEXT_BYTES_MAX);
    let next = Offset {
        epoch: offset.epoch.wrapping_add(1),
        index: offset.index.wrapping_mul(3),
        op: !offset.op,
    };
    assert_eq!(next.to_string().parse(), Ok(next), "every value has a text");
}
