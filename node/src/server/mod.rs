//! What listens where. So far the client port: Engine.IO, health, and the demo page in development.
//!
//! Reading order: [`listener`], [`client_port`], `handshake`.

pub mod client_port;
mod handshake;
pub mod listener;
mod respond;

#[cfg(test)]
mod tests;

pub use client_port::{ClientPort, ClientPortParts, Readiness};
