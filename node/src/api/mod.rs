//! The API port: `/metrics`, `/v1/status`, the operators' commands, and the operations of programs
//! in JSON. It knows no Raft and no Socket.IO: what it tells and does comes through two traits that
//! a higher floor implements, and through `operations`.
//!
//! What changes something takes JSON only, so that no page in a browser can send it unasked.

pub mod client;
mod gate;
pub mod json;
mod listener;
mod port;
mod refused;
mod serve;
mod source;

pub use gate::Access;
pub use listener::{ApiListener, CONNECTIONS_MAX};
pub(crate) use port::status_json;
pub use port::{Extra, router};
pub use serve::serve;
pub use source::{
    AdminError, AdminSource, BackendReport, GroupReport, NamespaceReport, NodeReport,
    SnapshotReport, StatusSource,
};

#[cfg(test)]
mod tests;
