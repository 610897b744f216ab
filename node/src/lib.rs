//! Roomcast: a clustered realtime server for stock Socket.IO clients. Floors, lowest first; a module
//! imports only what is above it in this list.

pub mod ids;
pub mod config;
pub mod state;
pub mod raft;
