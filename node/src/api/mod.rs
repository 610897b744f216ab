//! The API port: `/metrics`, `/v1/status`, and the operators' commands. It knows no Raft and no
//! Socket.IO: what it tells and does comes through two traits that a higher floor implements.
//!
//! The commands take JSON only, so that no page in a browser can send them unasked.

pub mod client;
mod listener;
mod port;
mod serve;
mod source;

pub use listener::{ApiListener, CONNECTIONS_MAX};
pub use port::{Extra, router};
pub use serve::serve;
pub use source::{
    AdminError, AdminSource, BackendReport, GroupReport, NamespaceReport, NodeReport,
    SnapshotReport, StatusSource,
};

#[cfg(test)]
mod tests;
