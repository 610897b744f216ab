//! What the server answers, from `{"ok":true,…}` or `{"ok":false,"error":…}`.

use bytes::Bytes;
use serde_json::Value;

use crate::event::Args;
use crate::pubsub::error::{ErrorCode, PubsubError};

/// A publish is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its position; `None` for a volatile one, which is not logged.
    pub offset: Option<String>,
    /// The idempotency key was seen before; the offset is the first one's.
    pub is_duplicate: bool,
}

/// A page of a room's members, at one position of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    /// The position for which the list is exact.
    pub offset: String,
    /// All members of the kind asked for, not only this page's.
    pub count: u64,
    /// The page.
    pub members: Vec<Member>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The socket's id.
    pub id: String,
    /// `connected`, or `away` while its resume window runs.
    pub state: String,
    /// Since when, as the server writes it.
    pub since: Value,
    /// Who it is, if it said so.
    pub identity: Value,
    /// What its handlers attached to it.
    pub data: Value,
}

/// A page of a room's events, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The events.
    pub events: Vec<LoggedEvent>,
    /// No event of the room after the start was dropped.
    pub complete: bool,
    /// The limit cut the page.
    pub more: bool,
    /// Where the next page or a live view starts.
    pub offset: String,
    /// Binary attachments, by the numbers of the placeholders in the events' arguments.
    pub attachments: Vec<Bytes>,
}

/// One event of a room's history.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Its position.
    pub offset: String,
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: Vec<Value>,
    /// When it was logged, as the server writes it.
    pub at: Value,
}

/// An answer with `ok`.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The object.
    fields: Value,
    /// Its attachments.
    attachments: Vec<Bytes>,
}

impl Answer {
    /// Reads an acknowledgement.
    pub(crate) fn read(args: Args) -> Result<Self, PubsubError> {
        let (values, attachments) = args.into_parts();
        let fields = values.into_iter().next().unwrap_or_default();
        match fields.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(Self {
                fields,
                attachments,
            }),
            Some(false) => {
                let error = fields.get("error").unwrap_or(&Value::Null);
                let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
                Err(PubsubError::new(text("code").into(), text("message")))
            }
            None => Err(malformed("ok")),
        }
    }

    /// The position.
    pub(crate) fn offset(&self) -> Result<String, PubsubError> {
        text(&self.fields, "offset").ok_or_else(|| malformed("offset"))
    }

    pub(crate) fn published(&self) -> Published {
        Published {
            offset: text(&self.fields, "offset"),
            is_duplicate: is_true(&self.fields, "duplicate"),
        }
    }

    pub(crate) fn members(mut self) -> Result<Members, PubsubError> {
        let offset = self.offset()?;
        let count = self.fields.get("count").and_then(Value::as_u64);
        let members = take_array(&mut self.fields, "members")
            .into_iter()
            .map(|mut member| {
                Some(Member {
                    id: text(&member, "id")?,
                    state: text(&member, "state")?,
                    since: take(&mut member, "since"),
                    identity: take(&mut member, "identity"),
                    data: take(&mut member, "data"),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| malformed("members"))?;
        Ok(Members {
            offset,
            count: count.ok_or_else(|| malformed("count"))?,
            members,
            next: text(&self.fields, "next"),
        })
    }

    pub(crate) fn history(mut self) -> Result<History, PubsubError> {
        let offset = self.offset()?;
        let events = take_array(&mut self.fields, "events")
            .into_iter()
            .map(|mut event| {
                Some(LoggedEvent {
                    offset: text(&event, "offset")?,
                    event: text(&event, "event")?,
                    args: take_array(&mut event, "args"),
                    at: take(&mut event, "at"),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| malformed("events"))?;
        Ok(History {
            events,
            complete: is_true(&self.fields, "complete"),
            more: is_true(&self.fields, "more"),
            offset,
            attachments: self.attachments,
        })
    }
}

/// The server answered, but not in a form that says what became of the request.
fn malformed(member: &str) -> PubsubError {
    let message = format!("the answer's member {member:?} is missing or wrong");
    PubsubError::new(ErrorCode::UnknownOutcome, message)
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

fn take_array(value: &mut Value, key: &str) -> Vec<Value> {
    match take(value, key) {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}
