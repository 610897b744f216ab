//! Reads clients' requests; whatever is wrong with one is said in words.

use bytes::Bytes;
use roomcast_proto::offset::Offset;
use roomcast_proto::socketio::args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{Code, Refusal};
use crate::socketio::{Event, Socket, Target};

/// JSON depth of an event that a client publishes.
const EVENT_DEPTH_MAX: usize = 100;

/// Reads argument `index`; absent and `null` are the same.
pub(crate) fn argument<T: DeserializeOwned>(
    event: &Event,
    index: usize,
    what: &str,
) -> Result<Option<T>, Refusal> {
    let Some(raw) = event.args.get(index) else {
        return Ok(None);
    };
    serde_json::from_slice::<Option<T>>(raw)
        .map_err(|error| Refusal::invalid(format!("{what}: {error}")))
}

/// Reads an argument that must be there.
pub(crate) fn required<T: DeserializeOwned>(
    event: &Event,
    index: usize,
    what: &str,
) -> Result<T, Refusal> {
    argument(event, index, what)?.ok_or_else(|| Refusal::invalid(format!("{what} is missing")))
}

/// The room of a `join` or `leave`. Rooms named by socket ids belong to their sockets.
pub(crate) fn room(socket: &Socket, event: &Event) -> Result<String, Refusal> {
    let room = room_name(event)?;
    if socket.is_socket_room(&room) {
        return Err(Refusal::new(
            Code::Forbidden,
            "this room belongs to a socket",
        ));
    }
    Ok(room)
}

/// The first argument as a room's name.
pub(crate) fn room_name(event: &Event) -> Result<String, Refusal> {
    let room: String = required(event, 0, "the room")?;
    if room.is_empty() {
        return Err(Refusal::invalid("the room's name is empty"));
    }
    Ok(room)
}

/// The offset of an `ack`.
pub(crate) fn offset(event: &Event) -> Result<Offset, Refusal> {
    let text: String = required(event, 0, "the offset")?;
    parse_offset(&text)
}

pub(crate) fn parse_offset(text: &str) -> Result<Offset, Refusal> {
    text.parse()
        .map_err(|error| Refusal::invalid(format!("the offset {text:?}: {error}")))
}

/// A `publish`.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) target: Target,
    pub(crate) key: Option<String>,
    pub(crate) volatile: bool,
    /// JSON array, name first.
    pub(crate) event: Bytes,
    pub(crate) attachments: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireTarget {
    Room(String),
    Rooms(WireRooms),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRooms {
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    key: Option<String>,
    #[serde(default)]
    volatile: bool,
}

impl Publish {
    pub(crate) fn read(event: Event) -> Result<Self, Refusal> {
        const FORM: &str = "the target is a room, or {rooms, except?, key?, volatile?}";
        let Some(target) = event.args.first() else {
            return Err(Refusal::invalid("the target is missing"));
        };
        let target: WireTarget =
            serde_json::from_slice(target).map_err(|_| Refusal::invalid(FORM))?;
        let target = match target {
            WireTarget::Room(room) => WireRooms {
                rooms: vec![room],
                except: Vec::new(),
                key: None,
                volatile: false,
            },
            WireTarget::Rooms(rooms) => rooms,
        };
        if target.rooms.is_empty() || target.rooms.iter().any(String::is_empty) {
            return Err(Refusal::invalid("a target room is missing or empty"));
        }
        let named: String = required(&event, 1, "the event's name")?;
        let event_json = args::check_event(&args::join(&event.args[1..]), EVENT_DEPTH_MAX)
            .map_err(|error| Refusal::invalid(format!("the event {named:?}: {error}")))?;
        Ok(Self {
            target: Target {
                rooms: target.rooms,
                except: target.except,
            },
            key: target.key,
            volatile: target.volatile,
            event: event_json,
            attachments: event.attachments,
        })
    }
}
