//! Puts a node together from its configuration, serves, and ends it in order. Wiring only.

mod admin;
mod page;
mod report;
mod server;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::net::TcpListener;

use crate::adapter::{Adapter, Forwarder, Start};
use crate::api::{self, Access, ApiListener, Extra};
use crate::backend::{BackendDoor, BackendSettings, Backends};
use crate::config::{CorsOrigins, Mode, Policy, ServeConfig};
use crate::demo::Demo;
use crate::engine::{DrainPace, Engine, EngineConfig, OutboxLimits};
use crate::grpc;
use crate::ids::Entropy;
use crate::limits;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::pubsub::Pubsub;
use crate::raft::{self, PeerAddress, Timings};
use crate::server::{
    ClientBundle, ClientPort, ClientPortParts, Compression, Cors, HttpSettings, Readiness,
};
use crate::shutdown::Tasks;
use crate::socketio::{Clients, Door, NamespaceError, Namespaces, SharedHandler};
use admin::Admin;

pub use server::{Server, ServerBuilder};

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
    Bundle(#[from] crate::server::BundleError),
    /// A namespace of the application is not as it should be.
    #[error("namespace {name}: {source}")]
    Namespace {
        /// Its name, or what stands for it.
        name: String,
        /// What is wrong with it.
        source: NamespaceError,
    },
    /// A namespace's name without its slash, too long, or twice.
    #[error("namespace {name}: {wrong}")]
    NamespaceName {
        /// The name.
        name: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A webhook's URL needs TLS, and this machine has no root certificates.
    #[error("webhooks: {0}; install ca-certificates, or name them in SSL_CERT_FILE")]
    Webhooks(#[source] std::io::Error),
    /// Metrics cannot be recorded.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::InstallError),
    /// Signals cannot be taken, or the API port failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs a node without an application of its own until it is told to end; then drains it.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: ServeConfig) -> Result<(), ServeError> {
    Server::builder(config).run().await
}

/// Nothing is open to programs in production until a file says who they are.
fn access(config: &ServeConfig) -> Access {
    match (&config.api_tokens, config.mode) {
        (Some(tokens), _) => Access::Tokens(tokens.clone()),
        (None, Mode::Development) => Access::Open,
        (None, Mode::Production) => Access::Closed,
    }
}

/// What programs are served on the API port.
fn doors(config: &ServeConfig, node: &Node) -> Extra {
    let (operations, status) = (&node.operations, Arc::<Admin>::clone(&node.admin));
    Extra {
        access: access(config),
        http: api::json::router(Arc::clone(operations)),
        grpc: grpc::router(Arc::clone(operations), status).merge(node.backends.router()),
    }
}

/// Probes and metrics are answered from the first moment on; clients get 503 until there is a
/// lease.
fn serve_api(node: &Node, listener: TcpListener, extra: Extra, tasks: &Tasks) {
    let router = api::router(
        Arc::<Admin>::clone(&node.admin),
        Arc::<Admin>::clone(&node.admin),
        node.metrics.clone(),
        extra,
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
    tasks: Tasks,
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
        let port = ClientPort::start(listener, parts, tasks.child())?;
        Ok(Self {
            port,
            door,
            forwarder,
            tasks,
        })
    }

    /// This node is a member: clients come in, and requests for other nodes' sessions find them.
    fn join(
        &self,
        config: &ServeConfig,
        node: &Node,
        adapter: &Arc<Adapter>,
        namespaces: Namespaces,
    ) {
        self.forwarder.connect(adapter.consensus().clone());
        adapter.serve_sessions(self.port.engine());
        adapter.acknowledge(config.engine.ping_interval);
        let event_bytes_max = config.cluster.event_bytes_max as usize;
        let clients = Clients::new(Arc::clone(adapter), namespaces, event_bytes_max);
        self.door.unlock(clients);
        let (engine, metrics) = (Arc::clone(self.port.engine()), node.metrics.clone());
        let report = report::run(Arc::clone(adapter), engine, metrics);
        self.tasks
            .spawn(self.tasks.token().run_until_cancelled_owned(report));
    }
}

struct Node {
    admin: Arc<Admin>,
    operations: Arc<Operations>,
    metrics: Metrics,
    backends: BackendDoor,
}

impl Node {
    fn new(config: &ServeConfig, metrics: Metrics) -> Self {
        let backends = BackendDoor::default();
        Self {
            admin: Arc::new(Admin::new(config, backends.clone())),
            operations: Arc::default(),
            metrics,
            backends,
        }
    }
}

fn listen(key: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    crate::server::listener::bind(address).map_err(|source| ServeError::Listen {
        key,
        address,
        source,
    })
}

fn adapter_start(config: &ServeConfig, peer: TcpListener, entropy: Entropy) -> Start {
    let members = config.initial_cluster.members().iter();
    // A free port that the system chose: nobody knew it when the list was written.
    let chosen = (config.peer_addr.port() == 0).then(|| peer.local_addr().ok());
    let own = chosen.flatten().map(|address| address.to_string());
    let consensus = raft::Config {
        node_id: config.node_id,
        data_dir: config.data_dir.clone(),
        initial_cluster: members
            .map(|member| PeerAddress {
                id: member.id,
                address: match &own {
                    Some(own) if member.id == config.node_id => own.clone(),
                    _ => member.address.clone(),
                },
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

/// Who serves a namespace that no backend has served yet, unless the operator decided otherwise: in
/// development the built-in handler.
fn backends(config: &ServeConfig, adapter: &Arc<Adapter>) -> Backends {
    let builtin: SharedHandler = match config.mode {
        Mode::Production => Arc::new(Pubsub::without_claims()),
        Mode::Development => Arc::new(demo(config)),
    };
    let may_come = config.mode == Mode::Production && !matches!(access(config), Access::Closed);
    let settings = BackendSettings {
        config: config.backends.clone(),
        policy: match config.mode {
            Mode::Production => Policy::Wait,
            Mode::Development => Policy::Builtin,
        },
        start_grace: match may_come {
            true => config.backends.wait.max(limits::BACKEND_START_GRACE),
            false => Duration::ZERO,
        },
        builtin,
    };
    Backends::start(Arc::clone(adapter), settings)
}

fn demo(config: &ServeConfig) -> Demo {
    Demo {
        node: config.node_id,
        process: std::process::id(),
        pubsub: Pubsub::default(),
    }
}

/// Not ready, no new sessions, leadership away, sessions closed at a pace, then the backends'
/// streams, then the end.
async fn end(
    config: &ServeConfig,
    adapter: &Arc<Adapter>,
    port: &ClientPort,
    backends: Option<&Backends>,
) {
    port.begin_drain();
    if let Some(backends) = backends {
        backends.begin_drain();
    }
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
    if let Some(backends) = backends {
        backends.drain().await;
    }
    adapter.settle().await;
    adapter.consensus().shutdown().await;
    tracing::info!("node ends");
}
