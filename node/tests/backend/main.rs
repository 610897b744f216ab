//! Namespaces that a program outside serves over its stream: one node, clients that speak the wire
//! literally, and a backend whose every step the test makes.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

mod bounds;
mod calls;
mod leaving;
mod node;
mod policies;
mod program;
mod wire;
