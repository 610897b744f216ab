//! What consensus offers to the floors above, and what it asks of them: configuration, traits,
//! status and errors. No logic.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use roomcast_proto::peer as pb;
use tonic::Status;

use crate::ids::{Entropy, GroupId, NodeId};

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

/// Answers to a stream of proposals, in its order.
pub type ProposeStream = BoxStream<'static, Result<pb::ProposeResponse, Status>>;

/// The owner's side of an upgrade.
pub type UpgradeStream = BoxStream<'static, Result<pb::UpgradeResponse, Status>>;

/// Lists of the backends at a node.
pub type BackendsStream = BoxStream<'static, Result<pb::BackendsList, Status>>;

/// What a backend says to another node.
pub type BackendStream = BoxStream<'static, Result<pb::BackendResponse, Status>>;

/// The calls of the peer port that belong to the floors above. `from` is checked: the caller is of
/// this cluster and meant this node.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// A gateway's proposals for one group. The stream begins with the message that carried the
    /// header; `group` is that message's.
    async fn on_propose(
        &self,
        from: NodeId,
        group: GroupId,
        proposals: BoxStream<'static, Result<pb::ProposeRequest, Status>>,
    ) -> Result<ProposeStream, Status>;
    /// A node renews its leases.
    async fn on_renew(
        &self,
        from: NodeId,
        request: pb::RenewRequest,
    ) -> Result<pb::RenewResponse, Status>;
    /// Unlogged traffic of one node; returns when the stream has ended.
    async fn on_relay(
        &self,
        from: NodeId,
        requests: BoxStream<'static, Result<pb::RelayRequest, Status>>,
    ) -> Result<pb::RelayResponse, Status>;
    /// A request of a client whose session this node owns. Dropped when the client leaves.
    async fn on_forward(
        &self,
        from: NodeId,
        request: pb::ForwardRequest,
    ) -> Result<pb::ForwardResponse, Status> {
        let _: (NodeId, pb::ForwardRequest) = (from, request);
        Err(Status::unimplemented("no sessions here"))
    }
    /// A WebSocket at another node wants to upgrade a session of this one. The stream begins behind
    /// the message that carried the header and `sid`.
    async fn on_upgrade(
        &self,
        from: NodeId,
        sid: String,
        steps: BoxStream<'static, Result<pb::UpgradeRequest, Status>>,
    ) -> Result<UpgradeStream, Status> {
        let _ = (from, sid, steps);
        Err(Status::unimplemented("no sessions here"))
    }
    /// A node follows the list of the backends here. The stream begins with the message that
    /// carried the header.
    async fn on_backends(
        &self,
        from: NodeId,
        seen: BoxStream<'static, Result<pb::BackendsSeen, Status>>,
    ) -> Result<BackendsStream, Status> {
        let _ = (from, seen);
        Err(Status::unimplemented("no backends here"))
    }
    /// A node has calls for a backend here. The stream begins behind the message that carried the
    /// header and `backend_id`.
    async fn on_serve_backend(
        &self,
        from: NodeId,
        backend_id: String,
        steps: BoxStream<'static, Result<pb::BackendRequest, Status>>,
    ) -> Result<BackendStream, Status> {
        let _ = (from, backend_id, steps);
        Err(Status::unimplemented("no backends here"))
    }
}

/// Where a group stands, as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStatus {
    /// The leader, when one is known. A follower that is cut off goes on to name the last one.
    pub leader: Option<NodeId>,
    /// Term.
    pub term: u64,
    /// True when this node leads, has applied everything of earlier terms, and a quorum answers it.
    pub leading: bool,
    /// Last applied index here.
    pub applied: u64,
    /// First index still in this node's log.
    pub first: u64,
}

/// A peer of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its id.
    pub id: NodeId,
    /// `host:port` of its peer port.
    pub address: String,
}

/// Raft's clocks. All nodes of a cluster should have the same.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// A leader is heard at least this often.
    pub heartbeat: Duration,
    /// Shortest wait of a follower before it stands for election, beyond the leader's lease.
    pub election_min: Duration,
    /// Longest such wait; also the leader's lease.
    pub election_max: Duration,
    /// A snapshot must be made within this, and, once it is received, installed.
    pub install_snapshot: Duration,
}

impl Timings {
    /// For nodes in one region: a failover takes 0.9 to 1.2 s.
    #[must_use]
    pub const fn regional() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            install_snapshot: Duration::from_secs(120),
        }
    }
}

/// Called once with a message when this node must not go on: a failed fsync, a panic of consensus.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// The hook for a server process: says why and exits with 70 (`EX_SOFTWARE`), so that a supervisor
/// restarts it from the disk. Nothing in memory can be trusted then.
#[must_use]
pub fn exit_process() -> FatalHook {
    Arc::new(|message: &str| {
        tracing::error!(reason = message, "consensus failed, the process ends");
        std::process::exit(70);
    })
}

