//! The handle of a node's consensus: starts it in order (lock, peer port, founding, groups), passes
//! calls to the groups, stops it. Clones share it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_client::PeerClient;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use super::api::{
    ChangeError, Config, GroupStatus, PeerAddress, PeerHandler, ProposeError, ReadError,
    SnapshotError, StartError, StateMachine,
};
use super::founding;
use super::gate::Gate;
use super::group::Group;
use super::identity::{self, Identity};
use super::peers::{Class, Peers};
use super::service::Local;
use super::space;
use super::start;
use super::state_machine::blocking;
use super::types::{PeerNode, TypeConfig};
use crate::ids::{GroupId, NodeId};
use crate::wal::{Needs, Reclaimed, Space, Wal};

/// How long the peer port may take to end; its connections are cut before.
const SERVER_STOP: Duration = Duration::from_secs(2);

/// A node's consensus.
#[derive(Clone)]
pub struct Consensus {
    /// What clones share.
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// This node.
    pub(super) local: Arc<Local>,
    /// The groups, by number.
    groups: Vec<Arc<Group>>,
    /// Their log.
    pub(super) wal: Wal,
    /// The peer port.
    server: Mutex<Option<JoinHandle<()>>>,
    /// Ends the peer port and its connections.
    stop: CancellationToken,
    /// The same, when the last handle is dropped.
    _stop_on_drop: DropGuard,
    /// Keeps other processes out of the data directory.
    lock: Mutex<Option<File>>,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("groups", &self.inner.groups)
            .finish_non_exhaustive()
    }
}

