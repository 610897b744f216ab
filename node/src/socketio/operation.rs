//! Operations on the log, as handlers issue them: await one for its offset, or let it answer a
//! client.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use roomcast_proto::command::op::Kind;
use roomcast_proto::offset::Offset;
use tokio::sync::oneshot;

use super::ack::Ack;
use crate::adapter::{Completion, Failure, Group, LocalSocket, Outcome};
use crate::ids::Position;
use crate::state::Refusal;

/// An operation that was not carried out, or whose fate is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The socket was taken over or has ended.
    #[error("the socket is gone")]
    Gone,
    /// The idempotency key was used with another body.
    #[error("the key was used with another body")]
    KeyReused,
    /// Larger than the largest event.
    #[error("the event is larger than the limit")]
    TooLarge,
    /// An event without a name, or with one that only the protocol itself uses.
    #[error("the event has no name, or a reserved one")]
    EventName,
    /// The application's own arguments cannot be written as JSON.
    #[error("the arguments are no JSON")]
    Arguments,
    /// A limit of the namespace, or a malformed request.
    #[error("invalid request")]
    Invalid,
    /// Surely not written.
    #[error("the cluster is not available")]
    Unavailable,
    /// Written, but the client has not answered in time.
    #[error("the client has not answered in time")]
    Unanswered,
    /// Perhaps written: retry with the same key.
    #[error("the outcome is unknown")]
    UnknownOutcome,
    /// A queue of this node is full; surely not written.
    #[error("this node is overloaded")]
    Overloaded,
}

/// What an operation came to: its offset, and whether the key was seen before.
pub(crate) type Fate = Result<(Offset, bool), OperationError>;

/// One operation, not issued yet: await it, or hand it an [`Ack`].
#[must_use = "an operation does nothing until it is awaited or answers an ack"]
#[derive(Debug)]
pub struct Operation {
    group: Arc<Group>,
    socket: Option<Arc<LocalSocket>>,
    kind: Result<Kind, OperationError>,
}

/// Where an answer stands among the socket's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the operation's position.
    InOrder,
    /// As soon as it is committed.
    Immediate,
}

impl Operation {
    pub(crate) fn new(group: Arc<Group>, socket: Option<Arc<LocalSocket>>, kind: Kind) -> Self {
        Self {
            group,
            socket,
            kind: Ok(kind),
        }
    }

    pub(crate) fn refused(group: Arc<Group>, error: OperationError) -> Self {
        Self {
            group,
            socket: None,
            kind: Err(error),
        }
    }

    /// Issues it, and answers the client with what `answer` makes of its fate (a JSON array).
    pub(crate) fn answer(
        self,
        ack: Option<Ack>,
        place: Place,
        answer: impl FnOnce(Fate) -> String + Send + 'static,
    ) {
        self.issue(move |fate| {
            let Some(ack) = ack else { return };
            let position = fate
                .ok()
                .map(|(offset, _)| Position::new(offset.index, offset.op));
            let args = answer(fate);
            match (place, position) {
                (Place::InOrder, Some(position)) => ack.send_at(position, args.as_bytes()),
                _ => ack.send_now(args.as_bytes()),
            }
        });
    }

    /// Issues it at once; what is waited for afterwards is its fate.
    pub(crate) fn start(self) -> BoxFuture<'static, Fate> {
        let (sender, receiver) = oneshot::channel();
        self.issue(move |fate| {
            if sender.send(fate).is_err() {
                tracing::trace!("nobody waits for the operation any more");
            }
        });
        async move {
            let fate = receiver.await;
            fate.unwrap_or(Err(OperationError::UnknownOutcome))
        }
        .boxed()
    }

    /// Issues it without waiting.
    pub fn forget(self) {
        self.issue(|_| {});
    }

    fn issue(self, then: impl FnOnce(Fate) + Send + 'static) {
        let kind = match self.kind {
            Ok(kind) => kind,
            Err(error) => return then(Err(error)),
        };
        let socket = self.socket;
        if let Some(socket) = &socket {
            socket.operation_issued();
        }
        let call = Completion::Call(Box::new(move |outcome| {
            then(fate(outcome));
            if let Some(socket) = socket {
                socket.operation_settled();
            }
        }));
        self.group.submit(kind, call);
    }
}

impl IntoFuture for Operation {
    type Output = Result<Offset, OperationError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let fate = self.start();
        async move { fate.await.map(|(offset, _)| offset) }.boxed()
    }
}

fn fate(outcome: Outcome) -> Fate {
    match outcome {
        Outcome::Applied(offset) => Ok((offset, false)),
        Outcome::Duplicate(offset) => Ok((offset, true)),
        Outcome::Refused(refusal) => Err(match refusal {
            Refusal::Stale => OperationError::Gone,
            Refusal::KeyReused => OperationError::KeyReused,
            Refusal::TooLarge => OperationError::TooLarge,
            Refusal::Limit
            | Refusal::Invalid
            | Refusal::NamespacesFull
            | Refusal::SubscribersFull => OperationError::Invalid,
        }),
        Outcome::Failed(failure) => Err(match failure {
            Failure::Unavailable => OperationError::Unavailable,
            Failure::UnknownOutcome => OperationError::UnknownOutcome,
            Failure::Overloaded => OperationError::Overloaded,
            Failure::TooLarge => OperationError::TooLarge,
        }),
    }
}
