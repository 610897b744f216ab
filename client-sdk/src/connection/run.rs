//! The task's life: wait until a transport is wanted, open one, serve it, and again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use roomcast_proto::engineio;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::connection::live::{Incoming, Live};
use crate::connection::writing::{Sockets, Writing};
use crate::endpoint::{Endpoint, EndpointList};
use crate::event::DisconnectReason;
use crate::options::ClientOptions;
use crate::socket_core::SocketCore;
use crate::transport::{Connector, Message, Reader, TransportError, Writer};

/// How long a closing client goes on writing what is queued.
const FAREWELL: Duration = Duration::from_secs(2);
/// Half-open transports kept open at most; the oldest is dropped for a further one.
const ABANDONED_MAX: usize = 64;

/// What client and task share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The sockets, in the order in which they were made; never removed.
    pub(crate) sockets: Mutex<Vec<Arc<SocketCore>>>,
    /// Tells the task that a socket has something to do.
    pub(crate) wake: Arc<Notify>,
    /// The server's `maxPayload`, 0 before the first handshake.
    pub(crate) max_payload: Arc<AtomicUsize>,
    /// Why the last attempt to connect failed, for diagnosis.
    pub(crate) last_error: Mutex<Option<String>>,
}

/// Something the application wants of the connection itself.
#[derive(Debug)]
pub(crate) struct Command {
    /// What.
    pub(crate) action: Action,
    /// Told when it was done.
    pub(crate) done: oneshot::Sender<()>,
}

/// What an application can want of the connection.
#[derive(Debug)]
pub(crate) enum Action {
    /// Drop the transport without a goodbye.
    Cut,
    /// Stop reading and writing, keep the transport open.
    Stall,
    /// Keep the transport open, unread, and go on with another one.
    Abandon,
    /// Try this endpoint next.
    ConnectNext(Endpoint),
    /// Leave all namespaces and end.
    Close,
}

/// Why the task ends.
#[derive(Debug)]
enum Farewell {
    /// `Client::close`: sessions were ended.
    Closed(oneshot::Sender<()>),
    /// All handles were dropped: sessions stay and can be resumed.
    Dropped,
}

/// What ended the service of one transport.
#[derive(Debug)]
enum Ended {
    /// It was lost.
    Lost(DisconnectReason),
    /// The application gave it up but wants it to stay open.
    Abandoned,
    /// No socket needs it any more.
    Unused,
    /// The task ends.
    Farewell(Farewell),
}

/// The task's state between transports.
pub(crate) struct Connection<C> {
    /// Opens transports.
    connector: C,
    /// The client's choices.
    options: ClientOptions,
    /// Where to.
    endpoints: EndpointList,
    /// Shared with the client.
    shared: Arc<Shared>,
    /// From the client; ends when all handles are dropped.
    commands: mpsc::Receiver<Command>,
    /// The delays between attempts.
    backoff: Backoff,
    /// The next attempt waits for the backoff.
    is_delayed: bool,
    /// A server asked for this delay before the next attempt.
    retry_after: Option<Duration>,
    /// Half-open transports.
    abandoned: VecDeque<(Reader, Writing)>,
}

