//! The whole cluster, as the server sees it: tied to a namespace, to no socket.

use std::sync::Arc;

use serde::Serialize;

use super::broadcast::{Broadcast, Unlogged};
use super::operation::Operation;
use super::target::{Origin, Rooms, Target};
use crate::adapter::{Adapter, Group};

/// A namespace of the whole cluster; cheap to clone. [`crate::Server::io`] gives that of `/`.
///
/// ```no_run
/// # async fn example(io: roomcast::Io) -> Result<(), roomcast::OperationError> {
/// io.of("/chat").to("lobby").emit("notice", "the server restarts at 12").await?;
/// let answers = io.to("voters").emit_with_ack("vote", ()).await?;
/// println!("{} of {}", answers.answers.len(), answers.expected_count());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Io {
    pub(super) adapter: Arc<Adapter>,
    pub(super) namespace: Arc<str>,
}

impl Io {
    pub(crate) fn new(adapter: Arc<Adapter>, namespace: Arc<str>) -> Self {
        Self { adapter, namespace }
    }

    /// The same cluster, another namespace; `namespace` begins with a slash.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        Self::new(Arc::clone(&self.adapter), namespace.into())
    }

    /// Its namespace, with the leading slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Events to rooms; the name of a socket's own room is its id.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.everyone().to(rooms)
    }

    /// Events to every socket of the namespace that is in none of these rooms.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.everyone().except(rooms)
    }

    /// Events to every socket of the namespace.
    pub fn everyone(&self) -> Broadcast {
        self.publish(Target::default())
    }

    /// Events to any target.
    pub fn publish(&self, target: Target) -> Broadcast {
        let origin = Origin {
            adapter: Arc::clone(&self.adapter),
            group: Arc::clone(self.group()),
            namespace: Arc::clone(&self.namespace),
            socket: None,
        };
        Broadcast::new(origin, target)
    }

    /// As [`Broadcast::volatile`], to every socket of the namespace.
    pub fn volatile(&self) -> Unlogged {
        self.everyone().volatile()
    }

    /// As [`Broadcast::local`], to every socket of the namespace on this node.
    pub fn local(&self) -> Unlogged {
        self.everyone().local()
    }

    /// Emits an event to every socket of the namespace: see [`Broadcast::emit`].
    pub fn emit<A: Serialize>(&self, name: &str, args: A) -> Operation {
        self.everyone().emit(name, args)
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        self.adapter.group_of(&self.namespace)
    }
}
