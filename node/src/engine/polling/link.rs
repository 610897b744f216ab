//! Where the HTTP requests of a session meet its task: the GET that waits, the POST under way, and
//! what carries the session. Behind one short lock; the task is woken through its outbox.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::request::RequestError;
use crate::engine::moving::Departure;
use crate::engine::outbox::Outbox;
use crate::engine::websocket::{WebSocketSink, WebSocketSource};

/// The reading half of a WebSocket that took a session over, whatever stream it runs on.
pub(super) type UpgradedSource = WebSocketSource<Box<dyn AsyncRead + Send + Unpin>>;
/// Its writing half.
pub(super) type UpgradedSink = WebSocketSink<Box<dyn AsyncWrite + Send + Unpin>>;

/// The packet that releases a GET with nothing to say.
pub(super) const NOOP: Bytes = Bytes::from_static(b"6");
/// The packet that tells a client of the session's end.
pub(super) const CLOSE: Bytes = Bytes::from_static(b"1");

/// A GET that waits: for its payload, or for why there is none. Dropped, its session is unknown.
pub(super) type Waiting = oneshot::Sender<Result<Bytes, RequestError>>;

/// One session's meeting place.
#[derive(Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Default)]
struct State {
    /// Answers the GET that waits.
    get: Option<Waiting>,
    /// The stamp of the last GET; empty when it had none.
    stamp: String,
    /// How far the POST under way has come.
    post: Post,
    /// What carries the session.
    carrier: Carrier,
}

/// The POST under way.
#[derive(Default)]
enum Post {
    #[default]
    None,
    /// Its body is being received.
    Receiving,
    /// Its packets wait for the session's task; dropping or using the sender answers it.
    Queued(Bytes, oneshot::Sender<()>),
    /// The session's task works on its packets.
    Handled(oneshot::Sender<()>),
}

/// What carries the session.
#[derive(Default)]
enum Carrier {
    #[default]
    Polling,
    /// Polling, while a WebSocket probes.
    Probed,
    /// A WebSocket at another node, if the session's task gives it up to whoever asked here.
    Leaving(Option<oneshot::Sender<Departure>>),
    /// A WebSocket; each half is here until the session's task took it.
    WebSocket(Option<UpgradedSource>, Option<UpgradedSink>),
    /// Nothing any more.
    Over,
}

/// What the session's task reads next.
pub(super) enum Readable {
    /// The packets of a POST.
    Payload(Bytes),
    /// From now on, a WebSocket.
    WebSocket(UpgradedSource),
}

/// What the session's task can write to.
pub(super) enum Writable {
    /// A GET waits.
    Get,
    /// From now on, a WebSocket.
    WebSocket(UpgradedSink),
}

impl Link {
    // --- The HTTP side ---

    /// A GET begins to wait. One with the stamp of the last is the same GET once more: what
    /// answered it was lost on the way, and nobody could tell its client.
    pub(super) fn begin_get(
        &self,
        outbox: &Outbox,
        stamp: String,
    ) -> Result<oneshot::Receiver<Result<Bytes, RequestError>>, RequestError> {
        let mut state = self.0.lock();
        state.on_polling()?;
        if let Some(first) = state.get.take() {
            // Not to be told: that GET's client is the one who broke the rule.
            first.send(Ok(CLOSE)).ok();
            state.end(outbox);
            return Err(RequestError::Overlap);
        }
        if !stamp.is_empty() && stamp == state.stamp {
            state.end(outbox);
            return Err(RequestError::Repeated);
        }
        state.stamp = stamp;
        let (answer, answered) = oneshot::channel();
        state.get = Some(answer);
        outbox.set_carried(true);
        drop(state);
        outbox.wake_task();
        Ok(answered)
    }

    /// A POST begins to arrive.
    pub(super) fn begin_post(&self, outbox: &Outbox) -> Result<(), RequestError> {
        let mut state = self.0.lock();
        state.on_polling()?;
        if !matches!(state.post, Post::None) {
            state.end(outbox);
            return Err(RequestError::Overlap);
        }
        state.post = Post::Receiving;
        Ok(())
    }

    /// The POST under way has arrived.
    pub(super) fn queue_post(
        &self,
        body: Bytes,
        outbox: &Outbox,
    ) -> Result<oneshot::Receiver<()>, RequestError> {
        let mut state = self.0.lock();
        state.on_polling()?;
        let (done, handled) = oneshot::channel();
        state.post = Post::Queued(body, done);
        drop(state);
        outbox.wake_task();
        Ok(handled)
    }

    /// The POST under way is refused; the session goes on.
    pub(super) fn forget_post(&self) {
        let mut state = self.0.lock();
        if matches!(state.post, Post::Receiving) {
            state.post = Post::None;
        }
    }

    /// A request was cut off. Answers whether that ends the session.
    pub(super) fn cut(&self, outbox: &Outbox) -> bool {
        let mut state = self.0.lock();
        let ends = state.on_polling().is_ok();
        if ends {
            state.end(outbox);
        }
        ends
    }

    // --- The upgrade ---

    /// A WebSocket begins to probe; refused when another does or did.
    pub(super) fn begin_probe(&self) -> bool {
        let mut state = self.0.lock();
        let free = matches!(state.carrier, Carrier::Polling);
        if free {
            state.carrier = Carrier::Probed;
        }
        free
    }

