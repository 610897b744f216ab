//! A socket as handlers see it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{Acknowledge, Join, Leave, op::Kind};
use roomcast_proto::offset::Offset;
use roomcast_proto::socketio::args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments;
use super::broadcast::{Broadcast, Unlogged};
use super::dispatch::Slot;
use super::io::Io;
use super::operation::{Operation, OperationError};
use super::target::{Origin, Rooms, Target};
use crate::adapter::{Adapter, Answer, Answers, Group, LocalSocket, offset, socket_ref};
use crate::engine::{CloseReason, Handshake};
use crate::limits;

/// A live socket; cheap to clone. Operations on one that has gone fail with `Gone`.
///
/// ```no_run
/// # async fn example(socket: roomcast::Socket) -> Result<(), roomcast::OperationError> {
/// socket.join("lobby").await?; // committed, and applied here: the next emit cannot miss it
/// socket.emit("welcome", socket.id()).forget();
/// socket.to("lobby").emit("joined", socket.id()).await?;
/// let age: u8 = socket.emit_with_ack("how old are you?", ()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Socket {
    pub(crate) local: Arc<LocalSocket>,
    pub(crate) group: Arc<Group>,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) recovered: bool,
    /// Its place on its connection; weak, for the slot holds the socket.
    pub(crate) slot: Weak<Slot>,
}

impl Socket {
    /// Its id: 22 characters, the name of its own room, unchanged by resumes.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.local.id_text
    }

    /// Its namespace, with the leading slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.local.namespace
    }

    /// Who it is, when the application said so.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.local.identity.as_deref()
    }

    /// Whether this connection continues an earlier session.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// The Engine.IO handshake of its connection: query, chosen headers, remote address.
    #[must_use]
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The data that the application gave it, which member lists show; `None` without one, or when
    /// it is no `T`.
    #[must_use]
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let view = self.group.view();
        let session = view.session_by_id(&self.local.id)?;
        serde_json::from_slice(&session.data).ok()
    }

    /// The rooms it is in on this node's replica, its own included, in order.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        let view = self.group.view();
        let session = view.session_by_id(&self.local.id);
        let rooms = session.into_iter().flat_map(|session| session.rooms());
        rooms.map(ToString::to_string).collect()
    }

    /// The whole cluster, as the socket's namespace sees it: unlike [`Socket::to`], its events
    /// reach this socket too, and they are not the socket's own operations.
    #[must_use]
    pub fn io(&self) -> Io {
        Io::new(Arc::clone(&self.adapter), Arc::clone(&self.local.namespace))
    }

    /// Joins rooms: from the operation's position on, their events are owed to this socket.
    /// Awaited, it is committed and applied on this node, so an event emitted then cannot miss it.
    pub fn join(&self, rooms: impl Rooms) -> Operation {
        let join = Join {
            socket: Some(socket_ref(&self.local)),
            rooms: rooms.into_names(),
        };
        self.operation(Kind::Join(join))
    }

    /// Leaves rooms.
    pub fn leave(&self, rooms: impl Rooms) -> Operation {
        let leave = Leave {
            socket: Some(socket_ref(&self.local)),
            rooms: rooms.into_names(),
        };
        self.operation(Kind::Leave(leave))
    }

    /// The client has handled everything up to `offset`.
    pub fn acknowledge(&self, offset: Offset) -> Operation {
        let offset = roomcast_proto::command::Offset {
            epoch: offset.epoch,
            index: offset.index,
            op: offset.op,
        };
        let socket = Some(socket_ref(&self.local));
        self.operation(Kind::Acknowledge(Acknowledge {
            socket,
            offset: Some(offset),
        }))
    }

    /// Events to rooms, but not to this socket.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// Events to rooms, and to this socket if it is a member.
    pub fn within(&self, rooms: impl Rooms) -> Broadcast {
        self.publish(Target::default()).to(rooms)
    }

    /// Events to every socket of the namespace that is in none of these rooms, nor this one.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// Events to every socket of the namespace but this one.
    pub fn broadcast(&self) -> Broadcast {
        self.publish(Target::default()).except(self.id())
    }

    /// Events to any target; this socket gets them if it is meant.
    pub fn publish(&self, target: Target) -> Broadcast {
        Broadcast::new(self.origin(), target)
    }

    /// Events to this socket alone.
    pub fn own(&self) -> Broadcast {
        self.within(self.id())
    }

    /// Events to this socket alone that are dropped unless they can be written now.
    pub fn volatile(&self) -> Unlogged {
        self.own().volatile()
    }

    /// Emits an event to this socket: see [`Broadcast::emit`].
    pub fn emit<A: Serialize>(&self, name: &str, args: A) -> Operation {
        self.own().emit(name, args)
    }

    /// Asks the client, with a time-out of [`limits::ANSWER_DEADLINE`]; the answer is read as the
    /// arguments of an event are.
    ///
    /// # Errors
    /// `Unanswered` when it is gone or silent for so long, `Invalid` when its answer is no `T`; the
    /// rest as [`Broadcast::emit_with_ack`].
    pub async fn emit_with_ack<T: DeserializeOwned>(
        &self,
        name: &str,
        args: impl Serialize,
    ) -> Result<T, OperationError> {
        self.timeout(limits::ANSWER_DEADLINE)
            .emit_with_ack(name, args)
            .await
    }

    /// Questions to the client that wait so long for an answer.
    pub fn timeout(&self, timeout: Duration) -> Question<'_> {
        Question {
            socket: self,
            timeout,
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            adapter: Arc::clone(&self.adapter),
            group: Arc::clone(&self.group),
            namespace: Arc::clone(&self.local.namespace),
            socket: Some(Arc::clone(&self.local)),
        }
    }

    /// The last position up to which everything owed to this socket is on its way.
    #[must_use]
    pub fn delivered(&self) -> Offset {
        offset(self.group.epoch(), self.local.delivered())
    }

    /// Ends this socket's session for good; with `close`, those of all namespaces on its
    /// connection, and then the connection. Disconnect handlers run after the events that came
    /// before; the client may connect again.
    pub fn disconnect(&self, close: bool) {
        if let Some(slot) = self.slot.upgrade() {
            if close {
                slot.disconnect_all();
            } else {
                slot.disconnect();
            }
        }
        if close {
            self.local.session.close(CloseReason::ServerClosed);
        }
    }

    /// Whether its session has been taken over by a later connection, as far as this node knows.
    pub(crate) fn is_superseded(&self) -> bool {
        let view = self.group.view();
        let session = view.session_by_id(&self.local.id);
        session.is_some_and(|session| session.generation > self.local.generation)
    }

    /// Closes the connection for what passes by itself: its client comes again, and resumes.
    pub(crate) fn close_for_now(&self) {
        self.local.session.close(CloseReason::Overloaded);
    }

    fn operation(&self, kind: Kind) -> Operation {
        Operation::new(Arc::clone(&self.group), Some(Arc::clone(&self.local)), kind)
    }
}

