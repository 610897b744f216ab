//! Random commands, mostly sensible, against the reference model; snapshots in the middle; batches
//! repeated and out of turn.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use roomcast::ids::{Position, SocketId};
use roomcast::state::{
    COMMAND_VERSION, Effect, GroupState, HistoryFrom, MembersQuery, OpResult, Settings, Verdict,
};
use roomcast_proto::command::{self, command::Body, op::Kind};

use crate::model::Model;
use crate::script;

const EPOCH: u64 = 7;
const ROOMS: [&str; 4] = ["a", "b", "c", "d"];
const NAMESPACES: [&str; 2] = ["/", "/x"];

/// Small limits, so that everything is reached often.
const SETTINGS: Settings = Settings {
    retention_ms: 5_000,
    retention_bytes: 60,
    retention_count: 6,
    resume_window_ms: 4_000,
    key_window_ms: 3_000,
    keys_max: 2,
    event_bytes_max: 20,
    rooms_per_socket_max: 3,
    ..Settings::DEFAULT
};

/// One command, still without ids: they are filled in from what exists when it is applied.
#[derive(Debug, Clone)]
enum Step {
    Tick {
        elapsed_ms: u64,
    },
    Register {
        node: u64,
        fresh: bool,
    },
    Detach {
        pick: usize,
    },
    Configure {
        count: u64,
        bytes: u64,
        ms: u64,
    },
    Batch {
        producer: usize,
        elapsed_ms: u64,
        acts: Vec<Act>,
    },
    Repeat {
        back: usize,
    },
    Gap,
}

/// One operation, still without ids.
#[derive(Debug, Clone)]
struct Act {
    kind: u8,
    /// Which session; 0 may be anybody's.
    pick: usize,
    rooms: Vec<usize>,
    except: Vec<usize>,
    number: u64,
    odd: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let some = || prop::collection::vec(0..5usize, 1..3);
    (
        0..24u8,
        0..12usize,
        some(),
        some(),
        0..1000u64,
        prop::bool::weighted(0.15),
    )
        .prop_map(|(kind, pick, rooms, except, number, odd)| Act {
            kind,
            pick,
            rooms,
            except,
            number,
            odd,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let elapsed = || prop_oneof![6 => Just(0u64), 3 => 1..800u64, 1 => 800..5000u64];
    prop_oneof![
        2 => elapsed().prop_map(|elapsed_ms| Step::Tick { elapsed_ms }),
        1 => (1..3u64, any::<bool>()).prop_map(|(node, fresh)| Step::Register { node, fresh }),
        1 => (0..4usize).prop_map(|pick| Step::Detach { pick }),
        1 => (0..8u64, 0..80u64, 0..6000u64)
            .prop_map(|(count, bytes, ms)| Step::Configure { count, bytes, ms }),
        30 => (0..4usize, elapsed(), prop::collection::vec(act(), 1..7)).prop_map(
            |(producer, elapsed_ms, acts)| Step::Batch { producer, elapsed_ms, acts }
        ),
        1 => (0..10usize).prop_map(|back| Step::Repeat { back }),
        1 => Just(Step::Gap),
    ]
}

/// State, model and a gateway's view of the effects, moved together.
#[derive(Debug)]
struct World {
    state: GroupState,
    model: Model,
    /// Restored from a snapshot on the way; must go on just like `state`.
    twin: Option<GroupState>,
    index: u64,
    next_incarnation: u64,
    next_socket: u8,
    /// Batches that were accepted: incarnation, sequence, bytes.
    sent: Vec<(u64, Bytes)>,
    /// Rooms by socket, as effects tell.
    told: BTreeMap<SocketId, BTreeSet<String>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: GroupState::new(),
            model: Model::new(EPOCH, SETTINGS),
            twin: None,
            index: 0,
            next_incarnation: 1,
            next_socket: 1,
            sent: Vec::new(),
            told: BTreeMap::new(),
        };
        let settings = Some(SETTINGS.to_command());
        world.apply(
            0,
            Some(Body::Founding(command::Founding {
                epoch: EPOCH,
                group: 1,
                table: Vec::new(),
                settings,
                feature_level: 1,
            })),
        );
        world.step(&Step::Register {
            node: 1,
            fresh: true,
        });
        world.step(&Step::Register {
            node: 2,
            fresh: true,
        });
        world
    }

