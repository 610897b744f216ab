//! The engine of a node: opens sessions over transports. Owns what all sessions share.

use std::sync::Arc;

use roomcast_proto::engineio::{OpenPacket, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::counters::Counters;
use super::frames::Frames;
use super::handler::{Acceptor, Handler, Handshake};
use super::heartbeat::Deadlines;
use super::outbox::OutboxLimits;
use super::polling::{Link, Polling, PollingSink, PollingSource, RequestError};
use super::registry::Registry;
use super::run::SessionTask;
use super::session::{EngineConfig, SessionHandle};
use super::sid::Sid;
use super::websocket::{WebSocketSink, WebSocketSource};
use crate::ids::{Entropy, NodeId};

/// What all sessions of a node share.
pub struct Engine {
    /// The node, readable from every sid.
    node: NodeId,
    /// Where sids come from.
    entropy: Entropy,
    /// Settings of all sessions.
    config: EngineConfig,
    /// The sessions.
    registry: Arc<Registry>,
    /// What they did.
    counters: Arc<Counters>,
    /// The upper floor.
    acceptor: Arc<dyn Acceptor>,
}

/// An upgraded connection.
#[derive(Debug)]
pub struct WebSocketConnection<R, W> {
    /// Its reading half.
    pub read: R,
    /// Its writing half.
    pub write: W,
    /// What arrived behind the handshake and was read with it.
    pub received: bytes::Bytes,
}

impl Engine {
    /// An engine without sessions.
    #[must_use]
    pub fn new(
        node: NodeId,
        config: EngineConfig,
        entropy: Entropy,
        acceptor: Arc<dyn Acceptor>,
    ) -> Self {
        Self {
            node,
            entropy,
            config,
            registry: Arc::new(Registry::new()),
            counters: Arc::new(Counters::default()),
            acceptor,
        }
    }

    /// The node's sessions by id.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What the node's sessions did.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The upper floor.
    #[must_use]
    pub fn acceptor(&self) -> &dyn Acceptor {
        &*self.acceptor
    }

    /// Opens a session over an upgraded connection and runs it to its end.
    pub async fn serve_websocket<R, W>(
        &self,
        connection: WebSocketConnection<R, W>,
        handshake: Handshake,
    ) where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let (handle, handler) = self.open(Transport::WebSocket, handshake);
        let max_payload = self.config.max_payload;
        let task = SessionTask {
            handle,
            source: WebSocketSource::new(connection.read, max_payload, &connection.received),
            sink: WebSocketSink::new(connection.write),
            handler,
            registry: Arc::clone(&self.registry),
        };
        task.run(self.deadlines().start()).await;
    }

    /// Opens a session over polling, and the future that runs it to its end. Its first GET brings
    /// the OPEN packet.
    pub fn open_polling(
        self: &Arc<Self>,
        handshake: Handshake,
    ) -> (Polling, impl Future<Output = ()> + Send + use<>) {
        let (handle, handler) = self.open(Transport::Polling, handshake);
        let polling = Polling::of(handle.clone()).expect("opened on polling");
        let task = SessionTask {
            source: PollingSource::new(handle.clone()),
            sink: PollingSink::new(handle.clone(), self.config.max_payload),
            handle,
            handler,
            registry: Arc::clone(&self.registry),
        };
        let deadlines = self.deadlines();
        (polling, async move { task.run(deadlines.start()).await })
    }

    /// A session as the HTTP side sees it, while it is on polling.
    ///
    /// # Errors
    /// [`RequestError::Unknown`] and [`RequestError::Upgraded`].
    pub fn polling(&self, sid: &Sid) -> Result<Polling, RequestError> {
        match self.registry.get(sid) {
            Some(session) => Polling::of(session).ok_or(RequestError::Upgraded),
            None if self.registry.has_moved(sid) => Err(RequestError::Upgraded),
            None => Err(RequestError::Unknown),
        }
    }

    /// Moves a session from polling to an upgraded connection, when its client goes through with
    /// it; else closes the connection. Done with either, not at the session's end.
    pub async fn upgrade_polling<R, W>(
        &self,
        polling: &Polling,
        connection: WebSocketConnection<R, W>,
    ) where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        polling.upgrade(connection, &self.config).await;
    }

    /// The node, as its sids say.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Bytes of one payload of a client.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.config.max_payload
    }

    pub(crate) fn outbox_limits(&self) -> OutboxLimits {
        self.config.outbox
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines {
            ping_interval: self.config.ping_interval,
            ping_timeout: self.config.ping_timeout,
            connect_timeout: self.config.connect_timeout,
        }
    }

    fn open(
        &self,
        transport: Transport,
        handshake: Handshake,
    ) -> (SessionHandle, Box<dyn Handler>) {
        let sid = Sid::generate(self.node, &self.entropy);
        let link = match transport {
            Transport::Polling => Some(Link::default()),
            Transport::WebSocket => None,
        };
        let counters = Arc::clone(&self.counters);
        let handle = SessionHandle::new(sid, self.config.outbox, counters, link);
        let transport_name = transport.name();
        debug!(?sid, remote = %handshake.remote, transport = transport_name, "session opens");
        handle
            .try_push(&Frames::text(self.open_packet(sid, transport)))
            .expect("an empty outbox takes any one frame");
        self.registry.insert(&handle);
        self.counters.session_opened();
        let handler = self.acceptor.open(handshake, handle.clone());
        (handle, handler)
    }

    /// The first packet of a session. Over WebSocket there is nothing left to upgrade to.
    fn open_packet(&self, sid: Sid, transport: Transport) -> bytes::Bytes {
        let upgrades = match transport {
            Transport::Polling => vec![Transport::WebSocket.name().to_owned()],
            Transport::WebSocket => Vec::new(),
        };
        OpenPacket {
            sid: sid.reveal(),
            upgrades,
            ping_interval_ms: millis(self.config.ping_interval),
            ping_timeout_ms: millis(self.config.ping_timeout),
            max_payload: self.config.max_payload as u64,
        }
        .encode()
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("node", &self.node)
            .field("sessions", &self.registry.count())
            .finish_non_exhaustive()
    }
}
