//! The HTTP long-polling transport (Engine.IO v4, "HTTP long-polling") and the upgrade from it to
//! WebSocket. The HTTP floor brings requests; a session's task meets them at its [`Link`]. Owns the
//! rule of one GET and one POST at a time; never knows status codes or headers.
//!
//! Reading order: [`link`], [`request`] (the HTTP side), [`source`] and [`sink`] (the session's
//! side), [`upgrade`], [`forward`] (requests that arrive at another node).

mod forward;
mod link;
mod request;
mod sink;
mod source;
mod upgrade;

pub use forward::{Forwarded, Owners};
pub(crate) use link::Link;
pub use request::{Polling, RequestError, Upload};
pub(crate) use sink::PollingSink;
pub(crate) use source::PollingSource;
pub(crate) use upgrade::{Probe, Upgrading, release};