impl<C: Connector> Connection<C> {
    /// A connection that is not open yet.
    pub(crate) fn new(
        connector: C,
        options: ClientOptions,
        endpoints: EndpointList,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            connector,
            backoff: Backoff::new(options.backoff),
            options,
            endpoints,
            shared,
            commands,
            is_delayed: false,
            retry_after: None,
            abandoned: VecDeque::new(),
        }
    }

    /// Runs until the client is closed or dropped.
    pub(crate) async fn run(mut self) {
        let farewell = loop {
            if let Err(farewell) = self.wait_until_wanted().await {
                break farewell;
            }
            let mut live = match self.establish().await {
                Ok(Some(live)) => live,
                Ok(None) => continue,
                Err(farewell) => break farewell,
            };
            match self.serve(&mut live).await {
                Ended::Lost(reason) => self.lose(&reason),
                Ended::Abandoned => {
                    self.lose(&DisconnectReason::Cut);
                    self.keep_abandoned(live);
                }
                Ended::Unused => self.say_goodbye(live).await,
                Ended::Farewell(farewell) => {
                    self.say_goodbye(live).await;
                    break farewell;
                }
            }
        };
        for socket in self.sockets() {
            if matches!(farewell, Farewell::Closed(_)) {
                socket.leave();
            }
            socket.end();
        }
        if let Farewell::Closed(done) = farewell {
            // The caller may have stopped waiting.
            done.send(()).ok();
        }
    }

    fn sockets(&self) -> Vec<Arc<SocketCore>> {
        self.shared.sockets.lock().clone()
    }

    async fn wait_until_wanted(&mut self) -> Result<(), Farewell> {
        let shared = self.shared.clone();
        loop {
            if is_wanted(&self.sockets()) {
                return Ok(());
            }
            tokio::select! { biased;
                command = self.commands.recv() => { self.obey(command)?; }
                () = shared.wake.notified() => {}
            }
        }
    }

    /// Tries the next endpoint; `None` if it does not answer with an open packet.
    async fn establish(&mut self) -> Result<Option<Live>, Farewell> {
        self.wait_before_attempt().await?;
        self.is_delayed = true;
        let endpoint = self.endpoints.next_endpoint(rand::random());
        let (transport, open) = match self.attempt(&endpoint).await? {
            Ok(opened) => opened,
            Err(error) => {
                self.note_failure(&endpoint, &error);
                return Ok(None);
            }
        };
        let max_payload = usize::try_from(open.max_payload).unwrap_or(usize::MAX);
        self.shared
            .max_payload
            .store(max_payload, Ordering::Relaxed);
        tracing::debug!(%endpoint, "transport open");
        let endpoint = endpoint.to_string();
        Ok(Some(Live::new(transport, &open, endpoint, &self.options)))
    }

    /// One attempt, which the application can cut or end.
    async fn attempt(&mut self, endpoint: &Endpoint) -> Result<Opened, Farewell> {
        let opening = timeout(
            self.options.connect_timeout,
            open(&self.connector, endpoint),
        );
        tokio::pin!(opening);
        loop {
            tokio::select! { biased;
                command = self.commands.recv() => {
                    match obey(&mut self.endpoints, command)? {
                        Some(Step::Lose | Step::Keep) => {
                            return Ok(Err(TransportError::Failed("cut".to_owned())));
                        }
                        Some(Step::Stall) | None => {}
                    }
                }
                outcome = &mut opening => {
                    let elapsed = |_| TransportError::Failed("timed out".to_owned());
                    return Ok(outcome.map_err(elapsed).and_then(|opened| opened));
                }
            }
        }
    }

    fn note_failure(&mut self, endpoint: &Endpoint, error: &TransportError) {
        tracing::debug!(%endpoint, %error, "no connection");
        *self.shared.last_error.lock() = Some(format!("{endpoint}: {error}"));
        if let TransportError::Refused { retry_after, .. } = error {
            self.retry_after = *retry_after;
        }
    }

    /// The backoff; a server's `Retry-After` counts when there is no other endpoint to go to.
    async fn wait_before_attempt(&mut self) -> Result<(), Farewell> {
        let retry_after = self.retry_after.take();
        if !self.is_delayed {
            return Ok(());
        }
        let mut delay = self.backoff.next_delay(rand::random());
        if let (Some(retry_after), 1) = (retry_after, self.endpoints.count()) {
            delay = delay.max(retry_after);
        }
        let pause = sleep(delay);
        tokio::pin!(pause);
        loop {
            tokio::select! { biased;
                command = self.commands.recv() => { self.obey(command)?; }
                () = &mut pause => return Ok(()),
            }
        }
    }

    /// Serves one transport until it ends.
    async fn serve(&mut self, live: &mut Live) -> Ended {
        let shared = self.shared.clone();
        loop {
            let sockets = self.sockets();
            if !is_wanted(&sockets) {
                return Ended::Unused;
            }
            live.connect_wanted(&sockets);
            let incoming = tokio::select! { biased;
                command = self.commands.recv() => match self.obey(command) {
                    Ok(None) => continue,
                    Ok(Some(Step::Stall)) => { live.is_stalled = true; continue; }
                    Ok(Some(Step::Lose)) => return Ended::Lost(DisconnectReason::Cut),
                    Ok(Some(Step::Keep)) => return Ended::Abandoned,
                    Err(farewell) => return Ended::Farewell(farewell),
                },
                incoming = live.next(&sockets) => incoming,
                () = shared.wake.notified() => continue,
            };
            let taken = match incoming {
                Incoming::Message(message) => live.receive(message, &sockets),
                Incoming::Written => Ok(()),
                Incoming::Failed(error) => Err(error.into()),
                Incoming::Silence => Err(DisconnectReason::PingTimeout),
            };
            if live.has_connected {
                self.backoff.reset();
            }
            if let Err(reason) = taken {
                return Ended::Lost(reason);
            }
        }
    }

    fn lose(&mut self, reason: &DisconnectReason) {
        tracing::debug!(%reason, "transport lost");
        for socket in self.sockets() {
            socket.on_cut(reason);
        }
    }

    fn keep_abandoned(&mut self, live: Live) {
        if self.abandoned.len() == ABANDONED_MAX {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back((live.reader, live.writing));
    }

    /// Writes what is queued and closes the transport, within a bounded time.
    async fn say_goodbye(&mut self, mut live: Live) {
        let sockets = self.sockets();
        if !live.is_stalled {
            let goodbye = async {
                live.flush(&sockets).await?;
                live.close().await
            };
            match timeout(FAREWELL, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "closed without a goodbye"),
                Err(_elapsed) => tracing::debug!("closed before everything was written"),
            }
        }
        self.is_delayed = false;
        for socket in sockets {
            socket.on_cut(&DisconnectReason::ClientDisconnect);
        }
    }

    fn obey(&mut self, command: Option<Command>) -> Result<Option<Step>, Farewell> {
        let shared = self.shared.clone();
        let step = obey(&mut self.endpoints, command);
        if let Err(Farewell::Closed(_)) = step {
            for socket in shared.sockets.lock().iter() {
                socket.leave();
            }
        }
        step
    }
}

