//! `members`: who is in a room, read from this node's replica at a stated position.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::Refusal;
use super::request::{argument, room_name};
use crate::ids::SocketId;
use crate::limits;
use crate::socketio::{Event, Socket};
use crate::state::Member;

/// About what a member takes in an answer beside its identity and data.
const MEMBER_BYTES: usize = 128;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default)]
    away: bool,
    after: Option<String>,
    limit: Option<usize>,
}

/// Answers a `members` request.
pub(crate) fn answer(socket: &Socket, event: &Event) -> Result<String, Refusal> {
    let room = room_name(event)?;
    let options: Options = argument(event, 1, "the options")?.unwrap_or_default();
    let after = match &options.after {
        None => None,
        Some(text) => {
            Some(SocketId::parse(text).ok_or_else(|| Refusal::invalid("after is no socket's id"))?)
        }
    };
    let limit = options.limit.unwrap_or(limits::MEMBERS_PAGE_MAX);
    if limit > limits::MEMBERS_PAGE_MAX {
        let message = format!("limit is at most {}", limits::MEMBERS_PAGE_MAX);
        return Err(Refusal::invalid(message));
    }
    let (page, offset) = socket.members(&room, after, limit, options.away);
    let (members, cut) = fitting(page.members.iter(), limit);
    let next = cut.or(page.next);
    let answer = json!([{
        "ok": true,
        "offset": offset.to_string(),
        "count": page.count,
        "members": members,
        "next": next.map(|id| id.to_string()),
    }]);
    Ok(answer.to_string())
}

/// As many as fit one answer, and if not all did, the last one's id.
pub(super) fn fitting<'a>(
    all: impl Iterator<Item = &'a Member>,
    limit: usize,
) -> (Vec<Value>, Option<SocketId>) {
    let mut members = Vec::new();
    let (mut bytes, mut last) = (0, None);
    for member in all {
        bytes += member_bytes(member);
        if members.len() == limit || bytes > limits::PAGE_BYTES_MAX && last.is_some() {
            return (members, last);
        }
        last = Some(member.id);
        members.push(member_json(member));
    }
    (members, None)
}

/// About what a member takes in an answer.
pub(super) fn member_bytes(member: &Member) -> usize {
    MEMBER_BYTES + member.identity.as_deref().map_or(0, str::len) + member.data.len()
}

/// A member as lists show it.
pub(super) fn member_json(member: &Member) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), member.id.to_string().into());
    let state = if member.connected {
        "connected"
    } else {
        "away"
    };
    object.insert("state".into(), state.into());
    object.insert("since".into(), member.since_ms.into());
    object.insert("identity".into(), json!(member.identity.as_deref()));
    object.insert("data".into(), data_json(member));
    Value::Object(object)
}

/// The data of a member; `null` without any.
pub(super) fn data_json(member: &Member) -> Value {
    serde_json::from_slice(&member.data).unwrap_or(Value::Null)
}
