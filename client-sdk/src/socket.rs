//! The application's handles on one namespace: [`Socket`] to send, [`Inbox`] to receive,
//! [`AckPending`] and [`Responder`] for acknowledgements in either direction.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client::ClientHandle;
use crate::error::{AckError, ClientError, EmitError};
use crate::event::{Args, Event, Notice, ResumeToken};
use crate::outgoing::AckResult;
use crate::pubsub::Pubsub;
use crate::socket_core::SocketCore;

/// The sending side of a namespace. Clones are the same socket.
#[derive(Debug, Clone)]
pub struct Socket {
    /// Shared with the connection task.
    core: Arc<SocketCore>,
    /// Keeps the client's connection alive.
    _client: Arc<ClientHandle>,
}

impl Socket {
    pub(crate) fn new(core: Arc<SocketCore>, client: Arc<ClientHandle>) -> Self {
        Self {
            core,
            _client: client,
        }
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        self.core.namespace().as_str()
    }

    /// The socket's id; `None` while it is not connected.
    pub fn id(&self) -> Option<String> {
        self.core.id()
    }

    /// Queues an event. Order is kept; it is sent at once when connected, else after the next
    /// CONNECT. At-most-once: of an emit without an ack nobody can say whether it arrived.
    ///
    /// # Errors
    /// See [`EmitError`]; nothing was sent.
    pub fn emit(&self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        self.core.emit(name, args.into())
    }

    /// Queues an event and waits for its acknowledgement, `timeout` from now at most.
    ///
    /// # Errors
    /// See [`AckError`], which says whether the server may have acted on it.
    pub async fn emit_with_ack(
        &self,
        name: &str,
        args: impl Into<Args>,
        timeout: Duration,
    ) -> Result<Args, AckError> {
        self.request(name, args, timeout)?.wait().await
    }

    /// Queues an event and returns at once; many may be outstanding.
    ///
    /// # Errors
    /// See [`EmitError`]; nothing was sent.
    pub fn request(
        &self,
        name: &str,
        args: impl Into<Args>,
        timeout: Duration,
    ) -> Result<AckPending, EmitError> {
        let (id, answer) = self.core.request(name, args.into())?;
        Ok(AckPending {
            core: self.core.clone(),
            id,
            answer,
            timeout,
            deadline: Instant::now() + timeout,
        })
    }

    /// The operations of the server's built-in `pubsub` handler on this namespace.
    pub fn pubsub(&self) -> Pubsub {
        Pubsub::new(self.clone())
    }

    /// Says that everything up to `offset` was handled, with
    /// [`Acknowledgement::Manual`](crate::Acknowledgement::Manual): the next resume starts there.
    /// Local; [`Pubsub::ack`](crate::Pubsub::ack) tells the server.
    pub fn acknowledge(&self, offset: &str) {
        self.core.acknowledge(offset);
    }

    /// What resumes this session from another connection or process; `None` before the first
    /// CONNECT and without recovery.
    pub fn resume_token(&self) -> Option<ResumeToken> {
        self.core.resume_token()
    }

    /// Replaces the application's part of the CONNECT payload, from the next CONNECT on.
    ///
    /// # Errors
    /// [`ClientError::AuthNotObject`].
    pub fn set_auth(&self, auth: Value) -> Result<(), ClientError> {
        match auth {
            Value::Object(auth) => {
                self.core.set_auth(auth);
                Ok(())
            }
            _ => Err(ClientError::AuthNotObject),
        }
    }

    /// Asks for the namespace again after a refusal, a server's disconnect or
    /// [`Socket::disconnect`]. Does nothing otherwise.
    pub fn connect(&self) {
        self.core.want();
    }

    /// Leaves the namespace for good: what is queued is sent, then DISCONNECT; the session ends.
    pub fn disconnect(&self) {
        self.core.leave();
    }
}

/// The receiving side of a namespace: state changes and events in their order. Read it, or drop
/// it if nothing is to be received: a full inbox stops the whole client from reading.
#[derive(Debug)]
pub struct Inbox {
    /// Shared with the connection task.
    core: Arc<SocketCore>,
    /// Keeps the client's connection alive.
    _client: Arc<ClientHandle>,
}

impl Inbox {
    pub(crate) fn new(core: Arc<SocketCore>, client: Arc<ClientHandle>) -> Self {
        Self {
            core,
            _client: client,
        }
    }

    /// The next notice; `None` after the client was closed and everything was taken. Cancel safe.
    pub async fn recv(&mut self) -> Option<Notice> {
        loop {
            match self.core.take_notice() {
                Ok(Some(notice)) => return Some(notice),
                Ok(None) => self.core.readable().await,
                Err(_ended) => return None,
            }
        }
    }

    /// The next notice if there is one now.
    pub fn try_recv(&mut self) -> Option<Notice> {
        self.core.take_notice().ok().flatten()
    }

    /// The next event; state changes before it are skipped. Cancel safe.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Notice::Event(event) = self.recv().await? {
                return Some(event);
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.core.close_inbox();
    }
}

/// An acknowledgement that has not come yet. Dropping it does not take the emit back.
#[derive(Debug)]
pub struct AckPending {
    /// Where the emit is queued.
    core: Arc<SocketCore>,
    /// The emit's ack id.
    id: u64,
    /// Where the answer comes.
    answer: oneshot::Receiver<AckResult>,
    /// As the application gave it, for the error.
    timeout: Duration,
    /// When the waiting ends.
    deadline: Instant,
}

impl AckPending {
    /// Waits until the answer is here, or it is certain that none comes.
    ///
    /// # Errors
    /// See [`AckError`], which says whether the server may have acted on the emit.
    pub async fn wait(mut self) -> Result<Args, AckError> {
        match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(AckError::UnknownOutcome),
            Err(_elapsed) if self.core.take_back(self.id) => Err(AckError::NotSent(self.timeout)),
            Err(_elapsed) => Err(AckError::Timeout(self.timeout)),
        }
    }
}

impl Drop for AckPending {
    fn drop(&mut self) {
        self.core.forget(self.id);
    }
}

/// Answers one event of the server. The first answer counts; the server ignores more.
#[derive(Debug, Clone)]
pub struct Responder {
    /// Weak, because it lies in the inbox, which the core owns.
    core: Weak<SocketCore>,
    /// The connection on which the event came.
    connection: u64,
    /// The event's ack id.
    id: u64,
}

impl Responder {
    pub(crate) fn new(core: Weak<SocketCore>, connection: u64, id: u64) -> Self {
        Self {
            core,
            connection,
            id,
        }
    }

    /// Queues the answer.
    ///
    /// # Errors
    /// [`EmitError::StaleAck`] when the connection on which the event came is gone; otherwise as
    /// for an emit.
    pub fn send(&self, args: impl Into<Args>) -> Result<(), EmitError> {
        let core = self.core.upgrade().ok_or(EmitError::StaleAck)?;
        core.answer(self.connection, self.id, args.into())
    }
}
