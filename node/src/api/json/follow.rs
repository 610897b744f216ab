//! `GET /v1/follow`: a namespace as server-sent events. The id of one is the offset behind which a
//! follower goes on; only the last thing of an offset has one, so that none is skipped.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use roomcast_proto::api;
use roomcast_proto::api::followed::What;
use roomcast_proto::api::lifecycle::Kind;
use serde::Serialize;

use super::Shared;
use super::query::{self, Given};
use super::text::{Raw, encoded, optional, raw, some};
use crate::api::refused::Refused;
use crate::messages;
use crate::socketio::Follow;

/// What a browser sends when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Serialize)]
struct Logged {
    offset: String,
    rooms: Vec<String>,
    except: Vec<String>,
    event: String,
    args: Raw,
    attachments: Vec<String>,
    at: u64,
}

#[derive(Serialize)]
struct Lifecycle {
    offset: String,
    kind: String,
    socket: String,
    identity: Option<String>,
    data: Option<Raw>,
    room: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Place {
    offset: String,
}

pub(super) async fn follow(
    State(operations): State<Shared>,
    headers: HeaderMap,
    given: Given,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let last = headers.get(LAST_EVENT_ID);
    let last = last.and_then(|last| last.to_str().ok()).unwrap_or_default();
    let request = query::follow(given, last)?;
    let follow = operations
        .follow(request)
        .inspect_err(|refusal| refusal.count())?;
    Ok(Sse::new(told(follow)).keep_alive(KeepAlive::default()))
}

/// Ends when the follower cannot be told more: a browser comes back by itself.
fn told(follow: Follow) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(follow, |mut follow| async {
        let followed = follow.next().await.ok()?;
        Some((Ok(event(messages::followed(followed))), follow))
    })
}

fn event(followed: api::Followed) -> Event {
    let api::Followed { offset, last, what } = followed;
    let event = if last {
        Event::default().id(&offset)
    } else {
        Event::default()
    };
    let (name, data) = match what {
        Some(What::Event(event)) => ("event", json(&logged(offset, event))),
        Some(What::Lifecycle(record)) => ("lifecycle", json(&lifecycle(offset, record))),
        Some(What::Gap(_)) => ("gap", json(&Place { offset })),
        Some(What::Mark(_)) | None => ("mark", json(&Place { offset })),
    };
    event.event(name).data(data)
}

/// JSON's line breaks are whitespace between tokens, where an event would end with one.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("texts and numbers are JSON");
    text.replace(['\r', '\n'], " ")
}

fn logged(offset: String, logged: api::followed::Logged) -> Logged {
    let event = logged.event.unwrap_or_default();
    Logged {
        offset,
        rooms: logged.rooms,
        except: logged.except,
        event: event.name,
        args: raw(event.args),
        attachments: encoded(&event.attachments),
        at: logged.at,
    }
}

fn lifecycle(offset: String, record: api::Lifecycle) -> Lifecycle {
    let kind = Kind::try_from(record.kind).unwrap_or_default();
    Lifecycle {
        offset,
        kind: kind.as_str_name().to_lowercase(),
        socket: record.socket,
        identity: record.identity,
        data: optional(record.data),
        room: some(record.room),
        reason: some(record.reason),
    }
}
