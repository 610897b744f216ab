//! Engine.IO v4: the packets under Socket.IO, the handshake before them, the polling payload.
//!
//! Reading order: [`packet`], [`handshake`], [`payload`]; [`base64`] serves the first.

pub mod base64;
pub mod handshake;
pub mod packet;
pub mod payload;

pub use handshake::{HandshakeError, OpenPacket, Query, RequestKind, Target, Transport};
pub use packet::Packet;
