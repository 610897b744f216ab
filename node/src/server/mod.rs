//! What listens where. So far the client port: Engine.IO, health, and the demo page in development.
//!
//! Reading order: [`listener`], [`client_port`], `handshake`, `polling`, `compression`,
//! `cors`, `bundle`.

mod bundle;
pub mod client_port;
mod compression;
mod cors;
mod handshake;
pub mod listener;
mod polling;
mod respond;
mod settings;

#[cfg(test)]
mod tests;

pub use bundle::{BundleError, ClientBundle};
pub use client_port::{ClientPort, ClientPortParts, ENGINE_PATH, Readiness};
pub use compression::Compression;
pub use cors::Cors;
pub use settings::HttpSettings;
