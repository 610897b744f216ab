//! What travels through the middlewares of a namespace: connects and events.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::adapter::Answer;
use crate::engine::Handshake;
use crate::socketio::ack::Ack;
use crate::socketio::handler::{Admission, ConnectRequest, Event};
use crate::socketio::refusal::Refusal;
use crate::socketio::socket::Socket;

/// A client that wants to connect, or to resume, on its way through the connect middlewares. What
/// they put into `admission` is who it is.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Namespace, with its leading slash.
    pub namespace: String,
    /// The client's `auth`, `pid` and `offset` taken out.
    pub auth: Value,
    /// The Engine.IO handshake: query, chosen headers, remote address.
    pub handshake: Arc<Handshake>,
    /// Identity, data and recovery, as far as they have been decided.
    pub admission: Admission,
}

impl Connect {
    pub(super) fn new(request: &ConnectRequest<'_>) -> Self {
        Self {
            namespace: request.namespace.to_owned(),
            auth: request.auth.clone(),
            handshake: Arc::clone(request.handshake),
            admission: Admission::default(),
        }
    }
}

/// What became of an event: the answer for its client, if it asked for one and nobody has answered,
/// or why it was refused.
pub type Outcome = Result<Option<Answer>, Refusal>;

/// An event on its way through the event middlewares to its handler.
#[derive(Debug, Clone)]
pub struct Call {
    /// The socket that sent it.
    pub socket: Socket,
    /// The event.
    pub event: Event,
    /// The client's acknowledgement, until somebody takes it.
    ack: Arc<Mutex<Option<Ack>>>,
}

impl Call {
    pub(super) fn new(socket: Socket, event: Event, ack: Option<Ack>) -> Self {
        Self {
            socket,
            event,
            ack: Arc::new(Mutex::new(ack)),
        }
    }

    /// Takes the acknowledgement, if the client asked for one: whoever has it answers, and the
    /// outcome of the event does not.
    #[must_use]
    pub fn take_ack(&self) -> Option<Ack> {
        self.ack.lock().take()
    }
}
