//! Roomcast: a clustered realtime server for stock Socket.IO clients.
//!
//! An application is a [`Server`] with [`Namespace`]s; what runs in them gets [`Socket`]s, and an
//! [`Io`] reaches the whole cluster:
//!
//! ```
//! use roomcast::{Namespace, ServeConfig, Server, Socket};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let chat = Namespace::new()
//!     .on_connect(|socket: Socket| socket.join("lobby"))
//!     .on("line", |socket: Socket, text: String| {
//!         socket.within("lobby").emit("line", (socket.id(), text))
//!     });
//! let server = Server::builder(ServeConfig::single_node(directory.path()))
//!     .namespace("/chat", chat)
//!     .start()
//!     .await?;
//! server.ready().await;
//! server.io().of("/chat").to("lobby").emit("notice", "hello").await?;
//! server.shutdown().await; // or: server.run().await?
//! # Ok(())
//! # }
//! ```
//!
//! `docs/rust.md` has the table of what Socket.IO's server offers, and ours. Floors, lowest first;
//! a module imports only what stands before it in this list (ARCHITECTURE.md has the table).

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

mod messages;
pub mod operations;

pub mod api;
pub mod backend;
pub mod demo;
pub mod grpc;
pub mod pubsub;
pub mod server;
pub mod webhook;

pub mod app;
pub mod cli;
pub mod dev;
pub mod operator;

pub use app::{ServeError, Server, ServerBuilder};
pub use cli::serve_config;
pub use config::ServeConfig;
pub use socketio::{
    Ack, Admission, Answer, Answers, Broadcast, Call, Code, Connect, ConnectNext, Event, EventNext,
    ExpiredSession, Follow, FollowOptions, Followed, Io, Namespace, Namespaces, Operation,
    OperationError, Recovery, Refusal, Rejection, RemoteSocket, Reply, ServerAnswers, Socket,
    Target, What, from_fn,
};
