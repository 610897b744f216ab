//! A node with an application in it: built, started, asked, ended.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Front, Node, ServeError, adapter_start, backends, doors, end, listen, serve_api};
use crate::adapter::Adapter;
use crate::config::{Mode, ServeConfig};
use crate::ids::Entropy;
use crate::limits;
use crate::process::EndSignals;
use crate::shutdown::Tasks;
use crate::socketio::{Io, Namespace, Namespaces, Routes};
use crate::webhook;

/// How often a node that waits for its readiness is looked at.
const READY_STEP: Duration = Duration::from_millis(5);

/// Builds a [`Server`]. What is wrong with a namespace is said when it starts.
#[must_use = "a server is started by `start` or `run`"]
#[derive(Debug)]
pub struct ServerBuilder {
    config: ServeConfig,
    /// The application's; none: what `roomcast serve` opens.
    namespaces: Option<Namespaces>,
    names: BTreeSet<String>,
    /// The peer port, if somebody has bound it.
    peer: Option<TcpListener>,
    /// The first thing that is wrong.
    error: Option<ServeError>,
}

impl ServerBuilder {
    /// Serves one namespace; `name` begins with a slash.
    pub fn namespace(mut self, name: &str, namespace: Namespace) -> Self {
        let wrong = if !name.starts_with('/') {
            Some("its name begins with a slash")
        } else if name.len() > limits::NAMESPACE_NAME_BYTES_MAX {
            Some("its name is too long")
        } else if !self.names.insert(name.to_owned()) {
            Some("it was given twice")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let name = name.to_owned();
            return self.fail(ServeError::NamespaceName { name, wrong });
        }
        self.open(name, namespace, |all, handler| all.open(name, handler))
    }

    /// Serves every namespace whose name `matches`: those not served by name are tried in the order
    /// of these calls. How many may exist is a setting of the cluster, `namespaces_max`.
    pub fn namespace_matching(
        self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
        namespace: Namespace,
    ) -> Self {
        self.open("of a pattern", namespace, |all, handler| {
            all.open_matching(matches, handler)
        })
    }

    /// Serves every namespace that is not served by name or pattern.
    pub fn every_other_namespace(self, namespace: Namespace) -> Self {
        self.open("every other", namespace, Namespaces::open_every_other)
    }

    /// Serves namespaces with handlers of any kind, [`crate::pubsub::Pubsub`] for one, beside those
    /// that are added later.
    pub fn namespaces(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = Some(namespaces);
        self
    }

    /// Serves its peers on a port that is bound already, in place of `peer_addr`: for whoever hands
    /// sockets over, and for clusters within one process.
    pub fn peer_listener(mut self, listener: TcpListener) -> Self {
        self.peer = Some(listener);
        self
    }

    /// Starts the node; done when it is a member of its cluster and serves. With more than one node
    /// that waits for the others.
    ///
    /// # Errors
    /// A namespace that is not as it should be, before anything is opened; a port that is taken;
    /// the data directory: see [`ServeError`].
    pub async fn start(self) -> Result<Server, ServeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let (config, opened) = (self.config, self.namespaces);
        let metrics = crate::metrics::install()?;
        let client = listen("client-addr", config.client_addr)?;
        let api = listen("api-addr", config.api_addr)?;
        let peer = match self.peer {
            Some(bound) => bound,
            None => listen("peer-addr", config.peer_addr)?,
        };
        let api_addr = api.local_addr()?;
        let tasks = Tasks::new();
        let node = Node::new(&config, metrics);
        serve_api(&node, api, doors(&config, &node), &tasks);
        tracing::info!(node = config.node_id, client = %config.client_addr, api = %api_addr,
            peer = %config.peer_addr, "node starts");

