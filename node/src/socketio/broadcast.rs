//! Events on their way out of a handler: to whom, and in which class. (DESIGN, section 3.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{Publish, op::Kind};
use roomcast_proto::socketio::args;

use super::operation::{Operation, OperationError};
use super::socket::Socket;
use crate::adapter::{Answers, Class, socket_ref};
use crate::ids::Position;
use crate::state::Event;

/// To whom an event goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms; none means every socket of the namespace.
    pub rooms: Vec<String>,
    /// Sockets in any of these rooms are left out.
    pub except: Vec<String>,
}

/// An event for a target; see [`Socket::to`].
#[derive(Debug)]
pub struct Broadcast {
    socket: Socket,
    target: Target,
    key: Option<String>,
}

impl Broadcast {
    pub(crate) fn new(socket: &Socket, target: Target) -> Self {
        Self {
            socket: socket.clone(),
            target,
            key: None,
        }
    }

    /// A retry with the same key is one entry with one offset.
    #[must_use]
    pub fn key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// Logged: in log order, replayed to who is away. `event` is a JSON array, name first.
    pub fn emit(self, event: Bytes, attachments: Vec<Bytes>) -> Operation {
        self.publish(event, attachments, None)
    }

    /// Not logged, so it costs no disk: in the order of this node's emits, queued like any frame,
    /// not replayed to who is away. Dropped for a socket whose outbox is full.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`: what a logged event may not be, it may not be either.
    pub fn emit_transient(
        self,
        event: Bytes,
        attachments: Vec<Bytes>,
    ) -> Result<(), OperationError> {
        self.emit_unlogged(event, attachments, Class::Transient)
    }

    /// Not logged: dropped where it cannot be written now.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`: what a logged event may not be, it may not be either.
    pub fn emit_volatile(
        self,
        event: Bytes,
        attachments: Vec<Bytes>,
    ) -> Result<(), OperationError> {
        self.emit_unlogged(event, attachments, Class::Volatile)
    }

    /// As [`Broadcast::emit_volatile`], to the sockets of this node alone.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`: what a logged event may not be, it may not be either.
    pub fn emit_local(self, event: Bytes, attachments: Vec<Bytes>) -> Result<(), OperationError> {
        self.emit_unlogged(event, attachments, Class::Local)
    }

    fn emit_unlogged(
        self,
        event: Bytes,
        attachments: Vec<Bytes>,
        class: Class,
    ) -> Result<(), OperationError> {
        self.check(&event, &attachments)?;
        let rooms = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
        let event = Event {
            position: Position::ZERO,
            namespace: Arc::clone(&self.socket.local.namespace),
            rooms: rooms(self.target.rooms),
            except: rooms(self.target.except),
            event,
            attachments,
            wall_ms: 0,
            request: None,
        };
        self.socket.adapter.emit(&self.socket.group, event, class);
        Ok(())
    }

    /// Checked before the proposal: an event that is too large costs the log nothing, and a
    /// reserved name would end the connections of stock clients.
    fn check(&self, event: &Bytes, attachments: &[Bytes]) -> Result<(), OperationError> {
        args::event_name(event).map_err(|_| OperationError::EventName)?;
        let size = event.len() + attachments.iter().map(Bytes::len).sum::<usize>();
        if size > self.socket.group.event_bytes_max() {
            return Err(OperationError::TooLarge);
        }
        Ok(())
    }

    /// Logged but not replayed; waits until every socket that was a connected member at the event's
    /// position has answered, or for `timeout`.
    ///
    /// # Errors
    /// When the event did not get into the log; `UnknownOutcome` when that is not known at the
    /// time-out.
    pub async fn emit_with_ack(
        self,
        event: Bytes,
        attachments: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<Answers, OperationError> {
        let adapter = Arc::clone(&self.socket.adapter);
        let (number, done) = adapter.requests().open();
        let operation = self.publish(event, attachments, Some(number));
        let answered = async {
            operation.await?;
            // A closed channel means that the request itself is gone: nothing more will come.
            done.await.map_err(|_| OperationError::UnknownOutcome)
        };
        let ended = tokio::time::timeout(timeout, answered).await;
        let answers = adapter.requests().close(number);
        match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => answers.ok_or(OperationError::UnknownOutcome),
        }
    }

    fn publish(self, event: Bytes, attachments: Vec<Bytes>, request: Option<u64>) -> Operation {
        let group = Arc::clone(&self.socket.group);
        if let Err(error) = self.check(&event, &attachments) {
            return Operation::refused(group, error);
        }
        crate::metrics::events_published().increment(1);
        let publish = Publish {
            socket: Some(socket_ref(&self.socket.local)),
            namespace: self.socket.namespace().to_owned(),
            rooms: self.target.rooms,
            except: self.target.except,
            event,
            attachments,
            key: self.key,
            request,
        };
        Operation::new(group, Some(self.socket.local), Kind::Publish(publish))
    }
}
