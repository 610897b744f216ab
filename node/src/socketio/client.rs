//! One Engine.IO session's Socket.IO client: reassembles packets and brings each to its namespace.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use roomcast_proto::socketio::{Assembled, Decoder, Limits, Packet, args};

use super::ack::Ack;
use super::connect::Connecting;
use super::dispatch::{Incoming, Slot};
use super::handler::{Event, SharedHandler};
use super::namespaces::Namespaces;
use super::refusal::{Code, Refusal};
use super::slots::Slots;
use crate::adapter::{Adapter, Answer, Application, Parting};
use crate::engine::moving::{Adopted, Departed};
use crate::engine::{
    Acceptor, CloseReason, Frames, Handler, Handshake, Message, Refused, SessionHandle,
};
use crate::{limits, metrics};

/// How long a client that cannot be served now should wait before it tries again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Makes a client for each session.
#[derive(Debug)]
pub struct Clients {
    adapter: Arc<Adapter>,
    pub(super) namespaces: Namespaces,
    /// Payload and attachments of one packet together.
    packet_bytes_max: usize,
}

impl Clients {
    /// Serves `namespaces` through `adapter`.
    #[must_use]
    pub fn new(adapter: Arc<Adapter>, namespaces: Namespaces, event_bytes_max: usize) -> Arc<Self> {
        // What a publish needs beside its event: name, target, key.
        let packet_bytes_max = event_bytes_max + limits::PACKET_OVERHEAD_BYTES_MAX;
        let clients = Arc::new(Self {
            adapter,
            namespaces,
            packet_bytes_max,
        });
        let application: Arc<dyn Application> = Arc::<Self>::clone(&clients);
        let events = clients.adapter.server_events();
        events.serve(Arc::downgrade(&application));
        clients
    }

    pub(super) fn adapter(&self) -> Arc<Adapter> {
        Arc::clone(&self.adapter)
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
        Box::new(Client::new(clients, handshake, session))
    }

    fn adopt(&self, state: Bytes, session: SessionHandle) -> Option<Adopted> {
        self.0.get()?.adopt(state, session)
    }
}

pub(super) struct Client {
    clients: Arc<Clients>,
    pub(super) session: SessionHandle,
    pub(super) handshake: Arc<Handshake>,
    pub(super) decoder: Decoder,
    pub(super) slots: Arc<Slots>,
    /// Shared with each CONNECT under way, to count them.
    under_way: Arc<()>,
}

#[async_trait]
impl Handler for Client {
    async fn on_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let assembled = match message {
            Message::Text(text) => self.decoder.text(text),
            Message::Binary(data) => self.decoder.binary(data),
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
                Err(violation())
            }
        }
    }

    async fn on_arrived(&mut self, message_count: u64) -> Result<(), CloseReason> {
        for socket in self.slots.all().iter().filter_map(|slot| slot.socket()) {
            let progress = socket.group.fanned_out();
            socket.local.ponged(message_count, progress);
        }
        Ok(())
    }

    async fn depart(&mut self) -> Option<Departed> {
        self.leave().await
    }

    async fn on_close(&mut self, reason: CloseReason) {
        for slot in self.slots.all() {
            slot.end(parting(reason), reason.disconnect_reason());
        }
    }
}

impl Client {
    pub(super) fn new(
        clients: &Arc<Clients>,
        handshake: Handshake,
        session: SessionHandle,
    ) -> Self {
        Self {
            clients: Arc::clone(clients),
            session,
            handshake: Arc::new(handshake),
            decoder: Decoder::new(
                clients.adapter.parser(),
                Limits::SERVER,
                clients.packet_bytes_max,
            ),
            slots: Arc::default(),
            under_way: Arc::new(()),
        }
    }

    async fn packet(&mut self, packet: Packet, attachments: Vec<Bytes>) -> Result<(), CloseReason> {
        match packet {
            Packet::Connect { namespace, auth } => self.connect(namespace.as_str(), auth),
            Packet::Event {
                namespace,
                id,
                data,
                ..
            } => {
                let slot = self.slot(namespace.as_str())?;
                let malformed = |_| violation();
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
                let slot = self.slots.remove(namespace.as_str());
                let slot = slot.ok_or_else(violation)?;
                let reason = "client namespace disconnect";
                slot.end(Parting::Left { reason }, reason);
                Ok(())
            }
            Packet::ConnectError { .. } => Err(violation()),
        }
    }

    /// An event that was not kept: its sender is told, if it asked for an answer.
    fn too_large(&self, packet: &Packet) -> Result<(), CloseReason> {
        let slot = self.slot(packet.namespace().as_str())?;
        if let (Packet::Event { id: Some(id), .. }, Some(socket)) = (packet, slot.socket()) {
            let bytes_max = self.clients.packet_bytes_max;
            let message = format!("an event has at most {bytes_max} bytes");
            let refusal = Refusal::new(Code::TooLarge, message);
            Ack::new(socket.local, *id).refuse(&refusal);
        }
        Ok(())
    }

    /// The slot of a namespace the client has joined; anything else is a violation.
    fn slot(&self, namespace: &str) -> Result<Arc<Slot>, CloseReason> {
        self.slots.get(namespace).ok_or_else(violation)
    }

    fn connect(&mut self, namespace: &str, auth: Option<Bytes>) -> Result<(), CloseReason> {
        let known = self.slots.get(namespace);
        if known.is_some_and(|slot| !slot.is_over()) || self.slots.is_full() {
            return Err(violation());
        }
        // One that left while it connected is on its way all the same.
        if Arc::strong_count(&self.under_way) > limits::NAMESPACES_PER_SESSION_MAX {
            return Err(CloseReason::Overloaded);
        }
        let Some(handler) = self.clients.namespaces.find(namespace) else {
            let parser = self.clients.adapter.parser();
            let messages = parser.connect_error(namespace, "Invalid namespace", None);
            return self
                .session
                .try_push(&Frames::of(messages))
                .map_err(|_| CloseReason::SlowConsumer);
        };
        let connecting = self.connecting(namespace, handler);
        let under_way = Arc::clone(&self.under_way);
        tokio::spawn(async move {
            connecting.run(auth).await;
            drop(under_way);
        });
        Ok(())
    }

    /// A place for a socket that is on its way.
    pub(super) fn connecting(&mut self, namespace: &str, handler: SharedHandler) -> Connecting {
        let namespace: Arc<str> = namespace.into();
        let slot = Slot::connecting(Arc::clone(&handler), &self.slots);
        self.slots.insert(Arc::clone(&namespace), Arc::clone(&slot));
        Connecting {
            adapter: Arc::clone(&self.clients.adapter),
            session: self.session.clone(),
            handshake: Arc::clone(&self.handshake),
            namespace,
            handler,
            slot,
        }
    }
}

/// The client broke Socket.IO's rules: counted, and the connection ends.
fn violation() -> CloseReason {
    metrics::protocol_errors("socketio").increment(1);
    CloseReason::Violation
}

/// A connection that is broken below ends its sessions; anything else can be resumed.
fn parting(reason: CloseReason) -> Parting {
    match reason {
        CloseReason::ParseError | CloseReason::NotUtf8 => Parting::Left {
            reason: "parse error",
        },
        _ => Parting::Away,
    }
}
