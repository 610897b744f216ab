//! The old owner's side of an upgrade that landed elsewhere: the probe by proxy, then the session's
//! departure, or its WebSocket by way of the other node.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::super::handler::Handler;
use super::super::heartbeat::Heartbeat;
use super::super::open::{Engine, WebSocketConnection};
use super::super::outbox::Batch;
use super::super::polling::{Polling, RequestError, Upgrading, release};
use super::super::session::SessionHandle;
use super::super::sid::Sid;
use super::{Departed, Due, Left, MovingSession};
use crate::limits;

/// A session that its task has given up.
#[derive(Debug)]
pub(crate) struct Departure {
    session: MovingSession,
    left: Box<dyn Left>,
}

/// A WebSocket at another node that probes a session of this one. Dropped, the session stays on
/// polling.
pub struct RemoteProbe {
    engine: Arc<Engine>,
    upgrading: Upgrading,
}

/// What became of a session whose client confirmed an upgrade elsewhere.
#[derive(Debug)]
pub enum Confirmed {
    /// It is over here. What is `Left` is dropped when nobody takes it.
    Leaves(MovingSession, Box<dyn Left>),
    /// Something is under way that cannot move: its bytes are to be carried.
    Stays,
}

impl Engine {
    /// Begins the probe of a WebSocket that landed on another node.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::Overlap`] when another WebSocket probes already, which
    /// does not concern the session.
    pub fn probe_from_elsewhere(self: &Arc<Self>, sid: &Sid) -> Result<RemoteProbe, RequestError> {
        let upgrading = self.polling(sid)?.begin_upgrade();
        Ok(RemoteProbe {
            engine: Arc::clone(self),
            upgrading: upgrading.ok_or(RequestError::Overlap)?,
        })
    }
}

impl RemoteProbe {
    /// Releases the GET that waits, again and again, once the probe was answered.
    pub async fn release(&self) -> Infallible {
        release(self.polling()).await
    }

    /// Completes when the session is over.
    pub async fn session_over(&self) {
        self.polling().session().closed().await;
    }

    /// The client confirmed. Waits for what is under way, for a bounded time.
    pub async fn confirmed(&self) -> Confirmed {
        let Some(departing) = self.polling().begin_departure() else {
            return Confirmed::Stays;
        };
        match departing.await {
            Ok(Departure { session, left }) => Confirmed::Leaves(session, left),
            Err(_) => {
                self.polling().end_departure();
                Confirmed::Stays
            }
        }
    }

    /// The session goes on over a stream that carries its WebSocket's bytes.
    pub async fn carry<R, W>(self, read: R, write: W)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let received = bytes::Bytes::new();
        let connection = WebSocketConnection {
            read,
            write,
            received,
        };
        let max_payload = self.engine.max_payload();
        self.upgrading.carry(connection, max_payload).await;
    }

    fn polling(&self) -> &Polling {
        self.upgrading.polling()
    }
}

impl fmt::Debug for RemoteProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteProbe").field(self.polling()).finish()
    }
}

/// Gives a session up to whoever asked, in the session's task, while nothing of it is read or
/// written; false when it goes on here. Once its upper half has departed there is no way back.
pub(crate) async fn depart(
    session: &SessionHandle,
    handler: &mut dyn Handler,
    heartbeat: &Mutex<Heartbeat>,
    batch: &mut Batch,
    to: oneshot::Sender<Departure>,
) -> bool {
    let departed = tokio::select! {
        biased;
        _ = session.closing() => None,
        departed = timeout(limits::MOVE_SETTLE_DEADLINE, handler.depart()),
            if session.outbox_depth().1 <= limits::MOVE_OUTBOX_BYTES_MAX =>
        {
            departed.ok().flatten()
        }
        else => None,
    };
    let Some(Departed { state, left }) = departed else {
        debug!(sid = ?session.sid(), "a session cannot move now");
        return false;
    };
    let (unwritten, ping_unwritten) = session.outbox().take_unwritten(batch);
    let due = match heartbeat.lock().due(Instant::now()) {
        // The client has not seen it.
        Due::Pong(_) if ping_unwritten => Due::Ping(Duration::ZERO),
        due => due,
    };
    let moving = MovingSession {
        unwritten,
        due,
        joined: session.is_joined(),
        state,
    };
    debug!(sid = ?session.sid(), frames = moving.unwritten.len(), "session departs");
    let departure = Departure {
        session: moving,
        left,
    };
    // Nobody waits any more: dropped, it ends as if its transport had closed.
    to.send(departure).ok();
    true
}
