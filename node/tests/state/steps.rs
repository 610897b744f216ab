//! Random steps, and how they become operations: mostly sensible, sometimes odd.

use bytes::Bytes;
use proptest::prelude::*;
use roomcast::state::Settings;
use roomcast_proto::command::{self, op::Kind};

use crate::world::World;

pub(crate) const EPOCH: u64 = 7;
pub(crate) const ROOMS: [&str; 4] = ["a", "b", "c", "d"];
pub(crate) const NAMESPACES: [&str; 2] = ["/", "/x"];

/// Small limits, so that everything is reached often.
pub(crate) const SETTINGS: Settings = Settings {
    retention_ms: 12_000,
    retention_min_ms: 1_500,
    retention_bytes: 500,
    retention_count: 6,
    resume_window_ms: 4_000,
    key_window_ms: 3_000,
    keys_max: 2,
    event_bytes_max: 20,
    rooms_per_socket_max: 3,
    namespaces_max: 2,
    subscriber_window_ms: 9_000,
    subscriber_events: 4,
    subscriber_bytes: 400,
    subscribers_max: 2,
    lifecycle_records: 40,
    ..Settings::DEFAULT
};

/// One command, still without ids: they are filled in from what exists when it is applied.
#[derive(Debug, Clone)]
pub(crate) enum Step {
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
    /// What a gateway says of all its sessions.
    Report {
        producer: usize,
        back: u64,
        /// Which session, and how far its own cursor is back.
        except: Vec<(usize, u64)>,
        more: bool,
        odd: bool,
    },
    Repeat {
        back: usize,
    },
    Gap,
}

/// One operation, still without ids.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) kind: u8,
    /// Which session; 0 may be anybody's.
    pub(crate) pick: usize,
    pub(crate) rooms: Vec<usize>,
    pub(crate) except: Vec<usize>,
    pub(crate) number: u64,
    pub(crate) odd: bool,
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let some = || prop::collection::vec(0..5usize, 1..3);
    (
        0..27u8,
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

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let elapsed = || prop_oneof![6 => Just(0u64), 3 => 1..800u64, 1 => 800..5000u64];
    prop_oneof![
        2 => elapsed().prop_map(|elapsed_ms| Step::Tick { elapsed_ms }),
        1 => (1..3u64, any::<bool>()).prop_map(|(node, fresh)| Step::Register { node, fresh }),
        1 => (0..4usize).prop_map(|pick| Step::Detach { pick }),
        1 => (0..8u64, 0..700u64, 0..14_000u64)
            .prop_map(|(count, bytes, ms)| Step::Configure { count, bytes, ms }),
        30 => (0..4usize, elapsed(), prop::collection::vec(act(), 1..7)).prop_map(
            |(producer, elapsed_ms, acts)| Step::Batch { producer, elapsed_ms, acts }
        ),
        6 => report(),
        1 => (0..10usize).prop_map(|back| Step::Repeat { back }),
        1 => Just(Step::Gap),
    ]
}

fn report() -> impl Strategy<Value = Step> {
    let except = prop::collection::vec((0..6usize, 0..12u64), 0..3);
    let odd = prop::bool::weighted(0.1);
    (0..4usize, 0..8u64, except, prop::bool::weighted(0.2), odd).prop_map(
        |(producer, back, except, more, odd)| Step::Report {
            producer,
            back,
            except,
            more,
            odd,
        },
    )
}

