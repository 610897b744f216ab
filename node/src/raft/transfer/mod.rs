//! Snapshots on their way between nodes. The sender offers one and goes on where the receiver
//! stands; what was received survives the connection it came over, so that every attempt brings a
//! transfer nearer to its end, however slow the network and however often it breaks.
//!
//! Reading order: [`bandwidth`] (how fast), [`outgoing`] (the sender), [`arriving`] (what a
//! receiver has so far), [`incoming`] (the receiver).

mod arriving;
mod bandwidth;
mod incoming;
mod outgoing;

pub(super) use arriving::Arriving;
pub(super) use bandwidth::Bandwidth;
pub(super) use incoming::Incoming;
pub(super) use outgoing::{Outgoing, Sendings};
