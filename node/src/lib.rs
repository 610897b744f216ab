//! Roomcast: a clustered realtime server for stock Socket.IO clients. Floors, lowest first: `ids`,
//! `limits`, `shutdown`; `engine`, `state`; `raft`; `server`. A module imports lower floors only.

pub mod engine;
pub mod ids;
pub mod limits;
pub mod raft;
pub mod server;
pub mod shutdown;
pub mod state;