/// Whether any socket has a reason to have a transport.
fn is_wanted(sockets: &Sockets) -> bool {
    sockets.iter().any(|socket| socket.is_active())
}

/// What a command means for a transport that is open.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Drop it.
    Lose,
    /// Freeze it.
    Stall,
    /// Give it up and keep it open.
    Keep,
}

/// Carries out what concerns no transport. Without a transport the rest is nothing to do.
fn obey(endpoints: &mut EndpointList, command: Option<Command>) -> Result<Option<Step>, Farewell> {
    let Some(Command { action, done }) = command else {
        return Err(Farewell::Dropped);
    };
    let step = match action {
        Action::Cut => Some(Step::Lose),
        Action::Stall => Some(Step::Stall),
        Action::Abandon => Some(Step::Keep),
        Action::ConnectNext(endpoint) => {
            endpoints.force(endpoint);
            None
        }
        Action::Close => return Err(Farewell::Closed(done)),
    };
    // The caller may have stopped waiting.
    done.send(()).ok();
    Ok(step)
}

/// A transport with its open packet read, or why there is none.
type Opened = Result<((Reader, Writer), engineio::OpenPacket), TransportError>;

async fn open(connector: &impl Connector, endpoint: &Endpoint) -> Opened {
    let (mut reader, writer) = connector.connect(endpoint).await?;
    let failed = |reason: &str| TransportError::Failed(reason.to_owned());
    let text = match reader.next().await {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Binary(_))) => return Err(failed("binary before the open packet")),
        Some(Err(error)) => return Err(error),
        None => return Err(failed("closed before the open packet")),
    };
    match engineio::Packet::decode_text(text) {
        Ok(engineio::Packet::Open(data)) => match engineio::OpenPacket::decode(&data) {
            Ok(open) => Ok(((reader, writer), open)),
            Err(error) => Err(failed(&error.to_string())),
        },
        Ok(_) => Err(failed("no open packet")),
        Err(error) => Err(failed(&error.to_string())),
    }
}
