//! Applications in Rust as they are written: a server from the builder, our client over loopback.

mod cluster;
mod follow;
mod node;
mod server;
mod socket;
