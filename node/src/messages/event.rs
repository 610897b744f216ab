//! Events: a name and a JSON array of arguments outside, one array with the name first inside.

use bytes::Bytes;
use roomcast_proto::DecodeError;
use roomcast_proto::api;
use roomcast_proto::socketio::{Limits, args, binary};

use crate::socketio::{Event, Refusal};

/// A JSON array and the attachments that its placeholders stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The array; an event's name is its first element.
    pub(crate) json: Bytes,
    /// By the numbers of their placeholders.
    pub(crate) attachments: Vec<Bytes>,
}

/// An event that a program sends. What a client may not send, it may not either: a reserved name or
/// a placeholder without its attachment would end the connections of stock clients.
///
/// # Errors
/// `invalid`, in words that name the part.
pub(crate) fn payload(event: Option<api::Event>) -> Result<Payload, Refusal> {
    let event = event.ok_or_else(|| Refusal::invalid("the event is missing"))?;
    let json = args::with_name(&event.name, &event.args, Limits::SERVER.json_depth_max);
    let json = json.map_err(|error| match error {
        DecodeError::ReservedEventName(_) => Refusal::invalid(format!("the event's name: {error}")),
        error => Refusal::invalid(format!("the event's args: {error}")),
    })?;
    check_attachments("the event", &json, &event.attachments)?;
    Ok(Payload {
        json,
        attachments: event.attachments,
    })
}

/// A JSON array that is no event: what answers one. Empty stands for no arguments.
///
/// # Errors
/// `invalid`, in words that name the part.
pub(crate) fn json(what: &str, array: String, attachments: Vec<Bytes>) -> Result<Payload, Refusal> {
    let array = if array.is_empty() {
        Bytes::from_static(b"[]")
    } else {
        Bytes::from(array)
    };
    let json = args::check_array(&array, Limits::SERVER.json_depth_max)
        .map_err(|error| Refusal::invalid(format!("{what}'s args: {error}")))?;
    check_attachments(what, &json, &attachments)?;
    Ok(Payload { json, attachments })
}

/// An event of the log, for a program.
pub(crate) fn event_of(json: &Bytes, attachments: Vec<Bytes>) -> api::Event {
    // What stands in the log was checked when it came in.
    let (name, args) = args::named(json).unwrap_or_default();
    api::Event {
        name,
        args: text(&args),
        attachments,
    }
}

/// An event that a handler was given, for a program.
pub(crate) fn handled_event_of(event: Event) -> api::Event {
    api::Event {
        name: event.name,
        args: text(&args::join(&event.args)),
        attachments: event.attachments,
    }
}

/// JSON that was checked when it came in, as text.
pub(super) fn text(json: &Bytes) -> String {
    String::from_utf8_lossy(json).into_owned()
}

fn check_attachments(what: &str, json: &Bytes, attachments: &[Bytes]) -> Result<(), Refusal> {
    let max = Limits::SERVER.attachments_max;
    if attachments.len() > max {
        let message = format!("{what}'s attachments: there are at most {max}");
        return Err(Refusal::invalid(message));
    }
    if attachments.is_empty() {
        return Ok(());
    }
    binary::check_placeholders(json, attachments.len())
        .map_err(|error| Refusal::invalid(format!("{what}'s args: {error}")))
}
