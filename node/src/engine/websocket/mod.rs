//! The WebSocket transport (RFC 6455), server side, over any byte stream. Frames are decoded by
//! [`roomcast_proto::websocket`], not by a library; it says why.

mod sink;
mod source;

pub(crate) use sink::WebSocketSink;
pub(crate) use source::WebSocketSource;