impl Consensus {
    /// Starts a node's consensus on its peer port. Waits for the other founding members as long as
    /// it takes; dropping the future gives up. `machine` makes the state of each group; how many
    /// there are is the cluster's to say, not the configuration's.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: Config,
        listener: TcpListener,
        machine: impl Fn(GroupId) -> Arc<dyn StateMachine> + Send,
        handler: Arc<dyn PeerHandler>,
    ) -> Result<Self, StartError> {
        start::check(&config)?;
        let lock = identity::lock(&config.data_dir)?;
        let stored = Identity::load(&config.data_dir)?;
        start::check_owner(&config, stored.as_ref())?;
        let rate = config.transfer_bytes_per_second;
        let peers = Arc::new(Peers::new(config.node_id, &config.initial_cluster, rate));
        let local = Arc::new(start::local(&config, peers.clone(), stored.as_ref()));
        let token = CancellationToken::new();
        let stop_on_drop = token.clone().drop_guard();
        let server = start::serve(listener, local.clone(), handler, token.clone());

        let identity = founding::enter(&config, &local, stored).await?;
        start::become_member(&local, &identity);
        let (wal, may_lack) = start::open_log(&config, &identity).await?;
        let mut groups = Vec::new();
        for id in 0..identity.groups {
            let gate = Gate::new(may_lack);
            let started = Group::start(id, &config, &wal, gate, peers.clone(), machine(id)).await;
            match started {
                Ok(group) => groups.push(Arc::new(group)),
                Err(e) => {
                    stop_groups(&groups, &wal).await;
                    return Err(e);
                }
            }
        }
        if let Err(e) = start::initialize(&config, &identity, &groups).await {
            stop_groups(&groups, &wal).await;
            return Err(e);
        }
        local.groups.get_or_init(|| groups.clone());
        tokio::spawn(space::watch(wal.clone(), groups.clone(), token.clone()));
        let (server, lock) = (Mutex::new(Some(server)), Mutex::new(Some(lock)));
        let inner = Inner {
            local,
            groups,
            wal,
            server,
            stop: token,
            _stop_on_drop: stop_on_drop,
            lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(super) fn group(&self, group: GroupId) -> &Arc<Group> {
        let groups = &self.inner.groups;
        groups
            .get(group as usize)
            .expect("callers take group numbers below group_count()")
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.local.peers.node_id
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        self.inner.local.peers.cluster_id()
    }

    /// Number of groups; they are numbered from 0. The methods below panic for other numbers.
    #[must_use]
    pub fn group_count(&self) -> u32 {
        u32::try_from(self.inner.groups.len()).expect("it was a u32")
    }

    /// Where a group stands now.
    #[must_use]
    pub fn status(&self, group: GroupId) -> GroupStatus {
        self.group(group).status()
    }

    /// Follows a group's status; `applied` and `first` may lag behind [`Self::status`].
    #[must_use]
    pub fn watch(&self, group: GroupId) -> watch::Receiver<GroupStatus> {
        self.group(group).watch()
    }

    /// Appends a command to the log of a group that this node leads. Returns when the entry has its
    /// place, in the order of the calls for a caller that awaits each; commit is seen by
    /// [`StateMachine::apply`], and a change of leader can still replace the entry.
    ///
    /// # Errors
    /// Surely not appended: see [`ProposeError`].
    pub async fn propose(&self, group: GroupId, command: Bytes) -> Result<(), ProposeError> {
        self.group(group).propose(command).await
    }

    /// Applied commands from the local log, in the order asked for; the cache first, then the disk.
    /// The caller bounds what it asks for.
    ///
    /// # Errors
    /// [`ReadError::Hole`] when one of them is not here any more: ask [`Self::read_anywhere`].
    pub async fn read(
        &self,
        group: GroupId,
        indexes: &[u64],
    ) -> Result<Vec<(u64, Bytes)>, ReadError> {
        self.group(group).read(indexes).await
    }

    /// Makes a snapshot of at least what is applied now, and returns its last index.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn snapshot(&self, group: GroupId) -> Result<u64, SnapshotError> {
        self.group(group).snapshot().await
    }

    /// Lets the log go up to and including an index, never beyond the last snapshot, nor beyond one
    /// that is being sent. Not at once: a leader waits for replication that is reading there.
    ///
    /// # Errors
    /// The group is stopped.
    pub async fn purge(&self, group: GroupId, upto_index: u64) -> Result<(), SnapshotError> {
        self.group(group).purge(upto_index).await
    }

    /// Removes files of the log of which nothing is needed any more: neither by Raft nor by
    /// `needs`.
    ///
    /// # Errors
    /// The disk.
    pub(crate) async fn reclaim(
        &self,
        needs: impl Needs + Send + Sync + 'static,
    ) -> io::Result<Reclaimed> {
        let wal = self.inner.wal.clone();
        blocking(move || wal.reclaim(&needs)).await
    }

    /// Bytes of snapshots and history that were sent.
    #[cfg(test)]
    pub(super) fn bulk_bytes(&self) -> u64 {
        self.inner.local.peers.bulk.taken()
    }

    /// Bytes of the log's files, and bytes that it keeps in memory.
    #[must_use]
    pub fn log_size(&self) -> (u64, usize) {
        (self.inner.wal.size().1, self.inner.wal.memory_bytes())
    }

    /// Whether this node's disk has room for new events. What keeps the cluster going, and lets
    /// retention make room, is written all the same.
    #[must_use]
    pub fn has_space(&self) -> bool {
        self.inner.wal.space() == Space::Enough
    }

    /// Hands a group's leadership to a voter; ignored when this node does not lead it. Seen in
    /// [`Self::watch`]; the other node may turn out not to be ready for it.
    ///
    /// # Errors
    /// The group is stopped.
    pub async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), ProposeError> {
        let transfer = self.group(group).raft.trigger().transfer_leader(to).await;
        transfer.map_err(|_| ProposeError::Stopped)
    }

    /// All members, by id, at the addresses this node would dial.
    #[must_use]
    pub fn members(&self) -> Vec<PeerAddress> {
        let peers = &self.inner.local.peers;
        let members = self.group(0).members();
        let member = |(id, address)| PeerAddress {
            id,
            address: peers.address(id).unwrap_or(address),
        };
        members.into_iter().map(member).collect()
    }

    /// Adds a voter to every group; this node must lead all of them. The new node, with an empty
    /// directory and a fresh id, takes the cluster's id by itself. Waits until it has caught up.
    ///
    /// # Errors
    /// See [`ChangeError`]; earlier groups keep the change, a repeat goes on from there.
    pub async fn add_node(&self, node: &PeerAddress) -> Result<(), ChangeError> {
        for group in &self.inner.groups {
            let learner = PeerNode {
                address: node.address.clone(),
            };
            let added = group.raft.add_learner(node.id, learner, true).await;
            added.map_err(|e| change_error(group.id, e))?;
            let voter = ChangeMembers::AddVoterIds([node.id].into());
            let changed = group.raft.change_membership(voter, false).await;
            changed.map_err(|e| change_error(group.id, e))?;
        }
        Ok(())
    }

    /// Removes a node from every group; this node must lead all of them. Its id is never used
    /// again.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn remove_node(&self, node: NodeId) -> Result<(), ChangeError> {
        for group in &self.inner.groups {
            let removed = ChangeMembers::RemoveVoters([node].into());
            let changed = group.raft.change_membership(removed, false).await;
            changed.map_err(|e| change_error(group.id, e))?;
        }
        Ok(())
    }

    /// The header for a message to a node.
    #[must_use]
    pub fn header(&self, to: NodeId) -> pb::Header {
        self.inner.local.peers.header(to)
    }

    /// A client to a node, on a connection apart from Raft's; it connects, and connects again, by
    /// itself. `None` when the node's address is not known.
    #[must_use]
    pub fn peer_client(&self, node: NodeId) -> Option<PeerClient<Channel>> {
        self.inner.local.peers.client(node, Class::Traffic)
    }

    /// As [`Self::peer_client`], for requests of clients: many wait long, on their own connection.
    #[must_use]
    pub fn forward_client(&self, node: NodeId) -> Option<PeerClient<Channel>> {
        self.inner.local.peers.client(node, Class::Forward)
    }

    /// As [`Self::peer_client`], for calls to backends: whoever reads slowly there delays nothing
    /// else.
    #[must_use]
    pub fn backend_client(&self, node: NodeId) -> Option<PeerClient<Channel>> {
        self.inner.local.peers.client(node, Class::Backend)
    }

    /// Stops all groups without handing leadership over, cuts the peer port's connections, and
    /// releases the data directory. What was appended is on disk.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        stop_groups(&inner.groups, &inner.wal).await;
        inner.stop.cancel();
        inner.local.peers.disconnect();
        let server = inner.server.lock().take();
        if let Some(mut server) = server
            && tokio::time::timeout(SERVER_STOP, &mut server)
                .await
                .is_err()
        {
            tracing::warn!("the peer port did not end in time");
            server.abort();
        }
        drop(inner.lock.lock().take());
    }
}

fn change_error(
    group: GroupId,
    error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => ChangeError::NotLeader {
            group,
            leader: forward.leader_id,
        },
        other => ChangeError::Refused {
            group,
            reason: other.to_string(),
        },
    }
}

/// Stops the groups, then closes their log.
async fn stop_groups(groups: &[Arc<Group>], wal: &Wal) {
    futures_util::future::join_all(groups.iter().map(|group| group.stop())).await;
    let wal = wal.clone();
    if let Err(e) = tokio::task::spawn_blocking(move || wal.close()).await {
        tracing::warn!(error = %e, "the log did not close cleanly");
    }
}
