//! The sending half of an open transport: control packets first, then the sockets in turn.
//!
//! A packet leaves its socket's queue only when the transport is ready for it, so that at a cut
//! what is still queued was surely not sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::SinkExt;

use crate::socket_core::SocketCore;
use crate::transport::{Message, TransportError, Writer};

/// Messages in front of the sockets' packets at which reading stops, since what is read (pings)
/// is what makes them more.
const MESSAGES_MAX: usize = 64;

/// The sockets of a client, in the order in which they were made.
pub(crate) type Sockets = [Arc<SocketCore>];

/// The writer and what goes through it next.
pub(crate) struct Writing {
    /// The transport's half.
    writer: Writer,
    /// To be written before the next packet of a socket: control packets, and the attachments
    /// of the packet before.
    messages: VecDeque<Message>,
    /// The socket whose turn it is.
    turn: usize,
}

impl Writing {
    /// Nothing to write yet.
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            writer,
            messages: VecDeque::new(),
            turn: 0,
        }
    }

    /// Queues a control packet.
    pub(crate) fn push(&mut self, text: Bytes) {
        self.messages.push_back(Message::Text(text));
    }

    /// Whether so much waits that nothing more should be read.
    pub(crate) fn is_behind(&self) -> bool {
        self.messages.len() >= MESSAGES_MAX
    }

    /// Writes and flushes all that there is now. Cancel safe.
    pub(crate) async fn flush(&mut self, sockets: &Sockets) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll(sockets, cx)).await
    }

    fn poll(
        &mut self,
        sockets: &Sockets,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        loop {
            ready!(self.writer.as_mut().poll_ready(cx))?;
            match self.next_message(sockets) {
                Some(message) => self.writer.as_mut().start_send(message)?,
                None => return self.writer.as_mut().poll_flush(cx),
            }
        }
    }

    /// Control packets and attachments first, then one packet of each socket in turn.
    fn next_message(&mut self, sockets: &Sockets) -> Option<Message> {
        if let Some(message) = self.messages.pop_front() {
            return Some(message);
        }
        for _ in sockets {
            let socket = &sockets[self.turn % sockets.len()];
            self.turn = (self.turn + 1) % sockets.len();
            if let Some(packet) = socket.next_packet() {
                let attachments = packet.attachments.into_iter().map(Message::Binary);
                self.messages.extend(attachments);
                return Some(Message::Text(packet.text));
            }
        }
        None
    }

    /// Says goodbye.
    pub(crate) async fn close(&mut self) -> Result<(), TransportError> {
        self.writer.close().await
    }
}
