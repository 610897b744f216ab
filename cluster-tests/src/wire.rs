//! Socket.IO v5 over one Engine.IO v4 WebSocket, byte by byte and without any of the server's or
//! the SDK's code: what is sent is exactly what the test says, what arrives is shown as it is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::http::HttpError;
use crate::payload::{BINARY, hex, unhex};

/// Handshakes and single writes that take longer have failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// CONNECT is held for up to 5 s without a leader, then the transport is closed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Receive buffer of a narrow connection; the system doubles it.
const NARROW_BYTES: u32 = 4 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// TCP.
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    /// The handshake was answered by another status than 101.
    #[error("refused by status {status}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The `Retry-After` header.
        retry_after: Option<String>,
        /// The body, as text.
        body: String,
    },
    /// WebSocket.
    #[error("websocket failed")]
    WebSocket(#[source] Box<tungstenite::Error>),
    /// HTTP, of a polling client.
    #[error("http failed")]
    Http(#[from] HttpError),
    /// Not what the protocol says.
    #[error("not the protocol: {0}")]
    Protocol(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// What arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// One Engine.IO packet as text.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The end: the close frame's code and word, if there was one.
    Closed {
        /// WebSocket close code.
        code: Option<u16>,
        /// The word with it.
        word: String,
    },
}

/// A Socket.IO packet without its attachments.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// The type digit.
    pub kind: char,
    /// With its leading slash.
    pub namespace: String,
    /// Acknowledgement id.
    pub id: Option<u64>,
    /// The payload; null when there is none.
    pub data: Value,
    /// Attachments that follow.
    pub attachment_count: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    ws: WebSocketStream<TcpStream>,
    /// The Engine.IO handshake.
    pub open: Value,
}

impl Wire {
    /// Connects and takes the Engine.IO handshake. `query` is added to the usual parameters.
    ///
    /// # Errors
    /// When the server refuses or is not there.
    pub async fn connect(addr: SocketAddr, query: &str) -> Result<Self, WireError> {
        timeout(STEP_TIMEOUT, Self::handshake(addr, query))
            .await
            .map_err(|_| WireError::Timeout)?
    }

    /// As [`Wire::connect`], over a connection that takes in little of what is not read: what a
    /// slow client is to the server.
    ///
    /// # Errors
    /// When the server refuses or is not there.
    pub async fn connect_narrow(addr: SocketAddr, query: &str) -> Result<Self, WireError> {
        let handshake = async { Self::begin(narrow(addr).await?, addr, query).await };
        timeout(STEP_TIMEOUT, handshake)
            .await
            .map_err(|_| WireError::Timeout)?
    }

    async fn handshake(addr: SocketAddr, query: &str) -> Result<Self, WireError> {
        Self::begin(TcpStream::connect(addr).await?, addr, query).await
    }

    async fn begin(stream: TcpStream, addr: SocketAddr, query: &str) -> Result<Self, WireError> {
        stream.set_nodelay(true)?;
        let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket{query}");
        let (ws, _) = client_async(url, stream).await.map_err(refusal)?;
        let mut wire = Self {
            ws,
            open: Value::Null,
        };
        match wire.recv().await {
            Frame::Text(text) if text.starts_with('0') => {
                let open = serde_json::from_str(text.get(1..).unwrap_or_default());
                wire.open = open.map_err(|_| WireError::Protocol(text))?;
                Ok(wire)
            }
            other => Err(WireError::Protocol(format!(
                "{other:?} instead of the handshake"
            ))),
        }
    }

    /// Milliseconds after which silence means that the server is gone.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let millis = |key| self.open.get(key).and_then(Value::as_u64).unwrap_or(25_000);
        Duration::from_millis(millis("pingInterval") + millis("pingTimeout"))
    }

    /// Sends one Engine.IO packet as text; false when the connection is gone.
    pub async fn send(&mut self, text: String) -> bool {
        self.send_message(Message::text(text)).await
    }

    /// Sends Engine.IO packets in one write, so that they arrive in one breath; false when the
    /// connection is gone.
    pub async fn send_together(&mut self, packets: &[String]) -> bool {
        let sending = async {
            for packet in packets {
                self.ws.feed(Message::text(packet.as_str())).await?;
            }
            self.ws.flush().await
        };
        matches!(timeout(STEP_TIMEOUT, sending).await, Ok(Ok(())))
    }

    /// Sends a Socket.IO packet with its attachments; false when the connection is gone.
    pub async fn send_all(&mut self, text: String, attachments: Vec<Vec<u8>>) -> bool {
        let mut sent = self.send(text).await;
        for attachment in attachments {
            sent = sent && self.send_message(Message::binary(attachment)).await;
        }
        sent
    }

    async fn send_message(&mut self, message: Message) -> bool {
        matches!(
            timeout(STEP_TIMEOUT, self.ws.send(message)).await,
            Ok(Ok(()))
        )
    }

    /// The next frame, Engine.IO pings included; nothing is answered.
    pub async fn recv(&mut self) -> Frame {
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) => return Frame::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => return Frame::Binary(bytes),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|frame| u16::from(frame.code));
                    let word = frame
                        .map(|frame| frame.reason.to_string())
                        .unwrap_or_default();
                    return Frame::Closed { code, word };
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    return Frame::Closed {
                        code: None,
                        word: String::new(),
                    };
                }
            }
        }
    }

    /// The next frame that is no ping; pings are answered.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub async fn next(&mut self, within: Duration) -> Result<Frame, WireError> {
        let step = async {
            loop {
                let frame = self.recv().await;
                if frame != Frame::Text("2".to_owned()) {
                    return frame;
                }
                self.send("3".to_owned()).await;
            }
        };
        timeout(within, step).await.map_err(|_| WireError::Timeout)
    }

    /// Calls an event of the main namespace with acknowledgement 1 and gives the first argument of
    /// the answer; events on the way are dropped.
    ///
    /// # Errors
    /// As [`Wire::packet`]; each packet has that long.
    pub async fn ask(
        &mut self,
        name: &str,
        args: &[Value],
        within: Duration,
    ) -> Result<Value, WireError> {
        let (text, attachments) = event("/", Some(1), name, args);
        if !self.send_all(text, attachments).await {
            return Err(WireError::Protocol("the connection is gone".to_owned()));
        }
        loop {
            let packet = self.packet(within).await?;
            if packet.kind == '3' {
                return Ok(packet.data[0].clone());
            }
        }
    }

    /// The next Socket.IO packet, its attachments put into its arguments; pings are answered.
    ///
    /// # Errors
    /// When nothing comes in time, or something that is not a Socket.IO packet.
    pub async fn packet(&mut self, within: Duration) -> Result<Packet, WireError> {
        let frame = self.next(within).await?;
        let Frame::Text(text) = &frame else {
            return Err(WireError::Protocol(format!(
                "{frame:?} instead of a packet"
            )));
        };
        let Some(mut packet) = Packet::parse(text) else {
            return Err(WireError::Protocol(text.clone()));
        };
        self.attachments(&mut packet).await?;
        Ok(packet)
    }

    /// Takes the attachments that follow a packet, and puts them into its arguments.
    ///
    /// # Errors
    /// When they do not come in time, or something else does.
    pub async fn attachments(&mut self, packet: &mut Packet) -> Result<(), WireError> {
        let mut attachments = Vec::new();
        while attachments.len() < packet.attachment_count {
            match timeout(STEP_TIMEOUT, self.recv())
                .await
                .map_err(|_| WireError::Timeout)?
            {
                Frame::Binary(bytes) => attachments.push(bytes),
                other => return Err(WireError::Protocol(format!("{other:?} amid attachments"))),
            }
        }
        put_attachments(&mut packet.data, &attachments);
        Ok(())
    }

    /// Sends CONNECT and gives the answer: `0`, `4`, or an error when the transport is closed.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn connect_namespace(
        &mut self,
        namespace: &str,
        auth: &Value,
    ) -> Result<Packet, WireError> {
        self.send(format!("40{}{auth}", prefix(namespace))).await;
        self.packet(CONNECT_TIMEOUT).await
    }
}

