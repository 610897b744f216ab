//! One Raft group of this node: openraft's handle, the log, and the status that others watch.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Instant as _, Raft, RaftMetrics, ServerState};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::api::{
    Config, FatalHook, GroupStatus, ProposeError, ReadError, SnapshotError, StartError,
    StateMachine,
};
use super::gate::Gate;
use super::identity::group_dir;
use super::install;
use super::log_store::LogStore;
use super::network::Network;
use super::peers::Peers;
use super::settings::{ENTRY_BYTES_MAX, raft_config};
use super::snapshot::{SnapshotFile, SnapshotStore};
use super::state_machine::{Machine, blocking};
use super::transfer::{Arriving, Sendings};
use super::types::{LogEntry, LogId, Proposal, TypeConfig, Vote};
use crate::ids::{GroupId, NodeId};
use crate::wal::{Space, Wal};

/// How often a snapshot is asked for again while an older one is being built.
const SNAPSHOT_RETRY: Duration = Duration::from_millis(500);

/// One group.
pub(crate) struct Group {
    /// Its number.
    pub(crate) id: GroupId,
    /// openraft's handle.
    pub(crate) raft: Raft<TypeConfig, Machine>,
    /// Its log.
    log: LogStore,
    /// The log of all groups, for the space that it has.
    pub(crate) wal: Wal,
    /// Whether it may vote.
    pub(crate) gate: Arc<Gate>,
    /// Snapshots are installed one after the other.
    installs: Arc<tokio::sync::Mutex<()>>,
    /// Last applied index; ahead of `status`.
    applied: Arc<AtomicU64>,
    /// Derived from openraft's metrics.
    status: watch::Receiver<GroupStatus>,
    /// True from the moment it is stopped on purpose.
    stopping: Arc<AtomicBool>,
    /// Longest time a snapshot may take.
    snapshot_timeout: Duration,
    /// A snapshot that this node receives.
    pub(crate) arriving: Arriving,
    /// Snapshots that this node sends.
    sendings: Arc<Sendings>,
}

impl Group {
    /// Restores the newest snapshot, replays the log and starts.
    pub(crate) async fn start(
        id: GroupId,
        config: &Config,
        wal: &Wal,
        gate: Gate,
        peers: Arc<Peers>,
        state: Arc<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        let failed = |reason: String| StartError::Group { group: id, reason };
        let log = LogStore::new(wal.group(id));
        let snapshot_dir = group_dir(&config.data_dir, id).join("snapshots");
        let data_dir = config.data_dir.clone();
        let opened = blocking(move || {
            create_durably(&data_dir, &snapshot_dir)?;
            SnapshotStore::open(snapshot_dir).map(Arc::new)
        });
        let snapshots = opened.await.map_err(|e| failed(e.to_string()))?;
        let applied = Arc::new(AtomicU64::new(0));
        let sendings = Arc::new(Sendings::default());
        let machine = Machine::new(state, snapshots.clone(), sendings.clone(), applied.clone());
        let network = Network {
            peers,
            group: id,
            vote_timeout: config.timings.election_min * 2 / 3,
            sendings: sendings.clone(),
        };
        let raft_config = raft_config(&config.timings)?;
        let raft = Raft::new(config.node_id, raft_config, network, log.clone(), machine).await;
        let raft = raft.map_err(|e| failed(e.to_string()))?;
        let gate = Arc::new(gate);
        if gate.is_closed() {
            tracing::warn!(
                group = id,
                "entries may be lost: no vote before it has caught up"
            );
            raft.runtime_config().elect(false);
        }
        let (publish, status) = watch::channel(GroupStatus::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let watcher = Watcher {
            id,
            log: log.clone(),
            publish,
            lease: config.timings.election_max,
            stopping: stopping.clone(),
            on_fatal: config.on_fatal.clone(),
            gate: gate.clone(),
        };
        // Held only while it is needed: the last handle ends the group.
        let gated = gate.is_closed().then(|| raft.clone());
        tokio::spawn(watcher.run(raft.metrics(), gated));
        let snapshot_timeout = config.timings.install_snapshot;
        Ok(Self {
            id,
            raft,
            arriving: Arriving::new(snapshots),
            sendings,
            log,
            wal: wal.clone(),
            gate,
            installs: Arc::default(),
            applied,
            status,
            stopping,
            snapshot_timeout,
        })
    }

    /// As of now; `applied` is exact.
    pub(crate) fn status(&self) -> GroupStatus {
        let mut status = *self.status.borrow();
        status.applied = self.applied();
        status.first = self.log.first();
        status
    }

    /// Every change of leader, term, leading, applied or first; the last two may lag.
    pub(crate) fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.status.clone()
    }

