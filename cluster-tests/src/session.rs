//! One socket in the main namespace on the raw wire, for tests of what stands where: nothing that
//! arrives is dropped, nothing is answered but pings, and it never comes back by itself.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::offset::Offset;
use crate::wire::{Frame, Packet, Wire, WireError, event};

/// The server itself answers within 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// Where the socket lives.
const NAMESPACE: &str = "/";

/// A connected socket.
#[derive(Debug)]
pub struct Session {
    /// Its connection.
    pub wire: Wire,
    /// The answer to its CONNECT.
    pub connected: Packet,
    /// Events in the order they came: name, arguments, and the offset where there is one.
    pub events: Vec<Value>,
    /// Acknowledgement id of the latest question.
    last_id: u64,
}

impl Session {
    /// Connects. `query` is added to the usual parameters of the handshake.
    ///
    /// # Errors
    /// When the server is not there, or answers CONNECT with anything else than a socket.
    pub async fn open(addr: SocketAddr, query: &str, auth: &Value) -> Result<Self, WireError> {
        let mut wire = Wire::connect(addr, query).await?;
        let connected = wire.connect_namespace(NAMESPACE, auth).await?;
        if connected.kind != '0' {
            return Err(WireError::Protocol(format!("{connected:?}")));
        }
        Ok(Self {
            wire,
            connected,
            events: Vec::new(),
            last_id: 0,
        })
    }

    /// Its id.
    #[must_use]
    pub fn sid(&self) -> &str {
        self.connected.text("/sid").unwrap_or_default()
    }

    /// What it can resume with.
    #[must_use]
    pub fn pid(&self) -> Option<&str> {
        self.connected.text("/pid")
    }

    /// CONNECT's payload for a resume from where it is; without an event, without an offset.
    #[must_use]
    pub fn auth(&self) -> Value {
        let mut auth = json!({ "pid": self.pid() });
        if let Some(offset) = self.events.last().and_then(offset_text) {
            auth["offset"] = json!(offset);
        }
        auth
    }

    /// Asks, and keeps the events that come before the answer.
    ///
    /// # Errors
    /// When there is no answer, or something comes that is neither.
    pub async fn ask(&mut self, name: &str, args: &[Value]) -> Result<Value, WireError> {
        self.last_id += 1;
        let (text, attachments) = event(NAMESPACE, Some(self.last_id), name, args);
        self.wire.send_all(text, attachments).await;
        loop {
            let packet = self.wire.packet(ANSWER_WITHIN).await?;
            match (packet.kind, packet.id) {
                ('3', id) if id == Some(self.last_id) => return Ok(packet.data[0].clone()),
                _ => self.keep(packet)?,
            }
        }
    }

    /// Joins a room.
    ///
    /// # Errors
    /// When the answer is no offset.
    pub async fn join(&mut self, room: &str) -> Result<Offset, WireError> {
        read_offset(&self.ask("join", &[json!(room)]).await?)
    }

    /// Publishes; `target` as the `pubsub` handler takes it.
    ///
    /// # Errors
    /// When the answer is no offset.
    pub async fn publish(
        &mut self,
        target: Value,
        name: &str,
        args: &[Value],
    ) -> Result<Offset, WireError> {
        let mut all = vec![target, json!(name)];
        all.extend_from_slice(args);
        read_offset(&self.ask("publish", &all).await?)
    }

    /// Reads until it has `count` events.
    ///
    /// # Errors
    /// When they do not come in time, or something else does.
    pub async fn wait_events(&mut self, count: usize, within: Duration) -> Result<(), WireError> {
        while self.events.len() < count {
            let packet = self.wire.packet(within).await?;
            self.keep(packet)?;
        }
        Ok(())
    }

    /// Reads until the connection ends; keeps the events and gives the close code and its word.
    ///
    /// # Errors
    /// When it does not end in time, or something else than an event comes before.
    pub async fn wait_closed(
        &mut self,
        within: Duration,
    ) -> Result<(Option<u16>, String), WireError> {
        loop {
            match self.wire.next(within).await? {
                Frame::Closed { code, word } => return Ok((code, word)),
                Frame::Text(text) => {
                    let packet = Packet::parse(&text).ok_or(WireError::Protocol(text))?;
                    self.keep(packet)?;
                }
                Frame::Binary(_) => return Err(WireError::Protocol("binary".to_owned())),
            }
        }
    }

    fn keep(&mut self, packet: Packet) -> Result<(), WireError> {
        if !matches!(packet.kind, '2' | '5') {
            return Err(WireError::Protocol(format!("{packet:?}")));
        }
        self.events.push(packet.data);
        Ok(())
    }
}

/// The trailing offset of an event.
#[must_use]
pub fn offset_of(event: &Value) -> Option<Offset> {
    Offset::parse(offset_text(event)?)
}

fn offset_text(event: &Value) -> Option<&str> {
    event.as_array()?.last()?.as_str()
}

fn read_offset(answer: &Value) -> Result<Offset, WireError> {
    let text = answer["offset"].as_str();
    let offset = text.and_then(Offset::parse);
    offset.ok_or_else(|| WireError::Protocol(answer.to_string()))
}
