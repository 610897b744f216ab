//! One Engine.IO session's Socket.IO client: reassembles packets and brings each to its namespace.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use roomcast_proto::socketio::{Assembled, Assembler, Limits, Packet, args, decode, encode};

use super::ack::Ack;
use super::connect::Connecting;
use super::dispatch::{Incoming, Slot};
use super::handler::Event;
use super::namespaces::Namespaces;
use crate::adapter::{Adapter, Answer, Parting};
use crate::engine::{
    Acceptor, CloseReason, Frames, Handler, Handshake, Message, Refused, SessionHandle,
};
use crate::limits;

/// How long a client that cannot be served now should wait before it tries again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Makes a client for each session.
#[derive(Debug)]
pub struct Clients {
    adapter: Arc<Adapter>,
    namespaces: Namespaces,
    /// Payload and attachments of one packet together.
    packet_bytes_max: usize,
}

impl Clients {
    /// Serves `namespaces` through `adapter`.
    #[must_use]
    pub fn new(adapter: Arc<Adapter>, namespaces: Namespaces, event_bytes_max: usize) -> Arc<Self> {
        // What a publish needs beside its event: name, target, key.
        let packet_bytes_max = event_bytes_max + limits::PACKET_OVERHEAD_BYTES_MAX;
        Arc::new(Self {
            adapter,
            namespaces,
            packet_bytes_max,
        })
    }
}

/// The acceptor that engine sessions are opened with: shut until the node is a member of a cluster.
#[derive(Debug, Default)]
pub struct Door(OnceLock<Arc<Clients>>);

impl Door {
    /// From here on clients are let in.
    pub fn unlock(&self, clients: Arc<Clients>) {
        assert!(self.0.set(clients).is_ok(), "a door is unlocked once");
    }
}

impl Acceptor for Door {
    fn admit(&self) -> Result<(), Refused> {
        let reason = match self.0.get() {
            None => "this node waits for its cluster",
            Some(clients) if !clients.adapter.has_lease() => "no quorum",
            Some(_) => return Ok(()),
        };
        Err(Refused {
            retry_after_s: RETRY_AFTER_SECONDS,
            reason: reason.into(),
        })
    }

    fn open(&self, handshake: Handshake, session: SessionHandle) -> Box<dyn Handler> {
        let clients = self.0.get().expect("nobody is admitted before");
        Box::new(Client {
            clients: Arc::clone(clients),
            session,
            handshake: Arc::new(handshake),
            assembler: Assembler::new(clients.packet_bytes_max),
            slots: HashMap::new(),
        })
    }
}

struct Client {
    clients: Arc<Clients>,
    session: SessionHandle,
    handshake: Arc<Handshake>,
    assembler: Assembler,
    slots: HashMap<Arc<str>, Arc<Slot>>,
}

#[async_trait]
impl Handler for Client {
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let assembled = match message {
            Message::Text(text) => {
                decode(text, &Limits::SERVER).and_then(|packet| self.assembler.text(packet))
            }
            Message::Binary(data) => self.assembler.binary(data),
        };
        match assembled {
            Ok(None) => Ok(()),
            Ok(Some(Assembled::Whole {
                packet,
                attachments,
            })) => self.packet(packet, attachments).await,
            Ok(Some(Assembled::TooLarge { packet, .. })) => self.too_large(&packet),
            Err(error) => {
                tracing::debug!(%error, "closing a session that sent a malformed packet");
                Err(CloseReason::ParseError)
            }
        }
    }

    async fn on_close(&mut self, reason: CloseReason) {
        for slot in self.slots.values() {
            slot.end(parting(reason), reason.disconnect_reason());
        }
    }
}

impl Client {
    async fn packet(
        &mut self,
        packet: Packet,
        attachments: Vec<bytes::Bytes>,
    ) -> Result<(), CloseReason> {
        match packet {
            Packet::Connect { namespace, auth } => self.connect(namespace.as_str(), auth),
            Packet::Event {
                namespace,
                id,
                data,
                ..
            } => {
                let slot = self.slot(namespace.as_str())?;
                let malformed = |_| CloseReason::ParseError;
                let name = args::event_name(&data).map_err(malformed)?;
                let mut args = args::split(&data).map_err(malformed)?;
                args.remove(0);
                let event = Event {
                    name,
                    args,
                    attachments,
                };
                slot.take(Incoming::Event { event, ack: id }).await;
                Ok(())
            }
            Packet::Ack {
                namespace,
                id,
                data,
                ..
            } => {
                let slot = self.slot(namespace.as_str())?;
                // A client picks the id: only what it was asked for counts, and once.
                if let Some(socket) = slot.socket()
                    && socket.local.take_asked(id)
                {
                    let answer = Answer { data, attachments };
                    self.clients.adapter.answer(id, socket.local.id, answer);
                }
                Ok(())
            }
            Packet::Disconnect { namespace } => {
                if let Some(slot) = self.slots.remove(namespace.as_str()) {
                    let reason = "client namespace disconnect";
                    slot.end(Parting::End { reason }, reason);
                }
                Ok(())
            }
            Packet::ConnectError { .. } => Err(CloseReason::ParseError),
        }
    }

    /// An event that was not kept: its sender is told, if it asked for an answer.
    fn too_large(&self, packet: &Packet) -> Result<(), CloseReason> {
        let slot = self.slot(packet.namespace().as_str())?;
        if let (Packet::Event { id: Some(id), .. }, Some(socket)) = (packet, slot.socket()) {
            let bytes_max = self.clients.packet_bytes_max;
            let message = format!("an event has at most {bytes_max} bytes");
            let answer =
                format!(r#"[{{"ok":false,"error":{{"code":"too_large","message":"{message}"}}}}]"#);
            Ack::new(socket.local, *id).send(answer.as_bytes());
        }
        Ok(())
    }

    /// The slot of a namespace the client has joined; anything else is a violation.
    fn slot(&self, namespace: &str) -> Result<Arc<Slot>, CloseReason> {
        self.slots
            .get(namespace)
            .cloned()
            .ok_or(CloseReason::ParseError)
    }

    fn connect(&mut self, namespace: &str, auth: Option<bytes::Bytes>) -> Result<(), CloseReason> {
        let full = self.slots.len() >= limits::NAMESPACES_PER_SESSION_MAX;
        if self
            .slots
            .get(namespace)
            .is_some_and(|slot| !slot.is_over())
            || full
        {
            return Err(CloseReason::ParseError);
        }
        let Some(handler) = self.clients.namespaces.find(namespace) else {
            let text = encode::connect_error(namespace, "Invalid namespace", None);
            let frames = Frames::text(text);
            return self
                .session
                .try_push(&frames)
                .map_err(|_| CloseReason::SlowConsumer);
        };
        let namespace: Arc<str> = namespace.into();
        let slot = Slot::connecting(Arc::clone(&handler));
        self.slots.insert(Arc::clone(&namespace), Arc::clone(&slot));
        let connecting = Connecting {
            adapter: Arc::clone(&self.clients.adapter),
            session: self.session.clone(),
            handshake: Arc::clone(&self.handshake),
            namespace,
            handler,
            slot,
        };
        tokio::spawn(connecting.run(auth));
        Ok(())
    }
}

/// A protocol violation ends the sessions of a connection; anything else can be resumed.
fn parting(reason: CloseReason) -> Parting {
    match reason {
        CloseReason::ParseError | CloseReason::NotUtf8 => Parting::End {
            reason: "parse error",
        },
        _ => Parting::Away,
    }
}
