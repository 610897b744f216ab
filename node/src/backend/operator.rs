//! What a backend does: operations of the socket whose call it handles, issued in the order of the
//! stream, or of the server. Outcomes go back when they are known.

use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use roomcast_proto::api::operation::{Ask, Emit, What};
use roomcast_proto::api::{self, PublishResponse, Result as Outcome, Target, from_backend, result};
use serde_json::value::RawValue;

use super::convert;
use super::registry::{Backend, Way};
use crate::messages::{self, Class, Payload};
use crate::socketio::{self, Broadcast, Code, Io, Refusal, Socket};

/// Whose operations they are.
#[derive(Debug)]
enum Origin {
    /// Of a call's socket.
    Socket(Socket),
    /// Of the server.
    Server(Io),
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Operator {
    origin: Origin,
    backend: Arc<Backend>,
}

/// An operation that has been begun.
enum Begun {
    /// It stands in the log, or will.
    Logged(Box<socketio::Operation>),
    /// A question to clients.
    Asked(BoxFuture<'static, result::Outcome>),
    /// Nothing more comes of it.
    Done,
}

impl Operator {
    /// For a call about a socket.
    pub(super) fn of_socket(socket: Socket, backend: Arc<Backend>) -> Self {
        let origin = Origin::Socket(socket);
        Self { origin, backend }
    }

    /// For operations that are no socket's.
    pub(super) fn of_server(io: Io, backend: Arc<Backend>) -> Self {
        let origin = Origin::Server(io);
        Self { origin, backend }
    }

    /// Issues an operation. Waits only while the backend has too many whose outcome it wants; a
    /// question to clients, whose answers take their time, is refused then.
    pub(super) async fn run(&self, operation: api::Operation) {
        let number = operation.number;
        let asks = matches!(operation.what, Some(What::Ask(_)));
        if asks && self.backend.operations.available_permits() == 0 {
            let refusal = Refusal::new(Code::Overloaded, "too many operations have no outcome yet");
            let refused = result::Outcome::Error(messages::error_of(&refusal));
            return report(&self.backend, number, refused).await;
        }
        let begun = match operation.what {
            Some(what) => self.begin(what),
            None => Err(Refusal::invalid("what is missing")),
        };
        let outcome: BoxFuture<'static, result::Outcome> = match begun {
            Ok(Begun::Logged(logged)) if number == 0 => return logged.forget(),
            Ok(Begun::Logged(logged)) => {
                let fate = logged.start();
                async move { convert::published(fate.await) }.boxed()
            }
            Ok(Begun::Asked(asked)) => asked,
            Ok(Begun::Done) => {
                let done = result::Outcome::Done(PublishResponse::default());
                std::future::ready(done).boxed()
            }
            Err(refusal) => {
                let refused = result::Outcome::Error(messages::error_of(&refusal));
                std::future::ready(refused).boxed()
            }
        };
        self.follow(number, outcome).await;
    }

    /// An outcome that is there at once goes back at once.
    async fn follow(&self, number: u64, mut outcome: BoxFuture<'static, result::Outcome>) {
        // The first look issues a question, so that it keeps its place among the operations.
        if let Poll::Ready(outcome) = futures_util::poll!(&mut outcome) {
            return report(&self.backend, number, outcome).await;
        }
        let operations = Arc::clone(&self.backend.operations);
        let place = operations.acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move {
            report(&backend, number, outcome.await).await;
            drop(place);
        });
    }

    fn begin(&self, what: What) -> Result<Begun, Refusal> {
        let of_socket = || match &self.origin {
            Origin::Socket(socket) => Ok(socket),
            Origin::Server(_) => Err(Refusal::invalid("only within a socket's call")),
        };
        let logged = match what {
            What::Join(join) => of_socket()?.join(messages::names(join.rooms)?),
            What::Leave(leave) => of_socket()?.leave(messages::names(leave.rooms)?),
            What::Disconnect(disconnect) => {
                of_socket()?.disconnect(disconnect.close);
                return Ok(Begun::Done);
            }
            What::Emit(emit) => return self.emit(emit),
            What::Ask(ask) => return self.ask(ask),
            What::SocketsJoin(join) => {
                let sockets = self.at(join.namespace, join.target)?;
                sockets.sockets_join(messages::names(join.rooms)?)
            }
            What::SocketsLeave(leave) => {
                let sockets = self.at(leave.namespace, leave.target)?;
                sockets.sockets_leave(messages::names(leave.rooms)?)
            }
            What::DisconnectSockets(disconnect) => {
                let sockets = self.at(disconnect.namespace, disconnect.target)?;
                sockets.disconnect_sockets(disconnect.close)
            }
            What::SetData(set) => self.set_data(set)?,
        };
        Ok(Begun::Logged(Box::new(logged)))
    }

