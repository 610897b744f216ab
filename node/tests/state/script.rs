//! Commands as one reads them: a line each, operations of a batch on indented lines.

use bytes::Bytes;
use prost::Message;
use roomcast::ids::{Position, SocketId};
use roomcast::state::COMMAND_VERSION;
use roomcast_proto::command::{self, command::Body, op::Kind};

/// The id that a transcript calls `s<number>`.
pub(crate) fn socket_id(number: u8) -> SocketId {
    SocketId([number; 16])
}

/// A room as a transcript writes it: `@s1` is the room named by the id of s1.
pub(crate) fn room(name: &str) -> String {
    match name.strip_prefix("@s") {
        Some(number) => socket_id(number.parse().expect("a socket's number")).to_string(),
        None => name.to_owned(),
    }
}

/// `index.op`.
pub(crate) fn position(text: &str) -> Position {
    let (index, op) = text.split_once('.').expect("index.op");
    let op = if op == "max" {
        u32::MAX
    } else {
        op.parse().expect("op")
    };
    Position::new(index.parse().expect("index"), op)
}

/// Words of a line: `key=value` pairs and the rest.
#[derive(Debug)]
pub(crate) struct Words<'a>(pub(crate) Vec<&'a str>);

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    /// Takes the next plain word.
    pub(crate) fn word(&mut self) -> &'a str {
        self.maybe_word()
            .unwrap_or_else(|| panic!("a word is missing: {self:?}"))
    }

    pub(crate) fn maybe_word(&mut self) -> Option<&'a str> {
        let plain = |word: &&str| !word.contains('=') && !word.starts_with('+');
        let at = self.0.iter().position(plain)?;
        Some(self.0.remove(at))
    }

    /// Takes `key=value`.
    pub(crate) fn value(&mut self, key: &str) -> Option<&'a str> {
        let matches = |word: &&str| word.split_once('=').is_some_and(|(name, _)| name == key);
        let at = self.0.iter().position(matches)?;
        self.0.remove(at).split_once('=').map(|(_, value)| value)
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        self.value(key)
            .map(|value| value.parse().ok().expect("a number"))
    }

    /// Takes `key=a,b`.
    pub(crate) fn rooms(&mut self, key: &str) -> Vec<String> {
        self.value(key)
            .map_or(Vec::new(), |value| value.split(',').map(room).collect())
    }

    pub(crate) fn finish(self) {
        assert!(self.0.is_empty(), "words left over: {:?}", self.0);
    }
}

/// `s1#2`: socket and generation.
pub(crate) fn socket_ref(text: &str) -> (SocketId, u64) {
    let (socket, generation) = text.split_once('#').expect("socket#generation");
    let number = socket
        .strip_prefix('s')
        .expect("a socket")
        .parse()
        .expect("its number");
    (socket_id(number), generation.parse().expect("generation"))
}

fn reference(text: &str) -> Option<command::SocketRef> {
    let (id, generation) = socket_ref(text);
    Some(command::SocketRef {
        id: Bytes::copy_from_slice(&id.0),
        generation,
    })
}

/// `epoch:index.op`.
fn offset(text: &str) -> command::Offset {
    let (epoch, at) = text.split_once(':').expect("epoch:index.op");
    let Position { index, op } = position(at);
    command::Offset {
        epoch: epoch.parse().expect("epoch"),
        index,
        op,
    }
}

fn id_bytes(text: &str) -> Bytes {
    let number: u8 = text[1..].parse().expect("a number after the letter");
    Bytes::copy_from_slice(&[number; 16])
}

