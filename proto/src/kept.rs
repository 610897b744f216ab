//! What an archive keeps of a command that every replica has applied: the events that are still
//! wanted, without the other operations of their batch.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;

use crate::command::{Command, Kept, KeptOp, Op, Publish, command::Body, op::Kind};
use crate::ops::Ops;

/// The command with no other operations than the publishes of these numbers, which ascend, and of
/// those nothing but the event; of one that was trimmed before, too. `None` when one of them is not
/// there, or when nothing would be saved.
#[must_use]
pub fn trim(command: &Bytes, numbers: &[u32]) -> Option<Bytes> {
    let Command {
        version,
        elapsed_us,
        wall_ms,
        body,
    } = Command::decode(command.clone()).ok()?;
    let mut ops = Ops::of_command(body?)?;
    let kept = numbers.iter().map(|&number| {
        let op = event(ops.advance_to(number)?)?.encode_to_vec().into();
        Some(KeptOp { number, op })
    });
    let kept = Kept {
        ops: kept.collect::<Option<_>>()?,
    };
    let trimmed = Command {
        version,
        elapsed_us,
        wall_ms,
        body: Some(Body::Kept(kept.encode_to_vec().into())),
    };
    let trimmed = Bytes::from(trimmed.encode_to_vec());
    (trimmed.len() < command.len()).then_some(trimmed)
}

/// A publish without what only apply needs.
fn event(op: Op) -> Option<Op> {
    let Kind::Publish(publish) = op.kind? else {
        return None;
    };
    Some(Op {
        kind: Some(Kind::Publish(Publish {
            socket: None,
            key: None,
            rooms: distinct(publish.rooms),
            except: distinct(publish.except),
            ..publish
        })),
    })
}

/// Each name once, in the order in which they came: a client may have named one a thousand times.
fn distinct(mut names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Batch, Join, SocketRef};

    fn socket() -> Option<SocketRef> {
        Some(SocketRef {
            id: vec![7; 16].into(),
            generation: 3,
        })
    }

    fn publish(number: u8) -> Publish {
        Publish {
            socket: socket(),
            namespace: "/a".to_owned(),
            rooms: vec![format!("room {number}")],
            except: vec!["e".to_owned()],
            event: vec![number; 200].into(),
            attachments: vec![vec![number; 30].into()],
            key: Some("k".repeat(100)),
            request: None,
        }
    }

    /// Joins at even numbers, publishes at odd ones.
    fn command(count: u8) -> Bytes {
        let op = |number: u8| Op {
            kind: Some(match number % 2 {
                0 => Kind::Join(Join {
                    socket: socket(),
                    rooms: vec!["r".to_owned()],
                }),
                _ => Kind::Publish(publish(number)),
            }),
        };
        let batch = Batch {
            incarnation: 1,
            sequence: 300,
            ops: (0..count).map(op).collect(),
        };
        let command = Command {
            version: 1,
            elapsed_us: 20_000,
            wall_ms: 1_700_000_000_000,
            body: Some(Body::Batch(batch.encode_to_vec().into())),
        };
        command.encode_to_vec().into()
    }

    /// The operations up to `count` that are found, walking forward.
    fn found(command: &Bytes, count: u32) -> Vec<(u32, Publish)> {
        let command = Command::decode(command.clone()).unwrap();
        assert_eq!((command.version, command.elapsed_us), (1, 20_000));
        assert_eq!(command.wall_ms, 1_700_000_000_000);
        let mut ops = Ops::of_command(command.body.unwrap()).unwrap();
        let publish = |number| match ops.advance_to(number)?.kind {
            Some(Kind::Publish(publish)) => Some((number, publish)),
            _ => None,
        };
        (0..count).filter_map(publish).collect()
    }

    fn event_of(number: u8) -> (u32, Publish) {
        let bare = Publish {
            socket: None,
            key: None,
            ..publish(number)
        };
        (u32::from(number), bare)
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_is_found_where_it_was() {
        let whole = command(40);
        let trimmed = trim(&whole, &[3, 7, 39]).unwrap();
        assert!(trimmed.len() < 3 * 300, "{}", trimmed.len());
        assert_eq!(found(&trimmed, 50), [3, 7, 39].map(event_of));
        let mut kept = Ops::of_command(Command::decode(trimmed).unwrap().body.unwrap()).unwrap();
        assert!(kept.advance_to(5).is_none(), "it is gone");
        assert!(kept.advance_to(7).is_some(), "what is behind it is not");
    }

    #[test]
    fn what_was_trimmed_is_trimmed_further_and_then_saves_nothing() {
        let trimmed = trim(&command(40), &[3, 7, 39]).unwrap();
        let further = trim(&trimmed, &[7]).unwrap();
        assert_eq!(found(&further, 50), [event_of(7)]);
        assert_eq!(trim(&further, &[7]), None);
        assert_eq!(trim(&trimmed, &[3, 7, 39]), None);
    }

    #[test]
    fn what_is_not_there_or_no_batch_is_not_trimmed() {
        let whole = command(10);
        for missing in [&[2][..], &[3, 11], &[3, 3]] {
            assert_eq!(trim(&whole, missing), None, "{missing:?}");
        }
        let tick = Command {
            version: 1,
            ..Command::default()
        };
        assert_eq!(trim(&tick.encode_to_vec().into(), &[1]), None);
        for end in 0..whole.len() {
            assert_eq!(trim(&whole.slice(..end), &[9]), None, "{end}");
        }
    }
}
