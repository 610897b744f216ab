//! Engine.IO v4: the packets under Socket.IO, the handshake before them, the polling payload.
//!
//! Reading order: [`packet`], [`handshake`], [`payload`], [`messages`]; [`base64`] serves the
//! first.

pub mod base64;
pub mod handshake;
pub mod messages;
pub mod packet;
pub mod payload;

pub use handshake::{HandshakeError, OpenPacket, Query, RequestKind, Target, Transport};
pub use messages::Messages;
pub use packet::Packet;
