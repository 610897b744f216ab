//! A cluster of real node processes on loopback: started, asked for its leaders, broken, restarted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::http;
use crate::ports::PortBlock;
use crate::process::{Launch, NodeProcess, roomcast_binary};

/// A node of a debug build on a busy machine is ready within this.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Step of the bounded waits.
const POLL: Duration = Duration::from_millis(25);

/// What a cluster is started with.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// How many nodes; their ids are 1 to this.
    pub nodes: usize,
    /// Flags of every node, name and value in turn.
    pub flags: Vec<String>,
    /// Further flags of single nodes, by index from 0; they come last.
    pub node_flags: BTreeMap<usize, Vec<String>>,
    /// Where their data goes; otherwise to the directory for temporary files.
    pub within: Option<PathBuf>,
}

impl ClusterSpec {
    /// `nodes` nodes in development mode.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let flags = vec!["--mode".to_owned(), "development".to_owned()];
        Self {
            nodes,
            flags,
            node_flags: BTreeMap::new(),
            within: None,
        }
    }

    /// Adds a flag for all nodes.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a flag for one node, by index from 0.
    #[must_use]
    pub fn node_flag(mut self, index: usize, name: &str, value: &str) -> Self {
        let flags = self.node_flags.entry(index).or_default();
        flags.extend([name.to_owned(), value.to_owned()]);
        self
    }
}

/// What `GET /v1/status` answers, as far as the tests read it.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Who answered.
    pub node_id: u64,
    /// One entry per Raft group.
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
}

/// One Raft group as the answering node sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct GroupStatus {
    /// Its number.
    pub group: u32,
    /// Node id of the leader it knows.
    #[serde(default)]
    pub leader: Option<u64>,
    /// Raft term.
    #[serde(default)]
    pub term: u64,
    /// Index of the last applied entry.
    #[serde(default)]
    pub applied: u64,
    /// Sessions connected anywhere in the cluster.
    #[serde(default)]
    pub connected: u64,
    /// Sessions whose resume window runs.
    #[serde(default)]
    pub away: u64,
    /// Hash of the replicated state at `applied`.
    #[serde(default)]
    pub hash: String,
}

/// Addresses of one node.
#[derive(Debug, Clone, Copy)]
pub struct NodeAddrs {
    /// Socket.IO clients, health and readiness.
    pub client: SocketAddr,
    /// Status and metrics.
    pub api: SocketAddr,
    /// Node to node.
    pub peer: SocketAddr,
}

/// Running nodes; they are killed and their data is removed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// By index from 0; the node id is one more.
    pub nodes: Vec<NodeProcess>,
    /// Addresses, by the same index.
    pub addrs: Vec<NodeAddrs>,
    /// Data directories and output.
    folder: TempDir,
    /// Keeps the ports ours.
    _ports: PortBlock,
}

impl Cluster {
    /// Starts all nodes and waits until each is ready.
    ///
    /// # Errors
    /// When a node cannot be started or is not ready in time.
    pub async fn start(spec: &ClusterSpec) -> io::Result<Self> {
        let mut cluster = Self::prepare(spec)?;
        for index in 0..spec.nodes {
            let launch = cluster.launch(index, spec)?;
            cluster.nodes.push(NodeProcess::start(launch)?);
        }
        cluster.wait_all_ready().await?;
        Ok(cluster)
    }

    /// Ports and folders for all nodes, none of which runs yet.
    fn prepare(spec: &ClusterSpec) -> io::Result<Self> {
        let ports = PortBlock::claim()?;
        let slots =
            (0..spec.nodes).map(|index| u16::try_from(3 * index + 1).map_err(io::Error::other));
        let addrs = slots
            .map(|slot| {
                let slot = slot?;
                let [client, api, peer] = [slot, slot + 1, slot + 2].map(|slot| ports.addr(slot));
                Ok(NodeAddrs { client, api, peer })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            nodes: Vec::new(),
            addrs,
            folder: match &spec.within {
                Some(within) => tempfile::tempdir_in(within)?,
                None => tempfile::tempdir()?,
            },
            _ports: ports,
        })
    }

