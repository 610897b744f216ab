//! The built-in handler: publish and subscribe without a backend. (DESIGN, section 7, door 4.)
//! Written on the handler interface of `socketio` and nothing else.

mod answer;
mod history;
mod members;
mod presence;
mod request;

#[cfg(test)]
mod tests;

use async_trait::async_trait;

use crate::limits;
use crate::socketio::{
    Ack, Admission, ConnectRequest, Event, Handler, Operation, Place, Rejection, Socket,
};
use answer::{Code, Refusal, ok_offset, refused, reply};
pub use presence::Presence;
use request::Publish;

/// See the module's text. In development mode every namespace is served by it. Its clones are one
/// handler.
#[derive(Debug, Clone, Default)]
pub struct Pubsub {
    /// Who is told the membership of which rooms.
    presence: Presence,
    /// Clients are nobody, whatever they say.
    ignores_claims: bool,
}

impl Pubsub {
    /// For production: who a client says that it is counts for nothing.
    #[must_use]
    pub fn without_claims() -> Self {
        Self {
            ignores_claims: true,
            ..Self::default()
        }
    }
}

#[async_trait]
impl Handler for Pubsub {
    /// Development mode: everybody may connect and says who they are (`auth.identity`,
    /// `auth.data`).
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        if self.ignores_claims {
            return Ok(Admission::default());
        }
        let identity = request
            .auth
            .get("identity")
            .and_then(|identity| identity.as_str());
        let data = request.auth.get("data").cloned();
        let long_identity = identity.is_some_and(|text| text.len() > limits::IDENTITY_BYTES_MAX);
        let long_data = data
            .as_ref()
            .is_some_and(|data| data.to_string().len() > limits::MEMBER_DATA_BYTES_MAX);
        if long_identity || long_data {
            let key = if long_identity { "identity" } else { "data" };
            return Err(Rejection {
                message: format!("auth.{key} is too long"),
                data: None,
            });
        }
        Ok(Admission {
            identity: identity.map(str::to_owned),
            data,
            ..Admission::default()
        })
    }

    async fn on_connect(&self, _socket: &Socket) {}

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        match event.name.as_str() {
            "join" => with(request::room(socket, &event), ack, |room, ack| {
                in_order(socket.join(room), ack);
            }),
            "leave" => with(request::room(socket, &event), ack, |room, ack| {
                in_order(socket.leave(room), ack);
            }),
            "publish" => with(Publish::read(event), ack, |publish, ack| {
                send(socket, publish, ack);
            }),
            "ack" => with(request::offset(&event), ack, |offset, ack| {
                in_order(socket.acknowledge(offset), ack);
            }),
            "members" => reply(ack, members::answer(socket, &event)),
            "presence" => self.presence.answer(socket, &event, ack).await,
            "history" => history::answer(socket, &event, ack).await,
            name => {
                let message = format!("there is no event {name:?} here");
                reply(ack, Err(Refusal::new(Code::UnknownEvent, message)));
            }
        }
    }

    async fn on_disconnect(&self, _socket: &Socket, _reason: &str) {}
}

/// Goes on with a request that could be read, or refuses it.
fn with<T>(request: Result<T, Refusal>, ack: Option<Ack>, go: impl FnOnce(T, Option<Ack>)) {
    match request {
        Ok(request) => go(request, ack),
        Err(refusal) => reply(ack, Err(refusal)),
    }
}

/// Answers at the operation's position: no event of the room before a join's ack, none missed after
/// it.
fn in_order(operation: Operation, ack: Option<Ack>) {
    operation.answer(ack, Place::InOrder, |fate| match fate {
        Ok((offset, _)) => ok_offset(&offset, false),
        Err(error) => refused(&error.into()),
    });
}

fn send(socket: &Socket, publish: Publish, ack: Option<Ack>) {
    let broadcast = socket.publish(publish.target).key(publish.key);
    if publish.volatile {
        let emitted = broadcast
            .volatile()
            .emit_raw(publish.event, publish.attachments);
        let answer = emitted.map(|()| ok_offset(&socket.delivered(), false));
        return reply(ack, answer.map_err(Refusal::from));
    }
    let operation = broadcast.emit_raw(publish.event, publish.attachments);
    operation.answer(ack, Place::Immediate, |fate| match fate {
        Ok((offset, duplicate)) => ok_offset(&offset, duplicate),
        Err(error) => refused(&error.into()),
    });
}
