//! The bounded queue between whoever has something for a client and the one task that writes it.
//! Owns the order of a session's frames. Never waits and never decides what a full queue means.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frames::Frames;

/// Frames on their way to a transport: taken from an [`Outbox`], front first.
pub type Batch = VecDeque<Arc<Frames>>;

/// Above this many slots an emptied queue is given back to the allocator: most sessions are idle.
const IDLE_SLOTS_MAX: usize = 16;

/// How much may wait for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes of frames, those being written included. One larger frame is taken when nothing waits.
    pub bytes_max: usize,
    /// Frames, those being written included.
    pub frames_max: usize,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The limits are reached; what that means is the caller's policy.
    #[error("outbox is full")]
    Full,
    /// The session is closing or closed.
    #[error("session is closed")]
    Closed,
}

/// The session closed while its caller waited for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("session is closed")]
pub struct Closed;

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Everything behind the short lock.
    state: Mutex<State>,
    /// Wakes the session's task, whichever of its futures waits: see [`Outbox::wake_task`].
    task: AtomicWaker,
    /// Wakes those who wait for the queue to sink below low water.
    space: Notify,
    /// How much may wait.
    limits: OutboxLimits,
}

#[derive(Debug)]
struct State {
    /// Messages that no one took yet.
    queue: Batch,
    /// Bytes queued and taken but not written.
    bytes: usize,
    /// Messages queued and taken but not written.
    frames: usize,
    /// Messages ever taken in, in order: the number of the last one.
    pushed: u64,
    /// Messages ever written completely.
    written: u64,
    /// The heartbeat's PING: overtakes what waits, so that a slow client is still judged by its
    /// PONG.
    ping: Option<Arc<Frames>>,
    /// Answer to the client's last WebSocket ping. A newer one replaces it (RFC 6455, 5.5.3), which
    /// bounds what a flood of pings can cost.
    pong: Option<Arc<Frames>>,
    /// Someone waits for space since the last time it was told of some.
    waiting: bool,
    /// Whether the transport takes frames now; a connection always does.
    carried: bool,
    /// Set once: nothing is taken in any more.
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        let state = State {
            queue: Batch::new(),
            bytes: 0,
            frames: 0,
            pushed: 0,
            written: 0,
            ping: None,
            pong: None,
            waiting: false,
            carried: true,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            task: AtomicWaker::new(),
            space: Notify::new(),
            limits,
        }
    }

    /// Queues a message, or refuses it at the limit.
    pub(crate) fn try_push(&self, frames: &Arc<Frames>) -> Result<(), PushError> {
        let first = self.state.lock().admit(frames, self.limits)?;
        if first {
            self.task.wake();
        }
        Ok(())
    }

    /// Waits until at most half of the limits is used and a message of so many bytes fits: the pace
    /// of a reader of the log. What it then pushes is admitted as any message, so several readers
    /// may share the rest.
    pub(crate) async fn space(&self, bytes: usize) -> Result<(), Closed> {
        loop {
            let mut notified = pin!(self.space.notified());
            notified.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.closed {
                    return Err(Closed);
                }
                if state.is_low(self.limits) && state.fits(bytes, self.limits) {
                    return Ok(());
                }
                state.waiting = true;
            }
            notified.await;
        }
    }

    /// Puts the heartbeat's PING before everything that waits. Answers how many messages were
    /// written before it at least.
    pub(crate) fn push_ping(&self, ping: Arc<Frames>) -> u64 {
        let written = {
            let mut state = self.state.lock();
            state.ping = Some(ping);
            state.written
        };
        self.task.wake();
        written
    }

    /// Answers the client's last WebSocket ping, before everything that waits.
    pub(crate) fn push_pong(&self, pong: Arc<Frames>) {
        self.state.lock().pong = Some(pong);
        self.task.wake();
    }

    /// Whether a frame pushed now would be written at once.
    pub(crate) fn is_writable(&self) -> bool {
        let state = self.state.lock();
        !state.closed && state.frames == 0 && state.carried
    }

    /// Notes whether the transport takes frames now, for [`Outbox::is_writable`].
    pub(crate) fn set_carried(&self, carried: bool) {
        self.state.lock().carried = carried;
    }

    /// Messages ever taken in.
    pub(crate) fn pushed(&self) -> u64 {
        self.state.lock().pushed
    }

    /// Messages and bytes waiting.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.frames, state.bytes)
    }

    /// Refuses everything from now on; waiting pushers learn it.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.space.notify_waiters();
        self.task.wake();
    }

    /// Wakes the session's task. All its futures run in that one task and share one waker; each
    /// looks again at what it waits for.
    pub(crate) fn wake_task(&self) {
        self.task.wake();
    }

    /// Registers the session's task, before it looks at what it waits for.
    pub(crate) fn register_task(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Waits until there is something to write and moves it into the empty `batch`.
    pub(crate) async fn take(&self, batch: &mut Batch) {
        poll_fn(|cx| {
            self.register_task(cx);
            if self.try_take(batch, 0) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Moves what is to be written into `batch`: control frames at `at` (after a frame that is half
    /// written), and, when the batch is empty, the whole queue behind them.
    pub(crate) fn try_take(&self, batch: &mut Batch, at: usize) -> bool {
        let mut state = self.state.lock();
        if batch.is_empty() {
            std::mem::swap(&mut state.queue, batch);
            if batch.is_empty() {
                shrink_idle(batch);
                shrink_idle(&mut state.queue);
            }
        }
        for control in [state.ping.take(), state.pong.take()].into_iter().flatten() {
            batch.insert(at.min(batch.len()), control);
        }
        !batch.is_empty()
    }

    /// Drops what waits: the session is over, but handles to it may live on.
    pub(crate) fn discard(&self) {
        let mut state = self.state.lock();
        state.queue = Batch::new();
        (state.frames, state.bytes) = (0, 0);
        (state.ping, state.pong) = (None, None);
    }

    /// Takes a message in that another node took in before, whatever the limits say.
    pub(crate) fn admit_moved(&self, frames: &Arc<Frames>) {
        let unlimited = OutboxLimits {
            bytes_max: usize::MAX,
            frames_max: usize::MAX,
        };
        if self.state.lock().admit(frames, unlimited) == Ok(true) {
            self.task.wake();
        }
    }

    /// Closes the outbox and takes everything out that was not written: what was taken into
    /// `batch`, then the queue. Also whether a PING was among it, which is left out.
    pub(crate) fn take_unwritten(&self, batch: &mut Batch) -> (Vec<Arc<Frames>>, bool) {
        self.close();
        let mut state = self.state.lock();
        let mut ping = state.ping.take().is_some();
        let queued = std::mem::take(&mut state.queue);
        (state.frames, state.bytes) = (0, 0);
        drop(state);
        let mut unwritten: Vec<_> = batch.drain(..).chain(queued).collect();
        unwritten.retain(|frames| {
            ping |= frames.is_control();
            !frames.is_control()
        });
        (unwritten, ping)
    }

    /// Accounts for messages that were written.
    pub(crate) fn written(&self, written: Written) {
        let space = {
            let mut state = self.state.lock();
            state.frames -= written.frames;
            state.bytes -= written.bytes;
            state.written += written.frames as u64;
            let space = state.waiting && state.is_low(self.limits);
            state.waiting &= !space;
            space
        };
        if space {
            self.space.notify_waiters();
        }
    }
}

/// Gives the memory of a past burst back.
fn shrink_idle(queue: &mut Batch) {
    if queue.capacity() > IDLE_SLOTS_MAX {
        *queue = Batch::new();
    }
}

impl State {
    /// Takes a message in; answers whether it is the first of the queue, so that the task must be
    /// told.
    fn admit(&mut self, frames: &Arc<Frames>, limits: OutboxLimits) -> Result<bool, PushError> {
        if self.closed {
            return Err(PushError::Closed);
        }
        if !self.fits(frames.len(), limits) {
            return Err(PushError::Full);
        }
        self.queue.push_back(Arc::clone(frames));
        self.bytes += frames.len();
        self.frames += 1;
        self.pushed += 1;
        Ok(self.queue.len() == 1)
    }

    /// A message larger than the limits fits when nothing waits.
    fn fits(&self, bytes: usize, limits: OutboxLimits) -> bool {
        let within = self.bytes + bytes <= limits.bytes_max && self.frames < limits.frames_max;
        within || self.frames == 0
    }

    fn is_low(&self, limits: OutboxLimits) -> bool {
        self.bytes <= limits.bytes_max / 2 && self.frames <= limits.frames_max / 2
    }
}

/// Messages written completely; control frames do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Messages.
    pub frames: usize,
    /// Their bytes on the wire.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn frame(len: usize) -> Arc<Frames> {
        Frames::text(Bytes::from(vec![b'x'; len]))
    }

    fn outbox(bytes_max: usize, frames_max: usize) -> Outbox {
        Outbox::new(OutboxLimits {
            bytes_max,
            frames_max,
        })
    }

    #[test]
    fn full_counts_bytes_and_frames_until_they_are_written() {
        let outbox = outbox(100, 4);
        assert!(outbox.is_writable());
        for _ in 0..4 {
            outbox.try_push(&frame(8)).unwrap();
        }
        assert_eq!(outbox.try_push(&frame(8)), Err(PushError::Full), "frames");
        let mut batch = Batch::new();
        assert!(outbox.try_take(&mut batch, 0));
        assert_eq!(
            outbox.try_push(&frame(8)),
            Err(PushError::Full),
            "taken is not written"
        );
        outbox.written(Written {
            frames: 4,
            bytes: 40,
        });
        assert!(outbox.is_writable());
        outbox.try_push(&frame(80)).unwrap();
        assert_eq!(outbox.try_push(&frame(20)), Err(PushError::Full), "bytes");
        assert_eq!(outbox.depth(), (1, 82));
        assert_eq!(outbox.pushed(), 5);
    }

    #[test]
    fn a_frame_over_the_limit_is_taken_only_when_nothing_waits() {
        let outbox = outbox(100, 4);
        outbox.try_push(&frame(500)).unwrap();
        assert_eq!(outbox.try_push(&frame(500)), Err(PushError::Full));
        assert_eq!(outbox.try_push(&frame(1)), Err(PushError::Full));
    }

    #[test]
    fn control_frames_overtake_but_never_split_a_frame() {
        let outbox = outbox(1000, 10);
        outbox.try_push(&frame(1)).unwrap();
        outbox.try_push(&frame(2)).unwrap();
        let mut batch = Batch::new();
        assert!(outbox.try_take(&mut batch, 0));
        outbox.push_pong(Frames::websocket_pong(b"old"));
        outbox.push_pong(Frames::websocket_pong(b"new"));
        outbox.push_ping(Frames::heartbeat(b"2"));
        assert!(outbox.try_take(&mut batch, 1));
        let kinds: Vec<bool> = batch.iter().map(|f| f.is_control()).collect();
        assert_eq!(kinds, [false, true, true, false]);
        assert_eq!(
            &batch[1].websocket()[2..],
            b"new",
            "a newer pong replaces an older one"
        );
        assert_eq!(outbox.depth().0, 2, "control frames are outside the limits");
    }

    #[tokio::test]
    async fn who_waits_for_space_goes_on_below_low_water_and_learns_of_the_end() {
        let outbox = Arc::new(outbox(100, 100));
        outbox.try_push(&frame(60)).unwrap();
        let other = Arc::clone(&outbox);
        let waiter = tokio::spawn(async move {
            let first = other.space(0).await;
            other.try_push(&frame(60)).unwrap();
            (first, other.space(0).await)
        });
        tokio::task::yield_now().await;
        assert_eq!(outbox.pushed(), 1, "62 of 100 bytes is above low water");
        let mut batch = Batch::new();
        outbox.try_take(&mut batch, 0);
        outbox.written(Written {
            frames: 1,
            bytes: 62,
        });
        tokio::task::yield_now().await;
        assert_eq!(outbox.pushed(), 2);
        outbox.close();
        assert_eq!(waiter.await.unwrap(), (Ok(()), Err(Closed)));
        assert_eq!(outbox.try_push(&frame(1)), Err(PushError::Closed));
    }

    #[tokio::test]
    async fn who_waits_for_space_goes_on_only_when_its_message_fits() {
        let outbox = Arc::new(outbox(100, 100));
        outbox.try_push(&frame(38)).unwrap();
        assert_eq!(outbox.space(60).await, Ok(()), "40 and 60 of 100 bytes");
        let other = Arc::clone(&outbox);
        let waiter = tokio::spawn(async move { other.space(61).await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished(), "though little waits");
        let mut batch = Batch::new();
        outbox.try_take(&mut batch, 0);
        let (frames, bytes) = (1, 40);
        outbox.written(Written { frames, bytes });
        assert_eq!(waiter.await.unwrap(), Ok(()));
        assert_eq!(outbox.space(1000).await, Ok(()), "nothing else waits");
    }
}
