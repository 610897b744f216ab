//! A client that speaks the wire literally.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::node::{LIMIT, SOON};

/// A client's WebSocket.
pub(crate) struct Wire(WebSocketStream<TcpStream>);

impl Wire {
    /// Behind the OPEN packet.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let mut wire = Self(client_async(url, stream).await.unwrap().0);
        assert!(wire.text().await.starts_with("0{"), "OPEN comes first");
        wire
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let next = timeout(LIMIT, self.0.next()).await;
            match next.expect("nothing comes") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        self.next().await.expect("the connection ended")
    }

    /// Waits for CONNECT; the socket's id.
    pub(crate) async fn connected(&mut self, namespace: &str) -> String {
        let text = self.text().await;
        let answer = text.strip_prefix(&format!("40{namespace},"));
        let answer = answer.unwrap_or_else(|| panic!("{text}"));
        let answer: Value = serde_json::from_str(answer).unwrap();
        answer["sid"].as_str().unwrap().to_owned()
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) {
        let next = timeout(SOON, self.0.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}
