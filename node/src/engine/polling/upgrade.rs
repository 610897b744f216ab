//! The upgrade from polling to WebSocket (Engine.IO v4, "Upgrade"): the client probes with
//! `2probe`, is answered `3probe`, lets its polling run dry and confirms with `5`. Until then,
//! whatever goes wrong with the WebSocket leaves the session on polling.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use roomcast_proto::engineio::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};
use tracing::debug;

use super::request::Polling;
use crate::engine::close::CloseReason;
use crate::engine::frames::Frames;
use crate::engine::moving::Departure;
use crate::engine::open::WebSocketConnection;
use crate::engine::outbox::{Batch, Outbox, OutboxLimits};
use crate::engine::session::EngineConfig;
use crate::engine::transport::{FrameSink, PacketSource};
use crate::engine::websocket::{WebSocketSink, WebSocketSource};
use crate::limits;

type AnyRead = Box<dyn AsyncRead + Send + Unpin>;
type AnyWrite = Box<dyn AsyncWrite + Send + Unpin>;

impl Polling {
    /// Probes a WebSocket and, when its client confirms, moves the session to it; else closes it.
    /// Done with either: the session's own task carries on.
    pub(crate) async fn upgrade<R, W>(
        &self,
        connection: WebSocketConnection<R, W>,
        config: &EngineConfig,
    ) where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut probe = Probe::new(boxed(connection), config.max_payload, config.outbox);
        let sid = self.session().sid();
        let Some(upgrading) = self.begin_upgrade() else {
            debug!(?sid, "a second websocket for a session");
            return probe.close().await;
        };
        let confirmed = tokio::select! {
            biased;
            _ = self.session().closed() => false,
            confirmed = timeout(limits::PROBE_DEADLINE, probe.run(self)) => {
                matches!(confirmed, Ok(Ok(true)))
            }
        };
        if !confirmed {
            debug!(?sid, "upgrade abandoned");
            drop(upgrading);
            return probe.close().await;
        }
        let (source, sink) = probe.into_halves();
        upgrading.complete(source, sink).await;
    }

    /// Keeps other WebSockets from probing; `None` when one does or did.
    pub(crate) fn begin_upgrade(&self) -> Option<Upgrading> {
        // Lazily: one that is not made must not be dropped either.
        self.link().begin_probe().then(|| Upgrading {
            polling: self.clone(),
        })
    }

    /// Answers a GET that waits, so that the client can pause polling.
    pub(crate) fn release_get(&self) {
        self.link().release_get(self.session().outbox());
    }

    /// The client confirmed at another node: asks the session's task to give the session up. `None`
    /// when a POST is under way.
    pub(crate) fn begin_departure(&self) -> Option<oneshot::Receiver<Departure>> {
        self.link().begin_departure(self.session().outbox())
    }

    /// The session's task declined: the session goes on here.
    pub(crate) fn end_departure(&self) {
        self.link().end_departure();
    }
}

/// A session that a WebSocket probes. Dropped, the next one may.
#[derive(Debug)]
pub(crate) struct Upgrading {
    polling: Polling,
}

impl Upgrading {
    pub(crate) fn polling(&self) -> &Polling {
        &self.polling
    }

    /// Its client confirmed elsewhere, and the connection is the way there.
    pub(crate) async fn carry<R, W>(self, connection: WebSocketConnection<R, W>, max_payload: usize)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let connection = boxed(connection);
        let source = WebSocketSource::new(connection.read, max_payload, &connection.received);
        let sink = WebSocketSink::new(connection.write);
        self.complete(source, sink).await;
    }

    async fn complete(self, source: WebSocketSource<AnyRead>, sink: WebSocketSink<AnyWrite>) {
        let session = self.polling.session();
        let sid = session.sid();
        match self.polling.link().upgrade(source, sink, session.outbox()) {
            Ok(()) => debug!(?sid, "upgraded to websocket"),
            Err(mut sink) => close(&mut sink).await,
        }
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        self.polling.link().end_probe();
    }
}

