//! Counts of the engine, kept as plain atomics; the floor that serves metrics reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::close::CloseReason;

/// What all sessions of a node did. Only grows; what is open now is opened minus closed.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions opened.
    opened: AtomicU64,
    /// Sessions closed, by place in [`CloseReason::ALL`].
    closed: [AtomicU64; CloseReason::ALL.len()],
    /// Messages received.
    messages_in: AtomicU64,
    /// Bytes of messages received.
    bytes_in: AtomicU64,
    /// Messages written completely.
    frames_out: AtomicU64,
    /// Bytes of messages written.
    bytes_out: AtomicU64,
    /// Vectored writes: frames divided by writes is how well writing coalesces.
    writes: AtomicU64,
    /// Pushes refused because an outbox was full.
    outbox_full: AtomicU64,
    /// Handshakes refused for now (503).
    refused: AtomicU64,
    /// Handshakes refused for good (400, 403).
    bad_handshakes: AtomicU64,
    /// Connections refused at the connection limit.
    connections_refused: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValues {
    /// Sessions opened.
    pub opened: u64,
    /// Sessions closed, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Messages received.
    pub messages_in: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Messages written completely.
    pub frames_out: u64,
    /// Bytes of messages written.
    pub bytes_out: u64,
    /// Vectored writes.
    pub writes: u64,
    /// Pushes refused because an outbox was full.
    pub outbox_full: u64,
    /// Handshakes refused for now.
    pub refused: u64,
    /// Handshakes refused for good.
    pub bad_handshakes: u64,
    /// Connections refused at the connection limit.
    pub connections_refused: u64,
}

impl CounterValues {
    /// Sessions open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed.iter().sum())
    }
}

impl Counters {
    /// The values now; each is exact, together they are of about one moment.
    #[must_use]
    pub fn values(&self) -> CounterValues {
        // Closed before opened: the difference is then never negative.
        let closed = std::array::from_fn(|i| self.closed[i].load(Relaxed));
        CounterValues {
            opened: self.opened.load(Relaxed),
            closed,
            messages_in: self.messages_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            writes: self.writes.load(Relaxed),
            outbox_full: self.outbox_full.load(Relaxed),
            refused: self.refused.load(Relaxed),
            bad_handshakes: self.bad_handshakes.load(Relaxed),
            connections_refused: self.connections_refused.load(Relaxed),
        }
    }

    pub(crate) fn session_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn session_closed(&self, reason: CloseReason) {
        self.closed[reason.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn message_received(&self, bytes: usize) {
        self.messages_in.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn written(&self, frames: usize, bytes: usize) {
        self.writes.fetch_add(1, Relaxed);
        self.frames_out.fetch_add(frames as u64, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn outbox_full(&self) {
        self.outbox_full.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_bad(&self) {
        self.bad_handshakes.fetch_add(1, Relaxed);
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Relaxed);
    }
}
