//! What the connection task does to a socket: what to send, and what a packet changes.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::error::AckError;
use crate::event::{Args, Connected, DisconnectReason, Event, Notice};
use crate::outgoing::{Outgoing, OutgoingKind};
use crate::socket::Responder;
use crate::socket_core::state::{Phase, SocketCore, after_leave};
use crate::wire;

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

    /// The server answered CONNECT; an answer that nothing asked for changes nothing.
    pub(crate) fn on_connect(&self, payload: Option<&[u8]>, endpoint: &str) -> Result<(), String> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Connecting { .. }) {
            return Ok(());
        }
        let reply = wire::connect_reply(payload).ok_or("connect without a sid")?;
        let verdict = reply.resume.as_ref().map(|resume| resume.ok);
        let recovered = state.progress.connected(reply.pid.as_deref(), verdict);
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
