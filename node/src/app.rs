//! Puts a node together from its configuration, serves, and ends it in order. Wiring only.

mod admin;
mod page;
mod report;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::adapter::{Adapter, Forwarder, Start};
use crate::api::{self, ApiListener};
use crate::config::{Mode, ServeConfig};
use crate::demo::Demo;
use crate::engine::{DrainPace, Engine, EngineConfig, OutboxLimits};
use crate::ids::Entropy;
use crate::limits;
use crate::metrics::Metrics;
use crate::process::EndSignals;
use crate::raft::{self, PeerAddress, Timings};
use crate::server::{self, ClientPort, ClientPortParts, Cors, Readiness};
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

    // Probes and metrics are answered from the first moment on; clients get 503 until there is a lease.
    let api = api::router(
        Arc::<Admin>::clone(&node.admin),
        Arc::<Admin>::clone(&node.admin),
        node.metrics.clone(),
    );
    let api_tasks = tasks.child();
    let api_listener = ApiListener::new(api_listener, api::CONNECTIONS_MAX);
    api_tasks.spawn(api::serve(api_listener, api, api_tasks.token()));
    tracing::info!(node = config.node_id, client = %config.client_addr, api = %config.api_addr,
        peer = %config.peer_addr, "node starts");

    let starting = Adapter::start(adapter_start(&config, peer));
    let adapter = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!(signal, "told to end while starting");
            return Ok(());
        }
        adapter = starting => adapter?,
    };
    node.admin.adapter_started(&adapter);
    let port = client_port(&config, &node, &adapter, client, tasks.child())?;
    node.admin.port_started(&port);
    tokio::spawn(report::run(
        Arc::clone(&adapter),
        Arc::clone(port.engine()),
        node.metrics.clone(),
    ));
    tracing::info!(
        node = config.node_id,
        cluster = adapter.consensus().cluster_id(),
        "node serves"
    );

    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "draining"),
        () = node.admin.drain_asked() => tracing::info!("draining, as the API was asked to"),
    }
    end(&config, &adapter, &port).await;
    tasks.stop();
    Ok(())
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

fn adapter_start(config: &ServeConfig, peer: TcpListener) -> Start {
    let entropy = Entropy::from_os();
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
        log_cache_bytes_max: limits::LOG_CACHE_BYTES_MAX,
        entropy: entropy.clone(),
        on_fatal: raft::exit_process(),
    };
    Start {
        consensus,
        peer,
        settings: config.cluster.to_proto(),
        propose_settings: !config.cluster_given.is_empty(),
        entropy,
    }
}

fn client_port(
    config: &ServeConfig,
    node: &Node,
    adapter: &Arc<Adapter>,
    listener: TcpListener,
    tasks: Tasks,
) -> Result<ClientPort, ServeError> {
    let development = config.mode == Mode::Development;
    let namespaces = if development {
        let demo = Demo {
            node: config.node_id,
            process: std::process::id(),
        };
        Namespaces::closed().open_every_other(demo)
    } else {
        Namespaces::closed()
    };
    let engine = &config.engine;
    let sessions = EngineConfig {
        ping_interval: engine.ping_interval,
        ping_timeout: engine.ping_timeout,
        connect_timeout: engine.connect_timeout,
        max_payload: engine.max_payload,
        outbox: OutboxLimits {
            bytes_max: engine.outbox_bytes_max,
            frames_max: engine.outbox_frames_max,
        },
    };
    let event_bytes_max = config.cluster.event_bytes_max as usize;
    let clients = Clients::new(Arc::clone(adapter), namespaces, event_bytes_max);
    let door = Arc::new(Door(clients));
    let engine = Engine::new(config.node_id, sessions, adapter.entropy().clone(), door);
    let engine = Arc::new(engine);
    adapter.serve_sessions(&engine);
    let heartbeat = config.engine.ping_interval + config.engine.ping_timeout;
    let parts = ClientPortParts {
        engine,
        readiness: Arc::<Admin>::clone(&node.admin) as Arc<dyn Readiness>,
        owners: Some(Forwarder::new(adapter.consensus().clone(), heartbeat)),
        path: server::ENGINE_PATH.to_owned(),
        // In production, pages of other origins are the business of what stands in front.
        cors: if development {
            Cors::AnyOrigin
        } else {
            Cors::Off
        },
        extra: development.then(|| page::router(config.page_dir.clone())),
        sessions_max: config.engine.sessions_max,
        http_connections_max: config.engine.sessions_max + limits::HTTP_CONNECTIONS_MAX,
    };
    Ok(ClientPort::start(listener, parts, tasks)?)
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
