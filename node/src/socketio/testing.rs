//! What the tests of this floor and the next share: a real one-node cluster on loopback, and
//! clients that speak the wire literally over an in-memory connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use roomcast_proto::socketio::Parser;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Clients, Door, Namespaces};
use crate::adapter::{Adapter, Start};
use crate::engine::open::WebSocketConnection;
use crate::engine::{Acceptor, Engine, EngineConfig, Handshake};
use crate::ids::Entropy;
use crate::raft::{Config, PeerAddress, Timings};

/// Longest wait for anything; far more than any of it takes.
const LIMIT: Duration = Duration::from_secs(20);
/// The client's side of the connection in bytes: small, so that backpressure shows.
const PIPE_BYTES: usize = 4096;
/// The largest event of these nodes.
pub(crate) const EVENT_BYTES_MAX: usize = 100_000;

/// A cluster of one node.
pub(crate) struct Node {
    pub(crate) adapter: Arc<Adapter>,
    engine: Arc<Engine>,
    _dir: TempDir,
}

impl Node {
    /// A node that serves `namespaces`, with its lease.
    pub(crate) async fn start(namespaces: Namespaces) -> Self {
        Self::start_speaking(Parser::Json, namespaces).await
    }

    /// The same with any parser.
    pub(crate) async fn start_speaking(parser: Parser, namespaces: Namespaces) -> Self {
        Self::start_as(parser, namespaces, EngineConfig::standard()).await
    }

    /// The same with other settings of its sessions.
    pub(crate) async fn start_with(namespaces: Namespaces, config: EngineConfig) -> Self {
        Self::start_as(Parser::Json, namespaces, config).await
    }

    async fn start_as(parser: Parser, namespaces: Namespaces, config: EngineConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let entropy = Entropy::from_seed(1);
        let consensus = Config {
            node_id: 1,
            data_dir: dir.path().to_owned(),
            initial_cluster: vec![PeerAddress {
                id: 1,
                address: peer.local_addr().unwrap().to_string(),
            }],
            groups: 1,
            timings: Timings {
                heartbeat: Duration::from_millis(20),
                election_min: Duration::from_millis(50),
                election_max: Duration::from_millis(100),
                install_snapshot: LIMIT,
            },
            disk_reserve_bytes: 0,
            log_cache_bytes_max: 1 << 20,
            log_segment_bytes: 1 << 20,
            transfer_bytes_per_second: 1 << 30,
            entropy: entropy.clone(),
            on_fatal: Arc::new(|_| {}),
        };
        let settings = crate::state::Settings {
            event_bytes_max: EVENT_BYTES_MAX as u32,
            ..crate::state::Settings::DEFAULT
        };
        let start = Start {
            consensus,
            peer,
            snapshot_every_entries: 1000,
            settings: settings.to_command(),
            propose_settings: false,
            parser,
            entropy: entropy.clone(),
        };
        let adapter = Adapter::start(start).await.unwrap();
        let clients = Clients::new(Arc::clone(&adapter), namespaces, EVENT_BYTES_MAX);
        let door = Arc::new(Door::default());
        door.unlock(clients);
        let engine = Arc::new(Engine::new(1, config, entropy, door));
        let node = Self {
            adapter,
            engine,
            _dir: dir,
        };
        node.until("a lease", |node| node.adapter.has_lease()).await;
        node
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LIMIT, wait).await.is_ok(), "no {what}");
    }

    /// Sessions that the log calls connected.
    pub(crate) fn connected(&self) -> u64 {
        self.adapter.groups()[0].view().counts().connected as u64
    }

    /// What gives sessions their handlers.
    pub(crate) fn acceptor(&self) -> &dyn Acceptor {
        self.engine.acceptor()
    }

    /// The sessions of its clients.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A new connection; its OPEN packet was read.
    pub(crate) async fn client(&self) -> Wire {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(server);
        let connection = WebSocketConnection {
            read,
            write,
            received: Bytes::new(),
        };
        let handshake = handshake();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { engine.serve_websocket(connection, handshake).await });
        let stream = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut wire = Wire(stream);
        assert!(wire.next().await.starts_with("0{"), "OPEN comes first");
        wire
    }

    /// A new connection whose main namespace is joined; its CONNECT was read.
    pub(crate) async fn joined(&self) -> Wire {
        let mut wire = self.client().await;
        wire.send("40").await;
        let connect = wire.next().await;
        assert!(connect.starts_with(r#"40{"sid":"#), "{connect}");
        wire
    }

    /// Ends consensus, so that nothing writes into the directory that goes.
    pub(crate) async fn end(self) {
        self.adapter.consensus().shutdown().await;
    }
}

/// Of a client without query and headers.
pub(crate) fn handshake() -> Handshake {
    let remote = ([127, 0, 0, 1], 1).into();
    Handshake::new(Vec::new(), &http::HeaderMap::new(), remote)
}

/// A client's connection.
pub(crate) struct Wire(WebSocketStream<DuplexStream>);

impl Wire {
    /// Sends a text message, its Engine.IO type included.
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The same for a connection that may be closed.
    pub(crate) async fn try_send(
        &mut self,
        text: &str,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.0.send(Message::text(text)).await
    }

    /// Sends a binary message.
    pub(crate) async fn send_binary(&mut self, bytes: &'static [u8]) {
        self.send_bytes(Bytes::from_static(bytes)).await;
    }

    /// The same with bytes that were made.
    pub(crate) async fn send_bytes(&mut self, bytes: Bytes) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        let next = timeout(LIMIT, self.0.next()).await.expect("nothing comes");
        next.expect("the connection ended").unwrap()
    }

    /// The next text message.
    pub(crate) async fn next(&mut self) -> String {
        match self.message().await {
            Message::Text(text) => text.to_string(),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The next message, which is binary.
    pub(crate) async fn next_binary(&mut self) -> Bytes {
        match self.message().await {
            Message::Binary(bytes) => bytes,
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Sends an event and gives its answer: what stands in the acknowledgement's array.
    pub(crate) async fn ask(&mut self, event: &str) -> serde_json::Value {
        self.send(&format!("421{event}")).await;
        let answer = self.next().await;
        let array = answer
            .strip_prefix("431")
            .unwrap_or_else(|| panic!("{answer}"));
        let mut array: Vec<serde_json::Value> = serde_json::from_str(array).unwrap();
        array.remove(0)
    }

    /// The code and word with which the server closes.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(close)) = self.message().await {
                return (close.code.into(), close.reason.to_string());
            }
        }
    }
}
