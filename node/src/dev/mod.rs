//! `roomcast dev`: a whole cluster on one machine. Nodes are child processes, so that one can be
//! killed from outside; a balancer without stickiness stands in front. Everything is on loopback.
//!
//! The children hold a pipe from this process and end when it closes, whatever ended us.

mod balancer;
mod children;
mod plan;
mod run;

pub use balancer::{Backend, Balancer};
pub use run::{DevError, run};
