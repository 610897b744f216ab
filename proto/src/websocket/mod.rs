//! WebSocket frames (RFC 6455), as a server reads them: our own instead of a library's for one
//! reason, memory. A library's reader keeps its buffer for the life of the connection, grown to the
//! largest message, and hands out messages that pin it; here an idle connection holds no buffer and
//! a message holds its own bytes only. Tests and fuzzing compare the two.

pub mod decode;

pub use decode::{Decoder, Event, FrameError, Limits};