    /// Appends a command if this node leads. Returns when it has its index in the log, which is the
    /// order of the calls for a caller that awaits each.
    pub(crate) async fn propose(&self, command: Bytes) -> Result<(), ProposeError> {
        if command.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let (accepted, index) = oneshot::channel();
        let proposal = Proposal {
            command,
            accepted: Some(accepted),
        };
        let (responder, outcome) =
            ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
        let sent = self.raft.client_write_ff(proposal, Some(responder)).await;
        sent.map_err(|_| ProposeError::Stopped)?;
        if index.await.is_ok() {
            return Ok(());
        }
        match outcome.await {
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader(forward.leader_id))
            }
            _ => Err(ProposeError::Stopped),
        }
    }

    /// Commands from the local log, in the order asked for.
    pub(crate) async fn read(&self, indexes: &[u64]) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let applied = self.applied();
        // What is not applied may still be replaced by another leader's entry.
        if let Some(&index) = indexes.iter().find(|&&index| index > applied) {
            return Err(ReadError::NotACommand { index });
        }
        let settled = self.log.settled(applied);
        if indexes.iter().any(|&index| index > settled) {
            return Err(ReadError::Hole { first: applied + 1 });
        }
        let (log, indexes) = (self.log.clone(), indexes.to_vec());
        match tokio::task::spawn_blocking(move || log.commands(&indexes)).await {
            Ok(read) => read,
            Err(e) => Err(ReadError::Io(io::Error::other(e))),
        }
    }

    /// Those of these commands that are here, see [`LogStore::some_commands`].
    pub(crate) async fn read_some(
        &self,
        indexes: Vec<u64>,
        bytes_max: usize,
    ) -> io::Result<(Vec<LogEntry>, usize)> {
        let (applied, log) = (self.applied(), self.log.clone());
        // What is not applied may still be replaced by another leader's entry.
        let settled = log.settled(applied);
        let end = indexes.iter().position(|&index| index > settled);
        let known = end.unwrap_or(indexes.len());
        let count = indexes.len();
        blocking(move || {
            let (found, looked_at) = log.some_commands(&indexes[..known], bytes_max)?;
            let looked_at = if looked_at == known { count } else { looked_at };
            Ok((found, looked_at))
        })
        .await
    }

    /// Which of these entries are not in this node's log.
    pub(crate) async fn lacking(&self, indexes: Vec<u64>) -> io::Result<Vec<u64>> {
        let (log, applied) = (self.log.clone(), self.applied());
        blocking(move || Ok(log.lacking(&indexes, applied))).await
    }

    /// Makes a snapshot of at least what is applied now; returns its last index.
    pub(crate) async fn snapshot(&self) -> Result<u64, SnapshotError> {
        let wanted = self.applied();
        let deadline = Instant::now() + self.snapshot_timeout;
        let mut metrics = self.raft.metrics();
        while Instant::now() < deadline {
            // Copied: openraft's core would wait for the metrics' lock.
            let newest = metrics.borrow_watched().snapshot;
            let made = newest.map(|id| id.index);
            if let Some(made) = made
                && made >= wanted
            {
                let arriving = self.arriving.clone();
                let forgotten = blocking(move || {
                    arriving.forget_upto(newest);
                    Ok(())
                });
                forgotten.await.map_err(|_| SnapshotError::Stopped)?;
                return Ok(made);
            }
            // Ignored while another one is being built.
            self.raft
                .trigger()
                .snapshot()
                .await
                .map_err(|_| SnapshotError::Stopped)?;
            let retry = Instant::now() + SNAPSHOT_RETRY;
            while metrics.borrow_watched().snapshot.map(|id| id.index) == made {
                match tokio::time::timeout_at(retry, metrics.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(SnapshotError::Stopped),
                    Err(_) => break,
                }
            }
        }
        Err(SnapshotError::Slow)
    }

    /// Takes in a snapshot of a leader; answers with this node's vote. The caller may go away: what
    /// has begun is finished.
    pub(crate) async fn install(&self, vote: Vote, file: SnapshotFile) -> Result<Vote, String> {
        let (raft, turns) = (self.raft.clone(), self.installs.clone());
        let installed = tokio::spawn(async move {
            let _turn = turns.lock().await;
            install::install(&raft, vote, file).await
        });
        installed.await.map_err(|e| e.to_string())?
    }

    /// Commits what a snapshot of a leader ends with, when it is here; this node's vote, or `None`.
    pub(crate) async fn commit(
        &self,
        vote: Vote,
        last: Option<LogId>,
    ) -> Result<Option<Vote>, String> {
        install::commit(&self.raft, vote, last).await
    }

    /// Lets the log go up to an index. What a receiver of a snapshot needs behind it stays while
    /// it moves, unless the disk has no room: else a transfer that takes longer than the log lasts
    /// would be followed by another one for ever.
    pub(crate) async fn purge(&self, upto: u64) -> Result<(), SnapshotError> {
        let upto = match self.wal.space() {
            Space::Enough => self.sendings.hold(upto, &self.matched()),
            Space::Low | Space::Exhausted => {
                self.sendings.let_go();
                upto
            }
        };
        let purge = self.raft.trigger().purge_log(upto).await;
        purge.map_err(|_| SnapshotError::Stopped)
    }

    /// How much of the log each node has, when this one leads.
    fn matched(&self) -> BTreeMap<NodeId, u64> {
        let replication = self.raft.metrics().borrow_watched().replication.clone();
        let matched = replication.into_iter().flatten();
        let matched = matched.filter_map(|(node, id)| Some((node, id?.index)));
        matched.collect()
    }

    /// Last applied index, exact.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Stops openraft; the log is closed when all groups have stopped.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(group = self.id, error = %e, "group did not stop cleanly");
        }
    }

    /// The members, as the newest membership in the log has them.
    pub(crate) fn members(&self) -> Vec<(NodeId, String)> {
        let membership = self
            .raft
            .metrics()
            .borrow_watched()
            .membership_config
            .clone();
        membership
            .nodes()
            .map(|(id, node)| (*id, node.address.clone()))
            .collect()
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("status", &self.status())
            .finish()
    }
}