fn settings(words: &mut Words<'_>) -> command::Settings {
    command::Settings {
        retention_ms: words.number("retention_ms").unwrap_or(0),
        retention_min_ms: words.number("retention_min_ms").unwrap_or(0),
        retention_bytes: words.number("retention_bytes").unwrap_or(0),
        retention_count: words.number("retention_count").unwrap_or(0),
        resume_window_ms: words.number("resume_window_ms").unwrap_or(0),
        key_window_ms: words.number("key_window_ms").unwrap_or(0),
        keys_max: words.number("keys_max").unwrap_or(0),
        event_bytes_max: words.number("event_bytes_max").unwrap_or(0),
        rooms_per_socket_max: words.number("rooms_per_socket_max").unwrap_or(0),
        room_name_bytes_max: words.number("room_name_bytes_max").unwrap_or(0),
        lease_ms: words.number("lease_ms").unwrap_or(0),
        namespaces_max: words.number("namespaces_max").unwrap_or(0),
        subscriber_window_ms: words.number("subscriber_window_ms").unwrap_or(0),
        subscriber_events: words.number("subscriber_events").unwrap_or(0),
        subscriber_bytes: words.number("subscriber_bytes").unwrap_or(0),
        subscribers_max: words.number("subscribers_max").unwrap_or(0),
        lifecycle_records: words.number("lifecycle_records"),
    }
}

/// One operation.
pub(crate) fn operation(line: &str) -> command::Op {
    let mut words = Words::new(line);
    let kind = match words.word() {
        "connect" => Kind::Connect(command::Connect {
            id: id_bytes(words.word()),
            pid: words.value("pid").map_or(Bytes::new(), id_bytes),
            namespace: words.word().to_owned(),
            identity: words.value("as").map(str::to_owned),
            data: Bytes::from(words.value("data").unwrap_or_default().to_owned()),
            recoverable: words.value("recovery") != Some("off"),
            rooms: words.rooms("rooms"),
            subscriber: words.value("name").map(str::to_owned),
            manual: words.value("manual") == Some("yes"),
            end_subscriber: words.value("end") == Some("yes"),
        }),
        "resume" => Kind::Resume(resume(&mut words)),
        "join" => {
            let socket = reference(words.word());
            let rooms = std::iter::from_fn(|| words.maybe_word())
                .map(room)
                .collect();
            Kind::Join(command::Join { socket, rooms })
        }
        "leave" => {
            let socket = reference(words.word());
            let rooms = std::iter::from_fn(|| words.maybe_word())
                .map(room)
                .collect();
            Kind::Leave(command::Leave { socket, rooms })
        }
        "publish" => Kind::Publish(command::Publish {
            socket: Some(words.word())
                .filter(|word| *word != "server")
                .and_then(reference),
            namespace: words.word().to_owned(),
            rooms: words.rooms("to"),
            except: words.rooms("except"),
            key: words.value("key").map(str::to_owned),
            request: words.number("request"),
            attachments: words
                .value("file")
                .map(|text| text.to_owned().into())
                .into_iter()
                .collect(),
            event: Bytes::from(words.maybe_word().unwrap_or_default().to_owned()),
        }),
        "away" => Kind::Away(command::Away {
            socket: reference(words.word()),
        }),
        "disconnect" => Kind::Disconnect(command::Disconnect {
            socket: reference(words.word()),
            reason: words.value("reason").unwrap_or_default().to_owned(),
            by_client: words.value("by") == Some("client"),
        }),
        "ack" => Kind::Acknowledge(command::Acknowledge {
            socket: reference(words.word()),
            offset: Some(offset(words.word())),
        }),
        "ack-all" => Kind::AcknowledgeAll(acknowledge_all(&mut words)),
        other => server_operation(other, &mut words),
    };
    words.finish();
    command::Op { kind: Some(kind) }
}

/// An operation of the server on any sockets.
fn server_operation(name: &str, words: &mut Words<'_>) -> Kind {
    let rooms = |words: &mut Words<'_>| {
        let names = std::iter::from_fn(|| words.maybe_word());
        names.map(room).collect()
    };
    match name {
        "sockets-join" => Kind::SocketsJoin(command::SocketsJoin {
            sockets: Some(selector(words)),
            rooms: rooms(words),
        }),
        "sockets-leave" => Kind::SocketsLeave(command::SocketsLeave {
            sockets: Some(selector(words)),
            rooms: rooms(words),
        }),
        "disconnect-sockets" => Kind::DisconnectSockets(command::DisconnectSockets {
            sockets: Some(selector(words)),
            close: words.value("close") == Some("yes"),
        }),
        "set-data" => Kind::SetData(command::SetData {
            socket_id: id_bytes(words.word()),
            namespace: words.word().to_owned(),
            data: Bytes::from(words.word().to_owned()),
        }),
        other => panic!("no such operation: {other}"),
    }
}

