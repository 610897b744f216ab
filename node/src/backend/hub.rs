//! What this node knows of backends, in one place; made when the node serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roomcast_proto::api::backend_server::BackendServer;
use tokio::time::{Instant, timeout};

use super::announce::Announcement;
use super::binding::Bindings;
use super::follow;
use super::handler::{BackendHandler, bind_anew};
use super::registry::{Backend, Registry, Way};
use super::service::Service;
use crate::adapter::{Adapter, BackendPeers};
use crate::config::{BackendConfig, Policy};
use crate::ids::NodeId;
use crate::pubsub::Presence;
use crate::shutdown::Tasks;
use crate::socketio::{Namespaces, Opener, SharedHandler};
use crate::{limits, metrics};

/// What [`Backends`] starts with.
#[derive(Clone)]
pub struct BackendSettings {
    /// What an operator decides.
    pub config: BackendConfig,
    /// The policy of namespaces for which the operator decided nothing.
    pub policy: Policy,
    /// How long after the node's start a namespace that nobody opens may still get a backend: its
    /// clients wait meanwhile, instead of being told that there is none.
    pub start_grace: Duration,
    /// The built-in handler.
    pub builtin: SharedHandler,
}

impl std::fmt::Debug for BackendSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendSettings")
            .field("config", &self.config)
            .field("policy", &self.policy)
            .field("start_grace", &self.start_grace)
            .finish_non_exhaustive()
    }
}

/// See the module's text.
pub(super) struct Hub {
    pub(super) adapter: Arc<Adapter>,
    pub(super) config: BackendConfig,
    policy: Policy,
    started: Instant,
    start_grace: Duration,
    pub(super) builtin: SharedHandler,
    pub(super) registry: Registry,
    pub(super) announcement: Arc<Announcement>,
    pub(super) bindings: Bindings,
    /// The rooms whose membership clients of backends are told.
    pub(super) presence: Presence,
    /// Other nodes' calls to backends here.
    pub(super) tunnels: Tasks,
    draining: AtomicBool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hub").field(&self.registry).finish()
    }
}

impl Hub {
    pub(super) fn node(&self) -> NodeId {
        self.adapter.consensus().node_id()
    }

    /// What becomes of a namespace's clients while no backend serves it. Unless the operator says
    /// otherwise, those of one whose backend has just gone wait: it may come back.
    pub(super) fn policy(&self, namespace: &str) -> Policy {
        let given = self.config.policy(namespace);
        given.unwrap_or_else(|| match self.has_just_lost(namespace) {
            true => Policy::Wait,
            false => self.policy,
        })
    }

    fn has_just_lost(&self, namespace: &str) -> bool {
        let lost = self.registry.lost(namespace);
        lost.is_some_and(|lost| lost.elapsed() < self.config.wait)
    }

    /// Until when a namespace's events wait for its backend, where they do.
    pub(super) fn awaited_until(&self, namespace: &str) -> Instant {
        match self.registry.lost(namespace) {
            Some(lost) => lost + self.config.wait,
            None => self.started + self.config.wait.max(self.start_grace),
        }
    }

    /// Whether no backend is taken in any more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes in a backend of this node, unless there are too many; the version of the list that
    /// says so.
    pub(super) fn join(&self, backend: Arc<Backend>) -> Option<u64> {
        if self.registry.at(self.node()).len() >= limits::BACKENDS_MAX {
            return None;
        }
        self.registry.add(backend);
        Some(self.announce())
    }

    /// A backend of this node serves no longer.
    pub(super) fn leave(&self, id: &str) {
        if self.registry.remove(|backend| backend.id == id) > 0 {
            self.announce();
        }
    }

    fn announce(&self) -> u64 {
        let here = || {
            let here = self.registry.at(self.node());
            metrics::backends().set(here.len() as f64);
            here
        };
        self.announcement.replace(here)
    }
}

/// Opens namespaces to backends.
struct Open {
    hub: Arc<Hub>,
    handler: SharedHandler,
}

impl Opener for Open {
    fn open(&self, name: &str) -> Option<SharedHandler> {
        let hub = &self.hub;
        let is_open = hub.config.policy(name).is_some()
            || hub.registry.serves(name)
            || hub.registry.is_admitted_to(name, None)
            || hub.has_just_lost(name);
        is_open.then(|| Arc::clone(&self.handler))
    }

    fn open_at_last(&self, name: &str) -> Option<SharedHandler> {
        let hub = &self.hub;
        let is_open = hub.registry.has_seen(name) || hub.started.elapsed() < hub.start_grace;
        is_open.then(|| Arc::clone(&self.handler))
    }
}

/// The backends of this node and of the others.
#[derive(Debug, Clone)]
pub struct Backends(Arc<Hub>);

