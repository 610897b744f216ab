//! What a handler may be: a function or closure over a socket, an event's arguments, its
//! acknowledgement.

use std::future::{Future, IntoFuture};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use roomcast_proto::offset::Offset;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Call, Outcome};
use crate::adapter::Answer;
use crate::socketio::ack::Ack;
use crate::socketio::arguments::{self, ArgumentError};
use crate::socketio::handler::{Event, ExpiredSession};
use crate::socketio::io::Io;
use crate::socketio::refusal::Refusal;
use crate::socketio::socket::Socket;

/// A function of a socket and what its client sent, async or with an
/// [`Operation`](crate::Operation) as its result. `A` is anything that is [`FromEvent`], `R`
/// anything that is [`IntoOutcome`]:
///
/// - `async fn(Socket) -> R`
/// - `async fn(Socket, A) -> R`
/// - `async fn(Socket, A, Option<Ack>)`: it answers itself, whenever it wants.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events",
    label = "not `async fn(Socket, A) -> R`, nor one of its shorter or longer forms",
    note = "annotate its arguments: `|socket: Socket, (a, b): (String, u8)| async move {{}}`",
    note = "arguments implement `serde::de::DeserializeOwned`, or are an `Event`",
    note = "it is async, or returns an `Operation`",
    note = "the result is `()`, a `Reply<T>`, or a `Result` of one whose error becomes a `Refusal`",
    note = "with an `Option<Ack>` as the third argument the result is `()`"
)]
pub trait EventHandler<Form>: Send + Sync + 'static {
    /// Runs it; what it borrows of the call it takes before the future.
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome>;
}

impl<F, R, Out> EventHandler<(Socket,)> for F
where
    F: Fn(Socket) -> R + Send + Sync + 'static,
    R: IntoFuture<Output = Out>,
    R::IntoFuture: Send + 'static,
    Out: IntoOutcome + 'static,
{
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome> {
        outcome(self(call.socket))
    }
}

impl<F, A, R, Out> EventHandler<(Socket, A)> for F
where
    F: Fn(Socket, A) -> R + Send + Sync + 'static,
    A: FromEvent,
    R: IntoFuture<Output = Out>,
    R::IntoFuture: Send + 'static,
    Out: IntoOutcome + 'static,
{
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome> {
        match A::from_event(call.event) {
            Ok(args) => outcome(self(call.socket, args)),
            Err(error) => refused(&error),
        }
    }
}

impl<F, A, R> EventHandler<(Socket, A, Option<Ack>)> for F
where
    F: Fn(Socket, A, Option<Ack>) -> R + Send + Sync + 'static,
    A: FromEvent,
    R: Future<Output = ()> + Send + 'static,
{
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome> {
        // Taken only by a handler that runs: the refusal answers otherwise.
        match A::from_event(call.event.clone()) {
            Ok(args) => {
                let ack = call.take_ack();
                self(call.socket, args, ack).map(|()| Ok(None)).boxed()
            }
            Err(error) => refused(&error),
        }
    }
}

/// Runs what a handler returned: a future, or an operation.
fn outcome<R>(running: R) -> BoxFuture<'static, Outcome>
where
    R: IntoFuture,
    R::IntoFuture: Send + 'static,
    R::Output: IntoOutcome + 'static,
{
    let running = running.into_future();
    running.map(IntoOutcome::into_outcome).boxed()
}

fn refused(error: &ArgumentError) -> BoxFuture<'static, Outcome> {
    let refusal = Refusal::invalid(error.to_string());
    std::future::ready(Err(refusal)).boxed()
}

/// A function of the cluster and what the application on another node sent, as for events:
/// `async fn(Io, A) -> R`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events of other nodes",
    note = "it is `|io: Io, (a, b): (String, u8)| async move {{}}`"
)]
pub trait ServerHandler<Form>: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, io: Io, event: Event) -> BoxFuture<'static, Outcome>;
}

