//! The one task of a client: opens transports, keeps the heartbeat, moves packets between the
//! transport and the sockets, and opens the next transport when one is lost.
//!
//! Reading order: [`run`] (between transports), [`live`] (on one transport),
//! [`writing`] (its sending half), [`heartbeat`].
//! The task never waits for the application: a full inbox only stops the reading.

mod heartbeat;
mod live;
mod run;
mod writing;

pub(crate) use run::{Action, Command, Connection, Shared};
