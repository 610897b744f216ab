//! Socket.IO as clients see it, in literal bytes: packets, namespaces, recovery, goodbyes, and the
//! classes of emit on three nodes. (Socket.IO v5; where it is silent, what the reference was
//! measured to do.)

// `allow-unwrap-in-tests` knows test functions only, not what they share.
#![allow(clippy::unwrap_used)]

mod app;
mod cluster;
mod emits;
mod goodbyes;
mod namespaces;
mod packets;
mod recovery;
mod subscribers;
mod wire;
