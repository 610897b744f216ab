//! One socket as its two sides share it: the application's handles and the connection task.
//!
//! Owns the socket's phase and, behind one short lock, its queues and its resume state. Every
//! change of phase is a method here; the task decides when, never how.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use roomcast_proto::socketio::Namespace;
use serde_json::{Map, Value};
use tokio::sync::{Notify, oneshot};

use crate::error::{AckError, EmitError};
use crate::event::{Args, Connected, DisconnectReason, Event, Notice, ResumeToken};
use crate::inbox::InboxQueue;
use crate::options::SocketOptions;
use crate::outgoing::{AckResult, Outgoing, OutgoingKind, PendingAcks, SendQueue};
use crate::resume::Progress;
use crate::socket::Responder;
use crate::wire;

/// Where a socket stands on its way into its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
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
#[derive(Debug)]
pub(crate) struct SocketCore {
    /// The namespace; never changes.
    namespace: Namespace,
    /// Everything that changes.
    state: Mutex<State>,
    /// Told when the inbox has something, or will have nothing more.
    readable: Notify,
    /// Tells the task that there is something to do.
    wake: Arc<Notify>,
    /// The server's `maxPayload`; 0 while it is unknown. One for all sockets of a client.
    max_payload: Arc<AtomicUsize>,
}

