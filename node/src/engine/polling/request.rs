//! The HTTP side of a session on polling: one GET and one POST at a time, each a future that may be
//! dropped when its client leaves.

use std::fmt;

use bytes::Bytes;

use super::link::Link;
use crate::engine::close::CloseReason;
use crate::engine::session::SessionHandle;

/// Why a request gets nothing of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The session is over.
    #[error("session is unknown")]
    Unknown,
    /// The session has left polling for WebSocket.
    #[error("session has been upgraded")]
    Upgraded,
    /// Another request of the same kind is under way: the session is closed.
    #[error("another request is under way")]
    Overlap,
    /// The last GET was sent again by something between us and the client, which has lost its
    /// answer: the session is closed, and its client resumes.
    #[error("a request was repeated")]
    Repeated,
    /// Too many requests are forwarded to other nodes; this one was not.
    #[error("too many forwarded requests")]
    Overloaded,
}

/// A session that began on polling.
#[derive(Clone)]
pub struct Polling {
    /// The session; its link is there.
    session: SessionHandle,
}

impl Polling {
    /// `None` when the session began over WebSocket.
    #[must_use]
    pub fn of(session: SessionHandle) -> Option<Self> {
        session.link()?;
        Some(Self { session })
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &SessionHandle {
        &self.session
    }

    pub(super) fn link(&self) -> &Link {
        self.session.link().expect("checked at construction")
    }

    /// Waits for packets: the answer of a GET. `stamp` is the client's `t`, which differs from GET
    /// to GET; empty when there is none. Dropped before it is done, it ends the session: what its
    /// client got of the answer cannot be known.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get(&self, stamp: String) -> Result<Bytes, RequestError> {
        let begun = self.link().begin_get(self.session.outbox(), stamp);
        let answered = self.judge(begun)?;
        let mut cut = Cut::armed(self);
        let answer = answered.await;
        cut.armed = false;
        answer.unwrap_or(Err(RequestError::Unknown))
    }

    /// Begins a POST.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn post(&self) -> Result<Upload<'_>, RequestError> {
        self.judge(self.link().begin_post(self.session.outbox()))?;
        Ok(Upload {
            cut: Cut::armed(self),
        })
    }

    fn judge<T>(&self, begun: Result<T, RequestError>) -> Result<T, RequestError> {
        if matches!(begun, Err(RequestError::Overlap | RequestError::Repeated)) {
            self.session.close(CloseReason::TransportError);
        }
        begun
    }
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Polling").field(&self.session).finish()
    }
}

/// A POST whose body is arriving. Dropped, it ends the session, as a connection that broke.
#[derive(Debug)]
pub struct Upload<'a> {
    cut: Cut<'a>,
}

impl Upload<'_> {
    /// Hands the body to the session; done once its packets are handled, so that a client sends no
    /// faster than they are.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn handle(mut self, body: Bytes) -> Result<(), RequestError> {
        let polling = self.cut.polling;
        self.cut.armed = false;
        if polling.session.is_closed() {
            // On its way out: what comes now is not taken, and its client is told by a GET.
            polling.link().forget_post();
            return Ok(());
        }
        let handled = polling.link().queue_post(body, polling.session.outbox())?;
        // An error is a session that ended meanwhile: its next GET tells.
        handled.await.ok();
        Ok(())
    }

    /// Refuses the body; the session goes on.
    pub fn refuse(mut self) {
        self.cut.armed = false;
        self.cut.polling.link().forget_post();
    }

    /// Completes when the session is over, so that a body need not be waited for.
    pub async fn session_over(&self) {
        self.cut.polling.session.closed().await;
    }
}

/// Ends the session when a request is dropped before its end.
#[derive(Debug)]
struct Cut<'a> {
    polling: &'a Polling,
    armed: bool,
}

impl<'a> Cut<'a> {
    fn armed(polling: &'a Polling) -> Self {
        let armed = true;
        Self { polling, armed }
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        let session = &self.polling.session;
        if self.armed && self.polling.link().cut(session.outbox()) {
            session.close(CloseReason::TransportError);
        }
    }
}
