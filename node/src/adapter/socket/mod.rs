//! A socket as the node that owns it sees it: where its deliveries stand, and its outbox. One lock
//! holds all that changes, so that replay and live delivery meet without a gap or a double.
//!
//! Reading order: [`local`] (live delivery), [`delivery`] (what the lock holds), [`answers`],
//! [`replay`].

mod answers;
mod delivery;
mod local;
#[cfg(test)]
mod meeting;
mod replay;
#[cfg(test)]
mod tests;

pub(crate) use delivery::Frozen;
pub(super) use local::Identity;
pub use local::LocalSocket;
