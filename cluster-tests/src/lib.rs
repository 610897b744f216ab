//! Multi-node tests, soak and benchmarks with real node processes and real clients.
//!
//! Everything here sees the server from outside: its command line, its ports, its signals. A test
//! opens a [`stage::Stage`], seats subscribers, starts publishers, breaks something, and lets the
//! [`oracle::Oracle`] judge all of it:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use roomcast_cluster_tests::{publisher::PublishSpec, stage::Stage};
//!
//! let mut stage = Stage::three().await?;
//! stage.seat_everywhere(&["lobby"]).await?;
//! stage.publish_everywhere(&PublishSpec::new("lobby"));
//! stage.cluster.nodes[0].kill9()?;
//! stage.finish("a killed node").await;
//! # Ok(())
//! # }
//! ```

pub mod backend;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod follower;
pub mod http;
pub mod link;
pub mod load;
pub mod offset;
pub mod oracle;
pub mod package;
pub mod payload;
pub mod polling;
pub mod ports;
pub mod process;
pub mod publisher;
pub mod raw;
pub mod sdk;
pub mod seat;
pub mod session;
pub mod stage;
pub mod stock;
pub mod visitor;
pub mod wire;
