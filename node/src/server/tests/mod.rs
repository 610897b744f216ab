//! The client port over real TCP, as bytes.

mod compression;
mod forward;
mod hostile;
mod moving;
mod polling;
mod port;
mod settings;
mod table;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::moving::{Leaves, Leaving};
use super::{ClientPort, ClientPortParts, Cors, HttpSettings, Readiness, listener};
use crate::engine::moving::{Adopted, Departed};
use crate::engine::{
    Acceptor, CloseReason, DrainPace, Engine, EngineConfig, Forbidden, Frames, Handler, Handshake,
    Message, Owners, Refused, SessionHandle,
};
use crate::ids::Entropy;
use crate::limits;
use crate::shutdown::Tasks;

const UPGRADE: &str = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Echoes; counts what closed.
struct Echo {
    session: SessionHandle,
    closed: Arc<AtomicU32>,
    /// `None`: it cannot move.
    leaves: Option<Arc<Leaves>>,
}

#[async_trait]
impl Handler for Echo {
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let echo = match message {
            Message::Text(text) if &text[..] == b"block" => std::future::pending().await,
            Message::Text(text) => Frames::text(Bytes::from([b"4", &text[..]].concat())),
            Message::Binary(bytes) => Frames::binary(bytes),
        };
        self.session
            .try_push(&echo)
            .map_err(|_| CloseReason::SlowConsumer)
    }

    async fn depart(&mut self) -> Option<Departed> {
        let left = Leaving::new(self.leaves.clone()?);
        Some(Departed {
            state: Bytes::from_static(b"echo"),
            left: Box::new(left),
        })
    }

    async fn on_close(&mut self, _: CloseReason) {
        self.closed.fetch_add(1, SeqCst);
    }
}

#[derive(Default)]
struct Upper {
    refusal: Mutex<Option<Refused>>,
    handshakes: Mutex<Vec<Handshake>>,
    closed: Arc<AtomicU32>,
    leaves: Option<Arc<Leaves>>,
    /// A session that moves here finds no place.
    full: bool,
}

impl Acceptor for Upper {
    fn admit(&self) -> Result<(), Refused> {
        self.refusal.lock().clone().map_or(Ok(()), Err)
    }

    fn authorize(&self, handshake: &Handshake) -> Result<(), Forbidden> {
        match handshake.header("origin") {
            Some("http://evil.example") => Err(Forbidden {
                message: "origin \"evil\"".into(),
            }),
            _ => Ok(()),
        }
    }

    fn open(&self, handshake: Handshake, session: SessionHandle) -> Box<dyn Handler> {
        self.handshakes.lock().push(handshake);
        Box::new(self.echo(session))
    }

    fn adopt(&self, state: Bytes, session: SessionHandle) -> Option<Adopted> {
        (state == "echo").then(|| Adopted {
            handler: Box::new(self.echo(session)),
            in_place: Box::pin(std::future::ready(!self.full)),
        })
    }
}

impl Upper {
    fn echo(&self, session: SessionHandle) -> Echo {
        Echo {
            session,
            closed: Arc::clone(&self.closed),
            leaves: self.leaves.clone(),
        }
    }
}

impl Readiness for Upper {
    fn ready(&self) -> Result<(), String> {
        match &*self.refusal.lock() {
            Some(refused) => Err(refused.reason.clone()),
            None => Ok(()),
        }
    }
}

fn port_with(sessions_max: usize, http_connections_max: usize) -> (ClientPort, Arc<Upper>) {
    port_of(EngineConfig::standard(), sessions_max, http_connections_max)
}

fn port_of(
    config: EngineConfig,
    sessions_max: usize,
    http_connections_max: usize,
) -> (ClientPort, Arc<Upper>) {
    let upper = Arc::new(Upper::default());
    let acceptor: Arc<dyn Acceptor> = upper.clone();
    let engine = Engine::new(5, config, Entropy::from_seed(9), acceptor);
    let limits = (sessions_max, http_connections_max);
    let port = port_over(Arc::new(engine), upper.clone(), limits, None);
    (port, upper)
}

fn port_over(
    engine: Arc<Engine>,
    upper: Arc<Upper>,
    (sessions_max, http_connections_max): (usize, usize),
    owners: Option<Arc<dyn Owners>>,
) -> ClientPort {
    let http = HttpSettings {
        cors: Cors::AnyOrigin,
        ..HttpSettings::standard()
    };
    port_speaking(
        http,
        engine,
        upper,
        (sessions_max, http_connections_max),
        owners,
    )
}

fn port_speaking(
    http: HttpSettings,
    engine: Arc<Engine>,
    upper: Arc<Upper>,
    (sessions_max, http_connections_max): (usize, usize),
    owners: Option<Arc<dyn Owners>>,
) -> ClientPort {
    let parts = ClientPortParts {
        engine,
        readiness: upper,
        owners,
        http,
        extra: Some(Router::new().route("/", get(async || "a page"))),
        sessions_max,
        http_connections_max,
    };
    let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    ClientPort::start(listener, parts, Tasks::new()).unwrap()
}

fn port() -> (ClientPort, Arc<Upper>) {
    port_with(100, 100)
}

/// A bounded wait for anything over real TCP.
async fn soon<F: Future>(what: F) -> F::Output {
    timeout(Duration::from_secs(10), what)
        .await
        .expect("takes less than 10 s")
}

async fn connect(port: &ClientPort, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// The head of the answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Status and body of a request on a connection of its own.
async fn ask(port: &ClientPort, request_line: &str, headers: &str) -> (String, String, String) {
    let request = format!("{request_line} HTTP/1.1\r\n{headers}");
    let mut stream = connect(port, &request).await;
    let head = head(&mut stream).await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, String::from_utf8(body).unwrap(), head)
}

/// An open session behind its OPEN packet.
async fn open(port: &ClientPort) -> TcpStream {
    let request =
        format!("GET /socket.io/?EIO=4&transport=websocket&token=a%20b HTTP/1.1\r\n{UPGRADE}");
    let mut stream = connect(port, &request).await;
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    assert_eq!(frame(&mut stream).await.1[0], b'0');
    stream
}

async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = soon(stream.read_u8()).await.unwrap();
    let len = soon(stream.read_u8()).await.unwrap();
    let len = if len == 126 {
        stream.read_u16().await.unwrap().into()
    } else {
        u64::from(len)
    };
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    soon(stream.read_exact(&mut payload)).await.unwrap();
    (first, payload)
}