/// A question to one client; see [`Socket::timeout`].
#[must_use = "nothing is asked until `emit_with_ack`"]
#[derive(Debug)]
pub struct Question<'a> {
    socket: &'a Socket,
    timeout: Duration,
}

impl Question<'_> {
    /// As [`Socket::emit_with_ack`].
    ///
    /// # Errors
    /// The same.
    pub async fn emit_with_ack<T: DeserializeOwned>(
        self,
        name: &str,
        args: impl Serialize,
    ) -> Result<T, OperationError> {
        let asked = self.ask().emit_with_ack(name, args).await?;
        let answer = self.take(asked)?;
        let args = args::split(&answer.data).map_err(|_| OperationError::Invalid)?;
        arguments::read(&args).map_err(|error| {
            tracing::debug!(%error, "a client's answer is not what was asked for");
            OperationError::Invalid
        })
    }

    /// As [`Question::emit_with_ack`], with an event as for [`Broadcast::emit_raw`] and the answer
    /// as it came.
    ///
    /// # Errors
    /// The same.
    pub async fn emit_with_ack_raw(
        self,
        event: impl Into<Bytes>,
        attachments: Vec<Bytes>,
    ) -> Result<Answer, OperationError> {
        let asked = self.ask().emit_with_ack_raw(event, attachments).await?;
        self.take(asked)
    }

    fn ask(&self) -> Broadcast {
        self.socket.own().timeout(self.timeout)
    }

    fn take(&self, mut asked: Answers) -> Result<Answer, OperationError> {
        let answer = asked.answers.remove(&self.socket.local.id);
        answer.ok_or(OperationError::Unanswered)
    }
}
