//! What crosses a process boundary, and nothing else: no tokio, no clock, no randomness.
//!
//! Reading order: [`error`], [`offset`], [`websocket`], [`engineio`], [`socketio`], then the
//! generated protobuf, [`ops`], which reads it in part, and [`kept`], which keeps a part of it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice))]

pub mod engineio;
pub mod error;
pub mod kept;
pub mod offset;
pub mod ops;
pub mod socketio;
pub mod websocket;

pub use error::DecodeError;
pub use offset::Offset;

/// The replicated commands: the format of the log.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines
)]
pub mod command {
    tonic::include_proto!("roomcast.command.v1");
}

/// Node to node, on the peer port.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines
)]
pub mod peer {
    tonic::include_proto!("roomcast.peer.v1");
}

/// What programs outside the cluster speak, on the API port.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines
)]
pub mod api {
    tonic::include_proto!("roomcast.v1");
}
