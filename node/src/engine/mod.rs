//! Engine.IO v4: sessions over transports. A session carries messages both ways, keeps its
//! heartbeat and knows when it ends and why; it does not know Socket.IO, rooms or Raft, nor what
//! carries it.
//!
//! Reading order: [`close`], [`frames`], [`handler`] (what the upper floor implements), [`outbox`],
//! [`session`] (what the upper floor holds), [`transport`] (the seam below), `run` (the task).

pub mod close;
pub mod counters;
pub mod frames;
pub mod handler;
mod heartbeat;
pub mod moving;
pub mod open;
pub mod outbox;
mod polling;
pub mod registry;
mod run;
pub mod session;
pub mod sid;
pub mod transport;
mod websocket;

#[cfg(test)]
mod tests;

pub use close::CloseReason;
pub use counters::{CounterValues, Counters};
pub use frames::Frames;
pub use handler::{Acceptor, Forbidden, Handler, Handshake, Message, Refused};
pub use open::Engine;
#[cfg(test)]
pub(crate) use outbox::{Batch, Written};
pub use outbox::{Closed, OutboxLimits, PushError};
pub use polling::{Forwarded, Owners, Polling, RequestError, Upload};
pub use registry::{DrainPace, Registry};
pub use session::{EngineConfig, SessionHandle};
pub use sid::Sid;
