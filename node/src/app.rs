//! Puts a node together from its configuration, serves, and ends it in order. Wiring only.

mod admin;
mod page;
mod report;

use std::sync::Arc;

use http::HeaderValue;
use tokio::net::TcpListener;

use crate::adapter::{Adapter, Forwarder, Start};
use crate::api::{self, ApiListener};
use crate::config::{CorsOrigins, Mode, ServeConfig};
use crate::demo::Demo;
use crate::engine::{DrainPace, Engine, EngineConfig, OutboxLimits};
use crate::ids::Entropy;
use crate::limits;
use crate::metrics::Metrics;
use crate::process::EndSignals;
use crate::raft::{self, PeerAddress, Timings};
use crate::server::{
    self, ClientBundle, ClientPort, ClientPortParts, Compression, Cors, HttpSettings, Readiness,
};
use crate::shutdown::Tasks;
use crate::socketio::{Clients, Door, Namespaces};
use admin::Admin;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port that is taken, or an address that is not ours.
    #[error("{key} {address}: {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Consensus: founding, the data directory, the peer port.
    #[error(transparent)]
    Consensus(#[from] raft::StartError),
    /// A file of the client bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] server::BundleError),
    /// Metrics cannot be recorded.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::InstallError),
    /// Signals cannot be taken, or the API port failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs a node until it is told to end; then drains it.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: ServeConfig) -> Result<(), ServeError> {
    let metrics = crate::metrics::install()?;
    let mut signals = EndSignals::take()?;
    let client = listen("client-addr", config.client_addr)?;
    let api_listener = listen("api-addr", config.api_addr)?;
    let peer = listen("peer-addr", config.peer_addr)?;
    let tasks = Tasks::new();
    let node = Arc::new(Node::new(&config, metrics));

    serve_api(&node, api_listener, &tasks);
    tracing::info!(node = config.node_id, client = %config.client_addr, api = %config.api_addr,
        peer = %config.peer_addr, "node starts");

    let entropy = Entropy::from_os();
    let front = Front::start(&config, &node, entropy.clone(), client, tasks.child())?;

    let starting = Adapter::start(adapter_start(&config, peer, entropy));
    let adapter = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!(signal, "told to end while starting");
            return Ok(());
        }
        adapter = starting => adapter?,
    };
    node.admin.adapter_started(&adapter);
    front.join(&config, &node, &adapter);
    tracing::info!(
        node = config.node_id,
        cluster = adapter.consensus().cluster_id(),
        "node serves"
    );

    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "draining"),
        () = node.admin.drain_asked() => tracing::info!("draining, as the API was asked to"),
    }
    end(&config, &adapter, &front.port).await;
    tasks.stop();
    Ok(())
}

/// Probes and metrics are answered from the first moment on; clients get 503 until there is a
/// lease.
fn serve_api(node: &Node, listener: TcpListener, tasks: &Tasks) {
    let router = api::router(
        Arc::<Admin>::clone(&node.admin),
        Arc::<Admin>::clone(&node.admin),
        node.metrics.clone(),
    );
    let tasks = tasks.child();
    let listener = ApiListener::new(listener, api::CONNECTIONS_MAX);
    tasks.spawn(api::serve(listener, router, tasks.token()));
}

/// The client side of a node: it listens before the node is a member of a cluster, and lets clients
/// in when it is.
struct Front {
    port: ClientPort,
    door: Arc<Door>,
    forwarder: Arc<Forwarder>,
}

impl Front {
    fn start(
        config: &ServeConfig,
        node: &Node,
        entropy: Entropy,
        listener: TcpListener,
        tasks: Tasks,
    ) -> Result<Self, ServeError> {
        let door = Arc::new(Door::default());
        let heartbeat = config.engine.ping_interval + config.engine.ping_timeout;
        let forwarder = Forwarder::new(heartbeat);
        let acceptor = Arc::<Door>::clone(&door);
        let engine = Engine::new(config.node_id, sessions(config), entropy, acceptor);
        let development = config.mode == Mode::Development;
        let sessions_max = config.engine.sessions_max;
        let parts = ClientPortParts {
            engine: Arc::new(engine),
            readiness: Arc::<Admin>::clone(&node.admin) as Arc<dyn Readiness>,
            owners: Some(Arc::<Forwarder>::clone(&forwarder)),
            http: http(config)?,
            extra: development.then(|| page::router(config.page_dir.clone())),
            sessions_max,
            http_connections_max: sessions_max + limits::HTTP_CONNECTIONS_MAX,
        };
        let port = ClientPort::start(listener, parts, tasks)?;
        Ok(Self {
            port,
            door,
            forwarder,
        })
    }

