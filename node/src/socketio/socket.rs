//! A socket as handlers see it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{Acknowledge, Join, Leave, op::Kind};
use roomcast_proto::offset::Offset;

use super::broadcast::{Broadcast, Target};
use super::dispatch::Slot;
use super::operation::{Operation, OperationError};
use crate::adapter::{Adapter, Answer, Group, LocalSocket, offset, socket_ref};
use crate::engine::CloseReason;

/// A live socket; cheap to clone. Operations on one that has gone fail with `Gone`.
#[derive(Debug, Clone)]
pub struct Socket {
    pub(crate) local: Arc<LocalSocket>,
    pub(crate) group: Arc<Group>,
    pub(crate) adapter: Arc<Adapter>,
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

    /// Joins a room: from the operation's position on, its events are owed to this socket.
    pub fn join(&self, room: impl Into<String>) -> Operation {
        let join = Join {
            socket: Some(socket_ref(&self.local)),
            rooms: vec![room.into()],
        };
        self.operation(Kind::Join(join))
    }

    /// Leaves a room.
    pub fn leave(&self, room: impl Into<String>) -> Operation {
        let leave = Leave {
            socket: Some(socket_ref(&self.local)),
            rooms: vec![room.into()],
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

    /// Events to rooms of this namespace, this socket included if it is a member.
    #[must_use]
    pub fn to(&self, target: Target) -> Broadcast {
        Broadcast::new(self, target)
    }

    /// Events to this socket alone.
    #[must_use]
    pub fn own(&self) -> Broadcast {
        let rooms = vec![self.local.id_text.to_string()];
        self.to(Target {
            rooms,
            ..Target::default()
        })
    }

    /// Asks the client: its answer's arguments, with their attachments when it answers in binary.
    ///
    /// # Errors
    /// `Unanswered` when it is gone or silent for `timeout`; the rest as
    /// [`Broadcast::emit_with_ack`].
    pub async fn emit_with_ack(
        &self,
        event: Bytes,
        attachments: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, OperationError> {
        let asked = self.own().emit_with_ack(event, attachments, timeout);
        let answer = asked.await?.answers.remove(&self.local.id);
        answer.ok_or(OperationError::Unanswered)
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

    fn operation(&self, kind: Kind) -> Operation {
        Operation::new(Arc::clone(&self.group), Some(Arc::clone(&self.local)), kind)
    }
}