    fn launch(&self, index: usize, spec: &ClusterSpec) -> io::Result<Launch> {
        let id = index + 1;
        let addrs = self.addrs[index];
        let members: Vec<String> = self
            .addrs
            .iter()
            .zip(1..)
            .map(|(addrs, id)| format!("{id}={}", addrs.peer))
            .collect();
        let mut args = vec!["serve".to_owned()];
        for (name, value) in [
            ("--node-id", id.to_string()),
            ("--data-dir", self.data_dir(index).display().to_string()),
            ("--client-addr", addrs.client.to_string()),
            ("--api-addr", addrs.api.to_string()),
            ("--peer-addr", addrs.peer.to_string()),
            ("--initial-cluster", members.join(",")),
        ] {
            args.extend([name.to_owned(), value]);
        }
        args.extend(spec.flags.iter().cloned());
        args.extend(spec.node_flags.get(&index).into_iter().flatten().cloned());
        Ok(Launch {
            name: format!("node {id}"),
            binary: roomcast_binary()?,
            args,
            env: Vec::new(),
            log: self.folder.path().join(format!("node-{id}.log")),
        })
    }

    /// Where a node keeps its data.
    #[must_use]
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("data-{}", index + 1))
    }

    /// The folder with all data and output.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Client addresses of all nodes, by index.
    #[must_use]
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.addrs.iter().map(|addrs| addrs.client).collect()
    }

    /// Addresses for programs, by index.
    #[must_use]
    pub fn apis(&self) -> Vec<SocketAddr> {
        self.addrs.iter().map(|addrs| addrs.api).collect()
    }

    /// Client addresses in turn, `first` before the others.
    #[must_use]
    pub fn clients_from(&self, first: usize) -> Vec<SocketAddr> {
        let mut clients = self.clients();
        clients.rotate_left(first % self.addrs.len());
        clients
    }

    /// Starts a node that is down and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or is not ready in time.
    pub async fn restart(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index].restart()?;
        self.wait_ready(index).await
    }

    /// Kills all nodes at once and starts them again.
    ///
    /// # Errors
    /// When one cannot be started or is not ready in time.
    pub async fn kill_and_restart_all(&mut self, pause: Duration) -> io::Result<()> {
        for node in &mut self.nodes {
            node.kill9()?;
        }
        sleep(pause).await;
        for node in &mut self.nodes {
            node.restart()?;
        }
        self.wait_all_ready().await
    }

    /// Waits until every node that is up is ready.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub async fn wait_all_ready(&self) -> io::Result<()> {
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_up() {
                self.wait_ready(index).await?;
            }
        }
        Ok(())
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it is not ready in time; the text holds the last answer.
    pub async fn wait_ready(&self, index: usize) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = http::get(self.addrs[index].client, "/readyz").await;
            if matches!(&answer, Ok(answer) if answer.status == 200) {
                return Ok(());
            }
            if Instant::now() >= deadline || self.nodes[index].has_ended() {
                let tail = self.nodes[index].tail();
                let text = format!("node {} is not ready: {answer:?}\n{tail}", index + 1);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            sleep(POLL).await;
        }
    }

    /// What a node says of itself; `None` when it does not answer.
    pub async fn status(&self, index: usize) -> Option<Status> {
        let answer = http::get(self.addrs[index].api, "/v1/status").await.ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// A node's `/metrics`; empty when it does not answer.
    pub async fn metrics(&self, index: usize) -> String {
        http::get(self.addrs[index].api, "/metrics")
            .await
            .map(|a| a.body)
            .unwrap_or_default()
    }

    /// Index of the node that leads a group, by the highest term that any running node knows.
    ///
    /// # Errors
    /// When nobody knows a leader in time.
    pub async fn leader(&self, group: u32) -> io::Result<usize> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let mut best: Option<(u64, u64)> = None;
            for index in 0..self.nodes.len() {
                let Some(status) = self.status(index).await else {
                    continue;
                };
                let known = status.groups.iter().find(|entry| entry.group == group);
                if let Some((term, Some(leader))) = known.map(|entry| (entry.term, entry.leader)) {
                    best = best.max(Some((term, leader)));
                }
            }
            let index = best.and_then(|(_, leader)| usize::try_from(leader).ok()?.checked_sub(1));
            if let Some(index) =
                index.filter(|index| self.nodes.get(*index).is_some_and(NodeProcess::is_up))
            {
                return Ok(index);
            }
            sleep(POLL).await;
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("group {group} has no leader"),
        ))
    }

    /// Applied index of each group, as one node sees it.
    pub async fn applied(&self, index: usize) -> BTreeMap<u32, u64> {
        let groups = self
            .status(index)
            .await
            .map(|status| status.groups)
            .unwrap_or_default();
        groups
            .iter()
            .map(|entry| (entry.group, entry.applied))
            .collect()
    }
}