    /// This node is a member: clients come in, and requests for other nodes' sessions find them.
    fn join(&self, config: &ServeConfig, node: &Node, adapter: &Arc<Adapter>) {
        self.forwarder.connect(adapter.consensus().clone());
        adapter.serve_sessions(self.port.engine());
        adapter.acknowledge(config.engine.ping_interval);
        let event_bytes_max = config.cluster.event_bytes_max as usize;
        let clients = Clients::new(Arc::clone(adapter), namespaces(config), event_bytes_max);
        self.door.unlock(clients);
        tokio::spawn(report::run(
            Arc::clone(adapter),
            Arc::clone(self.port.engine()),
            node.metrics.clone(),
        ));
    }
}

struct Node {
    admin: Arc<Admin>,
    metrics: Metrics,
}

impl Node {
    fn new(config: &ServeConfig, metrics: Metrics) -> Self {
        Self {
            admin: Arc::new(Admin::new(config)),
            metrics,
        }
    }
}

fn listen(key: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    server::listener::bind(address).map_err(|source| ServeError::Listen {
        key,
        address,
        source,
    })
}

fn adapter_start(config: &ServeConfig, peer: TcpListener, entropy: Entropy) -> Start {
    let members = config.initial_cluster.members().iter();
    let consensus = raft::Config {
        node_id: config.node_id,
        data_dir: config.data_dir.clone(),
        initial_cluster: members
            .map(|member| PeerAddress {
                id: member.id,
                address: member.address.clone(),
            })
            .collect(),
        groups: config.groups,
        timings: Timings::regional(),
        disk_reserve_bytes: config.disk_reserve_bytes,
        log_cache_bytes_max: limits::LOG_CACHE_BYTES_MAX,
        log_segment_bytes: limits::LOG_SEGMENT_BYTES,
        transfer_bytes_per_second: config.transfer_bytes_per_second,
        entropy: entropy.clone(),
        on_fatal: raft::exit_process(),
    };
    Start {
        consensus,
        peer,
        snapshot_every_entries: config.snapshot_every_entries,
        settings: config.cluster.to_proto(),
        propose_settings: !config.cluster_given.is_empty(),
        parser: config.engine.parser,
        entropy,
    }
}

/// Nothing is open until it is allowed; development opens everything to the built-in handler.
fn namespaces(config: &ServeConfig) -> Namespaces {
    match config.mode {
        Mode::Production => Namespaces::closed(),
        Mode::Development => Namespaces::closed().open_every_other(Demo {
            node: config.node_id,
            process: std::process::id(),
        }),
    }
}

fn sessions(config: &ServeConfig) -> EngineConfig {
    let engine = &config.engine;
    EngineConfig {
        ping_interval: engine.ping_interval,
        ping_timeout: engine.ping_timeout,
        connect_timeout: engine.connect_timeout,
        max_payload: engine.max_payload,
        outbox: OutboxLimits {
            bytes_max: engine.outbox_bytes_max,
            frames_max: engine.outbox_frames_max,
        },
    }
}

fn http(config: &ServeConfig) -> Result<HttpSettings, ServeError> {
    let http = &config.http;
    let bundle_dir = http.client_bundle_dir.as_deref();
    Ok(HttpSettings {
        path: http.path.clone(),
        cors: cors(config),
        cors_max_age: http.cors_max_age,
        cookie: http.cookie.clone(),
        bundle: bundle_dir.map(ClientBundle::load).transpose()?,
        compression: match http.compression_bytes_min {
            Some(bytes_min) => Compression::From(bytes_min),
            None => Compression::Off,
        },
    })
}

/// Unless it is told, a node in production leaves pages of other origins to what stands in front.
fn cors(config: &ServeConfig) -> Cors {
    match (&config.http.cors_origins, config.mode) {
        (None, Mode::Development) => Cors::AnyOrigin,
        (None, Mode::Production) | (Some(CorsOrigins::Off), _) => Cors::Off,
        (Some(CorsOrigins::Any), _) => Cors::Anonymous,
        (Some(CorsOrigins::Listed(origins)), _) => {
            let origin = |text: &String| {
                HeaderValue::try_from(text.as_str()).expect("checked with the configuration")
            };
            Cors::Listed(origins.iter().map(origin).collect())
        }
    }
}

/// Not ready, no new sessions, leadership away, sessions closed at a pace, then the end.
async fn end(config: &ServeConfig, adapter: &Arc<Adapter>, port: &ClientPort) {
    port.begin_drain();
    adapter.hand_over().await;
    let pace = DrainPace {
        sessions_per_second: config.engine.drain_pace,
    };
    if tokio::time::timeout(config.engine.drain_timeout, port.drain(pace))
        .await
        .is_err()
    {
        tracing::warn!("draining took too long: the rest is cut off");
    }
    adapter.settle().await;
    adapter.consensus().shutdown().await;
    tracing::info!("node ends");
}
