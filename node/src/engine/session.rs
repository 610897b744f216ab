//! One Engine.IO session as others see it: a handle that pushes, asks and closes, and never waits
//! for the client unless its caller chose to. The session itself is owned by its task (`run.rs`).

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::close::CloseReason;
use super::counters::Counters;
use super::frames::Frames;
use super::moving::Departure;
use super::outbox::{Closed, Outbox, OutboxLimits, PushError};
use super::polling::Link;
use super::sid::Sid;
use crate::limits;

/// Settings of all sessions of a node; immutable.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Time from a PONG to the next PING.
    pub ping_interval: Duration,
    /// Time a client has for its PONG.
    pub ping_timeout: Duration,
    /// Time a session may live without joining a namespace.
    pub connect_timeout: Duration,
    /// Largest message of a client, in bytes; a larger one ends the session.
    pub max_payload: usize,
    /// How much may wait for one client.
    pub outbox: OutboxLimits,
}

impl EngineConfig {
    /// The defaults of the reference, and our own limits.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            ping_interval: limits::PING_INTERVAL,
            ping_timeout: limits::PING_TIMEOUT,
            connect_timeout: limits::CONNECT_TIMEOUT,
            max_payload: limits::MAX_PAYLOAD_BYTES,
            outbox: OutboxLimits {
                bytes_max: limits::OUTBOX_BYTES_MAX,
                frames_max: limits::OUTBOX_FRAMES_MAX,
            },
        }
    }
}

/// A session; clones are the same one. Dropping it does not close it.
#[derive(Clone)]
pub struct SessionHandle(Arc<Shared>);

struct Shared {
    /// The session's id.
    sid: Sid,
    /// What waits for the client, and the waker of the session's task.
    outbox: Outbox,
    /// Where HTTP requests meet the session; `None` when it began over WebSocket.
    link: Option<Link>,
    /// How far the session's end has come.
    end: Mutex<End>,
    /// Tells those who wait for the end.
    ended: Notify,
    /// Whether a namespace was joined: lifts the connect timeout.
    joined: AtomicBool,
    /// The node's counts.
    counters: Arc<Counters>,
}

/// How far a session's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not at all.
    Open,
    /// It was asked for, or caused by the client.
    Closing(CloseReason),
    /// The transport is gone and the handler has returned from `on_close`.
    Closed(CloseReason),
}

impl SessionHandle {
    pub(crate) fn new(
        sid: Sid,
        limits: OutboxLimits,
        counters: Arc<Counters>,
        link: Option<Link>,
    ) -> Self {
        let outbox = Outbox::new(limits);
        outbox.set_carried(link.is_none());
        Self(Arc::new(Shared {
            sid,
            outbox,
            link,
            end: Mutex::new(End::Open),
            ended: Notify::new(),
            joined: AtomicBool::new(false),
            counters,
        }))
    }

    /// The session's id.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.0.sid
    }

    /// Queues frames for the client; they leave in the order of the calls.
    ///
    /// # Errors
    /// [`PushError::Full`] at the limit: the caller closes the session or drops the frames.
    /// [`PushError::Closed`] when the session is closing or closed.
    pub fn try_push(&self, frames: &Arc<Frames>) -> Result<(), PushError> {
        let pushed = self.0.outbox.try_push(frames);
        if pushed == Err(PushError::Full) {
            self.0.counters.outbox_full();
        }
        pushed
    }

    /// Waits until less than half of the outbox is used and frames of so many bytes fit: for a
    /// replay at the client's pace, which then pushes.
    ///
    /// # Errors
    /// [`Closed`] when the session is closing or closed.
    pub async fn space(&self, bytes: usize) -> Result<(), Closed> {
        self.0.outbox.space(bytes).await
    }

    /// Whether a frame pushed now would be written now: nothing is queued or being written. What
    /// `volatile` asks.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.outbox.is_writable()
    }

    /// Messages pushed so far; read after a push it is that message's number, or a later one's.
    /// Compare with [`super::Handler::on_arrived`].
    #[must_use]
    pub fn pushed_count(&self) -> u64 {
        self.0.outbox.pushed()
    }

    /// Messages and bytes that wait or are being written.
    #[must_use]
    pub fn outbox_depth(&self) -> (usize, usize) {
        self.0.outbox.depth()
    }

    /// A namespace was joined: the connect timeout no longer ends the session.
    pub fn mark_joined(&self) {
        self.0.joined.store(true, Relaxed);
    }

    /// Ends the session: nothing is taken in any more, what waits is flushed as the reason allows,
    /// the client is told. Returns at once; the first reason given wins.
    pub fn close(&self, reason: CloseReason) {
        self.begin_close(reason);
    }

    /// Whether the session is closing or closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.0.end.lock() != End::Open
    }

    /// Completes when the session is over: transport gone, handler told.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let mut notified = pin!(self.0.ended.notified());
            notified.as_mut().enable();
            let end = *self.0.end.lock();
            match end {
                End::Closed(reason) => return reason,
                End::Open | End::Closing(_) => notified.await,
            }
        }
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.0.link.as_ref()
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.0.joined.load(Relaxed)
    }

    /// Begins the end; answers the reason that won.
    pub(crate) fn begin_close(&self, reason: CloseReason) -> CloseReason {
        let winner = {
            let mut end = self.0.end.lock();
            match *end {
                End::Open => {
                    *end = End::Closing(reason);
                    reason
                }
                End::Closing(first) | End::Closed(first) => first,
            }
        };
        self.0.outbox.close();
        winner
    }

    /// Completes when someone asked for the end. Polled in the session's task only.
    pub(crate) async fn closing(&self) -> CloseReason {
        poll_fn(|cx| {
            self.0.outbox.register_task(cx);
            match *self.0.end.lock() {
                End::Open => Poll::Pending,
                End::Closing(reason) | End::Closed(reason) => Poll::Ready(reason),
            }
        })
        .await
    }

    /// Completes when the session's departure to another node is wished for. Polled in the
    /// session's task only.
    pub(crate) async fn departing(&self) -> oneshot::Sender<Departure> {
        poll_fn(|cx| {
            self.0.outbox.register_task(cx);
            let wished = self.link().and_then(Link::take_departing);
            wished.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The end is reached; answers its reason.
    pub(crate) fn finish_close(&self, reason: CloseReason) -> CloseReason {
        let reason = self.begin_close(reason);
        *self.0.end.lock() = End::Closed(reason);
        self.0.ended.notify_waiters();
        reason
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("sid", &self.0.sid)
            .field("end", &*self.0.end.lock())
            .finish_non_exhaustive()
    }
}