    fn apply(&mut self, elapsed_ms: u64, body: Option<Body>) -> Vec<Effect> {
        self.index += 1;
        let elapsed_us = elapsed_ms * 1000;
        let wall_ms = 1_000_000 + self.index;
        let entry = command::Command {
            version: COMMAND_VERSION,
            elapsed_us,
            wall_ms,
            body,
        };
        let bytes: Bytes = entry.encode_to_vec().into();
        let effects = self
            .state
            .apply_encoded(self.index, &bytes)
            .expect("a known command");
        if let Some(twin) = &mut self.twin {
            let same = twin
                .apply_encoded(self.index, &bytes)
                .expect("a known command");
            assert_eq!(format!("{effects:?}"), format!("{same:?}"));
        }
        self.model.pass(elapsed_us);
        self.listen(&effects);
        effects
    }

    /// What a gateway makes of the effects.
    fn listen(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Joined { socket, rooms, .. } => {
                    let told = self.told.entry(*socket).or_default();
                    for room in rooms {
                        assert!(told.insert(room.to_string()), "joined twice");
                    }
                }
                Effect::Left { socket, rooms, .. } => {
                    let told = self.told.get_mut(socket).expect("it has joined");
                    for room in rooms {
                        assert!(told.remove(&**room), "left without having joined");
                    }
                }
                Effect::Ended { socket, .. } => {
                    assert_eq!(self.told.remove(socket), Some(BTreeSet::new()));
                }
                Effect::Op {
                    result: OpResult::Resume(Verdict::Recovered { socket, rooms, .. }),
                    position,
                    ..
                } if position.index == self.index => {
                    let rooms: BTreeSet<String> = rooms.iter().map(|r| r.to_string()).collect();
                    assert_eq!(self.told.get(socket), Some(&rooms));
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Tick { elapsed_ms } => drop(self.apply(*elapsed_ms, None)),
            Step::Register { node, fresh } => {
                self.next_incarnation += u64::from(*fresh);
                let (node_id, incarnation) = (*node, self.next_incarnation * 10);
                let register = command::Register {
                    node_id,
                    incarnation,
                };
                self.apply(0, Some(Body::Register(register)));
                self.model.register(node_id, incarnation);
            }
            Step::Detach { pick } => {
                let Some(&incarnation) = self.model.producers.keys().nth(*pick) else {
                    return;
                };
                self.apply(0, Some(Body::Detach(command::Detach { incarnation })));
                self.model.detach(incarnation);
            }
            Step::Configure { count, bytes, ms } => {
                let proposed = command::Settings {
                    retention_count: *count,
                    retention_bytes: *bytes,
                    retention_ms: *ms,
                    key_window_ms: *ms / 2,
                    ..command::Settings::default()
                };
                let configure = command::Configure {
                    settings: Some(proposed),
                };
                self.apply(0, Some(Body::Configure(configure)));
                self.model.settings = self.model.settings.with(&proposed);
                self.model.enforce();
            }
            Step::Batch {
                producer,
                elapsed_ms,
                acts,
            } => self.batch(*producer, *elapsed_ms, acts),
            Step::Repeat { back } => self.repeat(*back),
            Step::Gap => {
                let Some((&incarnation, &(_, last))) = self.model.producers.iter().next() else {
                    return;
                };
                let act = command::op::Kind::Publish(command::Publish {
                    namespace: "/".to_owned(),
                    ..command::Publish::default()
                });
                let ops = vec![command::Op { kind: Some(act) }];
                let bytes = script::batch(incarnation, last + 2, ops);
                self.without_consequence(bytes);
            }
        }
    }

    /// Applies a batch that must change nothing; a tick in its place would leave the same state.
    fn without_consequence(&mut self, bytes: Bytes) -> Vec<Effect> {
        let mut ticked = self.state.clone();
        let tick = command::Command {
            version: COMMAND_VERSION,
            ..command::Command::default()
        };
        ticked.apply(self.index + 1, &tick).expect("a tick");
        let effects = self.apply(0, Some(Body::Batch(bytes)));
        assert_eq!(self.state, ticked);
        effects
    }

    fn repeat(&mut self, back: usize) {
        let Some((incarnation, bytes)) = self.sent.iter().rev().nth(back).cloned() else {
            return;
        };
        let effects = self.without_consequence(bytes);
        let known = self.model.producers.contains_key(&incarnation);
        for effect in &effects {
            match effect {
                Effect::Op { position, .. } => assert!(known && position.index < self.index),
                Effect::UnknownProducer { .. } => assert!(!known),
                other => panic!("a repeat has no other effects: {other:?}"),
            }
        }
    }

