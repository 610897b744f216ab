//! A scripted server: the test writes and expects literal packets. Loopback only.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses its part of the script's words"
)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use roomcast_client::{
    BackoffOptions, Client, ClientOptions, Connected, DisconnectReason, Event, Inbox, Notice,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Nothing in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long "nothing comes" is observed.
const SILENCE: Duration = Duration::from_millis(150);

/// An open packet with long intervals.
pub const OPEN: &str =
    r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#;

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A listening server.
pub struct FakeServer {
    listener: TcpListener,
}

impl FakeServer {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// The next TCP connection.
    pub async fn accept_tcp(&self) -> TcpStream {
        soon("a connection", self.listener.accept())
            .await
            .unwrap()
            .0
    }

    /// The next connection, opened as a WebSocket with an open packet.
    pub async fn accept(&self) -> Peer {
        self.accept_with(OPEN).await
    }

    pub async fn accept_with(&self, open: &str) -> Peer {
        let stream = self.accept_tcp().await;
        let mut uri = String::new();
        #[allow(clippy::result_large_err, reason = "the library's callback is so")]
        let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            uri = request.uri().to_string();
            Ok(response)
        };
        let socket = soon("a handshake", accept_hdr_async(stream, note))
            .await
            .unwrap();
        let mut peer = Peer { socket, uri };
        peer.send(open).await;
        peer
    }

    /// Accepts, expects `connect`, and answers with `reply`.
    pub async fn accept_connect(&self, connect: &str, reply: &str) -> Peer {
        let mut peer = self.accept().await;
        peer.expect(connect).await;
        peer.send(reply).await;
        peer
    }

    /// No further connection comes.
    pub async fn expect_no_connection(&self) {
        assert!(timeout(SILENCE, self.listener.accept()).await.is_err());
    }
}

/// The server's end of one connection.
pub struct Peer {
    socket: WebSocketStream<TcpStream>,
    /// Of the handshake.
    pub uri: String,
}

impl Peer {
    pub async fn send(&mut self, text: &str) {
        let message = Message::text(text.to_owned());
        soon("a send", self.socket.send(message)).await.unwrap();
    }

    pub async fn send_binary(&mut self, bytes: &'static [u8]) {
        let message = Message::Binary(Bytes::from_static(bytes));
        soon("a send", self.socket.send(message)).await.unwrap();
    }

    pub async fn expect(&mut self, text: &str) {
        let message = soon(text, self.socket.next()).await;
        assert_eq!(message.unwrap().unwrap(), Message::text(text.to_owned()));
    }

    pub async fn expect_binary(&mut self, bytes: &'static [u8]) {
        let message = soon("a binary message", self.socket.next()).await;
        let expected = Message::Binary(Bytes::from_static(bytes));
        assert_eq!(message.unwrap().unwrap(), expected);
    }

    /// Takes any CONNECT and answers it with `reply`.
    pub async fn answer_connect(&mut self, reply: &str) {
        let message = soon("a connect", self.socket.next())
            .await
            .unwrap()
            .unwrap();
        assert!(message.to_text().unwrap().starts_with("40"), "{message:?}");
        self.send(reply).await;
    }

    /// How many of the next `of` messages are `text`.
    pub async fn count_texts(&mut self, text: &str, of: usize) -> usize {
        let mut count = 0;
        for _ in 0..of {
            let message = soon("a message", self.socket.next())
                .await
                .unwrap()
                .unwrap();
            count += usize::from(message == Message::text(text.to_owned()));
        }
        count
    }

    /// The client sends nothing now.
    pub async fn expect_silence(&mut self) {
        let message = timeout(SILENCE, self.socket.next()).await;
        assert!(message.is_err(), "{message:?}");
    }

    /// The client closes with a close frame.
    pub async fn expect_close(&mut self) {
        let message = soon("a close frame", self.socket.next()).await;
        assert!(
            matches!(message, Some(Ok(Message::Close(_)))),
            "{message:?}"
        );
        // Sends the answer; its end is the end of the stream.
        while let Some(Ok(_)) = soon("the end", self.socket.next()).await {}
    }

    /// The TCP connection ends without a close frame.
    pub async fn expect_drop(&mut self) {
        let message = soon("the end", self.socket.next()).await;
        assert!(!matches!(message, Some(Ok(_))), "{message:?}");
    }

    pub async fn close(mut self, code: u16, word: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: word.into(),
        };
        soon("a close", self.socket.close(Some(frame)))
            .await
            .unwrap();
    }
}

/// Options with which a reconnection takes some milliseconds.
pub fn hasty() -> ClientOptions {
    ClientOptions {
        backoff: BackoffOptions {
            initial: Duration::from_millis(10),
            max: Duration::from_millis(20),
            jitter: 0.5,
        },
        ..ClientOptions::default()
    }
}

/// A client of one server.
pub fn client_of(server: &FakeServer) -> Client {
    Client::new([server.url()], hasty()).unwrap()
}

pub async fn connected(inbox: &mut Inbox) -> Connected {
    match soon("connected", inbox.recv()).await {
        Some(Notice::Connected(connected)) => connected,
        other => panic!("{other:?} instead of connected"),
    }
}

pub async fn disconnected(inbox: &mut Inbox) -> DisconnectReason {
    match soon("disconnected", inbox.recv()).await {
        Some(Notice::Disconnected { reason }) => reason,
        other => panic!("{other:?} instead of disconnected"),
    }
}

pub async fn event(inbox: &mut Inbox) -> Event {
    match soon("an event", inbox.recv()).await {
        Some(Notice::Event(event)) => event,
        other => panic!("{other:?} instead of an event"),
    }
}

/// The inbox has nothing now.
pub async fn expect_no_notice(inbox: &mut Inbox) {
    let notice = timeout(SILENCE, inbox.recv()).await;
    assert!(notice.is_err(), "{notice:?}");
}
