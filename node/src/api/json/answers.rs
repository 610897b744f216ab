//! What programs are told, as JSON.

use roomcast_proto::api;
use roomcast_proto::api::publish_batch_response::outcome::Outcome;
use serde::Serialize;

use super::text::{Raw, encoded, optional, raw, some};

#[derive(Serialize)]
pub(super) struct Published {
    ok: bool,
    /// None: the event is not logged.
    offset: Option<String>,
    duplicate: bool,
}

#[derive(Serialize)]
pub(super) struct Outcomes {
    ok: bool,
    outcomes: Vec<OutcomeOf>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OutcomeOf {
    Published(Published),
    Refused { ok: bool, error: ErrorOf },
}

#[derive(Serialize)]
struct ErrorOf {
    code: String,
    message: String,
}

#[derive(Serialize)]
pub(super) struct Applied {
    ok: bool,
    offset: String,
}

#[derive(Serialize)]
pub(super) struct Answers {
    ok: bool,
    answers: Vec<Answer>,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    socket: String,
    args: Raw,
    attachments: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct ServerAnswers {
    ok: bool,
    answers: Vec<ServerAnswer>,
    missing: Vec<u64>,
}

#[derive(Serialize)]
struct ServerAnswer {
    node_id: u64,
    args: Raw,
}

#[derive(Serialize)]
pub(super) struct Sockets {
    ok: bool,
    sockets: Vec<Socket>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Socket {
    id: String,
    identity: Option<String>,
    data: Option<Raw>,
    rooms: Vec<String>,
    connected: bool,
}

#[derive(Serialize)]
pub(super) struct Members {
    ok: bool,
    count: u64,
    members: Vec<Member>,
    next: Option<String>,
    offset: String,
}

#[derive(Serialize)]
struct Member {
    id: String,
    away: bool,
    since: u64,
    identity: Option<String>,
    data: Option<Raw>,
}

#[derive(Serialize)]
pub(super) struct Rooms {
    ok: bool,
    rooms: Vec<Room>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Room {
    name: String,
    count: u64,
}

#[derive(Serialize)]
pub(super) struct History {
    ok: bool,
    events: Vec<Logged>,
    complete: bool,
    more: bool,
    offset: String,
}

#[derive(Serialize)]
struct Logged {
    offset: String,
    event: String,
    args: Raw,
    attachments: Vec<String>,
    at: u64,
}

impl From<api::PublishResponse> for Published {
    fn from(published: api::PublishResponse) -> Self {
        Self {
            ok: true,
            offset: some(published.offset),
            duplicate: published.duplicate,
        }
    }
}

impl From<api::PublishBatchResponse> for Outcomes {
    fn from(batch: api::PublishBatchResponse) -> Self {
        let outcomes = batch.outcomes.into_iter();
        let outcomes = outcomes.filter_map(|outcome| outcome.outcome);
        Self {
            ok: true,
            outcomes: outcomes.map(OutcomeOf::from).collect(),
        }
    }
}

impl From<Outcome> for OutcomeOf {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Published(published) => Self::Published(published.into()),
            Outcome::Error(api::Error { code, message }) => Self::Refused {
                ok: false,
                error: ErrorOf { code, message },
            },
        }
    }
}

impl From<api::OperationResponse> for Applied {
    fn from(applied: api::OperationResponse) -> Self {
        Self {
            ok: true,
            offset: applied.offset,
        }
    }
}

impl From<api::EmitWithAckResponse> for Answers {
    fn from(answers: api::EmitWithAckResponse) -> Self {
        let given = answers.answers.into_iter().map(|answer| Answer {
            socket: answer.socket,
            args: raw(answer.args),
            attachments: encoded(&answer.attachments),
        });
        Self {
            ok: true,
            answers: given.collect(),
            missing: answers.missing,
        }
    }
}

impl From<api::ServerSideEmitResponse> for ServerAnswers {
    fn from(answers: api::ServerSideEmitResponse) -> Self {
        let given = answers.answers.into_iter().map(|answer| ServerAnswer {
            node_id: answer.node_id,
            args: raw(answer.args),
        });
        Self {
            ok: true,
            answers: given.collect(),
            missing: answers.missing,
        }
    }
}

impl From<api::FetchSocketsResponse> for Sockets {
    fn from(page: api::FetchSocketsResponse) -> Self {
        let sockets = page.sockets.into_iter().map(|socket| Socket {
            id: socket.id,
            identity: socket.identity,
            data: optional(socket.data),
            rooms: socket.rooms,
            connected: socket.connected,
        });
        Self {
            ok: true,
            sockets: sockets.collect(),
            next: some(page.next),
        }
    }
}

impl From<api::MembersResponse> for Members {
    fn from(page: api::MembersResponse) -> Self {
        let members = page.members.into_iter().map(|member| Member {
            id: member.id,
            away: member.away,
            since: member.since,
            identity: member.identity,
            data: optional(member.data),
        });
        Self {
            ok: true,
            count: page.count,
            members: members.collect(),
            next: some(page.next),
            offset: page.offset,
        }
    }
}

impl From<api::RoomsResponse> for Rooms {
    fn from(page: api::RoomsResponse) -> Self {
        let rooms = page.rooms.into_iter().map(|room| Room {
            name: room.name,
            count: room.count,
        });
        Self {
            ok: true,
            rooms: rooms.collect(),
            next: some(page.next),
        }
    }
}

impl From<api::HistoryResponse> for History {
    fn from(page: api::HistoryResponse) -> Self {
        let events = page.events.into_iter().map(|logged| {
            let event = logged.event.unwrap_or_default();
            Logged {
                offset: logged.offset,
                event: event.name,
                args: raw(event.args),
                attachments: encoded(&event.attachments),
                at: logged.at,
            }
        });
        Self {
            ok: true,
            events: events.collect(),
            complete: page.complete,
            more: page.more,
            offset: page.offset,
        }
    }
}
