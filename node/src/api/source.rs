//! What the API port asks of the node.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, NodeId};

/// Answers what a node is and how it stands.
#[async_trait]
pub trait StatusSource: Send + Sync + 'static {
    /// The node now.
    async fn report(&self) -> NodeReport;

    /// The group of a namespace; `None` before the cluster is founded.
    fn group_of(&self, namespace: &str) -> Option<GroupId>;
}

/// Carries out an operator's commands.
#[async_trait]
pub trait AdminSource: Send + Sync + 'static {
    /// Starts draining: not ready, leadership handed over, sessions closed at their pace. Answers
    /// when it has begun.
    async fn drain(&self) -> Result<(), AdminError>;

    /// Hands a group over to a node; answers when that node is asked to lead.
    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), AdminError>;

    /// Builds a snapshot of one group or of all.
    async fn snapshot(&self, group: Option<GroupId>) -> Result<Vec<SnapshotReport>, AdminError>;
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The command makes no sense here: an unknown group or node. HTTP 400.
    #[error("{0}")]
    Invalid(String),
    /// It may work later or on another node: not the leader, no quorum. HTTP 503.
    #[error("{0}")]
    Unavailable(String),
    /// Something broke. HTTP 500.
    #[error("{0}")]
    Failed(String),
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// This node's id.
    pub node_id: NodeId,
    /// Empty before the cluster is founded.
    pub cluster_id: String,
    /// Version of this program.
    pub version: String,
    /// Failure zone, if it has one.
    pub zone: Option<String>,
    /// True when `/readyz` says so.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// By group number.
    pub groups: Vec<GroupReport>,
    /// Programs that serve namespaces, at any node.
    #[serde(default)]
    pub backends: Vec<BackendReport>,
}

/// A program that serves namespaces over a stream, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendReport {
    /// Its id, new with each stream.
    pub id: String,
    /// What it calls itself.
    pub name: String,
    /// Where its stream ends.
    pub node: NodeId,
    /// Names and patterns that it serves.
    pub namespaces: Vec<String>,
    /// Its open calls: of all nodes when its stream ends here, else of this one.
    pub open_calls: usize,
}

/// One Raft group as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its number.
    pub group: GroupId,
    /// Its leader, when one is known.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// Last entry applied here.
    pub applied: u64,
    /// First entry in this node's log.
    pub first: u64,
    /// Connected sessions of the group, on any node.
    pub connected: u64,
    /// Sessions of the group whose resume window runs.
    pub away: u64,
    /// Hash of the replicated state at `applied`, in hex: equal on all replicas.
    pub hash: String,
}

/// Where a namespace lives: part of `GET /v1/status?namespace=/chat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: GroupId,
    /// The group's leader, when one is known.
    pub leader: Option<NodeId>,
}

/// One snapshot that was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Of which group.
    pub group: GroupId,
    /// The last entry it covers.
    pub index: u64,
}
