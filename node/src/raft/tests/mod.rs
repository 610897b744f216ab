//! Consensus as a whole, over real sockets and disks: a cluster of nodes in this process.

mod backfill;
mod cluster;
mod founding;
mod install;
mod link;
mod log;
mod partition;
mod recovery;
mod suite;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Status;

use super::*;
use crate::ids::{Entropy, GroupId, NodeId};

/// Longest wait for anything; far more than any of it takes.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A command that a state cannot apply.
pub(super) const POISON: &[u8] = b"poison";

/// A state that remembers every command.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Index and command, in the order of apply.
    pub(super) commands: Mutex<Vec<(u64, Bytes)>>,
    /// When the last one was applied.
    pub(super) last_at: Mutex<Option<Instant>>,
    /// Snapshots restored.
    pub(super) restored: Mutex<u32>,
    /// How long it takes to restore one.
    pub(super) restore_takes: Mutex<Duration>,
}

impl Memory {
    pub(super) fn count(&self) -> usize {
        self.commands.lock().len()
    }

    pub(super) fn texts(&self) -> Vec<Bytes> {
        self.commands
            .lock()
            .iter()
            .map(|(_, command)| command.clone())
            .collect()
    }
}

#[async_trait]
impl StateMachine for Memory {
    async fn apply(&self, entries: Vec<Committed>) {
        let mut commands = self.commands.lock();
        for entry in entries {
            assert!(entry.command != POISON, "a state machine that fails");
            assert!(
                commands.last().is_none_or(|(last, _)| *last < entry.index),
                "in log order"
            );
            commands.push((entry.index, entry.command));
        }
        *self.last_at.lock() = Some(Instant::now());
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(Frozen(self.commands.lock().clone()))
    }

    async fn restore(&self, mut snapshot: Bytes) -> Result<(), RestoreError> {
        let mut commands = Vec::new();
        while snapshot.has_remaining() {
            let index = snapshot.get_u64();
            let len = snapshot.get_u64() as usize;
            commands.push((index, snapshot.split_to(len)));
        }
        let takes = *self.restore_takes.lock();
        tokio::time::sleep(takes).await;
        *self.commands.lock() = commands;
        *self.restored.lock() += 1;
        Ok(())
    }
}

struct Frozen(Vec<(u64, Bytes)>);

impl FrozenState for Frozen {
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        for (index, command) in &self.0 {
            bytes.put_u64(*index);
            bytes.put_u64(command.len() as u64);
            bytes.put_slice(command);
        }
        bytes.freeze()
    }
}

/// Answers renewals only.
pub(super) struct Echo;

#[async_trait]
impl PeerHandler for Echo {
    async fn on_propose(
        &self,
        _from: NodeId,
        _group: GroupId,
        _proposals: BoxStream<'static, Result<pb::ProposeRequest, Status>>,
    ) -> Result<ProposeStream, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn on_renew(
        &self,
        from: NodeId,
        request: pb::RenewRequest,
    ) -> Result<pb::RenewResponse, Status> {
        let lease = pb::Lease {
            group: 0,
            incarnation: from,
        };
        let renewed = request.leases.into_iter().chain([lease]).collect();
        Ok(pb::RenewResponse { renewed })
    }

    async fn on_relay(
        &self,
        _from: NodeId,
        _requests: BoxStream<'static, Result<pb::RelayRequest, Status>>,
    ) -> Result<pb::RelayResponse, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A running node.
pub(super) struct Node {
    pub(super) consensus: Consensus,
    pub(super) states: Vec<Arc<Memory>>,
    pub(super) fatal: Arc<Mutex<Vec<String>>>,
}

/// What a node is started with.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) id: NodeId,
    pub(super) dir: PathBuf,
    pub(super) address: String,
    /// How fast it sends in bulk, bytes per second.
    pub(super) bulk_rate: u64,
    /// Keeps the port until the first start.
    reserved: Arc<Mutex<Option<TcpListener>>>,
}

impl Seat {
    pub(super) async fn new(id: NodeId, dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self {
            id,
            dir,
            address,
            bulk_rate: 1 << 30,
            reserved: Arc::new(Mutex::new(Some(listener))),
        }
    }