        // In development, what no application serves is the built-in handler's.
        let opens_all = opened.is_none() && config.mode == Mode::Development;
        let opened = opened.unwrap_or_else(Namespaces::closed);
        let opened = webhook::open(&config.webhooks, opened).map_err(ServeError::Webhooks)?;
        let entropy = Entropy::from_os();
        let front = Front::start(&config, &node, entropy.clone(), client, tasks.child())?;
        let adapter = Adapter::start(adapter_start(&config, peer, entropy)).await?;
        node.admin.adapter_started(&adapter);
        let backends = backends(&config, &adapter);
        let opened = match opens_all {
            true => backends.open_all(opened),
            false => backends.open(opened),
        };
        node.backends.unlock(&backends);
        front.join(&config, &node, &adapter, opened);
        node.operations
            .unlock(Io::new(Arc::clone(&adapter), "/".into()));
        tracing::info!(
            node = config.node_id,
            cluster = adapter.consensus().cluster_id(),
            "node serves"
        );
        Ok(Server {
            config,
            node,
            front,
            adapter,
            api_addr,
            tasks,
        })
    }

    /// Starts the node and runs it as `roomcast serve` does: until SIGINT, SIGTERM, or until its
    /// API is asked to drain it.
    ///
    /// # Errors
    /// See [`ServerBuilder::start`].
    pub async fn run(self) -> Result<(), ServeError> {
        let mut signals = EndSignals::take()?;
        let server = tokio::select! {
            biased;
            signal = signals.next() => {
                tracing::info!(signal, "told to end while starting");
                return Ok(());
            }
            server = self.start() => server?,
        };
        server.until(signals).await;
        Ok(())
    }

    fn open(
        mut self,
        name: &str,
        namespace: Namespace,
        open: impl FnOnce(Namespaces, Routes) -> Namespaces,
    ) -> Self {
        match namespace.build() {
            Ok(routes) => {
                let all = self.namespaces.take().unwrap_or_default();
                self.namespaces = Some(open(all, routes));
                self
            }
            Err(source) => {
                let name = name.to_owned();
                self.fail(ServeError::Namespace { name, source })
            }
        }
    }

    fn fail(mut self, error: ServeError) -> Self {
        self.error.get_or_insert(error);
        self
    }
}

/// A node that serves: everything that `roomcast serve` runs, with the application's namespaces.
///
/// ```no_run
/// use roomcast::{Namespace, Server, Socket};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let chat = Namespace::new()
///     .on("line", |socket: Socket, text: String| socket.broadcast().emit("line", text));
/// let server = Server::builder(roomcast::serve_config()?)
///     .namespace("/chat", chat)
///     .start()
///     .await?;
/// let io = server.io().of("/chat");
/// tokio::spawn(async move { io.emit("notice", "welcome").await });
/// server.run().await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: ServeConfig,
    node: Node,
    front: Front,
    adapter: Arc<Adapter>,
    api_addr: SocketAddr,
    tasks: Tasks,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("node", &self.config.node_id)
            .field("client_addr", &self.client_addr())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with this configuration: [`crate::serve_config`] reads it from flags, variables and
    /// a file; [`ServeConfig::single_node`] is for tests and first steps.
    pub fn builder(config: ServeConfig) -> ServerBuilder {
        ServerBuilder {
            config,
            namespaces: None,
            names: BTreeSet::new(),
            peer: None,
            error: None,
        }
    }

    /// The namespace `/` of the whole cluster; [`Io::of`] leads to the others.
    #[must_use]
    pub fn io(&self) -> Io {
        Io::new(Arc::clone(&self.adapter), "/".into())
    }

    /// Where clients find it.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.front.port.local_addr()
    }

    /// Where its API port is: status, metrics, probes.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Waits until it is ready: every group has a leader, and this node may accept work for it.
    pub async fn ready(&self) {
        while self.adapter.ready().is_err() {
            tokio::time::sleep(READY_STEP).await;
        }
    }

    /// Runs until SIGINT, SIGTERM, or until its API is asked to drain it; then shuts it down.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub async fn run(self) -> Result<(), ServeError> {
        self.until(EndSignals::take()?).await;
        Ok(())
    }

    /// Ends it in good order: no new sessions, leadership handed over, sessions closed at the
    /// configured pace so that their clients resume elsewhere, what was accepted settled.
    pub async fn shutdown(self) {
        let backends = self.node.backends.backends();
        end(&self.config, &self.adapter, &self.front.port, backends).await;
        self.tasks.stop();
    }

    async fn until(self, mut signals: EndSignals) {
        tokio::select! {
            signal = signals.next() => tracing::info!(signal, "draining"),
            () = self.node.admin.drain_asked() => {
                tracing::info!("draining, as the API was asked to");
            }
        }
        self.shutdown().await;
    }
}
