//! Sessions over an in-memory connection, byte by byte, with time standing still unless a test
//! moves it.

mod hostile;
mod lifetime;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::open::WebSocketConnection;
use super::{
    Acceptor, CloseReason, Engine, EngineConfig, Frames, Handler, Handshake, Message, Refused,
    SessionHandle,
};
use crate::ids::Entropy;

/// What the upper floor saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Arrived(u64),
    Closed(CloseReason),
}

/// An upper floor that notes what it sees. `block` waits until released, `fail` ends the session,
/// `echo…` is sent back.
struct Upper {
    seen: mpsc::Sender<Seen>,
    release: Arc<Notify>,
    session: SessionHandle,
}

#[async_trait]
impl Handler for Upper {
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let seen = match message {
            Message::Text(text) => Seen::Text(String::from_utf8(text.to_vec()).unwrap()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        };
        let text = if let Seen::Text(text) = &seen {
            text.clone()
        } else {
            String::new()
        };
        self.seen.send(seen).await.unwrap();
        match text.as_str() {
            "block" => self.release.notified().await,
            "fail" => return Err(CloseReason::Overloaded),
            text if text.starts_with("echo") => {
                self.session.try_push(&message_frame(text)).unwrap();
            }
            _ => {}
        }
        Ok(())
    }

    async fn on_arrived(&mut self, message_count: u64) -> Result<(), CloseReason> {
        self.seen.send(Seen::Arrived(message_count)).await.unwrap();
        Ok(())
    }

    async fn on_close(&mut self, reason: CloseReason) {
        self.seen.send(Seen::Closed(reason)).await.unwrap();
    }
}

struct Opener {
    seen: mpsc::Sender<Seen>,
    release: Arc<Notify>,
    session: Mutex<Option<SessionHandle>>,
}

impl Acceptor for Opener {
    fn admit(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn open(&self, _: Handshake, session: SessionHandle) -> Box<dyn Handler> {
        *self.session.lock() = Some(session.clone());
        let (seen, release) = (self.seen.clone(), Arc::clone(&self.release));
        Box::new(Upper {
            seen,
            release,
            session,
        })
    }
}

/// One session and both of its ends.
pub(super) struct Rig {
    pub(super) client: DuplexStream,
    pub(super) session: SessionHandle,
    pub(super) seen: mpsc::Receiver<Seen>,
    pub(super) release: Arc<Notify>,
    pub(super) engine: Arc<Engine>,
    pub(super) task: JoinHandle<()>,
}

/// The client's kernel buffer in these tests.
pub(super) const PIPE_BYTES: usize = 4096;

pub(super) fn small() -> EngineConfig {
    let mut config = EngineConfig::standard();
    config.max_payload = 100_000;
    config
}

/// A session whose OPEN packet was read.
pub(super) async fn rig() -> Rig {
    let mut rig = rig_with(small(), b"").await;
    let (opcode, payload) = rig.frame().await;
    assert_eq!((opcode, payload[0]), (0x81, b'0'), "OPEN comes first");
    rig
}

pub(super) async fn rig_with(config: EngineConfig, received: &'static [u8]) -> Rig {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let (seen, seen_by_test) = mpsc::channel(1000);
    let release = Arc::new(Notify::new());
    let opener = Arc::new(Opener {
        seen,
        release: Arc::clone(&release),
        session: Mutex::new(None),
    });
    let acceptor: Arc<dyn Acceptor> = opener.clone();
    let engine = Arc::new(Engine::new(1, config, Entropy::from_seed(1), acceptor));
    let (read, write) = tokio::io::split(server);
    let received = Bytes::from_static(received);
    let connection = WebSocketConnection {
        read,
        write,
        received,
    };
    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
    let handshake = Handshake::new(Vec::new(), &http::HeaderMap::new(), remote);
    let owner = Arc::clone(&engine);
    let task = tokio::spawn(async move { owner.serve_websocket(connection, handshake).await });
    let session = loop {
        if let Some(session) = opener.session.lock().clone() {
            break session;
        }
        tokio::task::yield_now().await;
    };
    Rig {
        client,
        session,
        seen: seen_by_test,
        release,
        engine,
        task,
    }
}

impl Rig {
    /// Sends bytes as they are.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
    }

    /// Sends one masked text frame.
    pub(super) async fn send_text(&mut self, text: &str) {
        self.send(&masked(0x81, text.as_bytes())).await;
    }

    /// Reads one frame: its first byte and payload.
    pub(super) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.client.read_exact(&mut head).await.unwrap();
        let len = match head[1] {
            126 => usize::from(self.client.read_u16().await.unwrap()),
            127 => usize::try_from(self.client.read_u64().await.unwrap()).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        self.client.read_exact(&mut payload).await.unwrap();
        (head[0], payload)
    }

    /// Reads a close frame, then the end of the stream, and leaves.
    pub(super) async fn expect_close(mut self, code: u16, word: &str) {
        let (opcode, payload) = self.frame().await;
        assert_eq!(opcode, 0x88, "{payload:?}");
        assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code);
        assert_eq!(&payload[2..], word.as_bytes());
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "nothing follows a close frame");
        self.expect_end().await;
    }

    /// Leaves and waits for the session's end: one `on_close`, the last call; not in the registry.
    pub(super) async fn expect_end(self) -> CloseReason {
        let Self {
            client,
            session,
            mut seen,
            engine,
            task,
            ..
        } = self;
        drop(client);
        task.await.unwrap();
        let reason = session.closed().await;
        assert!(session.is_closed() && !session.is_writable());
        assert_eq!(
            session.outbox_depth(),
            (0, 0),
            "nothing is held for the dead"
        );
        assert_eq!(engine.registry().count(), 0);
        assert_eq!(engine.counters().values().open(), 0);
        let mut all = Vec::new();
        while let Ok(event) = seen.try_recv() {
            all.push(event);
        }
        let closes = all
            .iter()
            .filter(|seen| matches!(seen, Seen::Closed(_)))
            .count();
        assert_eq!(closes, 1, "{all:?}");
        assert_eq!(all.last(), Some(&Seen::Closed(reason)));
        reason
    }
}

/// A message's frames.
pub(super) fn message_frame(text: &str) -> Arc<Frames> {
    Frames::text(Bytes::from(format!("4{text}")))
}

/// A frame as a client sends it.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x9a, 0x00, 0xff];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.into_iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