    /// At a restart another test may have the port for a moment.
    async fn listen(&self) -> TcpListener {
        let reserved = self.reserved.lock().take();
        if let Some(reserved) = reserved {
            return reserved;
        }
        let deadline = Instant::now() + LIMIT;
        loop {
            match TcpListener::bind(&self.address).await {
                Ok(listener) => return listener,
                Err(e) => assert!(Instant::now() < deadline, "{}: {e}", self.address),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A cluster of nodes in this process; their directories go with it.
pub(super) struct Cluster {
    pub(super) seats: Vec<Seat>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) timings: Timings,
    _root: TempDir,
}

pub(super) const GROUPS: u32 = 2;

pub(super) fn config(
    node_id: NodeId,
    data_dir: PathBuf,
    initial_cluster: Vec<PeerAddress>,
    timings: Timings,
) -> Config {
    Config {
        node_id,
        data_dir,
        initial_cluster,
        groups: GROUPS,
        timings,
        disk_reserve_bytes: 0,
        log_cache_bytes_max: 1 << 20,
        log_segment_bytes: 1 << 20,
        transfer_bytes_per_second: 1 << 30,
        entropy: Entropy::from_os(),
        on_fatal: Arc::new(|message: &str| panic!("{message}")),
    }
}

pub(super) async fn start(
    seat: &Seat,
    members: Vec<PeerAddress>,
    timings: Timings,
) -> Result<Node, StartError> {
    let fatal: Arc<Mutex<Vec<String>>> = Arc::default();
    let reports = fatal.clone();
    let mut config = config(seat.id, seat.dir.clone(), members, timings);
    config.transfer_bytes_per_second = seat.bulk_rate;
    config.on_fatal = Arc::new(move |message: &str| reports.lock().push(message.to_owned()));
    let listener = seat.listen().await;
    let states: Arc<Mutex<Vec<Arc<Memory>>>> = Arc::default();
    let made = states.clone();
    let machine = move |_| -> Arc<dyn StateMachine> {
        let state = Arc::new(Memory::default());
        made.lock().push(state.clone());
        state
    };
    let consensus = Consensus::start(config, listener, machine, Arc::new(Echo)).await?;
    let states = states.lock().clone();
    Ok(Node {
        consensus,
        states,
        fatal,
    })
}

impl Cluster {
    /// Seats 1 to `count`, nobody started.
    pub(super) async fn seats(count: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut seats = Vec::new();
        for id in 1..=count {
            seats.push(Seat::new(id, root.path().join(format!("node{id}"))).await);
        }
        let nodes = seats.iter().map(|_| None).collect();
        Self {
            seats,
            nodes,
            timings: Timings::regional(),
            _root: root,
        }
    }

    /// A running cluster with a leader in every group.
    pub(super) async fn running(count: u64) -> Self {
        let mut cluster = Self::seats(count).await;
        cluster.start_all().await;
        for group in 0..GROUPS {
            cluster.leader(group).await;
        }
        cluster
    }

    pub(super) fn members(&self) -> Vec<PeerAddress> {
        let member = |seat: &Seat| PeerAddress {
            id: seat.id,
            address: seat.address.clone(),
        };
        self.seats.iter().map(member).collect()
    }

    pub(super) async fn start_all(&mut self) {
        let members = self.members();
        let starts = self
            .seats
            .iter()
            .map(|seat| start(seat, members.clone(), self.timings));
        let started = tokio::time::timeout(LIMIT, futures_util::future::join_all(starts)).await;
        for (place, node) in started.expect("all start in time").into_iter().enumerate() {
            self.nodes[place] = Some(node.expect("a node starts"));
        }
    }

    pub(super) async fn start_one(&mut self, place: usize) -> Result<(), StartError> {
        let started = start(&self.seats[place], self.members(), self.timings);
        let node = tokio::time::timeout(LIMIT, started)
            .await
            .expect("a node starts in time")?;
        self.nodes[place] = Some(node);
        Ok(())
    }

    /// Stops a node without any word to the others.
    pub(super) async fn kill(&mut self, place: usize) {
        if let Some(node) = self.nodes[place].take() {
            node.consensus.shutdown().await;
            assert_eq!(*node.fatal.lock(), Vec::<String>::new(), "nothing failed");
        }
    }

    pub(super) async fn kill_all(&mut self) {
        for place in 0..self.nodes.len() {
            self.kill(place).await;
        }
    }

    pub(super) fn node(&self, place: usize) -> &Node {
        self.nodes[place].as_ref().expect("it runs")
    }

    pub(super) fn running_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The place of the node that leads a group, once one does.
    pub(super) async fn leader(&self, group: GroupId) -> usize {
        let mut leader = None;
        until("a leader", || {
            leader = self.nodes.iter().position(|node| {
                node.as_ref()
                    .is_some_and(|node| node.consensus.status(group).leading)
            });
            leader.is_some()
        })
        .await;
        leader.expect("waited for")
    }

    /// Proposes at the leader, whoever it is, until it is accepted.
    pub(super) async fn propose(&self, group: GroupId, command: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "{command} is accepted in time");
            let leader = self.leader(group).await;
            let consensus = &self.node(leader).consensus;
            match consensus
                .propose(group, Bytes::from(command.to_owned()))
                .await
            {
                Ok(()) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until every running node has applied this many commands of a group.
    pub(super) async fn applied(&self, group: GroupId, count: usize) {
        until("all have applied", || {
            self.running_nodes()
                .all(|node| node.states[group as usize].count() >= count)
        })
        .await;
    }

    /// All running nodes have applied the same commands at the same indexes.
    pub(super) fn assert_equal(&self, group: GroupId) {
        let mut states = self
            .running_nodes()
            .map(|node| &node.states[group as usize]);
        let first = states.next().expect("a node runs").commands.lock().clone();
        for state in states {
            assert!(*state.commands.lock() == first, "two nodes differ");
        }
    }
}

/// Waits until something holds, for a bounded time.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
