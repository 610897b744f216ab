//! Single operations out of an encoded batch. A replay wants one of many: those before it are
//! stepped over, not decoded.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::command::Op;

/// `Batch.ops` in command.proto.
const OPS_FIELD: u32 = 3;

/// An encoded `Batch` that is walked forward.
#[derive(Debug, Clone)]
pub struct Ops {
    /// What was not walked yet.
    rest: Bytes,
    /// The number of the next operation.
    next: u32,
}

impl Ops {
    /// Before the first operation.
    #[must_use]
    pub fn of(batch: Bytes) -> Self {
        Self {
            rest: batch,
            next: 0,
        }
    }

    /// Operation `number`, counted from 0; later than any that was asked for before. `None` when
    /// there is none, or when the bytes are no batch.
    pub fn advance_to(&mut self, number: u32) -> Option<Op> {
        while self.rest.has_remaining() {
            let (field, wire_type) = decode_key(&mut self.rest).ok()?;
            if field != OPS_FIELD || wire_type != WireType::LengthDelimited {
                skip_field(wire_type, field, &mut self.rest, DecodeContext::default()).ok()?;
                continue;
            }
            let len = usize::try_from(decode_varint(&mut self.rest).ok()?).ok()?;
            if len > self.rest.len() {
                return None;
            }
            let op = self.rest.split_to(len);
            self.next += 1;
            if self.next - 1 == number {
                return Op::decode(op).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Batch, Join, Publish, op::Kind};

    fn batch(count: usize) -> Batch {
        let op = |number: usize| Op {
            kind: Some(match number % 3 {
                0 => Kind::Join(Join {
                    socket: None,
                    rooms: vec![format!("room {number}")],
                }),
                _ => Kind::Publish(Publish {
                    event: vec![7; number * 40].into(),
                    ..Publish::default()
                }),
            }),
        };
        Batch {
            incarnation: 1,
            sequence: 300,
            ops: (0..count).map(op).collect(),
        }
    }

    #[test]
    fn every_operation_is_found_with_and_without_those_before_it() {
        let batch = batch(20);
        let encoded = Bytes::from(batch.encode_to_vec());
        for step in 1..7_u32 {
            let mut ops = Ops::of(encoded.clone());
            for number in (0..20).step_by(step as usize) {
                let expected = batch.ops.get(number as usize).cloned();
                assert_eq!(ops.advance_to(number), expected, "{number} by {step}");
            }
            assert_eq!(ops.advance_to(20), None);
        }
    }

    #[test]
    fn what_is_cut_short_is_not_found_and_harms_nothing() {
        let encoded = Bytes::from(batch(4).encode_to_vec());
        for end in 0..encoded.len() {
            assert_eq!(Ops::of(encoded.slice(..end)).advance_to(3), None, "{end}");
        }
    }
}