    fn batch(&mut self, producer: usize, elapsed_ms: u64, acts: &[Act]) {
        let count = self.model.producers.len().max(1);
        let Some((&incarnation, &(_, last))) = self.model.producers.iter().nth(producer % count)
        else {
            return;
        };
        // Ids are chosen with the state before the batch in view, as a gateway would.
        let ops: Vec<_> = acts
            .iter()
            .map(|act| self.operation(incarnation, act))
            .collect();
        let bytes = script::batch(incarnation, last + 1, ops.clone());
        self.sent.push((incarnation, bytes.clone()));
        let effects = self.apply(elapsed_ms, Some(Body::Batch(bytes)));
        let mut results = effects.iter().filter_map(|effect| match effect {
            Effect::Op {
                op,
                position,
                result,
                ..
            } => Some((*op, *position, result.clone())),
            _ => None,
        });
        for (number, op) in (0..).zip(&ops) {
            let at = Position::new(self.index, number);
            let expected = self.model.operate(incarnation, at, op);
            assert_eq!(results.next(), Some((number, at, expected)), "{op:?}");
        }
        assert_eq!(results.next(), None);
        self.model
            .producers
            .entry(incarnation)
            .and_modify(|producer| producer.1 = last + 1);
    }

    fn operation(&mut self, incarnation: u64, act: &Act) -> command::Op {
        let sessions = self.model.sessions.iter();
        let mine: Vec<_> = sessions
            .filter(|(_, s)| (s.owner == incarnation && s.away_until_us.is_none()) || act.pick == 0)
            .map(|(id, session)| (*id, session.clone()))
            .collect();
        let picked = mine.get(act.pick % mine.len().max(1)).cloned();
        let socket = picked.as_ref().map(|(id, session)| command::SocketRef {
            id: Bytes::copy_from_slice(&id.0),
            generation: session.generation - u64::from(act.odd),
        });
        let own_room = picked
            .as_ref()
            .map_or(String::new(), |(id, _)| id.to_string());
        let name = |&number: &usize| {
            ROOMS
                .get(number)
                .map_or(own_room.clone(), |r| r.to_string())
        };
        let rooms: Vec<String> = act.rooms.iter().map(name).collect();
        let except: Vec<String> = act.except.iter().map(name).collect();
        let shared = rooms.iter().filter(|room| **room != own_room || act.odd);
        let shared: Vec<String> = shared.cloned().collect();
        let kind = match act.kind {
            0..=1 => self.connect(act),
            2..=4 => self.resume(act),
            5..=8 => Kind::Join(command::Join {
                socket,
                rooms: shared,
            }),
            9..=12 => Kind::Leave(command::Leave {
                socket,
                rooms: shared,
            }),
            13 => Kind::Away(command::Away { socket }),
            14 if act.number < 300 => Kind::Disconnect(command::Disconnect {
                socket,
                reason: String::new(),
            }),
            14 => {
                let epoch = EPOCH + u64::from(act.number % 50 == 0);
                let offset = Some(self.offset(epoch, act.number));
                Kind::Acknowledge(command::Acknowledge { socket, offset })
            }
            _ => {
                let namespace = picked.map_or("/".to_owned(), |(_, session)| session.namespace);
                let key = (act.number % 5 == 0).then(|| format!("k{}", act.number % 3));
                // Publishes with a key are few and alike, so that they meet.
                let length = if key.is_some() {
                    act.number % 2
                } else {
                    act.number % 22
                };
                let rooms = match &key {
                    Some(_) => vec!["a".to_owned()],
                    None if act.number % 12 == 3 => Vec::new(),
                    None => rooms,
                };
                Kind::Publish(command::Publish {
                    socket: socket.filter(|_| act.number % 4 != 0),
                    namespace,
                    rooms,
                    except: if act.number % 12 == 1 {
                        except
                    } else {
                        Vec::new()
                    },
                    key,
                    event: Bytes::from(vec![b'x'; length as usize]),
                    attachments: Vec::new(),
                    request: (act.number % 11 == 0).then_some(act.number),
                })
            }
        };
        command::Op { kind: Some(kind) }
    }

