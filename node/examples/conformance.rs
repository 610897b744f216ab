//! The server that the official suites of Engine.IO v4 and Socket.IO v5 expect, on one node with a
//! log of its own in a temporary directory:
//!
//! ```text
//! cargo run --example conformance -- --port 3000                                  # Socket.IO v5
//! cargo run --example conformance -- --port 3000 --echo --path /engine.io/        # Engine.IO v4
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use roomcast::adapter::{Adapter, Start};
use roomcast::engine::{
    Acceptor, CloseReason, Engine, EngineConfig, Frames, Handler as SessionHandler, Handshake,
    Message, Refused, SessionHandle,
};
use roomcast::ids::Entropy;
use roomcast::raft::{self, PeerAddress, Timings};
use roomcast::server::{ClientPort, ClientPortParts, Cors, HttpSettings, Readiness, listener};
use roomcast::shutdown::Tasks;
use roomcast::socketio::{
    Ack, Admission, Clients, ConnectRequest, Door, Event, Handler, Namespaces, Recovery, Rejection,
    Socket,
};
use roomcast::state::Settings;

/// Sessions at once, and connections without one.
const CONNECTIONS_MAX: usize = 1000;
/// The one node.
const NODE: u64 = 1;

/// A server for the official protocol suites; their timings are the defaults.
#[derive(Debug, Parser)]
pub(crate) struct Flags {
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Path of Engine.IO, with both slashes.
    #[arg(long, default_value = "/socket.io/")]
    path: String,
    /// Milliseconds from a pong to the next ping.
    #[arg(long, default_value_t = 300)]
    ping_interval_ms: u64,
    /// Milliseconds that a pong may take.
    #[arg(long, default_value_t = 200)]
    ping_timeout_ms: u64,
    /// Milliseconds that a client may take to join a namespace.
    #[arg(long, default_value_t = 1000)]
    connect_timeout_ms: u64,
    /// Largest message of a client, in bytes.
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
    /// Bare Engine.IO: every message is sent back, there is no Socket.IO.
    #[arg(long)]
    echo: bool,
}

impl Flags {
    fn engine(&self) -> EngineConfig {
        let mut config = EngineConfig::standard();
        config.ping_interval = Duration::from_millis(self.ping_interval_ms);
        config.ping_timeout = Duration::from_millis(self.ping_timeout_ms);
        config.connect_timeout = Duration::from_millis(self.connect_timeout_ms);
        config.max_payload = self.max_payload;
        config
    }
}

/// The server, and what lives as long as it does.
pub(crate) struct Server {
    pub(crate) port: ClientPort,
    _data_dir: tempfile::TempDir,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let server = start(&flags).await?;
    println!("ready on {}{}", server.port.local_addr(), flags.path);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Starts the server that `flags` ask for.
pub(crate) async fn start(flags: &Flags) -> Result<Server, Box<dyn Error>> {
    let data_dir = tempfile::tempdir()?;
    let entropy = Entropy::from_os();
    let acceptor: Arc<dyn Acceptor> = if flags.echo {
        Arc::new(EchoDoor)
    } else {
        let adapter = adapter(data_dir.path(), &entropy).await?;
        let namespaces = Namespaces::closed().open("/", Suite).open("/custom", Suite);
        let event_bytes_max = Settings::DEFAULT.event_bytes_max as usize;
        let door = Door::default();
        door.unlock(Clients::new(adapter, namespaces, event_bytes_max));
        Arc::new(door)
    };
    let engine = Engine::new(NODE, flags.engine(), entropy, acceptor);
    let parts = ClientPortParts {
        engine: Arc::new(engine),
        readiness: Arc::new(AlwaysReady),
        owners: None,
        http: HttpSettings {
            path: flags.path.clone(),
            cors: Cors::AnyOrigin,
            ..HttpSettings::standard()
        },
        extra: None,
        sessions_max: CONNECTIONS_MAX,
        http_connections_max: CONNECTIONS_MAX,
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, flags.port));
    let port = ClientPort::start(listener::bind(address)?, parts, Tasks::new())?;
    Ok(Server {
        port,
        _data_dir: data_dir,
    })
}

/// A cluster of one; returns once it can take sockets.
async fn adapter(
    data_dir: &std::path::Path,
    entropy: &Entropy,
) -> Result<Arc<Adapter>, Box<dyn Error>> {
    let peer = listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let own = PeerAddress {
        id: NODE,
        address: peer.local_addr()?.to_string(),
    };
    let consensus = raft::Config {
        node_id: NODE,
        data_dir: data_dir.to_owned(),
        initial_cluster: vec![own],
        groups: 1,
        timings: Timings::regional(),
        disk_reserve_bytes: 0,
        log_cache_bytes_max: 1 << 20,
        log_segment_bytes: 1 << 20,
        transfer_bytes_per_second: 1 << 30,
        entropy: entropy.clone(),
        on_fatal: raft::exit_process(),
    };
    let start = Start {
        consensus,
        peer,
        snapshot_every_entries: 1000,
        settings: Settings::DEFAULT.to_command(),
        propose_settings: false,
        parser: roomcast_proto::socketio::Parser::Json,
        entropy: entropy.clone(),
    };
    let adapter = Adapter::start(start).await?;
    while !adapter.has_lease() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(adapter)
}

struct AlwaysReady;

impl Readiness for AlwaysReady {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the Socket.IO suite asks of `/` and `/custom`.
struct Suite;

#[async_trait]
impl Handler for Suite {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        Ok(Admission {
            // The suite wants its auth back; an identity is what a socket keeps of it.
            identity: Some(request.auth.to_string()),
            recovery: Recovery::Off,
            ..Admission::default()
        })
    }

    async fn on_connect(&self, socket: &Socket) {
        let auth = socket.identity().unwrap_or("{}").to_owned();
        emit(socket, "auth", &[auth.into()], Vec::new()).await;
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        match (event.name.as_str(), ack) {
            ("message", _) => emit(socket, "message-back", &event.args, event.attachments).await,
            ("message-with-ack", Some(ack)) => {
                ack.send_raw(&array(&event.args), event.attachments);
            }
            _ => {}
        }
    }

    async fn on_disconnect(&self, _socket: &Socket, _reason: &str) {}
}

async fn emit(socket: &Socket, name: &str, args: &[Bytes], attachments: Vec<Bytes>) {
    let mut event = vec![Bytes::from(format!("\"{name}\""))];
    event.extend(args.iter().cloned());
    let emitted = socket.own().emit_raw(array(&event), attachments);
    if let Err(error) = emitted.await {
        eprintln!("{name} was not sent: {error}");
    }
}

fn array(args: &[Bytes]) -> Vec<u8> {
    let texts: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
    [b"[", &*texts.join(&b","[..]), b"]"].concat()
}

/// Gives every session an [`Echo`].
struct EchoDoor;

impl Acceptor for EchoDoor {
    fn admit(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn open(&self, _: Handshake, session: SessionHandle) -> Box<dyn SessionHandler> {
        // There is nothing to join.
        session.mark_joined();
        Box::new(Echo(session))
    }
}

/// Sends every message back.
struct Echo(SessionHandle);

#[async_trait]
impl SessionHandler for Echo {
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let frames = match message {
            Message::Text(text) => Frames::text([b"4", &text[..]].concat().into()),
            Message::Binary(bytes) => Frames::binary(bytes),
        };
        let pushed = self.0.try_push(&frames);
        pushed.map_err(|_| CloseReason::SlowConsumer)
    }

    async fn on_close(&mut self, _: CloseReason) {}
}
