//! State, reference model, a twin from a snapshot and a gateway's view of the effects, moved
//! together.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use roomcast::ids::{Position, SocketId};
use roomcast::state::{COMMAND_VERSION, Effect, GroupState, OpResult, Verdict};
use roomcast_proto::command::{self, command::Body};

use crate::model::Model;
use crate::script;
use crate::steps::{Act, EPOCH, SETTINGS, Step};

/// State, model and a gateway's view of the effects, moved together.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: GroupState,
    pub(crate) model: Model,
    /// Restored from a snapshot on the way; must go on just like `state`.
    pub(crate) twin: Option<GroupState>,
    /// Hears of every session by itself where the others are told of all at once.
    pub(crate) plain: Option<GroupState>,
    /// What the plain one hears as the next entry.
    instead: Option<Body>,
    pub(crate) index: u64,
    pub(crate) next_incarnation: u64,
    pub(crate) next_socket: u8,
    /// Batches that were accepted: incarnation, sequence, bytes.
    pub(crate) sent: Vec<(u64, Bytes)>,
    /// Rooms by socket, as effects tell.
    pub(crate) told: BTreeMap<SocketId, BTreeSet<String>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            state: GroupState::new(),
            model: Model::new(EPOCH, SETTINGS),
            twin: None,
            plain: None,
            instead: None,
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
        if let Some(plain) = &mut self.plain {
            let body = self.instead.take().or(entry.body);
            let entry = command::Command { body, ..entry };
            plain.apply(self.index, &entry).expect("a known command");
        }
        self.model.index = self.index;
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

    pub(crate) fn step(&mut self, step: &Step) {
        let index = self.index;
        self.entry(step);
        if self.index > index {
            self.model.drop_early();
            self.model.end_overrun();
            self.model.settle_records();
        }
    }

    fn entry(&mut self, step: &Step) {
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
            Step::Configure { count, bytes, ms } => self.configure(*count, *bytes, *ms),
            Step::Batch {
                producer,
                elapsed_ms,
                acts,
            } => self.batch(*producer, *elapsed_ms, acts),
            Step::Report {
                producer,
                back,
                except,
                more,
                odd,
            } => {
                let Some(incarnation) = self.pick(*producer) else {
                    return;
                };
                let report = self.report(incarnation, (*back, except), *more, *odd);
                self.instead = Some(self.one_by_one(incarnation, &report));
                self.send(incarnation, 0, vec![report]);
            }
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

    fn configure(&mut self, count: u64, bytes: u64, ms: u64) {
        let proposed = command::Settings {
            retention_count: count,
            retention_bytes: bytes,
            retention_ms: ms,
            retention_min_ms: ms / 7,
            key_window_ms: ms / 2,
            subscriber_events: count / 2,
            subscriber_bytes: bytes / 2,
            subscriber_window_ms: ms / 3,
            ..command::Settings::default()
        };
        let configure = command::Configure {
            settings: Some(proposed),
        };
        self.apply(0, Some(Body::Configure(configure)));
        self.model.settings = self.model.settings.with(&proposed);
        self.model.enforce();
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

    /// The batch in which a report's sessions are acknowledged each by itself.
    fn one_by_one(&self, incarnation: u64, report: &command::Op) -> Body {
        let mut model = self.model.clone();
        model.operate(incarnation, Position::new(self.index + 1, 0), report);
        let moved = model.sessions.iter().filter(|(id, session)| {
            session.owner == incarnation && session.cursor > self.model.sessions[id].cursor
        });
        let acknowledge = moved.map(|(id, session)| command::Acknowledge {
            socket: Some(command::SocketRef {
                id: Bytes::copy_from_slice(&id.0),
                generation: session.generation,
            }),
            offset: Some(command::Offset {
                epoch: EPOCH,
                index: session.cursor.index,
                op: session.cursor.op,
            }),
        });
        let ops = acknowledge.map(|acknowledge| command::Op {
            kind: Some(command::op::Kind::Acknowledge(acknowledge)),
        });
        let last = self.model.producers[&incarnation].1;
        Body::Batch(script::batch(incarnation, last + 1, ops.collect()))
    }

    fn pick(&self, producer: usize) -> Option<u64> {
        let count = self.model.producers.len().max(1);
        self.model.producers.keys().nth(producer % count).copied()
    }

    fn batch(&mut self, producer: usize, elapsed_ms: u64, acts: &[Act]) {
        let Some(incarnation) = self.pick(producer) else {
            return;
        };
        // Ids are chosen with the state before the batch in view, as a gateway would.
        let ops = acts.iter().map(|act| self.operation(incarnation, act));
        let ops = ops.collect();
        self.send(incarnation, elapsed_ms, ops);
    }

    /// The producer's next batch; its results are those of the model.
    fn send(&mut self, incarnation: u64, elapsed_ms: u64, ops: Vec<command::Op>) {
        let last = self.model.producers[&incarnation].1;
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
}