    fn set_data(&self, set: api::SetDataRequest) -> Result<socketio::Operation, Refusal> {
        let data = match set.data.is_empty() {
            true => Ok(None),
            false => RawValue::from_string(set.data).map(Some),
        };
        let data = data.map_err(|error| Refusal::invalid(format!("data: {error}")))?;
        match &self.origin {
            Origin::Socket(socket) if set.socket.is_empty() || set.socket == socket.id() => {
                Ok(socket.set_data(data))
            }
            _ => {
                let id = messages::socket_id("socket", &set.socket)?;
                Ok(self.io(set.namespace)?.set_data(id, data))
            }
        }
    }

    fn emit(&self, emit: Emit) -> Result<Begun, Refusal> {
        let class = messages::class(emit.class)?;
        let Payload { json, attachments } = messages::payload(emit.event)?;
        let broadcast = self.to(emit.target)?;
        let unlogged = match class {
            Class::Logged => {
                let logged = broadcast.key(emit.key).emit_raw(json, attachments);
                return Ok(Begun::Logged(Box::new(logged)));
            }
            Class::Volatile => broadcast.volatile(),
            Class::Transient => broadcast.transient(),
        };
        unlogged.emit_raw(json, attachments)?;
        Ok(Begun::Done)
    }

    fn ask(&self, ask: Ask) -> Result<Begun, Refusal> {
        let Payload { json, attachments } = messages::payload(ask.event)?;
        let timeout = messages::timeout(ask.timeout_ms)?;
        let asked = self.to(ask.target)?.timeout(timeout);
        let asked = asked.emit_with_ack_raw(json, attachments);
        Ok(Begun::Asked(asked.map(convert::answered).boxed()))
    }

    /// To anybody; without a target, to the call's socket alone, or to everybody where there is
    /// none.
    fn to(&self, target: Option<Target>) -> Result<Broadcast, Refusal> {
        match (&self.origin, target) {
            (Origin::Socket(socket), None) => Ok(socket.own()),
            (Origin::Socket(socket), target) => Ok(socket.publish(messages::target(target)?)),
            (Origin::Server(io), target) => Ok(io.publish(messages::target(target)?)),
        }
    }

    /// Sockets of a namespace; that of the call, or of the operation, when none is named.
    fn at(&self, namespace: String, target: Option<Target>) -> Result<Broadcast, Refusal> {
        match &self.origin {
            Origin::Socket(socket) if namespace.is_empty() || namespace == socket.namespace() => {
                Ok(socket.publish(messages::target(target)?))
            }
            _ => Ok(self.io(namespace)?.publish(messages::target(target)?)),
        }
    }

    fn io(&self, namespace: String) -> Result<Io, Refusal> {
        let io = match &self.origin {
            Origin::Socket(socket) => socket.io(),
            Origin::Server(io) => io.clone(),
        };
        match namespace.is_empty() {
            true => Ok(io),
            false => Ok(io.of(&messages::namespace(namespace)?)),
        }
    }
}

/// An operation of a call that is not open is refused.
pub(super) async fn refuse_closed(backend: &Backend, message: &from_backend::Message) {
    if let from_backend::Message::Operation(operation) = message {
        let refusal = Refusal::invalid("the call is not open");
        let refused = result::Outcome::Error(messages::error_of(&refusal));
        report(backend, operation.number, refused).await;
    }
}

/// Tells the backend, if it wants to know.
async fn report(backend: &Backend, number: u64, outcome: result::Outcome) {
    if number == 0 {
        return;
    }
    let outcome = Outcome {
        number,
        outcome: Some(outcome),
    };
    match &backend.way {
        Way::Here(stream) => stream.outcome(outcome).await,
        Way::Elsewhere(tunnel) => tunnel.outcome(outcome).await,
    }
}
