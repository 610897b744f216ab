//! One socket's incoming events, in order: at once while its handler keeps up, else from a queue by
//! a task of its own. What arrives before the socket is in place waits in the same queue, so an
//! event sent in the same breath as CONNECT is never lost.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ack::Ack;
use super::caught::caught;
use super::handler::{Event, SharedHandler};
use super::slots::Slots;
use super::socket::Socket;
use crate::adapter::{Holder, Parting};
use crate::engine::{CloseReason, Frames};
use crate::{limits, metrics};

/// Why a socket ends that the server disconnects.
const KICKED: &str = "server namespace disconnect";

/// Something that happened to a socket, for its handlers.
#[derive(Debug)]
pub(crate) enum Incoming {
    Event { event: Event, ack: Option<u64> },
    Disconnected { reason: &'static str },
}

impl Incoming {
    /// What it holds while it waits.
    fn bytes(&self) -> usize {
        match self {
            Self::Event { event, .. } => {
                let parts = event.args.iter().chain(&event.attachments);
                event.name.len() + parts.map(Bytes::len).sum::<usize>()
            }
            Self::Disconnected { .. } => 0,
        }
    }
}

/// A socket's place on its connection, from its CONNECT packet on.
pub(crate) struct Slot {
    handler: SharedHandler,
    inner: Mutex<Inner>,
    /// The queue has room again.
    room: Notify,
    /// All places on the connection, this one too; weak, for they hold it.
    siblings: Weak<Slots>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.inner).finish()
    }
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Incoming>,
    /// Bytes of what is queued.
    queued_bytes: usize,
    /// A task is at work, or the socket is not in place yet.
    busy: bool,
    socket: Option<Socket>,
    /// The connect was refused: what still comes for it is dropped.
    failed: bool,
    /// The socket has ended, and how; it may end before it is in place.
    ended: Option<Parting>,
}

impl Inner {
    /// Whether an event of this size may wait; one always may.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = self.queued_bytes + bytes <= limits::SOCKET_EVENT_BYTES_QUEUED_MAX;
        self.queue.len() < limits::SOCKET_EVENTS_QUEUED_MAX && (fits || self.queue.is_empty())
    }

    fn pop(&mut self) -> Option<Incoming> {
        let next = self.queue.pop_front()?;
        self.queued_bytes -= next.bytes();
        Some(next)
    }
}

impl Slot {
    /// A slot whose socket is on its way: the caller runs [`Slot::attached`] or drops it.
    pub(crate) fn connecting(handler: SharedHandler, siblings: &Arc<Slots>) -> Arc<Self> {
        let inner = Inner {
            queue: VecDeque::new(),
            queued_bytes: 0,
            busy: true,
            socket: None,
            failed: false,
            ended: None,
        };
        Arc::new(Self {
            handler,
            inner: Mutex::new(inner),
            room: Notify::new(),
            siblings: Arc::downgrade(siblings),
        })
    }

    /// The connect was refused; the client may ask again on the same connection.
    pub(crate) fn fail(&self) {
        let mut inner = self.inner.lock();
        inner.failed = true;
        inner.queue.clear();
        inner.queued_bytes = 0;
        self.room.notify_one();
    }

    /// Whether the client may connect to the namespace again: refused, or ended by the server.
    pub(crate) fn is_over(&self) -> bool {
        let inner = self.inner.lock();
        inner.failed || inner.ended.is_some()
    }

