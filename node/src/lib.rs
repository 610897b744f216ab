//! Roomcast: a clustered realtime server for stock Socket.IO clients. Floors, lowest first; a
//! module imports only what is above it in this list, and its neighbours between empty lines.

pub mod ids;

pub mod config;
pub mod metrics;

pub mod state;

pub mod raft;

pub mod api;

pub mod app;
pub mod cli;
pub mod dev;
pub mod operator;
pub mod process;