/// The state behind the lock.
#[derive(Debug)]
struct State {
    /// Where the socket stands.
    phase: Phase,
    /// The id while connected.
    id: Option<String>,
    /// The CONNECT payload but for pid and offset.
    auth: Map<String, Value>,
    /// Counts connections, to recognise an answer that belongs to an earlier one.
    connection: u64,
    /// A DISCONNECT was sent on the present transport.
    has_left: bool,
    /// Packets to send.
    outgoing: SendQueue,
    /// Acknowledgements awaited.
    acks: PendingAcks,
    /// What the application has not taken yet.
    inbox: InboxQueue,
    /// Pid and offset.
    progress: Progress,
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
        if let Some(subscriber) = options.subscriber {
            auth.entry("subscriber").or_insert(subscriber.into());
        }
        let bounds = (options.emits_buffered_max, options.emit_bytes_buffered_max);
        let state = State {
            phase: Phase::Wanted,
            id: None,
            auth,
            connection: 0,
            has_left: false,
            outgoing: SendQueue::new(bounds.0, bounds.1),
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The application's side.
impl SocketCore {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn id(&self) -> Option<String> {
        self.lock().id.clone()
    }

    pub(crate) fn resume_token(&self) -> Option<ResumeToken> {
        self.lock().progress.token()
    }

    pub(crate) fn acknowledge(&self, offset: &str) {
        self.lock().progress.acknowledge(offset);
    }

    /// Replaces the application's members of the CONNECT payload, from the next CONNECT on.
    pub(crate) fn set_auth(&self, auth: Map<String, Value>) {
        let mut state = self.lock();
        for key in ["recovery", "subscriber"] {
            if let Some(value) = state.auth.remove(key)
                && !auth.contains_key(key)
            {
                state.auth.insert(key.to_owned(), value);
            }
        }
        state
            .auth
            .retain(|key, _| key == "recovery" || key == "subscriber");
        state.auth.extend(auth);
    }

    /// Asks for the namespace again.
    pub(crate) fn want(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Idle => state.phase = Phase::Wanted,
            Phase::Leaving { .. } => state.phase = Phase::Leaving { then_connect: true },
            Phase::Wanted | Phase::Connecting { .. } | Phase::Connected => return,
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Leaves the namespace and ends the session.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.progress.end();
        match state.phase {
            Phase::Connected => {
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
                state.id = None;
                state.inbox.push_state(Notice::Disconnected {
                    reason: DisconnectReason::ClientDisconnect,
                });
            }
            Phase::Connecting { .. } => {
                state.outgoing.clear();
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
            }
            Phase::Leaving { .. } => {
                state.phase = Phase::Leaving {
                    then_connect: false,
                };
            }
            Phase::Idle | Phase::Wanted => state.settle(Phase::Idle),
        }
        drop(state);
        self.readable.notify_one();
        self.wake.notify_one();
    }

    /// Queues an event without an ack.
    pub(crate) fn emit(&self, name: &str, args: Args) -> Result<(), EmitError> {
        let event = wire::event(&self.namespace, name, args, OutgoingKind::Emit)?;
        self.queue(event)
    }

    /// Queues an event with an ack.
    pub(crate) fn request(
        &self,
        name: &str,
        args: Args,
    ) -> Result<(u64, oneshot::Receiver<AckResult>), EmitError> {
        let (id, answer) = self.lock().acks.register();
        let queued = wire::event(&self.namespace, name, args, OutgoingKind::Request(id))
            .and_then(|event| self.queue(event));
        if let Err(error) = queued {
            self.forget(id);
            return Err(error);
        }
        Ok((id, answer))
    }

    fn queue(&self, packet: Outgoing) -> Result<(), EmitError> {
        self.check_size(&packet)?;
        let mut state = self.lock();
        if matches!(state.phase, Phase::Idle | Phase::Leaving { .. }) {
            return Err(EmitError::Disconnected);
        }
        state.outgoing.push(packet)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Queues the answer to an event that came on connection `connection`.
    pub(crate) fn answer(&self, connection: u64, id: u64, args: Args) -> Result<(), EmitError> {
        let packet = wire::answer(&self.namespace, id, args);
        self.check_size(&packet)?;
        let mut state = self.lock();
        if state.connection != connection || state.phase != Phase::Connected {
            return Err(EmitError::StaleAck);
        }
        state.outgoing.push(packet)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn check_size(&self, packet: &Outgoing) -> Result<(), EmitError> {
        let (bytes, max) = (packet.message_bytes_max(), self.max_payload());
        if max > 0 && bytes > max {
            return Err(EmitError::TooLarge { bytes, max });
        }
        Ok(())
    }

    fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// Nobody waits for ack `id` any more.
    pub(crate) fn forget(&self, id: u64) {
        self.lock().acks.forget(id);
    }

    /// Takes an emit back whose deadline has passed; `false` if it was sent.
    pub(crate) fn take_back(&self, id: u64) -> bool {
        self.lock().outgoing.take_back(id)
    }

    /// The next entry of the inbox. `Ok(None)`: nothing now. `Err`: nothing more ever.
    pub(crate) fn take_notice(&self) -> Result<Option<Notice>, Ended> {
        let mut state = self.lock();
        let was_full = state.inbox.is_full();
        let Some(entry) = state.inbox.pop() else {
            return if state.inbox.is_ended() {
                Err(Ended)
            } else {
                Ok(None)
            };
        };
        if let Some((session, offset)) = &entry.mark {
            state.progress.handed_over(*session, offset);
        }
        drop(state);
        if was_full {
            self.wake.notify_one();
        }
        Ok(Some(entry.notice))
    }

    /// Waits until the inbox may have something.
    pub(crate) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// The application dropped its inbox: all counts as handed over from now on.
    pub(crate) fn close_inbox(&self) {
        let mut state = self.lock();
        for entry in state.inbox.close() {
            if let Some((session, offset)) = &entry.mark {
                state.progress.handed_over(*session, offset);
            }
        }
        drop(state);
        self.wake.notify_one();
    }
}

/// The inbox will not have anything more.
#[derive(Debug)]
pub(crate) struct Ended;

/// The connection task's side.
impl SocketCore {
    /// Whether there is a reason to have a transport.
    pub(crate) fn is_active(&self) -> bool {
        self.lock().phase != Phase::Idle
    }

    /// Whether a further event would be too many.
    pub(crate) fn is_inbox_full(&self) -> bool {
        self.lock().inbox.is_full()
    }

    /// The CONNECT packet, if this socket is to be connected now.
    pub(crate) fn take_connect(&self) -> Option<Bytes> {
        let state = &mut *self.lock();
        if state.phase != Phase::Wanted {
            return None;
        }
        state.phase = Phase::Connecting {
            after_leave: state.has_left,
        };
        let in_inbox = state.inbox.offsets(state.progress.session());
        let (pid, offset) = state.progress.request(in_inbox);
        Some(wire::connect(&self.namespace, &state.auth, pid, offset))
    }

    /// The next packet for the transport, counted as sent from here on.
    pub(crate) fn next_packet(&self) -> Option<Outgoing> {
        let state = &mut *self.lock();
        if !matches!(state.phase, Phase::Connected | Phase::Leaving { .. }) {
            return None;
        }
        while let Some(packet) = state.outgoing.pop() {
            let refused = self.check_size(&packet);
            match (packet.kind, refused) {
                (OutgoingKind::Request(id), Ok(())) => state.acks.sent(id),
                (_, Ok(())) => {}
                (OutgoingKind::Request(id), Err(error)) => {
                    state.acks.resolve(id, Err(AckError::Refused(error)));
                    continue;
                }
                (_, Err(error)) => {
                    tracing::warn!(namespace = %self.namespace, %error, "emit dropped");
                    continue;
                }
            }
            return Some(packet);
        }
        let Phase::Leaving { then_connect } = state.phase else {
            return None;
        };
        state.has_left = true;
        state.settle(after_leave(then_connect));
        // Perhaps nobody needs the transport now, perhaps this socket needs a CONNECT.
        self.wake.notify_one();
        Some(Outgoing {
            text: wire::disconnect(&self.namespace),
            attachments: Vec::new(),
            kind: OutgoingKind::Answer,
        })
    }

    /// The server answered CONNECT. Returns whether it was expected.
    pub(crate) fn on_connect(&self, payload: Option<&[u8]>, endpoint: &str) -> Result<(), String> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Connecting { .. }) {
            return Ok(());
        }
        let reply = wire::connect_reply(payload).ok_or("connect without a sid")?;
        let is_resumed = reply.resume.as_ref().is_some_and(|resume| resume.ok);
        let recovered = state.progress.connected(reply.pid.as_deref(), is_resumed);
        state.phase = Phase::Connected;
        state.id = Some(reply.sid.clone());
        state.connection += 1;
        state.inbox.push_state(Notice::Connected(Connected {
            id: reply.sid,
            recovered,
            resume: reply.resume,
            endpoint: endpoint.to_owned(),
        }));
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    /// An event came.
    pub(crate) fn on_event(
        self: &Arc<Self>,
        id: Option<u64>,
        data: &[u8],
        attachments: Vec<Bytes>,
    ) -> Result<(), String> {
        let (name, mut args) = wire::event_parts(data).ok_or("event without a name")?;
        let state = &mut *self.lock();
        match state.phase {
            Phase::Connected => {}
            Phase::Connecting { after_leave: false } => return Err("event before connect".into()),
            Phase::Connecting { after_leave: true }
            | Phase::Leaving { .. }
            | Phase::Wanted
            | Phase::Idle => return Ok(()),
        }
        let mut mark = None;
        if id.is_none()
            && state.progress.has_offsets()
            && let Some(offset) = args.pop_if(|last| last.is_string())
        {
            let offset: Arc<str> = offset.as_str().unwrap_or_default().into();
            if !state.progress.is_new(&offset) {
                return Ok(());
            }
            mark = Some((state.progress.session(), offset));
        }
        if let (false, Some((session, offset))) = (state.inbox.is_open(), &mark) {
            state.progress.handed_over(*session, offset);
        }
        let event = Event {
            name,
            args,
            attachments,
            offset: mark.as_ref().map(|(_, offset)| offset.to_string()),
            ack: id.map(|id| Responder::new(Arc::downgrade(self), state.connection, id)),
        };
        state.inbox.push_event(event, mark);
        self.readable.notify_one();
        Ok(())
    }

    /// An acknowledgement came.
    pub(crate) fn on_ack(
        &self,
        id: u64,
        data: &[u8],
        attachments: Vec<Bytes>,
    ) -> Result<(), String> {
        let values: Vec<Value> =
            serde_json::from_slice(data).map_err(|error| format!("ack: {error}"))?;
        let args = Args::from_parts(values, attachments);
        self.lock().acks.resolve(id, Ok(args));
        Ok(())
    }

    /// The server refused the namespace: no further attempt by itself.
    pub(crate) fn on_connect_error(&self, data: &[u8]) -> Result<(), String> {
        let data = serde_json::from_slice(data).map_err(|error| format!("error: {error}"))?;
        let mut state = self.lock();
        if matches!(state.phase, Phase::Connecting { .. }) {
            state.phase = Phase::Idle;
            state.inbox.push_state(Notice::ConnectError { data });
        }
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    /// The server disconnected the socket: the session is over, and no attempt by itself.
    pub(crate) fn on_server_disconnect(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Idle | Phase::Wanted | Phase::Connecting { after_leave: true } => {}
            Phase::Leaving { then_connect } => state.settle(after_leave(then_connect)),
            Phase::Connecting { .. } | Phase::Connected => {
                state.progress.end();
                state.lose(Phase::Idle, DisconnectReason::ServerDisconnect);
            }
        }
        drop(state);
        self.readable.notify_one();
    }

    /// The transport is gone.
    pub(crate) fn on_cut(&self, reason: &DisconnectReason) {
        let mut state = self.lock();
        state.has_left = false;
        match state.phase {
            Phase::Idle | Phase::Wanted => {}
            Phase::Connecting { .. } => state.phase = Phase::Wanted,
            Phase::Connected => state.lose(Phase::Wanted, reason.clone()),
            Phase::Leaving { then_connect } => state.settle(after_leave(then_connect)),
        }
        drop(state);
        self.readable.notify_one();
    }

    /// The client is gone; the session stays where it is and can be resumed by its token.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Connected {
            state.lose(Phase::Idle, DisconnectReason::ClientDisconnect);
        }
        state.settle(Phase::Idle);
        state.inbox.end();
        drop(state);
        self.readable.notify_one();
    }
}

impl State {
    /// A connected socket lost its connection; what was not sent waits.
    fn lose(&mut self, phase: Phase, reason: DisconnectReason) {
        self.phase = phase;
        self.id = None;
        self.acks.cut();
        self.outgoing.drop_answers();
        self.inbox.push_state(Notice::Disconnected { reason });
    }

    /// The socket is done with its namespace; nothing waits any more.
    fn settle(&mut self, phase: Phase) {
        self.phase = phase;
        self.id = None;
        self.outgoing.clear();
        self.acks.close();
    }
}

/// The phase that follows a leave.
fn after_leave(then_connect: bool) -> Phase {
    if then_connect {
        Phase::Wanted
    } else {
        Phase::Idle
    }
}