impl World {
    pub(crate) fn operation(&mut self, incarnation: u64, act: &Act) -> command::Op {
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
                reason: format!("r{}", act.number % 2),
                by_client: act.number.is_multiple_of(2),
            }),
            24..=26 => {
                let namespace = picked.map_or("/".to_owned(), |(_, session)| session.namespace);
                sockets(act, namespace, (rooms, except), shared)
            }
            14 => {
                let epoch = EPOCH + u64::from(act.number.is_multiple_of(50));
                let offset = Some(self.offset(epoch, act.number));
                Kind::Acknowledge(command::Acknowledge { socket, offset })
            }
            _ => {
                let namespace = picked.map_or("/".to_owned(), |(_, session)| session.namespace);
                publish(act, socket, namespace, (rooms, except))
            }
        };
        command::Op { kind: Some(kind) }
    }

    /// What a gateway says of its sessions, some way back.
    pub(crate) fn report(
        &self,
        incarnation: u64,
        (back, except): (u64, &[(usize, u64)]),
        more: bool,
        odd: bool,
    ) -> command::Op {
        let wire = |back: u64| command::Position {
            index: (self.index + 1 + u64::from(odd)).saturating_sub(back),
            op: (back % 3) as u32 * u32::from(back > 0),
        };
        let except = except.iter().filter_map(|&(pick, back)| {
            let count = self.model.sessions.len().max(1);
            let (id, session) = self.model.sessions.iter().nth(pick % count)?;
            Some(command::acknowledge_all::Except {
                socket: Some(command::SocketRef {
                    id: Bytes::copy_from_slice(&id.0),
                    generation: session.generation - u64::from(odd && pick == 0),
                }),
                cursor: Some(wire(back)),
            })
        });
        let kind = Kind::AcknowledgeAll(command::AcknowledgeAll {
            incarnation: incarnation + u64::from(odd && back == 1),
            through: Some(wire(back)),
            except: except.collect(),
            more,
        });
        command::Op { kind: Some(kind) }
    }

    fn connect(&mut self, act: &Act) -> Kind {
        // Ids of sessions that ended never come back.
        let connected = self.model.sessions.iter();
        let connected = connected.filter(|(_, session)| session.away_until_us.is_none());
        let taken = connected.map(|(id, _)| id.0).nth(act.pick % 3);
        let taken = taken.filter(|_| act.odd);
        self.next_socket += u8::from(taken.is_none());
        let id = Bytes::copy_from_slice(&taken.unwrap_or([self.next_socket; 16]));
        let rooms = act.rooms.iter().filter_map(|&number| ROOMS.get(number));
        Kind::Connect(command::Connect {
            subscriber: (act.pick < 7).then(|| format!("n{}", act.number % 4)),
            manual: act.number.is_multiple_of(7),
            end_subscriber: act.pick == 6,
            pid: id.clone(),
            id,
            namespace: NAMESPACES[usize::from(act.number.is_multiple_of(4))].to_owned(),
            identity: act.number.is_multiple_of(3).then(|| "alice".to_owned()),
            data: Bytes::from_static([&b""[..], b"1"][act.pick % 2]),
            recoverable: act.number % 10 != 9,
            rooms: rooms.map(|room| room.to_string()).collect(),
        })
    }

    fn resume(&mut self, act: &Act) -> Kind {
        let count = self.model.sessions.len().max(1);
        let found = self.model.sessions.iter().nth(act.pick % count);
        let pid = found
            .filter(|_| !act.number.is_multiple_of(16))
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
        let name = found.and_then(|(_, session)| session.subscriber.clone());
        let subscriber = match act.number % 9 {
            0..4 => name,
            4 => Some(format!("n{}", act.number % 5)),
            _ => None,
        };
        let by_name_alone = subscriber.is_some() && !act.number.is_multiple_of(4);
        Kind::Resume(command::Resume {
            subscriber,
            manual: act.number.is_multiple_of(6),
            pid: match pid {
                _ if by_name_alone => Bytes::new(),
                pid => pid.unwrap_or(old_pid).into(),
            },
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
            moved: act.number.is_multiple_of(5),
        })
    }

    /// An offset some way back, rarely ahead.
    fn offset(&self, epoch: u64, number: u64) -> command::Offset {
        let back = (number / 8) % 12;
        let op = if number.is_multiple_of(7) {
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
}

/// Something to many sockets; seldom to a whole namespace, or little would be left.
fn sockets(
    act: &Act,
    namespace: String,
    (rooms, except): (Vec<String>, Vec<String>),
    joined: Vec<String>,
) -> Kind {
    let everyone = act.number.is_multiple_of(20);
    let sockets = Some(command::Selector {
        namespace: namespace.clone(),
        rooms: if everyone { Vec::new() } else { rooms },
        except: if act.number % 3 == 1 {
            except
        } else {
            Vec::new()
        },
    });
    let rooms = joined;
    match act.kind {
        24 => Kind::SocketsJoin(command::SocketsJoin { sockets, rooms }),
        25 => Kind::SocketsLeave(command::SocketsLeave { sockets, rooms }),
        _ if act.number % 4 < 3 => Kind::SetData(command::SetData {
            namespace,
            socket_id: vec![(act.number % 250) as u8; 16].into(),
            data: Bytes::from_static([&b""[..], b"1", b"2"][act.pick % 3]),
        }),
        _ => Kind::DisconnectSockets(command::DisconnectSockets {
            sockets,
            close: act.odd,
        }),
    }
}

fn publish(
    act: &Act,
    socket: Option<command::SocketRef>,
    namespace: String,
    (rooms, except): (Vec<String>, Vec<String>),
) -> Kind {
    let key = act
        .number
        .is_multiple_of(5)
        .then(|| format!("k{}", act.number % 3));
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
        socket: socket.filter(|_| !act.number.is_multiple_of(4)),
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
        request: act.number.is_multiple_of(11).then_some(act.number),
    })
}
