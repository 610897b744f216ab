//! A session that goes on at another node: its client upgrades from polling with a WebSocket that
//! landed there (design, section 6, "Polling without stickiness"). The old owner stops the session
//! and gives it up whole; the new one goes on with it, so that no request names the old one any
//! more. When a session cannot be given up, the bytes of its WebSocket are carried instead.
//!
//! Reading order: what travels (here), [`departure`] (the old owner), [`arrival`] (the new one).

mod arrival;
mod departure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use departure::{Confirmed, RemoteProbe};
pub(crate) use departure::{Departure, depart};

use super::frames::Frames;
use super::handler::Handler;

/// A session between two nodes.
#[derive(Debug)]
pub struct MovingSession {
    /// What was not written yet, in order.
    pub unwritten: Vec<Arc<Frames>>,
    /// Where its heartbeat stands.
    pub due: Due,
    /// Whether a namespace was joined.
    pub joined: bool,
    /// What the upper floor gave up, for the upper floor.
    pub state: Bytes,
}

/// The next deadline of a heartbeat, from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A PING is to be sent.
    Ping(Duration),
    /// The PONG to one that was sent must have come.
    Pong(Duration),
}

/// What the upper floor gives up of a session.
#[derive(Debug)]
pub struct Departed {
    /// Whatever its other half needs to go on.
    pub state: Bytes,
    /// What becomes of the session if nobody goes on with it.
    pub left: Box<dyn Left>,
}

/// A session that was given up and is not in place elsewhere yet. Dropped, it ends as if its
/// transport had closed.
pub trait Left: Send + fmt::Debug {
    /// It is in place elsewhere.
    fn taken(self: Box<Self>);
}

/// What the upper floor makes of a session that was given up elsewhere.
pub struct Adopted {
    /// The session's new upper half.
    pub handler: Box<dyn Handler>,
    /// Completes when the session is in place, or (false) cannot be.
    pub in_place: BoxFuture<'static, bool>,
}

impl fmt::Debug for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopted").finish_non_exhaustive()
    }
}

/// The session of another node that a WebSocket here wants, as its owner sees it. Dropped, the
/// owner gives the probe up.
#[async_trait]
pub trait RemoteSession: Send {
    /// The client's probe was answered.
    ///
    /// # Errors
    /// [`OwnerLost`].
    async fn probed(&mut self) -> Result<(), OwnerLost>;

    /// The client confirmed: what becomes of its session.
    ///
    /// # Errors
    /// [`OwnerLost`].
    async fn confirmed(&mut self) -> Result<Taken, OwnerLost>;

    /// The session that was given up is in place here.
    async fn in_place(self: Box<Self>);

    /// Carries the WebSocket's bytes, those in `received` first, until either side ends.
    async fn carry(self: Box<Self>, client: Carried);
}

/// The owner of a session is gone, or has given the upgrade up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session's owner is lost")]
pub struct OwnerLost;

/// What a confirmed upgrade brings.
#[derive(Debug)]
pub enum Taken {
    /// The session itself.
    Session(MovingSession),
    /// Nothing: it stays with its owner, and its bytes are to be carried.
    Bytes,
}

/// A WebSocket whose bytes are carried to another node.
pub struct Carried {
    /// From the client.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// To the client.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
    /// What was read already and not used.
    pub received: Bytes,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}
