//! One function per route: JSON or a query in, the operation, JSON out.

use axum::Json;
use axum::extract::State;

use super::object::Object;
use super::query::{self, Given};
use super::{Shared, answers, requests};
use crate::api::refused::Refused;
use crate::socketio::Refusal;

type Body<T> = Result<Object<T>, Refused>;
type Answer<T> = Result<Json<T>, Refused>;

/// An operation's answer in JSON.
fn told<M, T: From<M>>(outcome: Result<M, Refusal>) -> Answer<T> {
    match outcome {
        Ok(message) => Ok(Json(message.into())),
        Err(refusal) => {
            refusal.count();
            Err(refusal.into())
        }
    }
}

pub(super) async fn publish(
    State(operations): State<Shared>,
    body: Body<requests::Publish>,
) -> Answer<answers::Published> {
    let Object(publish) = body?;
    told(operations.publish(publish.try_into()?).await)
}

pub(super) async fn publish_batch(
    State(operations): State<Shared>,
    body: Body<requests::PublishBatch>,
) -> Answer<answers::Outcomes> {
    let Object(batch) = body?;
    let publishes = batch.publishes.into_iter().map(TryInto::try_into);
    told(operations.publish_batch(publishes.collect()).await)
}

pub(super) async fn emit_with_ack(
    State(operations): State<Shared>,
    body: Body<requests::EmitWithAck>,
) -> Answer<answers::Answers> {
    let Object(emit) = body?;
    told(operations.emit_with_ack(emit.try_into()?).await)
}

pub(super) async fn server_side_emit(
    State(operations): State<Shared>,
    body: Body<requests::ServerSideEmit>,
) -> Answer<answers::ServerAnswers> {
    let Object(emit) = body?;
    told(operations.server_side_emit(emit.try_into()?).await)
}

pub(super) async fn sockets_join(
    State(operations): State<Shared>,
    body: Body<requests::SocketsJoin>,
) -> Answer<answers::Applied> {
    let Object(join) = body?;
    told(operations.sockets_join(join.into()).await)
}

pub(super) async fn sockets_leave(
    State(operations): State<Shared>,
    body: Body<requests::SocketsLeave>,
) -> Answer<answers::Applied> {
    let Object(leave) = body?;
    told(operations.sockets_leave(leave.into()).await)
}

pub(super) async fn disconnect_sockets(
    State(operations): State<Shared>,
    body: Body<requests::DisconnectSockets>,
) -> Answer<answers::Applied> {
    let Object(disconnect) = body?;
    told(operations.disconnect_sockets(disconnect.into()).await)
}

pub(super) async fn set_data(
    State(operations): State<Shared>,
    body: Body<requests::SetData>,
) -> Answer<answers::Applied> {
    let Object(set) = body?;
    told(operations.set_data(set.into()).await)
}

pub(super) async fn sockets(
    State(operations): State<Shared>,
    given: Given,
) -> Answer<answers::Sockets> {
    told(operations.fetch_sockets(query::fetch_sockets(given)?))
}

pub(super) async fn members(
    State(operations): State<Shared>,
    given: Given,
) -> Answer<answers::Members> {
    told(operations.members(query::members(given)?))
}

pub(super) async fn rooms(
    State(operations): State<Shared>,
    given: Given,
) -> Answer<answers::Rooms> {
    told(operations.rooms(query::rooms(given)?))
}

pub(super) async fn history(
    State(operations): State<Shared>,
    given: Given,
) -> Answer<answers::History> {
    told(operations.history(query::history(given)?).await)
}
