//! A socket as the node that owns it sees it: where its deliveries stand, and its outbox. One lock
//! holds all that changes, so that replay and live delivery meet without a gap or a double.
//!
//! Reading order: [`local`] (live delivery), [`delivery`] (what the lock holds), [`answers`],
//! [`replay`], [`ending`]; [`ahead`] and [`tally`] hold and count what waits for its place.

mod ahead;
mod answers;
pub(super) mod arrival;
mod delivery;
mod ending;
mod local;
#[cfg(test)]
mod meeting;
mod replay;
#[cfg(test)]
mod slow;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use delivery::Frozen;
pub(crate) use ending::Holder;
pub use local::LocalSocket;
pub(crate) use local::{CatchUps, Identity};
pub(crate) use replay::{Reached, Stalled};
