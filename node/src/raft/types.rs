//! openraft's type configuration. Entries carry the command's bytes as they came: encoded once by
//! the proposer, then shared by log, wire and apply.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::impls::leader_id_std;
use openraft::type_config::alias;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::ids::NodeId;

openraft::declare_raft_types!(
    /// Standard Raft (one leader per term), so that a log id is (term, index).
    pub(crate) TypeConfig:
        D = Proposal,
        R = (),
        NodeId = NodeId,
        Node = PeerNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
        Payload = Payload,
        Entry = LogEntry,
);

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
pub(crate) type CommittedLeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<NodeId, PeerNode>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type RpcError = openraft::errors::RPCError<TypeConfig>;

/// A log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// A member as the membership entry holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerNode {
    /// `host:port` of its peer port.
    pub(crate) address: String,
}

/// Tells the proposer the index its command got; dropped untold when it got none.
pub(crate) type Accepted = oneshot::Sender<u64>;

/// A command on its way to the leader's log.
pub(crate) struct Proposal {
    /// Encoded command.
    pub(crate) command: Bytes,
    /// Told by [`LogEntry::new`], which the leader calls when it assigns the index: openraft has no
    /// earlier sign than commit that a proposal was accepted.
    pub(crate) accepted: Option<Accepted>,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.command.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What openraft wraps before an index is assigned.
pub(crate) enum Payload {
    /// A new leader's first entry.
    Blank,
    /// A command; the lock only makes it `Sync`, nobody contends.
    Proposal(Mutex<Proposal>),
    /// A membership change.
    Membership(Membership),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Proposal(proposal) => fmt::Debug::fmt(&proposal.lock(), f),
            Self::Membership(membership) => write!(f, "{membership}"),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl RaftPayload for Payload {
    type D = Proposal;
    type NodeId = NodeId;
    type Node = PeerNode;

    fn blank() -> Self {
        Self::Blank
    }

    fn with_normal(self, proposal: Proposal) -> Self {
        Self::Proposal(Mutex::new(proposal))
    }

    fn with_membership(self, membership: Membership) -> Self {
        Self::Membership(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Self::Membership(membership) => Some(membership.clone()),
            Self::Blank | Self::Proposal(_) => None,
        }
    }
}

/// What an entry holds.
#[derive(Clone, PartialEq)]
pub(crate) enum Content {
    /// Nothing: a new leader's first entry.
    Blank,
    /// An encoded command.
    Command(Bytes),
    /// A membership; rare, and entries are cloned often.
    Membership(Arc<Membership>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Command(command) => write!(f, "command of {} bytes", command.len()),
            Self::Membership(membership) => write!(f, "{membership}"),
        }
    }
}

/// One entry of a group's log; cloning it copies no payload.
#[derive(Clone)]
pub(crate) struct LogEntry {
    /// Term and index.
    pub(crate) log_id: LogId,
    /// Payload.
    pub(crate) content: Content,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Blank => write!(f, "{}:blank", self.log_id),
            Content::Command(command) => write!(f, "{}:{} bytes", self.log_id, command.len()),
            Content::Membership(membership) => write!(f, "{}:{membership}", self.log_id),
        }
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl RaftEntry for LogEntry {
    type CommittedLeaderId = CommittedLeaderId;
    type Payload = Payload;

    fn new(log_id: LogId, payload: Payload) -> Self {
        let content = match payload {
            Payload::Blank => Content::Blank,
            Payload::Membership(membership) => Content::Membership(Arc::new(membership)),
            Payload::Proposal(proposal) => {
                let Proposal { command, accepted } = proposal.into_inner();
                if let Some(accepted) = accepted {
                    // A proposer that no longer waits has given up by itself.
                    accepted.send(log_id.index).ok();
                }
                Content::Command(command)
            }
        };
        Self { log_id, content }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId, u64) {
        (&self.log_id.leader_id, self.log_id.index)
    }

    fn set_log_id(&mut self, new: LogId) {
        self.log_id = new;
    }

    fn get_membership(&self) -> Option<Membership> {
        match &self.content {
            Content::Membership(membership) => Some(membership.as_ref().clone()),
            Content::Blank | Content::Command(_) => None,
        }
    }
}

const _: fn() = || {
    fn is_configuration<C: RaftTypeConfig>() {}
    is_configuration::<TypeConfig>();
};