/// `/chat to=a,b except=c`.
fn selector(words: &mut Words<'_>) -> command::Selector {
    command::Selector {
        namespace: words.word().to_owned(),
        rooms: words.rooms("to"),
        except: words.rooms("except"),
    }
}

/// `resume p1 /chat [at=7:5.0] [name=mail] [manual=yes] [moved=yes]`; `-` is no pid.
fn resume(words: &mut Words<'_>) -> command::Resume {
    command::Resume {
        pid: match words.word() {
            "-" => Bytes::new(),
            pid => id_bytes(pid),
        },
        namespace: words.word().to_owned(),
        identity: words.value("as").map(str::to_owned),
        subscriber: words.value("name").map(str::to_owned),
        manual: words.value("manual") == Some("yes"),
        offset: match words.value("at") {
            None => None,
            Some("garbage") => Some(command::resume::Offset::Unreadable(true)),
            Some(text) => Some(command::resume::Offset::Known(offset(text))),
        },
        moved: words.value("moved") == Some("yes"),
    }
}

/// `ack-all 10 through=4.0 except=s1#1:3.0,s2#1:2.0 [more=yes]`.
fn acknowledge_all(words: &mut Words<'_>) -> command::AcknowledgeAll {
    let wire = |text: &str| {
        let Position { index, op } = position(text);
        Some(command::Position { index, op })
    };
    let except = |text: &str| {
        let (socket, cursor) = text.split_once(':').expect("socket:cursor");
        command::acknowledge_all::Except {
            socket: reference(socket),
            cursor: wire(cursor),
        }
    };
    let list = words.value("except").unwrap_or_default();
    command::AcknowledgeAll {
        incarnation: words.word().parse().expect("incarnation"),
        through: words.value("through").and_then(wire),
        except: list
            .split(',')
            .filter(|text| !text.is_empty())
            .map(except)
            .collect(),
        more: words.value("more") == Some("yes"),
    }
}

/// One command with the operations that follow it; `None` for a line that is no command.
pub(crate) fn command(line: &str, operations: &[&str]) -> Option<command::Command> {
    let mut words = Words::new(line);
    let body = match words.word() {
        "tick" => None,
        "found" => Some(Body::Founding(command::Founding {
            epoch: words.number("epoch").expect("epoch"),
            group: words.number("group").unwrap_or(0),
            table: Vec::new(),
            feature_level: 1,
            settings: Some(settings(&mut words)),
        })),
        "configure" => Some(Body::Configure(command::Configure {
            settings: Some(settings(&mut words)),
        })),
        "level" => {
            let feature_level = words.word().parse().expect("a level");
            Some(Body::RaiseLevel(command::RaiseLevel { feature_level }))
        }
        "register" => Some(Body::Register(command::Register {
            incarnation: words.word().parse().expect("incarnation"),
            node_id: words.number("node").expect("node"),
        })),
        "detach" => Some(Body::Detach(command::Detach {
            incarnation: words.word().parse().expect("incarnation"),
        })),
        "batch" => Some(Body::Batch(batch(
            words.word().parse().expect("incarnation"),
            words.word().parse().expect("sequence"),
            operations.iter().map(|line| operation(line)).collect(),
        ))),
        _ => return None,
    };
    let elapsed = words.0.iter().position(|word| word.starts_with('+'));
    let elapsed = elapsed.map(|at| {
        words.0.remove(at)[1..]
            .parse::<u64>()
            .expect("milliseconds")
    });
    words.finish();
    Some(command::Command {
        version: COMMAND_VERSION,
        elapsed_us: elapsed.unwrap_or(0) * 1000,
        wall_ms: 0,
        body,
    })
}

/// An encoded batch.
pub(crate) fn batch(incarnation: u64, sequence: u64, ops: Vec<command::Op>) -> Bytes {
    command::Batch {
        incarnation,
        sequence,
        ops,
    }
    .encode_to_vec()
    .into()
}