impl<F, A, R, Out> ServerHandler<(Io, A)> for F
where
    F: Fn(Io, A) -> R + Send + Sync + 'static,
    A: FromEvent,
    R: IntoFuture<Output = Out>,
    R::IntoFuture: Send + 'static,
    Out: IntoOutcome + 'static,
{
    fn call(&self, io: Io, event: Event) -> BoxFuture<'static, Outcome> {
        match A::from_event(event) {
            Ok(args) => outcome(self(io, args)),
            Err(error) => refused(&error),
        }
    }
}

/// What a handler takes of an event: anything that serde reads, or the whole [`Event`] as it came.
/// A tuple is several arguments, `()` is none, anything else is the first one. Trailing arguments
/// that are an `Option` may be missing; more than the handler takes are ignored.
pub trait FromEvent: Sized + Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, for the client.
    fn from_event(event: Event) -> Result<Self, ArgumentError>;
}

impl<T: DeserializeOwned + Send + 'static> FromEvent for T {
    fn from_event(event: Event) -> Result<Self, ArgumentError> {
        arguments::read(&event.args)
    }
}

impl FromEvent for Event {
    fn from_event(event: Event) -> Result<Self, ArgumentError> {
        Ok(event)
    }
}

/// What a handler returns: the arguments of the answer, if the client asked for one. `()` is an
/// answer without arguments when the handler is done.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no outcome of a handler",
    note = "return `()`, `Reply(value)`, or a `Result` of one of them whose error is a `Refusal`"
)]
pub trait IntoOutcome {
    /// Makes the outcome of it.
    ///
    /// # Errors
    /// Why the event was refused.
    fn into_outcome(self) -> Outcome;
}

/// An answer: a tuple is several arguments of the client's callback, anything else is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<T>(pub T);

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Reply(()).into_outcome()
    }
}

impl<T: Serialize> IntoOutcome for Reply<T> {
    fn into_outcome(self) -> Outcome {
        match arguments::array(&self.0) {
            Ok(data) => Ok(Some(Answer {
                data,
                attachments: Vec::new(),
            })),
            Err(error) => {
                tracing::error!(%error, "a reply that is no JSON");
                Err(Refusal::internal())
            }
        }
    }
}

/// The text of the offset.
impl IntoOutcome for Offset {
    fn into_outcome(self) -> Outcome {
        Reply(self.to_string()).into_outcome()
    }
}

impl<T: IntoOutcome, E: Into<Refusal>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// A function of a socket, as for events, that is in place: new, or [`Socket::recovered`]. One that
/// fails disconnects the socket.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle connects",
    note = "it is `|socket: Socket| async move {{}}`, with `()` or a `Result<(), E>`"
)]
pub trait ConnectHandler: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, socket: Socket) -> BoxFuture<'static, Outcome>;
}

impl<F, R, Out> ConnectHandler for F
where
    F: Fn(Socket) -> R + Send + Sync + 'static,
    R: IntoFuture<Output = Out>,
    R::IntoFuture: Send + 'static,
    Out: IntoOutcome + 'static,
{
    fn call(&self, socket: Socket) -> BoxFuture<'static, Outcome> {
        outcome(self(socket))
    }
}

/// An async function of a socket that has gone and why, in Socket.IO's words.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle disconnects",
    note = "a disconnect handler is `|socket: Socket, reason: String| async move {{}}`"
)]
pub trait DisconnectHandler: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, socket: Socket, reason: String) -> BoxFuture<'static, ()>;
}

impl<F, R> DisconnectHandler for F
where
    F: Fn(Socket, String) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn call(&self, socket: Socket, reason: String) -> BoxFuture<'static, ()> {
        self(socket, reason).boxed()
    }
}

/// An async function of the cluster and a session that ended while it was away.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle expiries",
    note = "it is `|io: Io, session: ExpiredSession| async move {{}}`"
)]
pub trait ExpireHandler: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, io: Io, session: ExpiredSession) -> BoxFuture<'static, ()>;
}

impl<F, R> ExpireHandler for F
where
    F: Fn(Io, ExpiredSession) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn call(&self, io: Io, session: ExpiredSession) -> BoxFuture<'static, ()> {
        self(io, session).boxed()
    }
}