    /// Whether its handlers have nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        !inner.busy && inner.queue.is_empty()
    }

    /// The socket, once it is in place.
    pub(crate) fn socket(&self) -> Option<Socket> {
        self.inner.lock().socket.clone()
    }

    /// The socket is in place: its connection handler runs, then what waited. If it has ended
    /// meanwhile, its session's fate is carried out now: nobody else would.
    pub(crate) async fn attached(self: Arc<Self>, socket: Socket) {
        {
            let mut inner = self.inner.lock();
            inner.socket = Some(socket.clone());
            if let Some(parting) = inner.ended.clone() {
                part(&socket, parting);
            }
        }
        let holder: Arc<dyn Holder> = Arc::<Self>::clone(&self);
        socket.local.hold(Arc::downgrade(&holder));
        if panicked("connect", self.handler.on_connect(&socket)).await {
            // Half of what it does may be missing: rooms, for example.
            self.disconnect();
        }
        self.drain(socket).await;
    }

    /// Takes an event, in order. Waits while the queue is full: that stops reading from the client.
    pub(crate) async fn take(self: &Arc<Self>, incoming: Incoming) {
        let bytes = incoming.bytes();
        let socket = loop {
            let room = self.room.notified();
            {
                let mut inner = self.inner.lock();
                if inner.failed || inner.ended.is_some() {
                    return;
                }
                if let (false, Some(socket)) = (inner.busy, inner.socket.clone()) {
                    inner.busy = true;
                    break socket;
                }
                if inner.has_room(bytes) {
                    inner.queue.push_back(incoming);
                    inner.queued_bytes += bytes;
                    return;
                }
            }
            room.await;
        };
        let handler = Arc::clone(&self.handler);
        let running = socket.clone();
        let mut work: BoxFuture<'static, ()> =
            Box::pin(async move { handle(&handler, &running, incoming).await });
        if futures_util::poll!(&mut work).is_ready() {
            if !self.finish() {
                return;
            }
            tokio::spawn(Arc::clone(self).drain(socket));
        } else {
            let slot = Arc::clone(self);
            tokio::spawn(async move {
                work.await;
                slot.drain(socket).await;
            });
        }
    }

    /// Takes the end of the socket, once; never waits, for nothing comes after it. The session's
    /// fate is decided at once; its handler hears of it in order.
    pub(crate) fn end(self: &Arc<Self>, parting: Parting, reason: &'static str) {
        let mut inner = self.inner.lock();
        if inner.failed || inner.ended.is_some() {
            return;
        }
        metrics::disconnects(reason).increment(1);
        if let Some(socket) = &inner.socket {
            part(socket, parting.clone());
        }
        inner.ended = Some(parting);
        inner.queue.push_back(Incoming::Disconnected { reason });
        self.room.notify_one();
        if let (false, Some(socket)) = (inner.busy, inner.socket.clone()) {
            inner.busy = true;
            tokio::spawn(Arc::clone(self).drain(socket));
        }
    }

    /// Ends the socket for good and tells its client; nothing for one that is not in place.
    pub(crate) fn disconnect(self: &Arc<Self>) {
        let reason = KICKED;
        if let Some(socket) = self.socket() {
            let messages = socket.local.parser.disconnect(socket.namespace());
            socket.local.answer_now(&Frames::of(messages));
            self.end(Parting::End { reason }, reason);
        }
    }

    /// The same for every socket of the connection, as the reference's `disconnect(true)`.
    pub(crate) fn disconnect_all(&self) {
        let slots = self.siblings.upgrade();
        for slot in slots.iter().flat_map(|slots| slots.all()) {
            slot.disconnect();
        }
    }

    async fn drain(self: Arc<Self>, socket: Socket) {
        loop {
            let next = self.inner.lock().pop();
            self.room.notify_one();
            match next {
                Some(incoming) => handle(&self.handler, &socket, incoming).await,
                None if self.finish() => {}
                None => return,
            }
        }
    }

    /// Nothing is left to do, unless something arrived meanwhile (true).
    fn finish(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.busy = !inner.queue.is_empty();
        inner.busy
    }
}

impl Holder for Slot {
    fn kicked(self: Arc<Self>, close: bool) {
        let reason = KICKED;
        self.end(Parting::End { reason }, reason);
        if let (true, Some(socket)) = (close, self.socket()) {
            self.disconnect_all();
            socket.local.session.close(CloseReason::ServerClosed);
        }
    }
}

/// Nothing more is delivered, and the log learns it. Not for a socket that was taken over or whose
/// lease is lost: others have said what becomes of its session.
fn part(socket: &Socket, parting: Parting) {
    if !socket.local.is_stopped() {
        socket.local.stop();
        socket.group.part(&socket.local, parting);
    }
}

async fn handle(handler: &SharedHandler, socket: &Socket, incoming: Incoming) {
    match incoming {
        Incoming::Event { event, ack } => {
            let ack = ack.map(|id| Ack::new(Arc::clone(&socket.local), id));
            panicked("event", handler.on_event(socket, event, ack)).await;
        }
        Incoming::Disconnected { reason } => {
            panicked("disconnect", handler.on_disconnect(socket, reason)).await;
        }
    }
}

/// Runs a handler, and says whether it panicked: that is its own socket's matter. An event's sender
/// is answered when the acknowledgement is dropped, and the socket goes on.
async fn panicked(handler: &'static str, running: impl Future<Output = ()>) -> bool {
    caught(handler, running).await.is_none()
}
