//! Effects and answers as one reads them.

use roomcast::ids::{Position, SocketId};
use roomcast::state::{
    Effect, Event, LifecycleKind, LifecycleRecord, OpResult, SubscriberLimit, Verdict,
};

/// `s1` for an id that `script::socket_id` made.
pub(crate) fn socket(id: &SocketId) -> String {
    format!("s{}", id.0[0])
}

/// A room's name, `@s1` for the one of a socket.
pub(crate) fn room(name: &str) -> String {
    match SocketId::parse(name) {
        Some(id) => format!("@{}", socket(&id)),
        None => name.to_owned(),
    }
}

/// Names in brackets.
pub(crate) fn rooms<'a>(names: impl IntoIterator<Item = &'a std::sync::Arc<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| room(name)).collect();
    format!("[{}]", names.join(" "))
}

/// `index.op`, with `max` for the end of an entry.
pub(crate) fn position(at: Position) -> String {
    match at.op {
        u32::MAX => format!("{}.max", at.index),
        op => format!("{}.{op}", at.index),
    }
}

/// Positions in brackets.
pub(crate) fn positions(all: &[Position]) -> String {
    let all: Vec<String> = all.iter().copied().map(position).collect();
    format!("[{}]", all.join(" "))
}

/// One effect, on one line.
pub(crate) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Joined {
            position: at,
            socket: id,
            owner,
            namespace,
            rooms: names,
        } => {
            let (at, id, names) = (position(*at), socket(id), rooms(names));
            format!("{at} joined {id} of {owner} in {namespace}: {names}")
        }
        Effect::Left {
            position: at,
            socket: id,
            owner,
            namespace,
            rooms: names,
        } => {
            let (at, id, names) = (position(*at), socket(id), rooms(names));
            format!("{at} left {id} of {owner} in {namespace}: {names}")
        }
        Effect::Published(event) => published(event),
        Effect::Fenced {
            position: at,
            socket: id,
            owner,
            generation,
        } => {
            format!(
                "{} fenced {}#{generation} of {owner}",
                position(*at),
                socket(id)
            )
        }
        Effect::Kicked {
            position: at,
            socket: id,
            owner,
            close,
        } => {
            let how = if *close { " and closed" } else { "" };
            format!("{} kicked{how} {} of {owner}", position(*at), socket(id))
        }
        Effect::WentAway {
            position: at,
            socket: id,
            owner,
        } => {
            format!("{} went away {} of {owner}", position(*at), socket(id))
        }
        Effect::Ended {
            position: at,
            socket: id,
            owner,
            namespace,
            expired,
            limit,
        } => {
            let (at, how, id) = (position(*at), ending(*expired, *limit), socket(id));
            format!("{at} {how} {id} of {owner} in {namespace}")
        }
        other => batch_effect(other),
    }
}

/// What became of a session, on one line.
pub(crate) fn record(record: &LifecycleRecord) -> String {
    let what = match &record.kind {
        LifecycleKind::Connected => "connected".to_owned(),
        LifecycleKind::Joined { room } => format!("joined {room}"),
        LifecycleKind::Left { room } => format!("left {room}"),
        LifecycleKind::Away => "away".to_owned(),
        LifecycleKind::Back => "back".to_owned(),
        LifecycleKind::Disconnected { reason } => format!("disconnected ({reason})"),
        LifecycleKind::Expired => "expired".to_owned(),
        LifecycleKind::Updated => "updated".to_owned(),
    };
    let (at, id) = (position(record.position), socket(&record.socket));
    let (who, data) = (
        record.identity.as_deref(),
        String::from_utf8_lossy(&record.data),
    );
    format!("{at} {id} {what} as {} '{data}'", who.unwrap_or("nobody"))
}

/// Why a session ended.
fn ending(expired: bool, limit: Option<SubscriberLimit>) -> String {
    match limit {
        Some(limit) => format!("ended by its limit of {}", limit.word()),
        None if expired => "expired".to_owned(),
        None => "ended".to_owned(),
    }
}

/// What is not about one socket.
fn batch_effect(effect: &Effect) -> String {
    match effect {
        Effect::Expired {
            position: at,
            runner,
            session,
        } => {
            format!(
                "{} expiry of {} is told to {runner}",
                position(*at),
                socket(&session.id)
            )
        }
        Effect::Op {
            incarnation,
            sequence,
            op,
            position: at,
            result: outcome,
        } => {
            let at = position(*at);
            format!("{at} op {incarnation}/{sequence}/{op}: {}", result(outcome))
        }
        Effect::Gap {
            incarnation,
            sequence,
            expected,
        } => {
            format!("gap {incarnation}/{sequence}, expected {expected}")
        }
        Effect::UnknownProducer {
            incarnation,
            sequence,
        } => {
            format!("unknown producer {incarnation}/{sequence}")
        }
        Effect::Registered { node, incarnation } => {
            format!("registered {incarnation} of node {node}")
        }
        Effect::Detached {
            position: at,
            node,
            incarnation,
        } => {
            format!("{} detached {incarnation} of node {node}", position(*at))
        }
        Effect::Founded { epoch, group } => format!("founded epoch {epoch} group {group}"),
        other => panic!("about a socket: {other:?}"),
    }
}

fn published(event: &Event) -> String {
    let Event {
        namespace,
        rooms: targets,
        except,
        attachments,
        ..
    } = event;
    let text = String::from_utf8_lossy(&event.event);
    let at = position(event.position);
    let mut line = format!("{at} published in {namespace} to {}", rooms(targets));
    if !except.is_empty() {
        line += &format!(" except {}", rooms(except));
    }
    line += &format!(" '{text}'");
    if !attachments.is_empty() {
        line += &format!(" with {} attachments", attachments.len());
    }
    if let Some(request) = &event.request {
        let (number, asker) = (request.number, request.incarnation);
        let expected: Vec<String> = request.expected.iter().map(socket).collect();
        let expected = expected.join(" ");
        line += &format!(" request {number} of {asker} expects [{expected}]");
    }
    line
}

fn result(outcome: &OpResult) -> String {
    match outcome {
        OpResult::Done => "done".to_owned(),
        OpResult::Duplicate { first } => format!("duplicate of {}", position(*first)),
        OpResult::Resume(Verdict::Recovered {
            socket: id,
            generation,
            start,
            rooms: names,
            ..
        }) => {
            let start = position(*start);
            format!(
                "recovered {}#{generation} from {start} in {}",
                socket(id),
                rooms(names)
            )
        }
        OpResult::Resume(Verdict::NotRecovered(reason)) => format!("not recovered: {reason:?}"),
        OpResult::Refused(refusal) => format!("refused: {refusal:?}"),
    }
}
