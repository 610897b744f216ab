//! A lean load generator: WebSocket frames by hand, no JSON parsing, one thread. What it measures
//! is the server, so it must cost little itself.

pub mod doors;
pub mod nats;
pub mod procfs;
pub mod publishers;
pub mod room;
pub mod socket;
pub mod speaker;
