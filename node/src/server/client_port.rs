//! The port that clients and probes connect to: `/socket.io/`, `/healthz`, `/readyz`, and the pages
//! of an extra router in development. Owns the order of a graceful end.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::debug;

use super::bundle;
use super::handshake;
use super::listener::{Accepted, ConnectionLimit, accept_loop};
use super::respond;
use super::settings::HttpSettings;
use crate::engine::{CloseReason, DrainPace, Engine, Owners, Refused};
use crate::limits;
use crate::shutdown::Tasks;

/// Where clients look for Engine.IO unless told otherwise; the trailing slash belongs to it, as in
/// the reference.
pub const ENGINE_PATH: &str = "/socket.io/";

/// Whether the node should get new clients; for `/readyz`.
pub trait Readiness: Send + Sync {
    /// Ready: every group has a quorum and is caught up.
    ///
    /// # Errors
    /// What is missing, in words for an operator.
    fn ready(&self) -> Result<(), String>;
}

/// What a client port is made of.
pub struct ClientPortParts {
    /// Opens the sessions.
    pub engine: Arc<Engine>,
    /// Answers `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// Reaches the sessions of other nodes; `None` where there are none.
    pub owners: Option<Arc<dyn Owners>>,
    /// How it speaks HTTP.
    pub http: HttpSettings,
    /// Answers every other path: the demo page in development.
    pub extra: Option<Router>,
    /// Sessions at once; above, a handshake gets 503.
    pub sessions_max: usize,
    /// HTTP connections at once that carry no session; above, a connection gets 503 unread.
    pub http_connections_max: usize,
}

/// A running client port. Dropping it stops nothing.
#[derive(Clone)]
pub struct ClientPort {
    shared: Arc<Shared>,
    local: SocketAddr,
}

/// What all connections of the port share.
pub(super) struct Shared {
    /// Opens the sessions.
    pub(super) engine: Arc<Engine>,
    /// Tasks of connections and sessions.
    pub(super) tasks: Tasks,
    /// Answers `/readyz`.
    readiness: Arc<dyn Readiness>,
    /// Reaches the sessions of other nodes.
    pub(super) owners: Option<Arc<dyn Owners>>,
    /// How the port speaks HTTP.
    pub(super) http: HttpSettings,
    /// Answers every other path.
    extra: Option<Router>,
    /// One permit per session.
    sessions: Arc<Semaphore>,
    /// Set once: no new sessions, not ready.
    draining: AtomicBool,
}

impl ClientPort {
    /// Serves a bound listener (see [`super::listener::bind`]) until [`ClientPort::stop`].
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, parts: ClientPortParts, tasks: Tasks) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let limit = ConnectionLimit::new(parts.http_connections_max);
        let shared = Arc::new(Shared {
            engine: parts.engine,
            tasks,
            readiness: parts.readiness,
            owners: parts.owners,
            http: parts.http,
            extra: parts.extra,
            sessions: Arc::new(Semaphore::new(
                parts.sessions_max.min(Semaphore::MAX_PERMITS),
            )),
            draining: AtomicBool::new(false),
        });
        let counters = Arc::clone(shared.engine.counters());
        let owner = Arc::clone(&shared);
        let accepting = accept_loop(
            listener,
            limit,
            shared.tasks.clone(),
            move |accepted| serve_connection(Arc::clone(&owner), accepted),
            move || counters.connection_refused(),
        );
        shared.tasks.spawn(accepting);
        Ok(Self { shared, local })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The engine behind the port.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// No new sessions (503) and not ready from now on; sessions and probes go on. First step of an
    /// end.
    pub fn begin_drain(&self) {
        self.shared.draining.store(true, Relaxed);
    }

    /// Closes all sessions at a pace, with the code that lets them resume elsewhere; done when none
    /// is left. Begins the drain if that was not done.
    pub async fn drain(&self, pace: DrainPace) {
        self.begin_drain();
        self.shared
            .engine
            .registry()
            .drain(pace, CloseReason::Draining)
            .await;
    }

    /// Stops accepting and ends idle HTTP connections; done when every task has ended. Sessions are
    /// not ended by this: drain first.
    pub async fn stop(&self) {
        self.begin_drain();
        self.shared.tasks.stop();
        self.shared.tasks.ended().await;
    }
}

impl Shared {
    /// Whether a new session may come, as far as the node can tell before its limits.
    pub(super) fn admit(&self) -> Result<(), Refused> {
        if self.draining.load(Relaxed) {
            let reason = "this node is shutting down".to_owned();
            return Err(Refused {
                retry_after_s: limits::RETRY_AFTER_S,
                reason,
            });
        }
        self.engine.acceptor().admit()
    }

    /// A place for a session.
    pub(super) fn session_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sessions).try_acquire_owned().ok()
    }

    fn ready(&self) -> Response<Body> {
        let ready = if self.draining.load(Relaxed) {
            Err("draining".to_owned())
        } else {
            self.readiness.ready()
        };
        match ready {
            Ok(()) => respond::text(StatusCode::OK, "ready\n"),
            Err(missing) => respond::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {missing}\n"),
            ),
        }
    }
}

async fn serve_connection(shared: Arc<Shared>, accepted: Accepted) {
    let Accepted {
        stream,
        remote,
        permit: _permit,
    } = accepted;
    let tasks = shared.tasks.clone();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(route(&shared, remote, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ_TIMEOUT)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%remote, %error, "http connection failed");
    }
}

async fn route(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    match request.uri().path() {
        "/healthz" if is_read(&request) => respond::text(StatusCode::OK, "ok\n"),
        "/readyz" if is_read(&request) => shared.ready(),
        path => match (shared.http.rest(path), &shared.extra) {
            (Some(rest), _) => match bundle::answer(&shared.http, rest, &request) {
                Some(response) => response,
                None => handshake::handle(shared, remote, request).await,
            },
            (None, Some(router)) => {
                let request = request.map(Body::new);
                router
                    .clone()
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {})
            }
            (None, None) => respond::not_found(),
        },
    }
}

pub(super) fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

impl fmt::Debug for ClientPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPort")
            .field("local", &self.local)
            .field("engine", &self.shared.engine)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientPortParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPortParts")
            .field("engine", &self.engine)
            .field("sessions_max", &self.sessions_max)
            .finish_non_exhaustive()
    }
}