    fn connect(&mut self, act: &Act) -> Kind {
        let fresh = !act.odd && self.next_socket < 250;
        self.next_socket += u8::from(fresh);
        let id = Bytes::copy_from_slice(&[self.next_socket; 16]);
        let rooms = act.rooms.iter().filter_map(|&number| ROOMS.get(number));
        Kind::Connect(command::Connect {
            pid: id.clone(),
            id,
            namespace: NAMESPACES[usize::from(act.number % 4 == 0)].to_owned(),
            identity: (act.number % 3 == 0).then(|| "alice".to_owned()),
            data: Bytes::new(),
            recoverable: act.number % 10 != 9,
            rooms: rooms.map(|room| room.to_string()).collect(),
        })
    }

    fn resume(&mut self, act: &Act) -> Kind {
        let count = self.model.sessions.len().max(1);
        let found = self.model.sessions.iter().nth(act.pick % count);
        let pid = found
            .filter(|_| act.number % 16 != 0)
            .map(|(_, s)| s.pid.clone());
        let namespace = found.map_or("/".to_owned(), |(_, session)| session.namespace.clone());
        let identity = found.and_then(|(_, session)| session.identity.clone());
        let offset = match act.number % 8 {
            0 => None,
            1 if act.odd => Some(command::resume::Offset::Unreadable(true)),
            2 if act.odd => Some(command::resume::Offset::Known(self.offset(9, act.number))),
            _ => Some(command::resume::Offset::Known(
                self.offset(EPOCH, act.number),
            )),
        };
        let old_pid = vec![(act.number % 250) as u8; 16];
        Kind::Resume(command::Resume {
            pid: pid.unwrap_or(old_pid).into(),
            namespace: if act.number == 1 {
                "/no".to_owned()
            } else {
                namespace
            },
            identity: if act.number == 2 {
                Some("mallory".to_owned())
            } else {
                identity
            },
            offset,
        })
    }

    /// An offset some way back, rarely ahead.
    fn offset(&self, epoch: u64, number: u64) -> command::Offset {
        let back = (number / 8) % 12;
        let op = if number % 7 == 0 {
            u32::MAX
        } else {
            (number % 6) as u32
        };
        command::Offset {
            epoch,
            index: (self.index + 2).saturating_sub(back),
            op,
        }
    }

    /// Every question, for everything there is.
    fn check(&self, salt: u64) {
        let sessions: BTreeSet<_> = self.model.sessions.keys().copied().collect();
        assert_eq!(self.told.keys().copied().collect::<BTreeSet<_>>(), sessions);
        let away = self
            .model
            .sessions
            .values()
            .filter(|s| s.away_until_us.is_some())
            .count();
        assert_eq!(self.state.away_count(), away);
        assert_eq!(self.state.connected_count(), sessions.len() - away);
        for back in [0, salt % 5, salt % 17, self.index] {
            let after = Position::new(self.index.saturating_sub(back), (salt % 5) as u32);
            sessions.iter().for_each(|id| self.check_owed(id, after));
            self.check_histories(after);
        }
        for room in ROOMS {
            self.check_members(room);
        }
        let kept = self.model.events.iter().filter(|event| !event.dropped);
        assert_eq!(
            self.state.first_needed_index(),
            kept.map(|e| e.position.index).min()
        );
        if let Some(due) = self.state.next_due() {
            assert!(due > self.state.log_time_us(), "what is due was done");
        }
    }

    fn check_owed(&self, id: &SocketId, after: Position) {
        let model = &self.model.sessions[id];
        let session = self.state.session_by_id(id).expect("the model has it");
        let rooms: BTreeSet<String> = session.rooms().map(|room| room.to_string()).collect();
        assert_eq!(rooms, model.rooms());
        assert_eq!(Some(&rooms), self.told.get(id));
        assert_eq!(
            (session.cursor, session.generation),
            (model.cursor, model.generation)
        );
        let owed = self.state.owed(id, model.generation, after, 4);
        assert_eq!(owed.is_some(), model.away_until_us.is_none());
        assert_eq!(self.state.owed(id, model.generation - 1, after, 4), None);
        let Some(mut owed) = owed else { return };
        assert_eq!(owed.lost, self.model.lost(model, after));
        assert!(
            owed.lost || !self.model.lost_exactly(model, after),
            "a hole was hidden"
        );
        // Page by page, as a reader goes on.
        let mut positions = Vec::new();
        while owed.through < self.state.position() {
            positions.append(&mut owed.positions);
            owed = self
                .state
                .owed(id, model.generation, owed.through, 4)
                .expect("current");
        }
        positions.append(&mut owed.positions);
        let kept = |event: &&crate::model::ModelEvent| event.position > after && !event.dropped;
        let events = self
            .model
            .events
            .iter()
            .filter(kept)
            .filter(|e| model.reached_by(e));
        let events: Vec<_> = events.collect();
        let expected: Vec<_> = events.iter().map(|event| event.position).collect();
        assert_eq!(positions, expected);
        for event in events {
            let excepted = self.state.is_excepted(id, &event.except, event.position);
            assert_eq!(excepted, model.is_excepted(event), "{event:?}");
        }
    }

