//! The WebSocket transport (RFC 6455), server side, over any byte stream. Reading is our own
//! instead of a library's for one reason: memory. A library's reader keeps its buffer for the life
//! of the connection, grown to the largest message, and hands out messages that pin it; here an
//! idle connection holds no buffer and a message holds its own bytes only. Tests compare the two.

mod decode;
mod sink;
mod source;

#[cfg(test)]
pub(super) use decode::{Decoder, Event};
pub(crate) use sink::WebSocketSink;
pub(crate) use source::WebSocketSource;
