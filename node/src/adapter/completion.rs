//! What happens on this node when an operation's fate is known: executed by the fan-out, at the
//! operation's position among the effects.

use std::fmt;
use std::sync::Arc;

use roomcast_proto::offset::Offset;
use tokio::sync::oneshot;

use super::socket::LocalSocket;
use crate::engine::SessionHandle;
use crate::ids::{Pid, SocketId};
use crate::state::{Refusal, ResumeRefusal};

/// The fate of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands in the log.
    Applied(Offset),
    /// A publish whose idempotency key was seen: the first one's offset.
    Duplicate(Offset),
    /// Apply refused it.
    Refused(Refusal),
    /// It did not reach the log, or this node cannot know.
    Failed(Failure),
}

/// Why an operation has no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Surely not written: no leader in time, or this node has no lease.
    Unavailable,
    /// Perhaps written.
    UnknownOutcome,
    /// Surely not written: a queue of this node is full.
    Overloaded,
    /// Surely not written: larger than an entry of the log may be.
    TooLarge,
}

/// Executed when the fate of an operation is known.
pub(crate) enum Completion {
    /// A connect or resume: makes the socket live on this node.
    Attach(Box<Attach>),
    /// Anything else; runs in the fan-out task, so it MUST be short and never wait.
    Call(Box<dyn FnOnce(Outcome) + Send>),
    /// Nobody asks.
    Nothing,
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach(_) => "Attach",
            Self::Call(_) => "Call",
            Self::Nothing => "Nothing",
        })
    }
}

impl Completion {
    /// Ends it with a failure.
    pub(crate) fn fail(self, failure: Failure) {
        match self {
            Self::Attach(attach) => {
                attach.finish(Attached::Failed(failure));
            }
            Self::Call(call) => call(Outcome::Failed(failure)),
            Self::Nothing => {}
        }
    }
}

/// What the fan-out needs to make a socket live.
#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) session: SessionHandle,
    pub(crate) namespace: Arc<str>,
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) recoverable: bool,
    pub(crate) pid: Pid,
    /// The new socket's id; a resume's comes with the verdict.
    pub(crate) id: Option<SocketId>,
    /// What the client is told first.
    pub(crate) opening: Opening,
    pub(crate) reply: oneshot::Sender<Attached>,
}

/// How a socket begins on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// With its CONNECT; a resume may have been tried before and refused.
    Connect {
        /// Why it was.
        resume_refused: Option<ResumeRefusal>,
    },
    /// In silence: its session moved here, and the client has its CONNECT.
    Moved {
        /// Requests that the client has not answered, oldest first.
        asked: Vec<u64>,
    },
}

/// How an attach ended.
#[derive(Debug)]
pub(crate) enum Attached {
    /// The socket is live; its CONNECT is in the outbox.
    Socket {
        socket: Arc<LocalSocket>,
        recovered: bool,
    },
    /// A resume was refused: the client starts anew.
    NotRecovered(ResumeRefusal),
    /// The connect was refused by apply.
    Refused(Refusal),
    Failed(Failure),
}

impl Attach {
    /// Tells the connection; false when it no longer waits.
    pub(crate) fn finish(self, attached: Attached) -> bool {
        self.reply.send(attached).is_ok()
    }
}
