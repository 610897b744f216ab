//! Whom something is for, and how: names, pages, classes, times.

use std::time::Duration;

use roomcast_proto::Offset;
use roomcast_proto::api;

use crate::ids::SocketId;
use crate::limits;
use crate::socketio::{Refusal, Target};

/// What becomes of an event. (DESIGN, section 3.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// In the log's order, replayed to who is away.
    Logged,
    /// Dropped where it cannot be written now.
    Volatile,
    /// In the order of one node's emits, queued like any frame.
    Transient,
}

/// A namespace; empty stands for `/`.
///
/// # Errors
/// `invalid`.
pub(crate) fn namespace(name: String) -> Result<String, Refusal> {
    if name.is_empty() {
        return Ok("/".to_owned());
    }
    let wrong = if !name.starts_with('/') {
        "must begin with a slash".to_owned()
    } else if name.len() > limits::NAMESPACE_NAME_BYTES_MAX {
        format!("has at most {} bytes", limits::NAMESPACE_NAME_BYTES_MAX)
    } else if name.contains(|c: char| c == ',' || c.is_control()) {
        "has neither commas nor control characters".to_owned()
    } else {
        return Ok(name);
    };
    Err(Refusal::invalid(format!("namespace {wrong}")))
}

/// A target; absent stands for everybody.
///
/// # Errors
/// `invalid`, naming the list.
pub(crate) fn target(target: Option<api::Target>) -> Result<Target, Refusal> {
    let api::Target { rooms, except } = target.unwrap_or_default();
    check_names("rooms", &rooms)?;
    check_names("except", &except)?;
    if rooms.len() + except.len() > limits::TARGET_NAMES_MAX {
        let message = format!(
            "rooms and except have at most {} names together",
            limits::TARGET_NAMES_MAX
        );
        return Err(Refusal::invalid(message));
    }
    Ok(Target { rooms, except })
}

/// The rooms of a join or leave: at least one.
///
/// # Errors
/// `invalid`.
pub(crate) fn names(rooms: Vec<String>) -> Result<Vec<String>, Refusal> {
    if rooms.is_empty() {
        return Err(Refusal::invalid("rooms is empty"));
    }
    check_names("rooms", &rooms)?;
    Ok(rooms)
}

/// The one room that something is about.
///
/// # Errors
/// `invalid`.
pub(crate) fn room(room: String) -> Result<String, Refusal> {
    if room.is_empty() {
        return Err(Refusal::invalid("room is missing"));
    }
    Ok(room)
}

/// A class by its number.
///
/// # Errors
/// `invalid`.
pub(crate) fn class(number: i32) -> Result<Class, Refusal> {
    match api::Class::try_from(number) {
        Ok(api::Class::Logged) => Ok(Class::Logged),
        Ok(api::Class::Volatile) => Ok(Class::Volatile),
        Ok(api::Class::Transient) => Ok(Class::Transient),
        Err(_) => Err(Refusal::invalid("class is unknown")),
    }
}

/// A socket's id.
///
/// # Errors
/// `invalid`, naming the field.
pub(crate) fn socket_id(field: &str, text: &str) -> Result<SocketId, Refusal> {
    SocketId::parse(text).ok_or_else(|| Refusal::invalid(format!("{field} is no socket's id")))
}

/// An offset.
///
/// # Errors
/// `invalid`, naming the field.
pub(crate) fn offset(field: &str, text: &str) -> Result<Offset, Refusal> {
    text.parse()
        .map_err(|_| Refusal::invalid(format!("{field} is no offset")))
}

/// How much a page may have; 0 stands for as much as it can.
///
/// # Errors
/// `invalid`.
pub(crate) fn limit(limit: u32, max: usize) -> Result<usize, Refusal> {
    match limit as usize {
        0 => Ok(max),
        limit if limit <= max => Ok(limit),
        _ => Err(Refusal::invalid(format!("limit is at most {max}"))),
    }
}

/// How long to wait for answers; 0 stands for the server's own time.
///
/// # Errors
/// `invalid`.
pub(crate) fn timeout(timeout_ms: u32) -> Result<Duration, Refusal> {
    match Duration::from_millis(timeout_ms.into()) {
        Duration::ZERO => Ok(limits::ANSWER_DEADLINE),
        timeout if timeout <= limits::ANSWER_WAIT_MAX => Ok(timeout),
        _ => {
            let max = limits::ANSWER_WAIT_MAX.as_millis();
            Err(Refusal::invalid(format!("timeout_ms is at most {max}")))
        }
    }
}

fn check_names(list: &str, names: &[String]) -> Result<(), Refusal> {
    if names.len() > limits::TARGET_NAMES_MAX {
        let max = limits::TARGET_NAMES_MAX;
        return Err(Refusal::invalid(format!("{list} has at most {max} names")));
    }
    match names.iter().position(String::is_empty) {
        Some(place) => Err(Refusal::invalid(format!("{list}[{place}] is empty"))),
        None => Ok(()),
    }
}
