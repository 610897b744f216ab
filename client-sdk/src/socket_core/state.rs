//! The state of one socket: its phase, its queues, its resume state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use roomcast_proto::socketio::Namespace;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::error::EmitError;
use crate::event::{DisconnectReason, Notice};
use crate::inbox::InboxQueue;
use crate::options::{Acknowledgement, SocketOptions};
use crate::outgoing::{Outgoing, PendingAcks, SendQueue};
use crate::resume::Progress;

/// Where a socket stands on its way into its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not to be connected until the application asks for it.
    Idle,
    /// To be connected as soon as there is a transport.
    Wanted,
    /// CONNECT was sent. After a leave on the same transport, events may still come that the
    /// server sent before it heard of the leave.
    Connecting { after_leave: bool },
    /// The server granted the namespace.
    Connected,
    /// The application wants to leave: what is queued goes out first, then DISCONNECT.
    Leaving { then_connect: bool },
}

/// What handles and task share of one socket.
pub(crate) struct SocketCore {
    /// The namespace; never changes.
    pub(super) namespace: Namespace,
    /// Everything that changes.
    pub(super) state: Mutex<State>,
    /// Told when the inbox has something, or will have nothing more.
    pub(super) readable: Notify,
    /// Tells the task that there is something to do.
    pub(super) wake: Arc<Notify>,
    /// The server's `maxPayload`; 0 while it is unknown. One for all sockets of a client.
    pub(super) max_payload: Arc<AtomicUsize>,
}

/// The state behind the lock.
pub(super) struct State {
    /// Where the socket stands.
    pub(super) phase: Phase,
    /// The id while connected.
    pub(super) id: Option<String>,
    /// The CONNECT payload but for pid and offset.
    pub(super) auth: Map<String, Value>,
    /// Counts connections, to recognise an answer that belongs to an earlier one.
    pub(super) connection: u64,
    /// A DISCONNECT was sent on the present transport.
    pub(super) has_left: bool,
    /// Packets to send.
    pub(super) outgoing: SendQueue,
    /// Acknowledgements awaited.
    pub(super) acks: PendingAcks,
    /// What the application has not taken yet.
    pub(super) inbox: InboxQueue,
    /// Pid and offset.
    pub(super) progress: Progress,
}

impl SocketCore {
    /// A socket that wants to be connected. `auth` is the payload, checked to be an object.
    pub(crate) fn new(
        namespace: Namespace,
        mut auth: Map<String, Value>,
        options: SocketOptions,
        wake: Arc<Notify>,
        max_payload: Arc<AtomicUsize>,
    ) -> Self {
        let is_subscriber = options.subscriber.is_some();
        if !options.recovery {
            auth.entry("recovery").or_insert(Value::Bool(false));
        }
        if options.acknowledgement == Acknowledgement::Manual {
            auth.entry("ack").or_insert("manual".into());
        }
        if let Some(subscriber) = options.subscriber {
            auth.entry("subscriber").or_insert(subscriber.into());
        }
        let state = State {
            phase: Phase::Wanted,
            id: None,
            auth,
            connection: 0,
            has_left: false,
            outgoing: SendQueue::new(options.emits_buffered_max, options.emit_bytes_buffered_max),
            acks: PendingAcks::default(),
            inbox: InboxQueue::new(options.inbox_events_max),
            progress: Progress::new(options.resume, options.acknowledgement, is_subscriber),
        };
        Self {
            namespace,
            state: Mutex::new(state),
            readable: Notify::new(),
            wake,
            max_payload,
        }
    }

    /// Refuses a packet with a message that the server would not take.
    pub(super) fn check_size(&self, packet: &Outgoing) -> Result<(), EmitError> {
        let bytes = packet.message_bytes_max();
        let max = self.max_payload.load(Ordering::Relaxed);
        if max > 0 && bytes > max {
            return Err(EmitError::TooLarge { bytes, max });
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl fmt::Debug for SocketCore {
    /// Without the state: auth and pid must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketCore")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl State {
    /// A connected socket lost its connection; what was not sent waits.
    pub(super) fn lose(&mut self, phase: Phase, reason: DisconnectReason) {
        self.phase = phase;
        self.id = None;
        self.acks.cut();
        self.outgoing.drop_answers();
        self.inbox.push_state(Notice::Disconnected { reason });
    }

    /// The socket is done with its namespace; nothing waits any more.
    pub(super) fn settle(&mut self, phase: Phase) {
        self.phase = phase;
        self.id = None;
        self.outgoing.clear();
        self.acks.close();
    }
}

/// The phase that follows a leave.
pub(super) fn after_leave(then_connect: bool) -> Phase {
    if then_connect {
        Phase::Wanted
    } else {
        Phase::Idle
    }
}
