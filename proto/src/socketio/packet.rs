//! A Socket.IO packet and the namespace it belongs to. (Socket.IO v5, "Packet types".)

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::DecodeError;

/// A decoded packet. BINARY_EVENT and BINARY_ACK are [`Packet::Event`] and [`Packet::Ack`] with
/// attachments, which follow as binary messages; see [`crate::socketio::Assembler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// `0`: a client asks for a namespace, or the server grants it.
    Connect {
        /// The namespace.
        namespace: Namespace,
        /// A JSON object: the client's `auth`; from a server, `{"sid":…}`.
        auth: Option<Bytes>,
    },
    /// `1`: one side leaves a namespace.
    Disconnect {
        /// The namespace.
        namespace: Namespace,
    },
    /// `2` or `5`: an event.
    Event {
        /// The namespace.
        namespace: Namespace,
        /// Present when the sender wants an ack.
        id: Option<u64>,
        /// A JSON array: the name, then the arguments.
        data: Bytes,
        /// How many binary messages follow.
        attachments: usize,
    },
    /// `3` or `6`: the answer to an event.
    Ack {
        /// The namespace.
        namespace: Namespace,
        /// The event's id.
        id: u64,
        /// A JSON array: the arguments.
        data: Bytes,
        /// How many binary messages follow.
        attachments: usize,
    },
    /// `4`: the server refuses a namespace.
    ConnectError {
        /// The namespace.
        namespace: Namespace,
        /// A JSON object or string.
        data: Bytes,
    },
}

impl Packet {
    /// The namespace that the packet is for.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Connect { namespace, .. }
            | Self::Disconnect { namespace }
            | Self::Event { namespace, .. }
            | Self::Ack { namespace, .. }
            | Self::ConnectError { namespace, .. } => namespace,
        }
    }

    /// How many binary messages follow.
    #[must_use]
    pub fn attachments(&self) -> usize {
        match self {
            Self::Event { attachments, .. } | Self::Ack { attachments, .. } => *attachments,
            Self::Connect { .. } | Self::Disconnect { .. } | Self::ConnectError { .. } => 0,
        }
    }
}

/// A namespace's name, with its leading slash. Cloning never copies text, `/` is never allocated,
/// and the text is its own: keeping it does not keep the frame in which it came.
#[derive(Clone)]
pub struct Namespace(Name);

#[derive(Clone)]
enum Name {
    Root,
    Other(Arc<str>),
}

impl Namespace {
    /// `/`.
    pub const ROOT: Self = Self(Name::Root);

    /// Checks and copies a name.
    ///
    /// # Errors
    /// [`DecodeError::Namespace`]: no leading slash, a comma (it ends the name on the wire), or a
    /// control character (the record separator of polling is one).
    pub fn new(name: &str) -> Result<Self, DecodeError> {
        if name == "/" {
            return Ok(Self::ROOT);
        }
        if !name.starts_with('/') || name.contains(|c: char| c == ',' || c.is_control()) {
            return Err(DecodeError::Namespace);
        }
        Ok(Self(Name::Other(Arc::from(name))))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Root => "/",
            Name::Other(name) => name,
        }
    }
}

impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&Namespace> for Arc<str> {
    fn from(namespace: &Namespace) -> Self {
        match &namespace.0 {
            Name::Root => Self::from("/"),
            Name::Other(name) => Self::clone(name),
        }
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Namespace {}

impl PartialOrd for Namespace {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Namespace {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// As `str` hashes, which [`Borrow`] demands.
impl Hash for Namespace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
