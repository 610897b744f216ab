//! Nodes in this process, with the application under test.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use roomcast::adapter::{Adapter, Start};
use roomcast::engine::{DrainPace, Engine, EngineConfig};
use roomcast::ids::Entropy;
use roomcast::raft::{Config, PeerAddress, Timings};
use roomcast::server::{ClientPort, ClientPortParts, HttpSettings, Readiness, listener};
use roomcast::shutdown::Tasks;
use roomcast::socketio::{Clients, Door, Socket};
use roomcast::state::Settings;
use roomcast_proto::socketio::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::wire::Wire;

/// Longest wait for anything; far more than any of it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks at something that takes a moment.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

struct Always;

impl Readiness for Always {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What a test may want otherwise.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) engine: EngineConfig,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::DEFAULT,
            engine: EngineConfig::standard(),
        }
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) port: ClientPort,
    pub(crate) app: App,
    _dir: TempDir,
}

impl Node {
    async fn start(
        id: u64,
        peer: TcpListener,
        cluster: Vec<PeerAddress>,
        options: Options,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let entropy = Entropy::from_os();
        let consensus = Config {
            node_id: id,
            data_dir: dir.path().to_owned(),
            initial_cluster: cluster,
            groups: 1,
            timings: Timings::regional(),
            disk_reserve_bytes: 0,
            log_cache_bytes_max: 1 << 20,
            log_segment_bytes: 1 << 20,
            transfer_bytes_per_second: 1 << 30,
            entropy: entropy.clone(),
            on_fatal: Arc::new(|_| {}),
        };
        let start = Start {
            consensus,
            peer,
            snapshot_every_entries: 1000,
            settings: options.settings.to_command(),
            propose_settings: false,
            entropy: entropy.clone(),
            parser: Parser::Json,
        };
        let adapter = Adapter::start(start).await.unwrap();
        let app = App::default();
        let event_bytes_max = options.settings.event_bytes_max as usize;
        let clients = Clients::new(Arc::clone(&adapter), app.namespaces(), event_bytes_max);
        let door = Arc::new(Door::default());
        door.unlock(clients);
        let parts = ClientPortParts {
            engine: Arc::new(Engine::new(id, options.engine, entropy, door)),
            readiness: Arc::new(Always),
            owners: None,
            http: HttpSettings::standard(),
            extra: None,
            sessions_max: 100,
            http_connections_max: 100,
        };
        let listener = listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            adapter,
            port: ClientPort::start(listener, parts, Tasks::new()).unwrap(),
            app,
            _dir: dir,
        }
    }

    /// A client with a socket of this name, and the CONNECT packet's payload.
    pub(crate) async fn connect(&self, auth: &str) -> (Wire, Value) {
        let mut wire = self.wire().await;
        let payload = wire.join(&format!("40{auth}"), "40").await;
        (wire, payload)
    }

    /// A connection that has joined nothing.
    pub(crate) async fn wire(&self) -> Wire {
        Wire::open(self.port.local_addr(), "").await
    }

    /// Everything that the application has noted, when it is so much.
    pub(crate) async fn seen(&self, count: usize) -> Vec<String> {
        let seen = async {
            while self.app.seen.lock().len() < count {
                sleep(LOOK_AGAIN).await;
            }
        };
        let enough = timeout(LIMIT, seen).await;
        let seen = self.app.seen.lock().clone();
        assert!(enough.is_ok(), "only {seen:?}");
        seen
    }

    /// Closes every session as a node does that shuts down.
    pub(crate) async fn drain(&self) {
        self.port.begin_drain();
        let pace = DrainPace {
            sessions_per_second: 1000,
        };
        timeout(LIMIT, self.port.drain(pace)).await.unwrap();
    }

    /// The application's socket of this name.
    pub(crate) async fn socket(&self, name: &str) -> Socket {
        let found = async {
            loop {
                if let Some(socket) = self.app.sockets.lock().get(name) {
                    return socket.clone();
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(LIMIT, found)
            .await
            .expect("its connect handler runs")
    }

    /// The node stops answering the others; its clients are not told.
    pub(crate) async fn die(&self) {
        self.adapter.consensus().shutdown().await;
    }
}

/// One node with its lease.
pub(crate) async fn one_node(options: Options) -> Node {
    nodes(1, options).await.remove(0)
}

/// Three nodes with their leases.
pub(crate) async fn three_nodes() -> Vec<Node> {
    nodes(3, Options::default()).await
}

async fn nodes(count: usize, options: Options) -> Vec<Node> {
    let peers: Vec<_> = (0..count)
        .map(|_| listener::bind(([127, 0, 0, 1], 0).into()).unwrap())
        .collect();
    let address = |(peer, id): (&TcpListener, u64)| PeerAddress {
        id,
        address: peer.local_addr().unwrap().to_string(),
    };
    let cluster: Vec<_> = peers.iter().zip(1..).map(address).collect();
    let starting = peers.into_iter().zip(1..);
    let starting =
        starting.map(|(peer, id)| Node::start(id, peer, cluster.clone(), options.clone()));
    let nodes = timeout(LIMIT, join_all(starting)).await.unwrap();
    for node in &nodes {
        let ready = async {
            while node.adapter.ready().is_err() {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(LIMIT, ready).await.expect("a leader and a lease");
    }
    nodes
}

/// Ends consensus, so that nothing writes into the directories that go.
pub(crate) async fn end(nodes: Vec<Node>) {
    join_all(nodes.iter().map(Node::die)).await;
}
