//! Clients that speak the wire literally.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cluster::LIMIT;

/// A client's WebSocket.
pub(crate) struct Wire(WebSocketStream<TcpStream>);

impl Wire {
    /// Behind the OPEN packet; `query` begins with `&` or is empty.
    pub(crate) async fn open(address: SocketAddr, query: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
        let mut wire = Self(client_async(url, stream).await.unwrap().0);
        assert!(wire.text().await.starts_with("0{"), "OPEN comes first");
        wire
    }

    /// Joins a namespace by `packet`; the payload of the answer, which begins with `answer`.
    pub(crate) async fn join(&mut self, packet: &str, answer: &str) -> Value {
        self.send(packet).await;
        let connect = self.text().await;
        let payload = connect.strip_prefix(answer);
        let payload = payload.unwrap_or_else(|| panic!("{connect} for {packet}"));
        serde_json::from_str(payload).unwrap()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: &'static [u8]) {
        let message = Message::binary(Bytes::from_static(bytes));
        self.0.send(message).await.unwrap();
    }

    /// Closes the WebSocket with its handshake.
    pub(crate) async fn close(mut self) {
        self.0.close(None).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }

    async fn message(&mut self) -> Option<Message> {
        let next = timeout(LIMIT, self.0.next()).await;
        next.expect("nothing comes").and_then(Result::ok)
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        let message = self.message().await.expect("the connection ended");
        let Message::Text(text) = message else {
            panic!("{message:?} instead of a text");
        };
        text.to_string()
    }

    /// The next binary message.
    pub(crate) async fn binary(&mut self) -> Bytes {
        let message = self.message().await.expect("the connection ended");
        let Message::Binary(bytes) = message else {
            panic!("{message:?} instead of bytes");
        };
        bytes
    }

    /// Name and arguments of the next event, and the offset it carries.
    pub(crate) async fn event(&mut self) -> (Vec<Value>, String) {
        let text = self.text().await;
        let array = text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"));
        let mut array: Vec<Value> = serde_json::from_str(array).unwrap();
        let offset = array.pop().unwrap();
        (array, offset.as_str().expect("an offset").to_owned())
    }

    /// The number of the next event, which asks for an answer.
    pub(crate) async fn question(&mut self) -> String {
        let text = self.text().await;
        let (number, _) = text.strip_prefix("42").unwrap().split_once('[').unwrap();
        number.to_owned()
    }

    /// The code and word with which the server closes, whatever comes before.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        while let Some(message) = self.message().await {
            if let Message::Close(Some(close)) = message {
                return (close.code.into(), close.reason.to_string());
            }
        }
        panic!("it ended without a close frame");
    }
}

/// Status and body of one request on polling; `sid` is empty for a handshake.
pub(crate) async fn poll(
    address: SocketAddr,
    method: &str,
    sid: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(LIMIT, read).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