/// How a node's consensus is set up.
#[derive(Clone)]
pub struct Config {
    /// This node's id; must be the one in the data directory, if that holds one.
    pub node_id: NodeId,
    /// Everything of this node that survives it.
    pub data_dir: PathBuf,
    /// Founding members, and later addresses to try. The address of each member is what the others
    /// dial, this node's own included.
    pub initial_cluster: Vec<PeerAddress>,
    /// Number of Raft groups; read at founding only.
    pub groups: u32,
    /// Raft's clocks.
    pub timings: Timings,
    /// Bytes of the data directory's disk that are left free: below, nothing new is written.
    pub disk_reserve_bytes: u64,
    /// Entries kept in memory, over all groups, bytes.
    pub log_cache_bytes_max: usize,
    /// Size of one file of the log, bytes.
    pub log_segment_bytes: u32,
    /// Bytes of snapshots and of history that this node sends per second, over all groups and
    /// peers.
    pub transfer_bytes_per_second: u64,
    /// Makes the cluster's id.
    pub entropy: Entropy,
    /// What to do when this node must not go on.
    pub on_fatal: FatalHook,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("node_id", &self.node_id)
            .field("data_dir", &self.data_dir)
            .field("initial_cluster", &self.initial_cluster)
            .field("groups", &self.groups)
            .field("timings", &self.timings)
            .field("disk_reserve_bytes", &self.disk_reserve_bytes)
            .field("log_cache_bytes_max", &self.log_cache_bytes_max)
            .field("log_segment_bytes", &self.log_segment_bytes)
            .field("transfer_bytes_per_second", &self.transfer_bytes_per_second)
            .finish_non_exhaustive()
    }
}

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("wrong configuration: {0}")]
    Config(String),
    /// The data directory could not be read or written.
    #[error("data directory {dir}: {source}")]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("data directory {0} is in use by another process")]
    Locked(PathBuf),
    /// The identity file is not one.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The directory is another node's.
    #[error("data directory {dir} belongs to node {stored}, not to node {configured}")]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        stored: NodeId,
        /// Who we were told to be.
        configured: NodeId,
    },
    /// The directory is another cluster's.
    #[error(
        "data directory {dir} belongs to cluster {ours}, but node {node} at {address} belongs to \
         cluster {theirs}"
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster of the directory.
        ours: String,
        /// The cluster of the peer.
        theirs: String,
        /// The peer.
        node: NodeId,
        /// Its address.
        address: String,
    },
    /// A disk was lost: the id must not be used again, two quorums could form.
    #[error(
        "cluster {cluster} knows node {node} (says {peer}), but data directory {dir} is empty. A \
         node id is never used again once its data is gone. Replace the node by a new id:\n  \
         roomcast remove-node {node} --api ADDR\n  \
         roomcast add-node NEW_ID={address} --api ADDR"
    )]
    KnownIdEmptyDir {
        /// The id.
        node: NodeId,
        /// The cluster.
        cluster: String,
        /// Who says so.
        peer: String,
        /// The directory.
        dir: PathBuf,
        /// Our own peer address.
        address: String,
    },
    /// The identity is there, a group's log is not.
    #[error("{0} is missing: part of this node's data is gone; replace the node by a new id")]
    LogMissing(PathBuf),
    /// The log is damaged, incomplete, or another node's.
    #[error("log in {dir}: {reason}")]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// What was found, where, and what to do.
        reason: String,
    },
    /// openraft refused to start.
    #[error("group {group} does not start: {reason}")]
    Group {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// Why a proposal did not enter the log here (it was surely not appended).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none is known.
    #[error("this node does not lead the group")]
    NotLeader(Option<NodeId>),
    /// Longer than [`super::ENTRY_BYTES_MAX`].
    #[error("the command is larger than an entry may be")]
    TooLarge,
    /// Shutting down, or the group has failed.
    #[error("the group is stopped")]
    Stopped,
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This node's log begins later.
    #[error("the log begins at {first}")]
    Hole {
        /// First index that is there.
        first: u64,
    },
    /// Not applied here yet, or not a command.
    #[error("entry {index} is not an applied command")]
    NotACommand {
        /// Which one.
        index: u64,
    },
    /// The disk.
    #[error("log: {0}")]
    Io(#[from] std::io::Error),
}

/// Why there is no newer snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It takes longer than a snapshot may.
    #[error("the snapshot was not ready in time")]
    Slow,
    /// Shutting down, or the group has failed.
    #[error("the group is stopped")]
    Stopped,
}

/// Why the membership did not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads a group, or none does; ask it.
    #[error("this node does not lead group {group}")]
    NotLeader {
        /// Which one.
        group: GroupId,
        /// Who does.
        leader: Option<NodeId>,
    },
    /// Not allowed, or not finished.
    #[error("group {group}: {reason}")]
    Refused {
        /// Which one.
        group: GroupId,
        /// Why.
        reason: String,
    },
}
