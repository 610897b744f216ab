//! The new owner's side: a WebSocket that wants the session of another node.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::super::close::CloseReason;
use super::super::heartbeat::Heartbeat;
use super::super::open::{Engine, WebSocketConnection};
use super::super::polling::Probe;
use super::super::run::SessionTask;
use super::super::session::SessionHandle;
use super::super::sid::Sid;
use super::{Adopted, Carried, MovingSession, OwnerLost, RemoteSession, Taken};
use crate::limits;

impl Engine {
    /// Moves the session of another node to a WebSocket that landed here, when its client goes
    /// through with it, and runs it to its end; or carries its bytes; else closes the WebSocket.
    pub async fn upgrade_elsewhere<R, W>(
        &self,
        sid: Sid,
        connection: WebSocketConnection<R, W>,
        mut owner: Box<dyn RemoteSession>,
    ) where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut probe = Probe::new(connection, self.max_payload(), self.outbox_limits());
        let probing = timeout(limits::PROBE_DEADLINE, probed(&mut probe, &mut *owner));
        match probing.await.unwrap_or(Err(OwnerLost)) {
            Ok(Taken::Session(session)) => self.arrive(sid, session, probe, owner).await,
            Ok(Taken::Bytes) => {
                debug!(?sid, "a session's bytes are carried");
                let (read, write, received) = probe.into_parts();
                let client = Carried {
                    read: Box::new(read),
                    write: Box::new(write),
                    received,
                };
                owner.carry(client).await;
            }
            Err(OwnerLost) => {
                debug!(?sid, "upgrade abandoned");
                drop(owner);
                probe.close().await;
            }
        }
    }

    async fn arrive<R, W>(
        &self,
        sid: Sid,
        session: MovingSession,
        probe: Probe<R, W>,
        owner: Box<dyn RemoteSession>,
    ) where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let counters = Arc::clone(self.counters());
        let handle = SessionHandle::new(sid, self.outbox_limits(), counters, None);
        for frames in &session.unwritten {
            handle.outbox().admit_moved(frames);
        }
        if session.joined {
            handle.mark_joined();
        }
        let heartbeat = Heartbeat::moved(Instant::now(), &self.deadlines(), session.due);
        let Some(Adopted { handler, in_place }) =
            self.acceptor().adopt(session.state, handle.clone())
        else {
            debug!(?sid, "a moved session is not understood");
            return probe.close().await;
        };
        debug!(?sid, "session arrives");
        self.registry().insert(&handle);
        self.counters().session_opened();
        let (source, sink) = probe.into_halves();
        let task = SessionTask {
            handle: handle.clone(),
            source,
            sink,
            handler,
            registry: Arc::clone(self.registry()),
        };
        // Read only then: what a client says to a socket must find it.
        let placed = in_place.await;
        if !placed {
            // The client comes back with what it has.
            handle.close(CloseReason::NoQuorum);
        }
        let told = async {
            if placed {
                owner.in_place().await;
            }
        };
        tokio::join!(task.run(heartbeat), told);
    }
}

/// Runs a probe to what its confirmation brings.
async fn probed<R, W>(
    probe: &mut Probe<R, W>,
    owner: &mut dyn RemoteSession,
) -> Result<Taken, OwnerLost>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let lost = |_| OwnerLost;
    if !probe.probed().await.map_err(lost)? {
        return Err(OwnerLost);
    }
    owner.probed().await?;
    if !probe.confirmed().await.map_err(lost)? {
        return Err(OwnerLost);
    }
    owner.confirmed().await
}
