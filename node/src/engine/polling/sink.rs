//! The writing half of a session that began on polling: frames to the payload of a GET, later to
//! the WebSocket that took over.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use roomcast_proto::engineio::{base64, payload};
use tracing::debug;

use super::link::{CLOSE, Link, NOOP, UpgradedSink, Writable};
use crate::engine::close::CloseReason;
use crate::engine::frames::Frames;
use crate::engine::outbox::{Batch, Written};
use crate::engine::session::SessionHandle;
use crate::engine::transport::FrameSink;
use crate::limits;

/// Writes one session.
pub(crate) struct PollingSink {
    /// The session; its link is there.
    session: SessionHandle,
    /// Bytes of one payload; a single larger packet makes a payload of its own.
    payload_bytes_max: usize,
    /// After the upgrade.
    websocket: Option<UpgradedSink>,
}

impl PollingSink {
    /// The session must have a link.
    pub(crate) fn new(session: SessionHandle, payload_bytes_max: usize) -> Self {
        Self {
            session,
            payload_bytes_max,
            websocket: None,
        }
    }

    fn link(&self) -> &Link {
        self.session.link().expect("given at construction")
    }

    /// The session is over for HTTP; a GET that waits is told `last`.
    fn end_with(&self, last: Bytes) {
        self.link().end(last, self.session.outbox());
    }

    /// Moves frames from the batch into one payload.
    fn payload(&self, batch: &mut Batch) -> (Bytes, Written) {
        let mut bytes = BytesMut::new();
        let mut written = Written::default();
        while let Some(front) = batch.front() {
            if !bytes.is_empty() && bytes.len() + payload_len(front) > self.payload_bytes_max {
                break;
            }
            put(&mut bytes, front);
            if !front.is_control() {
                written.frames += 1;
                written.bytes += front.len();
            }
            batch.pop_front();
        }
        (bytes.freeze(), written)
    }
}

/// What frames take in a payload, the separator before each packet included.
fn payload_len(frames: &Frames) -> usize {
    let (text, attachments) = frames.packets();
    let binary = attachments
        .iter()
        .map(|bytes| 2 + bytes.len().div_ceil(3) * 4);
    1 + text.len() + binary.sum::<usize>()
}

/// Appends a packet's parts, behind a separator where something stands before it.
fn put_packet(payload: &mut BytesMut, parts: &[&[u8]]) {
    if !payload.is_empty() {
        payload.put_u8(payload::SEPARATOR);
    }
    parts.iter().for_each(|part| payload.put_slice(part));
}

fn put(payload: &mut BytesMut, frames: &Frames) {
    payload.reserve(payload_len(frames));
    let (text, attachments) = frames.packets();
    if !text.is_empty() {
        put_packet(payload, &[text]);
    }
    for attachment in attachments {
        put_packet(payload, &[b"b", base64::encode(attachment).as_bytes()]);
    }
}

impl FrameSink for PollingSink {
    async fn ready(&mut self) {
        if self.websocket.is_some() {
            return;
        }
        let (outbox, link) = (self.session.outbox(), self.link());
        let writable = poll_fn(|cx| {
            outbox.register_task(cx);
            link.writable().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        if let Writable::WebSocket(sink) = writable {
            self.websocket = Some(sink);
        }
    }

    async fn write(&mut self, batch: &mut Batch) -> io::Result<Written> {
        loop {
            self.ready().await;
            if let Some(websocket) = &mut self.websocket {
                return websocket.write(batch).await;
            }
            let Some(get) = self.link().take_get(self.session.outbox()) else {
                // An upgrade released it.
                continue;
            };
            let (payload, written) = self.payload(batch);
            // A client that left before its answer ends the session, see `Polling::get`.
            get.send(Ok(payload))
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            return Ok(written);
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.websocket {
            Some(websocket) => websocket.flush().await,
            None => Ok(()),
        }
    }

    fn boundary(&self) -> usize {
        self.websocket.as_ref().map_or(0, FrameSink::boundary)
    }

    async fn close(&mut self, reason: CloseReason) -> io::Result<()> {
        if let Some(Writable::WebSocket(sink)) = self.link().writable() {
            self.websocket = Some(sink);
        }
        if let Some(websocket) = &mut self.websocket {
            return websocket.close(reason).await;
        }
        if reason != CloseReason::ClientClosed {
            self.link().stop_posts();
        }
        match reason {
            // The client's own GET may be on its way, on another connection: it is released, too.
            // The POST is answered after it: a GET that follows that answer finds no session.
            CloseReason::ClientClosed => {
                let late = tokio::time::timeout(limits::POLLING_RACE_DEADLINE, self.ready());
                if late.await.is_err() {
                    debug!(sid = ?self.session.sid(), "no GET to release at the client's close");
                }
                self.end_with(NOOP);
                self.link().stop_posts();
            }
            reason if is_peers_fault(reason) => self.end_with(CLOSE),
            // Alone in its payload, after the one with the last events: a client that is told of
            // both at once hands those events over and then resumes from before them.
            _ => {
                self.ready().await;
                if let Some(websocket) = &mut self.websocket {
                    return websocket.close(reason).await;
                }
                self.end_with(CLOSE);
            }
        }
        Ok(())
    }

    fn flushes(&self, reason: CloseReason) -> bool {
        reason.flushes() && (self.websocket.is_some() || !is_peers_fault(reason))
    }

    fn close_deadline(&self) -> Duration {
        match self.websocket {
            Some(_) => limits::CLOSE_FLUSH_DEADLINE,
            None => limits::POLLING_CLOSE_DEADLINE,
        }
    }
}

/// Whether the client gets no time to fetch anything more: it broke the rules or went silent.
const fn is_peers_fault(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ParseError
            | CloseReason::Violation
            | CloseReason::TooLarge
            | CloseReason::PingTimeout
    )
}