    /// The probe failed: the session stays on polling.
    pub(super) fn end_probe(&self) {
        let mut state = self.0.lock();
        if matches!(state.carrier, Carrier::Probed) {
            state.carrier = Carrier::Polling;
        }
    }

    /// Answers a GET that waits, so that the client can pause polling.
    pub(super) fn release_get(&self, outbox: &Outbox) {
        if let Some(get) = self.take_get(outbox) {
            get.send(Ok(NOOP)).ok();
        }
    }

    /// The client confirmed: the session's task finds its WebSocket here. `Err` when the session is
    /// over: the caller closes it.
    pub(super) fn upgrade(
        &self,
        source: UpgradedSource,
        sink: UpgradedSink,
        outbox: &Outbox,
    ) -> Result<(), UpgradedSink> {
        let mut state = self.0.lock();
        if !matches!(state.carrier, Carrier::Probed) {
            return Err(sink);
        }
        state.refuse_late_get();
        state.carrier = Carrier::WebSocket(Some(source), Some(sink));
        outbox.set_carried(true);
        drop(state);
        outbox.wake_task();
        Ok(())
    }

    /// The client confirmed at another node: the session's task finds the wish for its departure
    /// here. `None` while a POST is under way, or when the session is over.
    pub(super) fn begin_departure(&self, outbox: &Outbox) -> Option<oneshot::Receiver<Departure>> {
        let mut state = self.0.lock();
        if !matches!((&state.carrier, &state.post), (Carrier::Probed, Post::None)) {
            return None;
        }
        state.refuse_late_get();
        let (to, departing) = oneshot::channel();
        state.carrier = Carrier::Leaving(Some(to));
        drop(state);
        outbox.wake_task();
        Some(departing)
    }

    /// The session stays; its WebSocket is still to come.
    pub(super) fn end_departure(&self) {
        let mut state = self.0.lock();
        if matches!(state.carrier, Carrier::Leaving(_)) {
            state.carrier = Carrier::Probed;
        }
    }

    // --- The session's side ---

    /// Who asked for the session's departure; once.
    pub(crate) fn take_departing(&self) -> Option<oneshot::Sender<Departure>> {
        match &mut self.0.lock().carrier {
            Carrier::Leaving(to) => to.take(),
            _ => None,
        }
    }

    /// The next thing to read. Packets that came by POST come before those of the WebSocket.
    pub(super) fn take_readable(&self) -> Option<Readable> {
        let mut state = self.0.lock();
        match std::mem::take(&mut state.post) {
            Post::Queued(body, done) => {
                state.post = Post::Handled(done);
                return Some(Readable::Payload(body));
            }
            other => state.post = other,
        }
        match &mut state.carrier {
            Carrier::WebSocket(source, _) => source.take().map(Readable::WebSocket),
            _ => None,
        }
    }

    /// Every packet of the POST was handled: its client may send the next one.
    pub(super) fn post_handled(&self) {
        let mut state = self.0.lock();
        match std::mem::take(&mut state.post) {
            // Its client may have left; that is found out by the next GET.
            Post::Handled(done) => drop(done.send(())),
            other => state.post = other,
        }
    }

    /// What there is to write to.
    pub(super) fn writable(&self) -> Option<Writable> {
        let mut state = self.0.lock();
        if let Carrier::WebSocket(_, sink) = &mut state.carrier {
            return sink.take().map(Writable::WebSocket);
        }
        state.get.is_some().then_some(Writable::Get)
    }

    /// Takes the GET that waits, to answer it.
    pub(super) fn take_get(&self, outbox: &Outbox) -> Option<Waiting> {
        let mut state = self.0.lock();
        let get = state.get.take();
        if get.is_some() && !matches!(state.carrier, Carrier::WebSocket(..)) {
            outbox.set_carried(false);
        }
        get
    }

    /// Nothing is taken from POSTs any more; the one under way is answered.
    pub(super) fn stop_posts(&self) {
        let mut state = self.0.lock();
        if !matches!(state.post, Post::Receiving) {
            state.post = Post::None;
        }
    }

    /// The session is over for HTTP; a GET that waits is told `last`.
    pub(super) fn end(&self, last: Bytes, outbox: &Outbox) {
        let mut state = self.0.lock();
        if let Some(get) = state.get.take() {
            get.send(Ok(last)).ok();
        }
        if !matches!(state.carrier, Carrier::WebSocket(..)) {
            state.end(outbox);
        }
    }

    /// The session's task is gone: whatever still waits is dropped.
    pub(super) fn over(&self, outbox: &Outbox) {
        self.0.lock().end(outbox);
        self.stop_posts();
    }
}

impl State {
    fn on_polling(&self) -> Result<(), RequestError> {
        match self.carrier {
            Carrier::Polling | Carrier::Probed => Ok(()),
            Carrier::WebSocket(..) | Carrier::Leaving(_) => Err(RequestError::Upgraded),
            Carrier::Over => Err(RequestError::Unknown),
        }
    }

    /// A client confirms an upgrade when its last GET was answered: one that waits then came too
    /// late, on another connection.
    fn refuse_late_get(&mut self) {
        if let Some(late) = self.get.take() {
            late.send(Err(RequestError::Upgraded)).ok();
        }
    }

    /// Drops what waits: a GET learns that its session is unknown.
    fn end(&mut self, outbox: &Outbox) {
        self.get = None;
        self.carrier = Carrier::Over;
        outbox.set_carried(false);
    }
}