    fn check_histories(&self, after: Position) {
        for namespace in NAMESPACES {
            for room in ROOMS {
                let of_room = |event: &&crate::model::ModelEvent| {
                    event.namespace == namespace && event.rooms.iter().any(|name| name == room)
                };
                let all: Vec<_> = self.model.events.iter().filter(of_room).collect();
                let later = |position: Position| all.iter().filter(move |e| e.position > position);
                for (from, start) in [
                    (HistoryFrom::After(after), after),
                    (HistoryFrom::Oldest, Position::ZERO),
                ] {
                    let page = self.state.room_events(namespace, room, from, 100);
                    let kept = later(start).filter(|event| !event.dropped);
                    assert_eq!(page.positions, kept.map(|e| e.position).collect::<Vec<_>>());
                    assert_eq!(page.complete, !later(start).any(|event| event.dropped));
                    assert!(!page.more);
                }
                let page = self
                    .state
                    .room_events(namespace, room, HistoryFrom::Last(2), 100);
                let last = &all[all.len().saturating_sub(2)..];
                assert_eq!(page.complete, last.iter().all(|event| !event.dropped));
                let kept = last
                    .iter()
                    .filter(|event| !event.dropped)
                    .map(|e| e.position);
                assert_eq!(page.positions, kept.collect::<Vec<_>>());
            }
        }
    }

    fn check_members(&self, room: &str) {
        for include_away in [false, true] {
            let query = MembersQuery {
                namespace: "/",
                room: Some(room),
                after: None,
                limit: 2,
                include_away,
            };
            let mut page = self.state.members(&query);
            let count = page.count;
            let mut ids: Vec<SocketId> = page.members.iter().map(|member| member.id).collect();
            while let Some(next) = page.next {
                page = self.state.members(&MembersQuery {
                    after: Some(next),
                    ..query
                });
                ids.extend(page.members.iter().map(|member| member.id));
            }
            let listed = self.model.sessions.iter().filter(|(_, session)| {
                session.namespace == "/"
                    && session.rooms().contains(room)
                    && (include_away || session.away_until_us.is_none())
            });
            let expected: Vec<SocketId> = listed.map(|(id, _)| *id).collect();
            assert_eq!(ids, expected);
            assert_eq!(count, expected.len());
            if !include_away {
                let none: [&str; 0] = [];
                assert_eq!(self.state.connected_members("/", &[room], &none), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn state_and_reference_model_agree(
        steps in prop::collection::vec(step(), 1..80),
        snapshot_at in 0..80usize,
        salt in 0..1000u64,
    ) {
        let mut world = World::new();
        let mut frozen = None;
        for (number, step) in steps.iter().enumerate() {
            if number == snapshot_at {
                let bytes = world.state.encode();
                let twin = GroupState::decode(&bytes).expect("its own snapshot");
                prop_assert_eq!(&twin, &world.state);
                prop_assert_eq!(twin.hash(), world.state.hash());
                world.twin = Some(twin);
                frozen = Some((world.state.clone(), bytes));
            }
            world.step(step);
            world.check(salt + number as u64);
        }
        if let Some(twin) = &world.twin {
            prop_assert_eq!(twin, &world.state);
            prop_assert_eq!(twin.encode(), world.state.encode());
        }
        if let Some((clone, bytes)) = frozen {
            prop_assert_eq!(clone.encode(), bytes, "a clone does not see later entries");
        }
    }

    #[test]
    fn damaged_snapshots_never_panic(
        steps in prop::collection::vec(step(), 1..25),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let mut bytes = world.state.encode().to_vec();
        prop_assert!(GroupState::decode(&bytes[..at.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(state) = GroupState::decode(&bytes) {
            drop(state.encode());
        }
    }
}
