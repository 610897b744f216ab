//! The engine of a node: opens sessions over transports. Owns what all sessions share.

use std::sync::Arc;

use roomcast_proto::engineio::OpenPacket;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::counters::Counters;
use super::frames::Frames;
use super::handler::{Acceptor, Handshake};
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
        let task = self.open(connection, handshake);
        task.run(&self.config).await;
    }

    fn open<R, W>(
        &self,
        connection: WebSocketConnection<R, W>,
        handshake: Handshake,
    ) -> SessionTask<WebSocketSource<R>, WebSocketSink<W>>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let sid = Sid::generate(self.node, &self.entropy);
        let handle = SessionHandle::new(sid, self.config.outbox, Arc::clone(&self.counters));
        debug!(?sid, remote = %handshake.remote, transport = "websocket", "session opens");
        handle
            .try_push(&Frames::text(self.open_packet(sid)))
            .expect("an empty outbox takes any one frame");
        self.registry.insert(&handle);
        self.counters.session_opened();
        let handler = self.acceptor.open(handshake, handle.clone());
        SessionTask {
            handle,
            source: WebSocketSource::new(
                connection.read,
                self.config.max_payload,
                &connection.received,
            ),
            sink: WebSocketSink::new(connection.write),
            handler,
            registry: Arc::clone(&self.registry),
        }
    }

    /// The first packet of a session. Over WebSocket there is nothing left to upgrade to.
    fn open_packet(&self, sid: Sid) -> bytes::Bytes {
        OpenPacket {
            sid: sid.reveal(),
            upgrades: Vec::new(),
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
