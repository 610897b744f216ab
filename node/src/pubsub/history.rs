//! `history`: a room's events, oldest first, page by page.

use bytes::Bytes;
use roomcast_proto::socketio::{args, binary};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Code, Refusal, reply};
use super::request::{argument, parse_offset, room_name};
use crate::limits;
use crate::socketio::{Ack, Event, HistoryFrom, HistoryPage, Socket};
use crate::state;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Options {
    after: Option<String>,
    last: Option<usize>,
    limit: Option<usize>,
}

/// Answers a `history` request.
pub(crate) async fn answer(socket: &Socket, event: &Event, ack: Option<Ack>) {
    let Some(ack) = ack else { return };
    let (room, from, limit) = match read(event) {
        Ok(request) => request,
        Err(refusal) => return reply(Some(ack), Err(refusal)),
    };
    match socket.history(&room, from, limit).await {
        Ok(page) => {
            let (args, attachments) = page_json(&page);
            ack.send_raw(args.as_bytes(), attachments);
        }
        Err(error) => ack.refuse(&error.into()),
    }
}

fn read(event: &Event) -> Result<(String, HistoryFrom, usize), Refusal> {
    let room = room_name(event)?;
    let options: Options = argument(event, 1, "the options")?.unwrap_or_default();
    let limit = options.limit.unwrap_or(limits::HISTORY_PAGE_MAX);
    if limit == 0 || limit > limits::HISTORY_PAGE_MAX {
        let message = format!("limit is from 1 to {}", limits::HISTORY_PAGE_MAX);
        return Err(Refusal::new(Code::Invalid, message));
    }
    let from = match (options.after, options.last) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid("after and last exclude each other"));
        }
        (Some(after), None) => HistoryFrom::After(parse_offset(&after)?),
        (None, Some(last)) => HistoryFrom::Last(last),
        (None, None) => HistoryFrom::Oldest,
    };
    Ok((room, from, limit))
}

fn page_json(page: &HistoryPage) -> (String, Vec<Bytes>) {
    let mut attachments = Vec::new();
    let events: Vec<Value> = page
        .events
        .iter()
        .map(|(offset, event)| event_json(offset, event, &mut attachments))
        .collect();
    let answer = json!([{
        "ok": true,
        "events": events,
        "complete": page.complete,
        "more": page.more,
        "offset": page.offset,
    }]);
    (answer.to_string(), attachments)
}

/// One event; its placeholders count on from the attachments of those before it.
fn event_json(offset: &str, event: &state::Event, attachments: &mut Vec<Bytes>) -> Value {
    let mut parts: Vec<Value> = args::split(&event.event)
        .unwrap_or_default()
        .iter()
        .map(|part| serde_json::from_slice(part).unwrap_or(Value::Null))
        .collect();
    if !event.attachments.is_empty() {
        parts
            .iter_mut()
            .for_each(|part| renumber(part, attachments.len()));
        attachments.extend(event.attachments.iter().cloned());
    }
    let name = if parts.is_empty() {
        Value::Null
    } else {
        parts.remove(0)
    };
    json!({ "offset": offset, "event": name, "args": parts, "at": event.wall_ms })
}

fn renumber(value: &mut Value, base: usize) {
    if let Some(number) = binary::placeholder_number(value) {
        *value = binary::placeholder(number + base);
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, base)),
        Value::Object(fields) => fields.values_mut().for_each(|field| renumber(field, base)),
        _ => {}
    }
}