/// Turns openraft's metrics into a status, and its failures into the end of this node.
struct Watcher {
    /// The group.
    id: GroupId,
    /// For the first index.
    log: LogStore,
    /// Where the status goes.
    publish: watch::Sender<GroupStatus>,
    /// A leader that no quorum has answered for this long does not lead.
    lease: Duration,
    /// See [`Group::stopping`].
    stopping: Arc<AtomicBool>,
    /// Told of a failure: after a panic of its core a group never comes back by itself
    /// (openraft issue 2116).
    on_fatal: FatalHook,
    /// Opened when the group has caught up.
    gate: Arc<Gate>,
}

impl Watcher {
    async fn run(
        self,
        mut metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
        mut gated: Option<Raft<TypeConfig, Machine>>,
    ) {
        loop {
            let (status, lease_end, failure) = {
                let metrics = metrics.borrow_watched();
                let lease_end = self.lease_end(&metrics);
                let status = self.status_of(&metrics, lease_end);
                (status, lease_end, metrics.running_state.clone().err())
            };
            if self.gate.try_open(status.applied)
                && let Some(raft) = gated.take()
            {
                tracing::info!(group = self.id, "it has caught up and votes again");
                raft.runtime_config().elect(true);
            }
            self.publish
                .send_if_modified(|last| std::mem::replace(last, status) != status);
            let look_again = lease_end.filter(|_| status.leading);
            let reason = match failure {
                Some(failure) => failure.to_string(),
                None => match change_or(metrics.changed(), look_again).await {
                    Ok(()) => continue,
                    Err(_) => "it ended without a reason".to_owned(),
                },
            };
            if !self.stopping.load(Ordering::Acquire) {
                (self.on_fatal)(&format!("group {} failed: {reason}", self.id));
            }
            return;
        }
    }

    /// When a leader's lease ends; `None` for one that is a quorum by itself.
    fn lease_end(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<Instant> {
        if metrics.membership_config.voter_ids().count() == 1 {
            return None;
        }
        // Never acknowledged: it has ended.
        let acked = metrics.last_quorum_acked.map(|acked| acked.elapsed());
        let left = acked.map_or(Duration::ZERO, |age| self.lease.saturating_sub(age));
        Some(Instant::now() + left)
    }

    fn status_of(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        lease_end: Option<Instant>,
    ) -> GroupStatus {
        let is_leader = metrics.state == ServerState::Leader;
        let has_quorum = lease_end.is_none_or(|end| Instant::now() < end);
        let applied_term = metrics.last_applied.map(|id| id.leader_id.term);
        GroupStatus {
            // A leader without its quorum refuses proposals: then none is known here.
            leader: metrics.current_leader.filter(|_| !is_leader || has_quorum),
            term: metrics.current_term,
            // A leader's first entry is its blank one: an applied entry of its term means that all
            // entries of earlier terms are applied.
            leading: is_leader && has_quorum && applied_term == Some(metrics.current_term),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            first: self.log.first(),
        }
    }
}

/// Waits for a change, or until a point in time.
async fn change_or<E>(
    changed: impl Future<Output = Result<(), E>>,
    until: Option<Instant>,
) -> Result<(), E> {
    match until {
        Some(until) => tokio::time::timeout_at(until, changed)
            .await
            .unwrap_or(Ok(())),
        None => changed.await,
    }
}

/// Creates a directory below another; all between them are on stable storage, so that a lost one is
/// never mistaken for one that did not exist yet.
pub(super) fn create_durably(root: &Path, dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for dir in dir.ancestors() {
        File::open(dir)?.sync_all()?;
        if dir == root {
            break;
        }
    }
    Ok(())
}
