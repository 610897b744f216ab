//! The replicated state of one group: what Raft's log means. Pure: it reads nothing that is not in the
//! log: no clock, randomness, I/O, flags, tokio, metrics or hash order. (DESIGN, section 4.)
//!
//! [`GroupState::apply`] moves the state by one entry and reports [`Effect`]s in order; every replica
//! computes the same. Reading methods answer questions about the state at its position.

mod effect;

pub use effect::{AckRequest, Effect, Event, OpResult, Refusal, ResumeRefusal, Verdict};
