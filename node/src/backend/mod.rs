//! Namespaces that are served by programs outside the cluster, backends, each over one stream to
//! some node's API port. The node that owns a socket keeps it bound to one backend and asks that:
//! over the stream, when it ends here, else by way of the node where it ends.
//!
//! Reading order: what is known of backends ([`registry`], [`announce`], [`follow`]), calls under
//! way ([`routes`], [`stream`], [`tunnel`], [`ask`], [`operator`]), and who makes them
//! ([`binding`], [`handler`]); [`service`] and [`peers`] are the two doors.

mod announce;
mod ask;
mod binding;
mod convert;
mod description;
mod follow;
mod handler;
mod hub;
mod operator;
mod peers;
mod registry;
mod routes;
mod service;
mod stream;
mod tunnel;

pub use hub::{BackendDoor, BackendSettings, BackendStatus, Backends};
