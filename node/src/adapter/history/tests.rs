//! Events out of entries, whole and trimmed for an archive: the same.

use roomcast_proto::command::{Batch, Founding, Join, Register, command::Body};
use roomcast_proto::kept::trim;

use super::*;
use crate::state::{COMMAND_VERSION, GroupState, Payload};

/// What a frame has beside its payload.
const FRAME_BYTES: usize = 32;

/// A group with a producer, and its log.
struct Group {
    state: GroupState,
    entries: BTreeMap<u64, Bytes>,
    sequence: u64,
}

impl Group {
    fn new() -> Self {
        let mut group = Self {
            state: GroupState::new(),
            entries: BTreeMap::new(),
            sequence: 0,
        };
        group.entry(Body::Founding(Founding::default()));
        let (node_id, incarnation) = (1, 10);
        group.entry(Body::Register(Register {
            node_id,
            incarnation,
        }));
        group
    }

    fn entry(&mut self, body: Body) {
        let index = self.entries.len() as u64 + 1;
        let command = Command {
            version: COMMAND_VERSION,
            elapsed_us: 1_000,
            wall_ms: 1_700_000_000_000 + index,
            body: Some(body),
        };
        let command = Bytes::from(command.encode_to_vec());
        self.state.apply_encoded(index, &command).unwrap();
        self.entries.insert(index, command);
    }

    fn batch(&mut self, kinds: impl IntoIterator<Item = Kind>) {
        self.sequence += 1;
        let ops = kinds.into_iter().map(|kind| Op { kind: Some(kind) });
        let batch = Batch {
            incarnation: 10,
            sequence: self.sequence,
            ops: ops.collect(),
        };
        self.entry(Body::Batch(batch.encode_to_vec().into()));
    }

    /// What an archive holds of an entry, and about how many bytes the state takes that for.
    fn archived(&self, index: u64) -> (Bytes, u64) {
        let payloads = self.state.payloads(index..=index);
        let numbers: Vec<u32> = payloads.iter().map(|payload| payload.position.op).collect();
        let whole = &self.entries[&index];
        let archived = trim(whole, &numbers).unwrap_or_else(|| whole.clone());
        (archived, payloads.iter().map(|payload| payload.bytes).sum())
    }
}

fn publish(namespace: &str, bytes: usize) -> Publish {
    Publish {
        namespace: namespace.to_owned(),
        rooms: vec!["room".to_owned()],
        event: vec![b'x'; bytes].into(),
        ..Publish::default()
    }
}

/// The events at these positions, written out.
fn events(entry: &Bytes, positions: &[Position]) -> Vec<Option<String>> {
    let mut decoded = decode(entry).unwrap();
    let event = |position: &Position| Some(format!("{:?}", decoded.event(*position)?));
    positions.iter().map(event).collect()
}

#[test]
fn an_archive_of_a_mixed_batch_has_what_is_wanted_exactly() {
    let mut group = Group::new();
    for round in 0..20 {
        group.batch((0..60).map(|number| match number % 25 {
            3 => Kind::Publish(Publish {
                except: vec!["e".to_owned()],
                attachments: vec![vec![round; 40].into()],
                key: Some(format!("{round}.{number}")),
                ..publish("/audit", 100 + number)
            }),
            4 => Kind::Join(Join::default()),
            _ => Kind::Publish(publish("/chat", 4_000)),
        }));
    }
    let whole_bytes: usize = group.entries.values().map(Bytes::len).sum();
    // The limits of `/chat` alone take its events.
    let all = group.state.payloads(0..=100);
    let settings = roomcast_proto::command::Settings {
        retention_bytes: 40_000,
        ..Default::default()
    };
    let settings = Some(settings);
    group.entry(Body::Configure(roomcast_proto::command::Configure {
        settings,
    }));
    let mut archived_bytes = 0;
    for index in 3..23 {
        let wanted = group.state.payloads(index..=index);
        let positions = |payloads: &[Payload]| -> Vec<Position> {
            let here = payloads.iter().map(|payload| payload.position);
            here.filter(|position| position.index == index).collect()
        };
        let wanted = positions(&wanted);
        let (archived, _) = group.archived(index);
        archived_bytes += archived.len();
        let whole = events(&group.entries[&index], &wanted);
        assert!(whole.iter().all(Option::is_some));
        assert_eq!(events(&archived, &wanted), whole);
        let gone = positions(&all).into_iter();
        let gone: Vec<_> = gone.filter(|at| !wanted.contains(at)).collect();
        let none = vec![None; gone.len()];
        assert_eq!(events(&archived, &gone), none, "in entry {index}");
    }
    assert!(archived_bytes * 100 < whole_bytes * 3, "{archived_bytes}");
    assert!(archived_bytes > 60 * 100);
}

/// Else archives that hold nothing but what is wanted would be written again and again.
#[test]
fn what_is_wanted_is_not_taken_for_less_than_half_of_its_archive() {
    let names = ["/", "/a", &format!("/{}", "n".repeat(200))];
    for (namespace, bytes) in names
        .iter()
        .flat_map(|name| [(name, 1), (name, 60), (name, 5_000)])
    {
        for (rooms, attachments, count) in
            [(0, 0, 1), (1, 0, 1), (200, 0, 1), (2, 50, 1), (1, 1, 9)]
        {
            let mut group = Group::new();
            let publish = |number: usize| Publish {
                rooms: (0..rooms).map(|room| format!("{room}")).collect(),
                except: (0..rooms / 2).map(|room| format!("e{room}")).collect(),
                // A place for each attachment is in the text.
                event: vec![b'x'; bytes + 28 * attachments].into(),
                attachments: vec![Bytes::new(); attachments],
                key: Some(format!("{}{number}", "k".repeat(200))),
                ..publish(namespace, 0)
            };
            group.batch((0..count).map(|number| Kind::Publish(publish(number))));
            let (archived, estimate) = group.archived(3);
            let estimate = usize::try_from(estimate).unwrap();
            let context = format!("{bytes} {rooms} {attachments} {count}, {}", archived.len());
            assert!(
                2 * (estimate + FRAME_BYTES) >= archived.len() + FRAME_BYTES,
                "{estimate} for {context}"
            );
            // Nor for much more, or too little is seen that could go.
            let more = count * (16 + 32 * (rooms / 2));
            assert!(
                estimate <= archived.len() + more,
                "{estimate} for {context}"
            );
        }
    }
}
