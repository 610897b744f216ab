//! Single operations out of an encoded batch, or of what an archive keeps of one. A replay wants
//! one of many: those before it are stepped over, not decoded.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::command::{KeptOp, Op, command::Body};

/// `Batch.ops` in command.proto.
const BATCH_OPS_FIELD: u32 = 3;
/// `Kept.ops` there.
const KEPT_OPS_FIELD: u32 = 1;

/// The operations of an encoded `Batch` or `Kept`, walked forward.
#[derive(Debug, Clone)]
pub struct Ops {
    /// What was not walked yet.
    rest: Bytes,
    /// Where the numbers of operations come from.
    numbers: Numbers,
}

#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// All are there: the number of the next one.
    Counted(u32),
    /// Each has its own.
    Written,
}

impl Numbers {
    fn field(self) -> u32 {
        match self {
            Self::Counted(_) => BATCH_OPS_FIELD,
            Self::Written => KEPT_OPS_FIELD,
        }
    }
}

impl Ops {
    /// Before the first operation of a batch.
    #[must_use]
    pub fn of(batch: Bytes) -> Self {
        Self {
            rest: batch,
            numbers: Numbers::Counted(0),
        }
    }

    /// Before the first operation that is kept of a batch.
    #[must_use]
    pub fn kept(kept: Bytes) -> Self {
        Self {
            rest: kept,
            numbers: Numbers::Written,
        }
    }

    /// Before the first operation of a command; `None` when it is of a kind that has none.
    #[must_use]
    pub fn of_command(body: Body) -> Option<Self> {
        match body {
            Body::Batch(batch) => Some(Self::of(batch)),
            Body::Kept(kept) => Some(Self::kept(kept)),
            _ => None,
        }
    }

    /// Operation `number`, counted from 0; later than any that was asked for before. `None` when
    /// there is none, or when the bytes are no batch.
    pub fn advance_to(&mut self, number: u32) -> Option<Op> {
        Op::decode(self.advance_encoded(number)?).ok()
    }

    /// The same, encoded.
    pub fn advance_encoded(&mut self, number: u32) -> Option<Bytes> {
        loop {
            let before = self.clone();
            let (found, op) = self.next()?;
            if found == number {
                return Some(op);
            }
            if found > number {
                *self = before;
                return None;
            }
        }
    }

    /// The next operation with its number, encoded.
    fn next(&mut self) -> Option<(u32, Bytes)> {
        while self.rest.has_remaining() {
            let (field, wire_type) = decode_key(&mut self.rest).ok()?;
            if field != self.numbers.field() || wire_type != WireType::LengthDelimited {
                skip_field(wire_type, field, &mut self.rest, DecodeContext::default()).ok()?;
                continue;
            }
            let len = usize::try_from(decode_varint(&mut self.rest).ok()?).ok()?;
            if len > self.rest.len() {
                return None;
            }
            let op = self.rest.split_to(len);
            return match &mut self.numbers {
                Numbers::Counted(next) => {
                    *next += 1;
                    Some((*next - 1, op))
                }
                Numbers::Written => {
                    let KeptOp { number, op } = KeptOp::decode(op).ok()?;
                    Some((number, op))
                }
            };
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
