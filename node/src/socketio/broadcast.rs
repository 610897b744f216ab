//! Events on their way out: to whom, and in which class. (DESIGN, section 3.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{Publish, op::Kind};
use roomcast_proto::socketio::args;
use serde::Serialize;

use super::arguments;
use super::operation::{Operation, OperationError};
use super::target::{Origin, Rooms, Target};
use crate::adapter::{Answers, Class, socket_ref};
use crate::ids::Position;
use crate::limits;
use crate::state::Event;

/// An event that is logged: in log order, replayed to who is away. Made by [`super::Socket::to`],
/// [`super::Io::to`] and their like.
///
/// ```no_run
/// # async fn example(socket: roomcast::Socket) -> Result<(), roomcast::OperationError> {
/// let offset = socket.to("lobby").except("muted").emit("line", ("ann", "hello")).await?;
/// socket.to(["a", "b"]).volatile().emit("typing", "ann")?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is sent until `emit`"]
#[derive(Debug, Clone)]
pub struct Broadcast {
    pub(super) origin: Origin,
    pub(super) target: Target,
    key: Option<String>,
    timeout: Duration,
}

impl Broadcast {
    pub(crate) fn new(origin: Origin, target: Target) -> Self {
        Self {
            origin,
            target,
            key: None,
            timeout: limits::ANSWER_DEADLINE,
        }
    }

    /// To these rooms as well; a socket in several of them gets the event once.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        self.target.rooms.extend(rooms.into_names());
        self
    }

    /// Not to sockets in any of these rooms; the name of one's own room is a socket's id.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        self.target.except.extend(rooms.into_names());
        self
    }

    /// A retry with the same key is one entry with one offset.
    pub fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.key = key.into();
        self
    }

    /// How long [`Broadcast::emit_with_ack`] waits for answers; by default
    /// [`limits::ANSWER_DEADLINE`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Not logged: dropped where it cannot be written now.
    pub fn volatile(self) -> Unlogged {
        self.unlogged(Class::Volatile)
    }

    /// As [`Broadcast::volatile`], and to the sockets of this node alone.
    pub fn local(self) -> Unlogged {
        self.unlogged(Class::Local)
    }

    /// Not logged, so it costs no disk: in the order of this node's emits, queued like any frame,
    /// not replayed to who is away. Dropped for a socket whose outbox is full.
    pub fn transient(self) -> Unlogged {
        self.unlogged(Class::Transient)
    }

    fn unlogged(self, class: Class) -> Unlogged {
        Unlogged {
            origin: self.origin,
            target: self.target,
            class,
        }
    }

    /// Emits an event: a tuple is several arguments, anything else is one. Await it for its offset,
    /// then it is on stable storage at a majority; or [`Operation::forget`] it.
    pub fn emit<A: Serialize>(self, name: &str, args: A) -> Operation {
        match arguments::event(name, &args) {
            Ok(event) => self.emit_raw(event, Vec::new()),
            Err(error) => Operation::refused(self.origin.group, no_json(&error)),
        }
    }

    /// As [`Broadcast::emit`]: `event` is a JSON array, name first, with placeholders for the
    /// binary attachments.
    pub fn emit_raw(self, event: impl Into<Bytes>, attachments: Vec<Bytes>) -> Operation {
        self.publish(event.into(), attachments, None)
    }

    /// Logged but not replayed; waits until every socket that was a connected member at the event's
    /// position has answered, or for the time-out. The counts are exact, and who has not answered
    /// is named.
    ///
    /// # Errors
    /// When the event did not get into the log; `UnknownOutcome` when that is not known at the
    /// time-out.
    pub async fn emit_with_ack<A: Serialize>(
        self,
        name: &str,
        args: A,
    ) -> Result<Answers, OperationError> {
        let event = arguments::event(name, &args).map_err(|error| no_json(&error))?;
        self.emit_with_ack_raw(event, Vec::new()).await
    }

    /// As [`Broadcast::emit_with_ack`], with an event as for [`Broadcast::emit_raw`].
    ///
    /// # Errors
    /// The same.
    pub async fn emit_with_ack_raw(
        self,
        event: impl Into<Bytes>,
        attachments: Vec<Bytes>,
    ) -> Result<Answers, OperationError> {
        let adapter = Arc::clone(&self.origin.adapter);
        let timeout = self.timeout;
        let (number, done) = adapter.requests().open();
        let operation = self.publish(event.into(), attachments, Some(number));
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
        let Origin {
            group,
            namespace,
            socket,
            ..
        } = self.origin;
        if let Err(error) = check(&event, &attachments, group.event_bytes_max()) {
            return Operation::refused(group, error);
        }
        crate::metrics::events_published().increment(1);
        let publish = Publish {
            socket: socket.as_deref().map(socket_ref),
            namespace: namespace.to_string(),
            rooms: self.target.rooms,
            except: self.target.except,
            event,
            attachments,
            key: self.key,
            request,
        };
        Operation::new(group, socket, Kind::Publish(publish))
    }
}

/// An event that never stands in the log.
#[must_use = "nothing is sent until `emit`"]
#[derive(Debug, Clone)]
pub struct Unlogged {
    origin: Origin,
    target: Target,
    class: Class,
}

impl Unlogged {
    /// As [`Broadcast::to`].
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        self.target.rooms.extend(rooms.into_names());
        self
    }

    /// As [`Broadcast::except`].
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        self.target.except.extend(rooms.into_names());
        self
    }

    /// Emits an event, at once and without a promise.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`: what a logged event may not be, it may not be either.
    pub fn emit<A: Serialize>(self, name: &str, args: A) -> Result<(), OperationError> {
        let event = arguments::event(name, &args).map_err(|error| no_json(&error))?;
        self.emit_raw(event, Vec::new())
    }

    /// As [`Unlogged::emit`], with an event as for [`Broadcast::emit_raw`].
    ///
    /// # Errors
    /// The same.
    pub fn emit_raw(
        self,
        event: impl Into<Bytes>,
        attachments: Vec<Bytes>,
    ) -> Result<(), OperationError> {
        let event = event.into();
        let Origin {
            adapter,
            group,
            namespace,
            ..
        } = self.origin;
        check(&event, &attachments, group.event_bytes_max())?;
        let rooms = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
        let event = Event {
            position: Position::ZERO,
            namespace,
            rooms: rooms(self.target.rooms),
            except: rooms(self.target.except),
            event,
            attachments,
            wall_ms: 0,
            request: None,
        };
        adapter.emit(&group, event, self.class);
        Ok(())
    }
}

/// Checked before the proposal: an event that is too large costs the log nothing, and a reserved
/// name would end the connections of stock clients.
fn check(event: &Bytes, attachments: &[Bytes], bytes_max: usize) -> Result<(), OperationError> {
    args::event_name(event).map_err(|_| OperationError::EventName)?;
    let size = event.len() + attachments.iter().map(Bytes::len).sum::<usize>();
    if size > bytes_max {
        return Err(OperationError::TooLarge);
    }
    Ok(())
}

fn no_json(error: &serde_json::Error) -> OperationError {
    tracing::error!(%error, "arguments that are no JSON");
    OperationError::Arguments
}