/// A connection that takes in little of what is not read.
pub(crate) async fn narrow(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_recv_buffer_size(NARROW_BYTES)?;
    socket.connect(addr).await
}

fn refusal(error: tungstenite::Error) -> WireError {
    let tungstenite::Error::Http(response) = error else {
        return WireError::WebSocket(Box::new(error));
    };
    let retry_after = response.headers().get("retry-after");
    WireError::Status {
        status: response.status().as_u16(),
        retry_after: retry_after
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned),
        body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned(),
    }
}

/// The namespace as it stands in a packet: nothing for the main one.
pub(crate) fn prefix(namespace: &str) -> String {
    match namespace {
        "/" => String::new(),
        other => format!("{other},"),
    }
}

/// An EVENT, binary when an argument is: the text, then its attachments.
#[must_use]
pub fn event(
    namespace: &str,
    id: Option<u64>,
    name: &str,
    args: &[Value],
) -> (String, Vec<Vec<u8>>) {
    let mut attachments = Vec::new();
    let mut data = vec![json!(name)];
    data.extend(
        args.iter()
            .map(|arg| take_attachment(arg, &mut attachments)),
    );
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let kind = match attachments.len() {
        0 => "2".to_owned(),
        count => format!("5{count}-"),
    };
    (
        format!("4{kind}{}{id}{}", prefix(namespace), Value::Array(data)),
        attachments,
    )
}

fn take_attachment(arg: &Value, attachments: &mut Vec<Vec<u8>>) -> Value {
    let Some(bytes) = arg.get(BINARY).and_then(Value::as_str).and_then(unhex) else {
        return arg.clone();
    };
    attachments.push(bytes);
    json!({ "_placeholder": true, "num": attachments.len() - 1 })
}

pub(crate) fn put_attachments(data: &mut Value, attachments: &[Bytes]) {
    match data {
        Value::Object(map) if map.contains_key("_placeholder") => {
            let num = map
                .get("num")
                .and_then(Value::as_u64)
                .and_then(|num| usize::try_from(num).ok());
            if let Some(bytes) = num.and_then(|num| attachments.get(num)) {
                *data = json!({ BINARY: hex(bytes) });
            }
        }
        Value::Object(map) => map
            .values_mut()
            .for_each(|value| put_attachments(value, attachments)),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| put_attachments(value, attachments)),
        _ => {}
    }
}

impl Packet {
    /// Reads the text of an Engine.IO message packet; `None` when it is not Socket.IO.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('4')?;
        let kind = rest
            .chars()
            .next()
            .filter(|kind| ('0'..='6').contains(kind))?;
        let mut rest = rest.get(1..)?;
        let mut attachment_count = 0;
        if matches!(kind, '5' | '6') {
            let (count, after) = rest.split_once('-')?;
            attachment_count = count.parse().ok()?;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (id, rest) = rest.split_at(digits);
        let id = if id.is_empty() {
            None
        } else {
            Some(id.parse().ok()?)
        };
        let data = if rest.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(rest).ok()?
        };
        Some(Self {
            kind,
            namespace: namespace.to_owned(),
            id,
            data,
            attachment_count,
        })
    }

    /// A member of an object payload as text.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.data.pointer(pointer).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests;