/// A backend, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// Its id, new with each stream.
    pub id: String,
    /// What it calls itself.
    pub name: String,
    /// Where its stream ends.
    pub node: NodeId,
    /// Names and patterns that it serves.
    pub namespaces: Vec<String>,
    /// Its open calls: of all nodes when its stream ends here, else of this one.
    pub open_calls: usize,
}

impl Backends {
    /// From now on other nodes' backends are known here, and those of this node there.
    #[must_use]
    pub fn start(adapter: Arc<Adapter>, settings: BackendSettings) -> Self {
        let hub = Arc::new(Hub {
            adapter,
            config: settings.config,
            policy: settings.policy,
            started: Instant::now(),
            start_grace: settings.start_grace,
            builtin: settings.builtin,
            registry: Registry::new(),
            announcement: Arc::new(Announcement::new()),
            bindings: Bindings::default(),
            presence: Presence::default(),
            tunnels: Tasks::new(),
            draining: AtomicBool::new(false),
        });
        let peers: Arc<dyn BackendPeers> = Arc::<Hub>::clone(&hub);
        hub.adapter.serve_backends(peers);
        tokio::spawn(follow::run(Arc::clone(&hub)));
        tokio::spawn(bind_anew(Arc::clone(&hub)));
        Self(hub)
    }

    /// Opens namespaces to whatever backend serves them.
    #[must_use]
    pub fn open(&self, namespaces: Namespaces) -> Namespaces {
        let hub = Arc::clone(&self.0);
        let handler: SharedHandler = Arc::new(BackendHandler(Arc::clone(&hub)));
        namespaces.open_from(Arc::new(Open { hub, handler }))
    }

    /// As [`Self::open`], and every other namespace, too: what no backend has ever served is the
    /// built-in handler's.
    #[must_use]
    pub fn open_all(&self, namespaces: Namespaces) -> Namespaces {
        let every_other = BackendHandler(Arc::clone(&self.0));
        self.open(namespaces).open_every_other(every_other)
    }

    /// All backends that this node knows of.
    #[must_use]
    pub fn status(&self) -> Vec<BackendStatus> {
        let backends = self.0.registry.all().into_iter();
        let status = |backend: Arc<Backend>| BackendStatus {
            id: backend.id.clone(),
            name: backend.description.name.clone(),
            node: backend.node,
            namespaces: backend.description.namespaces(),
            open_calls: match &backend.way {
                Way::Here(stream) => stream.open_calls(),
                Way::Elsewhere(_) => backend.open.load(Ordering::Relaxed),
            },
        };
        backends.map(status).collect()
    }

    /// No backend is taken in any more.
    pub fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Ends the streams that end here, once their open calls have, or after a bounded time. Their
    /// programs dial another node, and the other nodes have nothing in flight to this one.
    pub async fn drain(&self) {
        self.begin_drain();
        let hub = &self.0;
        let here = hub.registry.at(hub.node());
        hub.registry.remove(|backend| backend.node == hub.node());
        hub.announcement.is_known(hub.announce()).await;
        let streams = here.iter().filter_map(|backend| match &backend.way {
            Way::Here(stream) => Some(stream),
            Way::Elsewhere(_) => None,
        });
        let settled = futures_util::future::join_all(streams.clone().map(|s| s.settle()));
        if timeout(limits::BACKEND_DRAIN_DEADLINE, settled)
            .await
            .is_err()
        {
            tracing::warn!("calls of backends were open for too long: they are cut off");
        }
        for stream in streams {
            stream.end();
        }
        let tunnels = timeout(limits::BACKEND_DRAIN_DEADLINE, hub.tunnels.ended()).await;
        if tunnels.is_err() {
            tracing::warn!("another node has not heard of the end of the backends here");
        }
    }
}

/// The service on the API port: shut until this node serves.
#[derive(Debug, Clone, Default)]
pub struct BackendDoor(Arc<OnceLock<Backends>>);

impl BackendDoor {
    /// From now on backends are let in.
    pub fn unlock(&self, backends: &Backends) {
        assert!(
            self.0.set(backends.clone()).is_ok(),
            "a door is unlocked once"
        );
    }

    /// What this node knows of backends, once it serves.
    #[must_use]
    pub fn backends(&self) -> Option<&Backends> {
        self.0.get()
    }

    pub(super) fn hub(&self) -> Option<&Arc<Hub>> {
        self.0.get().map(|backends| &backends.0)
    }

    /// The routes of the service.
    pub fn router(&self) -> axum::Router {
        let service = BackendServer::new(Service(self.clone()))
            .max_decoding_message_size(limits::BACKEND_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::BACKEND_MESSAGE_BYTES_MAX);
        let routes = tonic::service::Routes::from(axum::Router::new());
        routes.add_service(service).into_axum_router()
    }
}
