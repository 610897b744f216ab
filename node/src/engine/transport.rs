//! The seam between a session and what carries it: two halves, so that reading never waits for
//! writing. A transport knows framing, not heartbeats, limits of queues or why a session ends.

use std::future::Future;
use std::io;
use std::time::Duration;

use roomcast_proto::engineio::Packet;
use roomcast_proto::websocket::FrameError;

use super::close::CloseReason;
use super::outbox::{Batch, Outbox, Written};
use crate::limits;

/// Why no more packets come from a transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The client said goodbye in the transport's own way.
    #[error("closed by the client")]
    ClosedByPeer,
    /// The connection ended without one.
    #[error("connection ended")]
    Ended,
    /// The connection failed.
    #[error("connection failed")]
    Io(#[from] io::Error),
    /// The client broke the transport's rules; the text says which.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    /// A text frame was not UTF-8; WebSocket has a close code for that.
    #[error("text is not utf-8")]
    NotUtf8,
    /// A packet of the client cannot be decoded.
    #[error("packet cannot be decoded")]
    Packet(#[from] roomcast_proto::DecodeError),
    /// A message was larger than allowed.
    #[error("message larger than allowed")]
    TooLarge,
}

impl From<FrameError> for TransportError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Violation(rule) => Self::Protocol(rule),
            FrameError::TooLarge => Self::TooLarge,
        }
    }
}

impl TransportError {
    /// The kind of a peer's fault, for the metric of protocol errors.
    pub(crate) const fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Protocol(_) | Self::NotUtf8 => Some("websocket"),
            Self::Packet(_) => Some("engineio"),
            Self::TooLarge => Some("too_large"),
            Self::ClosedByPeer | Self::Ended | Self::Io(_) => None,
        }
    }

    /// The reason a session ends with: the only place where a peer's fault becomes one.
    #[must_use]
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::ClosedByPeer => CloseReason::ClientClosed,
            Self::Ended => CloseReason::TransportClosed,
            Self::Io(_) => CloseReason::TransportError,
            Self::NotUtf8 => CloseReason::NotUtf8,
            Self::Protocol(_) | Self::Packet(_) => CloseReason::ParseError,
            Self::TooLarge => CloseReason::TooLarge,
        }
    }
}

/// The reading half: Engine.IO packets of the client in order.
pub(crate) trait PacketSource: Send {
    /// The next packet. Answers to the transport's own control frames go to `outbox`. Cancel safe.
    fn next(
        &mut self,
        outbox: &Outbox,
    ) -> impl Future<Output = Result<Packet, TransportError>> + Send;

    /// Reads and discards until the client's end of stream; bounded by the caller in time and by
    /// the transport in bytes.
    fn linger(&mut self) -> impl Future<Output = ()> + Send;
}

/// The writing half: takes frames in order.
pub(crate) trait FrameSink: Send {
    /// Completes when the transport takes frames at all: while it does not, they stay in the
    /// outbox, where later ones join them. A connection always does; polling, when a GET waits.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Writes as much of a non-empty batch as the transport takes at once and removes what is
    /// written completely from its front. Cancel safe: a frame written in part stays first and is
    /// continued.
    fn write(&mut self, batch: &mut Batch) -> impl Future<Output = io::Result<Written>> + Send;

    /// Pushes buffered bytes on, where the connection buffers; before the session goes idle.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Where in the batch a frame may be put in: 1 while the first is written in part, else 0.
    fn boundary(&self) -> usize;

    /// Says goodbye with the reason's code and word, and ends the writing direction. Not before
    /// the batch is empty, or [`FrameSink::boundary`] is 0.
    fn close(&mut self, reason: CloseReason) -> impl Future<Output = io::Result<()>> + Send;

    /// Whether what waits is still written before a close of this reason.
    fn flushes(&self, reason: CloseReason) -> bool {
        reason.flushes()
    }

    /// Time for that and for the goodbye.
    fn close_deadline(&self) -> Duration {
        limits::CLOSE_FLUSH_DEADLINE
    }
}
