//! What has to hold for any bytes at all, one function per decoder: a panic is a finding. Three
//! callers share them, so that they cannot drift apart: the fuzz targets of `proto/fuzz`, the test
//! that replays their corpus, and the property tests.
//!
//! Reading order: [`table`] (which there are), [`websocket`], [`engineio`], [`socketio`], [`args`],
//! [`msgpack`], [`offset`].

mod args;
mod engineio;
mod msgpack;
mod offset;
pub(crate) mod socketio;
pub(crate) mod table;
pub(crate) mod websocket;

pub(crate) use table::run;
