//! What applying an entry causes: read in order by this node's fan-out.

use std::sync::Arc;

use bytes::Bytes;

use super::subscribers::SubscriberLimit;
use crate::ids::{GroupId, Incarnation, NodeId, Pid, Position, SocketId};

/// One consequence of an entry. Effects of an operation precede its [`Effect::Op`].
#[derive(Debug, Clone)]
pub enum Effect {
    /// A socket entered rooms here (its own id's room included, at connect).
    Joined {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
        namespace: Arc<str>,
        rooms: Vec<Arc<str>>,
    },
    /// A socket left rooms here.
    Left {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
        namespace: Arc<str>,
        rooms: Vec<Arc<str>>,
    },
    /// An event for rooms, at its position in the log.
    Published(Arc<Event>),
    /// `socket` was taken over by a resume at this position: `owner` was its owner until now, and
    /// `generation` the one that ends. It delivers nothing from here on and closes.
    Fenced {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
        generation: u64,
    },
    /// The server disconnects a socket here, which `owner` carries: its client is told, and its
    /// connection closed if the server says so. [`Effect::Ended`] follows.
    Kicked {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
        close: bool,
    },
    /// A session's transport is gone (its own `Away`); it is still owed events.
    WentAway {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
    },
    /// A session ended here: by its disconnect or because its time ran out (`expired`). A durable
    /// subscriber may have ended by a limit: `owner` delivers nothing from here on and closes.
    Ended {
        position: Position,
        socket: SocketId,
        owner: Incarnation,
        namespace: Arc<str>,
        expired: bool,
        limit: Option<SubscriberLimit>,
    },
    /// A session has ended while it was away, and `runner` is to tell its application: the one that
    /// owned it last, or the registered one with the lowest node id.
    Expired {
        position: Position,
        runner: Incarnation,
        session: ExpiredSession,
    },
    /// The outcome of one operation of a batch.
    Op {
        incarnation: Incarnation,
        sequence: u64,
        op: u32,
        position: Position,
        result: OpResult,
    },
    /// A batch was not the next one and not a repeat: nothing of it was applied.
    Gap {
        incarnation: Incarnation,
        sequence: u64,
        expected: u64,
    },
    /// A batch of an incarnation that is not (any more) registered: nothing of it was applied.
    UnknownProducer {
        incarnation: Incarnation,
        sequence: u64,
    },
    /// An incarnation may produce from here on.
    Registered {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// All sessions of an incarnation went away here; its later batches are refused.
    Detached {
        position: Position,
        node: NodeId,
        incarnation: Incarnation,
    },
    /// The group got its epoch.
    Founded { epoch: u64, group: GroupId },
}

/// A session that came to its end while it was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredSession {
    /// The socket's id.
    pub id: SocketId,
    /// Its namespace, with the leading slash.
    pub namespace: Arc<str>,
    /// Who it was.
    pub identity: Option<Arc<str>>,
    /// Its data: JSON, or empty.
    pub data: Bytes,
}

/// An event as the log holds it; `event` is a JSON array, name first.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where it stands in the log.
    pub position: Position,
    /// Namespace, with its leading slash.
    pub namespace: Arc<str>,
    /// Target rooms; empty means every socket of the namespace.
    pub rooms: Vec<Arc<str>>,
    /// Sockets in any of these rooms are left out.
    pub except: Vec<Arc<str>>,
    /// JSON array: the event's name and arguments, with placeholders for attachments.
    pub event: Bytes,
    /// Binary attachments, in the order of their placeholders.
    pub attachments: Vec<Bytes>,
    /// Leader's wall clock, Unix milliseconds.
    pub wall_ms: u64,
    /// A broadcast with acknowledgements: its number, the asking incarnation, and which sockets
    /// were connected members at its position. Such an event is not replayed.
    pub request: Option<AckRequest>,
}

/// What makes an event a broadcast with acknowledgements.
#[derive(Debug, Clone)]
pub struct AckRequest {
    /// Chosen by the asking node.
    pub number: u64,
    /// Who asked.
    pub incarnation: Incarnation,
    /// Connected members at the event's position, excepts taken off; by id, each once.
    pub expected: Arc<[SocketId]>,
}

/// The outcome of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Applied at the position of the operation.
    Done,
    /// A publish whose key was seen: the first one stands at `first`.
    Duplicate { first: Position },
    /// A resume was tried: what apply decided.
    Resume(Verdict),
    /// Not applied.
    Refused(Refusal),
}

/// What apply decided about a resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The session goes on under a new generation; it is owed everything after `start`.
    Recovered {
        /// The socket's unchanged id.
        socket: SocketId,
        /// The session's unchanged pid: who resumes by name has not brought it. `None` from a
        /// build that knew no names.
        pid: Option<Pid>,
        /// The generation to use from now on.
        generation: u64,
        /// Where the replay starts (exclusive).
        start: Position,
        /// Rooms the session is in at this position.
        rooms: Vec<Arc<str>>,
    },
    /// Nothing changed; the client starts anew.
    NotRecovered(ResumeRefusal),
}

/// Why a resume was not recovered (DESIGN, section 6; the words are on the wire).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeRefusal {
    /// No such session.
    Unknown,
    /// Its resume window ran out.
    Expired,
    /// An event it is owed was dropped.
    Dropped,
    /// The session belongs to another identity.
    OtherIdentity,
    /// The offset is unreadable, or later than this position.
    Invalid,
    /// The durable subscriber of this name came to a limit, and ended.
    Limit,
}

impl ResumeRefusal {
    /// The word on the wire and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
            Self::OtherIdentity => "other_identity",
            Self::Invalid => "invalid",
            Self::Limit => "limit",
        }
    }
}

/// Why an operation was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An older generation, or no such session: the socket was taken over or has ended.
    Stale,
    /// The same idempotency key with another body.
    KeyReused,
    /// A limit of the settings: too many rooms, too long a name.
    Limit,
    /// Event larger than `event_bytes_max`.
    TooLarge,
    /// A malformed operation; a gateway never sends one.
    Invalid,
    /// It would make a namespace, and `namespaces_max` of them exist.
    NamespacesFull,
    /// It would make a durable subscriber, and `subscribers_max` of them exist in the namespace.
    SubscribersFull,
}
