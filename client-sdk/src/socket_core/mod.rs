//! One socket as its two sides share it: the application's handles and the connection task.
//!
//! Reading order: [`state`] (what there is, behind one short lock), [`application`] (what
//! handles do to it), [`task`] (what the connection task does to it). Every change of phase is
//! a method here; the task decides when, never how.

mod application;
mod state;
mod task;

pub(crate) use state::SocketCore;
