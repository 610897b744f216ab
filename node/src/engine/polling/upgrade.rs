//! The upgrade from polling to WebSocket (Engine.IO v4, "Upgrade"): the client probes with
//! `2probe`, is answered `3probe`, lets its polling run dry and confirms with `5`. Until then,
//! whatever goes wrong with the WebSocket leaves the session on polling.

use std::io;

use bytes::Bytes;
use roomcast_proto::engineio::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{interval, timeout};
use tracing::debug;

use super::link::{Link, UpgradedSink, UpgradedSource};
use super::request::Polling;
use crate::engine::close::CloseReason;
use crate::engine::frames::Frames;
use crate::engine::open::WebSocketConnection;
use crate::engine::outbox::{Batch, Outbox};
use crate::engine::session::EngineConfig;
use crate::engine::transport::{FrameSink, PacketSource};
use crate::engine::websocket::{WebSocketSink, WebSocketSource};
use crate::limits;

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
        let read: Box<dyn AsyncRead + Send + Unpin> = Box::new(connection.read);
        let write: Box<dyn AsyncWrite + Send + Unpin> = Box::new(connection.write);
        let mut probe = Probe {
            source: WebSocketSource::new(read, config.max_payload, &connection.received),
            sink: WebSocketSink::new(write),
        };
        let sid = self.session().sid();
        if !self.link().begin_probe() {
            debug!(?sid, "a second websocket for a session");
            return probe.close().await;
        }
        let probing = Probing(self.link());
        // What the client sends of WebSocket's own pings meanwhile is not answered: no client does.
        let scratch = Outbox::new(config.outbox);
        let confirmed = tokio::select! {
            biased;
            _ = self.session().closed() => false,
            confirmed = timeout(limits::PROBE_DEADLINE, probe.run(self, &scratch)) => {
                matches!(confirmed, Ok(Ok(true)))
            }
        };
        if !confirmed {
            debug!(?sid, "upgrade abandoned");
            drop(probing);
            return probe.close().await;
        }
        let outbox = self.session().outbox();
        match self.link().upgrade(probe.source, probe.sink, outbox) {
            Ok(()) => debug!(?sid, "upgraded to websocket"),
            Err(mut sink) => close(&mut sink).await,
        }
    }
}

/// A WebSocket that wants a session.
struct Probe {
    source: UpgradedSource,
    sink: UpgradedSink,
}

impl Probe {
    /// Runs to the client's confirmation; `false` when it says anything else.
    async fn run(&mut self, polling: &Polling, scratch: &Outbox) -> io::Result<bool> {
        let every = limits::PROBE_RELEASE_EVERY;
        let mut release = interval(every);
        let mut probed = false;
        loop {
            let packet = tokio::select! {
                biased;
                packet = self.source.next(scratch) => packet,
                _ = release.tick(), if probed => {
                    polling.link().release_get(polling.session().outbox());
                    continue;
                }
            };
            match packet {
                Ok(Packet::Ping(data)) if data == Bytes::from_static(b"probe") => {
                    self.answer().await?;
                    probed = true;
                    // Not at once: a client that confirms in the same breath has no GET to be
                    // released, and what it sends on polling then comes too late.
                    release.reset_after(limits::PROBE_RELEASE_AFTER);
                }
                Ok(Packet::Upgrade) => return Ok(probed),
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

    async fn close(mut self) {
        close(&mut self.sink).await;
        timeout(limits::CLOSE_LINGER_DEADLINE, self.source.linger())
            .await
            .ok();
    }
}

async fn close(sink: &mut UpgradedSink) {
    let goodbye = sink.close(CloseReason::ClientClosed);
    if let Ok(Err(error)) = timeout(limits::CLOSE_FLUSH_DEADLINE, goodbye).await {
        debug!(%error, "a websocket without a session is gone");
    }
}

/// Frees the session for another probe when this one ends without success.
struct Probing<'a>(&'a Link);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.end_probe();
    }
}
