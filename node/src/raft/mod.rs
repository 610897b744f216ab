//! Consensus: several Raft groups per node over one peer port. The only module that names openraft.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::{GroupId, NodeId};

/// What consensus drives: one per group. Implemented above this floor.
#[async_trait]
pub trait StateMachine: Send + Sync + 'static {
    /// Applies committed commands, in log order, exactly once each in the life of this object.
    /// Blank and membership entries are not passed. May wait (a full effects queue), never fails.
    async fn apply(&self, entries: Vec<Committed>);
    /// Freezes the present state; cheap, never stops apply.
    fn freeze(&self) -> Box<dyn FrozenState>;
    /// Replaces the state by a snapshot's. Nothing is reported for what it contains.
    async fn restore(&self, snapshot: Bytes) -> Result<(), RestoreError>;
}

/// One committed command.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its index in the group's log.
    pub index: u64,
    /// Encoded `roomcast.command.v1.Command`.
    pub command: Bytes,
}

/// A state that no longer changes, to be encoded off the apply path.
pub trait FrozenState: Send {
    /// Deterministic: equal states give equal bytes.
    fn encode(&self) -> Bytes;
}

/// A snapshot that does not decode.
#[derive(Debug, thiserror::Error)]
#[error("snapshot does not decode: {0}")]
pub struct RestoreError(pub String);

/// Where a group stands, as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStatus {
    /// The leader, when one is known.
    pub leader: Option<NodeId>,
    /// Term.
    pub term: u64,
    /// True when this node leads and has applied everything of earlier terms.
    pub leading: bool,
    /// Last applied index here.
    pub applied: u64,
    /// First index still in this node's log.
    pub first: u64,
}

/// Why a proposal did not enter the log here (it was surely not appended).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none is known.
    #[error("this node does not lead the group")]
    NotLeader(Option<NodeId>),
    /// Shutting down, or the group has failed.
    #[error("the group is stopped")]
    Stopped,
}

/// A peer of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its id.
    pub id: NodeId,
    /// `host:port` of its peer port.
    pub address: String,
}

/// An address consensus listens on.
pub type ListenAddress = SocketAddr;

/// A group by its number.
pub type Group = GroupId;
