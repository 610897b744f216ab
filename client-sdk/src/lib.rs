//! Async Rust client for Roomcast: Socket.IO over WebSocket, to any node of the cluster.
//!
//! ```no_run
//! use std::time::Duration;
//! use roomcast_client::{Client, ClientOptions, Notice, SocketOptions};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nodes = ["ws://127.0.0.1:3001", "ws://127.0.0.1:3002", "ws://127.0.0.1:3003"];
//! let client = Client::new(nodes, ClientOptions::default())?;
//! let (socket, mut inbox) = client.socket("/chat", SocketOptions::default())?;
//! let room = socket.pubsub();
//! room.join("lobby").await?;
//! room.publish("lobby", "line", "hello").await?;
//! while let Some(notice) = inbox.recv().await {
//!     match notice {
//!         Notice::Event(event) => println!("{} {:?}", event.name, event.args),
//!         Notice::Connected(now) => println!("on {}, recovered {}", now.endpoint, now.recovered),
//!         Notice::Disconnected { reason } => println!("lost: {reason}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The client reconnects by itself, to the next endpoint of its list, and resumes its sessions:
//! every event that was missed comes in order and once. What it does not do yet: polling, TLS,
//! the msgpack parser.
//!
//! Reading order: [`Client`], [`Socket`] and [`Inbox`], [`Notice`], [`Pubsub`]; inside:
//! `socket_core` (what handles and task share), `connection` (the task), `transport`.

mod backoff;
mod client;
mod connection;

mod endpoint;
mod error;
mod event;
mod inbox;
mod options;
mod outgoing;
mod pubsub;
mod resume;
mod socket;
mod socket_core;
mod transport;
mod wire;

pub use backoff::BackoffOptions;
pub use client::Client;
pub use endpoint::{Endpoint, EndpointOrder};
pub use error::{AckError, ClientError, EmitError};
pub use event::{Args, Connected, DisconnectReason, Event, Notice, ResumeReport, ResumeToken};
pub use options::{Acknowledgement, ClientOptions, SocketOptions};
pub use pubsub::{
    ErrorCode, History, HistoryQuery, LoggedEvent, Member, Members, MembersQuery, Publish,
    Published, Pubsub, PubsubError,
};
pub use socket::{AckPending, Inbox, Responder, Socket};
