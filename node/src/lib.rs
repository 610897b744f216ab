//! Roomcast: a clustered realtime server for stock Socket.IO clients. Floors, lowest first; a
//! module imports only what stands before it in this list (ARCHITECTURE.md has the table).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod process;
pub mod shutdown;

pub mod engine;
pub mod state;

mod wal;

pub mod raft;

pub mod adapter;

pub mod socketio;

pub mod api;
pub mod demo;
pub mod pubsub;
pub mod server;

pub mod app;
pub mod cli;
pub mod dev;
pub mod operator;
