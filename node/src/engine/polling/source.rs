//! The reading half of a session that began on polling: packets of POSTs, later those of the
//! WebSocket that took over.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use roomcast_proto::engineio::{Packet, payload};

use super::link::{Link, Readable, UpgradedSource};
use crate::engine::outbox::Outbox;
use crate::engine::session::SessionHandle;
use crate::engine::transport::{PacketSource, TransportError};

/// Reads one session.
pub(crate) struct PollingSource {
    /// The session; its link is there.
    session: SessionHandle,
    /// What is left of the payload under way.
    payload: Option<Bytes>,
    /// After the upgrade.
    websocket: Option<UpgradedSource>,
}

impl PollingSource {
    /// The session must have a link.
    pub(crate) fn new(session: SessionHandle) -> Self {
        Self {
            session,
            payload: None,
            websocket: None,
        }
    }

    fn link(&self) -> &Link {
        self.session.link().expect("given at construction")
    }

    /// The next packet of the payload under way; those before a bad one count, as in the reference.
    fn next_of_payload(&mut self) -> Option<Result<Packet, TransportError>> {
        let rest = self.payload.as_mut()?;
        let (text, after) = payload::split_first(rest);
        self.payload = after;
        Some(Packet::decode_text(text).map_err(TransportError::from))
    }
}

impl PacketSource for PollingSource {
    async fn next(&mut self, outbox: &Outbox) -> Result<Packet, TransportError> {
        if let Some(packet) = self.next_of_payload() {
            return packet;
        }
        loop {
            if let Some(websocket) = &mut self.websocket {
                return websocket.next(outbox).await;
            }
            let link = self.link();
            link.post_handled();
            let readable = poll_fn(|cx| {
                outbox.register_task(cx);
                link.take_readable().map_or(Poll::Pending, Poll::Ready)
            })
            .await;
            match readable {
                Readable::Payload(payload) => {
                    self.payload = Some(payload);
                    if let Some(packet) = self.next_of_payload() {
                        return packet;
                    }
                }
                Readable::WebSocket(source) => self.websocket = Some(source),
            }
        }
    }

    async fn linger(&mut self) {
        if let Some(websocket) = &mut self.websocket {
            websocket.linger().await;
        }
    }
}

impl Drop for PollingSource {
    fn drop(&mut self) {
        self.link().over(self.session.outbox());
    }
}