/// A WebSocket that wants a session.
pub(crate) struct Probe<R, W> {
    source: WebSocketSource<R>,
    sink: WebSocketSink<W>,
    /// What the client sends of WebSocket's own pings meanwhile is not answered: no client does.
    scratch: Outbox,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Probe<R, W> {
    pub(crate) fn new(
        connection: WebSocketConnection<R, W>,
        max_payload: usize,
        outbox: OutboxLimits,
    ) -> Self {
        Self {
            source: WebSocketSource::new(connection.read, max_payload, &connection.received),
            sink: WebSocketSink::new(connection.write),
            scratch: Outbox::new(outbox),
        }
    }

    /// Runs to the client's confirmation; `false` when it says anything else. The confirmation
    /// comes before a release: a client that confirms in the same breath as it probes has no GET to
    /// be released, and what it sends on polling then comes too late.
    async fn run(&mut self, polling: &Polling) -> io::Result<bool> {
        if !self.probed().await? {
            return Ok(false);
        }
        tokio::select! {
            biased;
            confirmed = self.confirmed() => confirmed,
            never = release(polling) => match never {},
        }
    }

    /// The client's probe, answered; `false` when it says anything else.
    pub(crate) async fn probed(&mut self) -> io::Result<bool> {
        match self.source.next(&self.scratch).await {
            Ok(packet) if is_probe(&packet) => self.answer().await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// The client's confirmation; `false` when it says anything but that or another probe.
    pub(crate) async fn confirmed(&mut self) -> io::Result<bool> {
        loop {
            match self.source.next(&self.scratch).await {
                Ok(Packet::Upgrade) => return Ok(true),
                Ok(packet) if is_probe(&packet) => self.answer().await?,
                _ => return Ok(false),
            }
        }
    }

    async fn answer(&mut self) -> io::Result<()> {
        let mut batch = Batch::from([Frames::heartbeat(b"3probe")]);
        while !batch.is_empty() {
            self.sink.write(&mut batch).await?;
        }
        self.sink.flush().await
    }

    /// What a session goes on with.
    pub(crate) fn into_halves(self) -> (WebSocketSource<R>, WebSocketSink<W>) {
        (self.source, self.sink)
    }

    /// The connection, and what was read of it and not used; after a confirmation.
    pub(crate) fn into_parts(self) -> (R, W, Bytes) {
        let (read, received) = self.source.into_parts();
        (read, self.sink.into_inner(), received)
    }

    pub(crate) async fn close(mut self) {
        close(&mut self.sink).await;
        timeout(limits::CLOSE_LINGER_DEADLINE, self.source.linger())
            .await
            .ok();
    }
}

/// Releases the GET that waits, once the probe was answered and until it is over: a client may send
/// another before it has paused.
pub(crate) async fn release(polling: &Polling) -> Infallible {
    let mut release = interval(limits::PROBE_RELEASE_EVERY);
    release.reset_after(limits::PROBE_RELEASE_AFTER);
    loop {
        release.tick().await;
        polling.release_get();
    }
}

fn is_probe(packet: &Packet) -> bool {
    matches!(packet, Packet::Ping(data) if data == &Bytes::from_static(b"probe"))
}

fn boxed<R, W>(connection: WebSocketConnection<R, W>) -> WebSocketConnection<AnyRead, AnyWrite>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    WebSocketConnection {
        read: Box::new(connection.read),
        write: Box::new(connection.write),
        received: connection.received,
    }
}

async fn close<W: AsyncWrite + Unpin + Send>(sink: &mut WebSocketSink<W>) {
    let goodbye = sink.close(CloseReason::ClientClosed);
    if let Ok(Err(error)) = timeout(limits::CLOSE_FLUSH_DEADLINE, goodbye).await {
        debug!(%error, "a websocket without a session is gone");
    }
}
