//! The event log's storage: one segmented, checksummed write-ahead log with group commit, shared
//! by all groups of a node. It is the Raft log and the event history in one; a payload is written
//! once (DESIGN, section 5). It owns files, durability, recovery and space; it knows neither Raft
//! nor what an entry means.
//!
//! Reading order: [`frame`] and [`segment`] (the format), [`index`] (what is where), [`tail`] (what
//! is about to be written), [`writer`] (one write and one sync for all that waits), [`log`] (the
//! handle), [`recovery`], [`archive`], [`reclaim`] and [`space`], [`disk`].

mod archive;
mod disk;
mod frame;
mod index;
mod log;
mod reader;
mod reclaim;
mod recovery;
mod segment;
mod space;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use index::{EntryId, Record, SavedVote};
pub(crate) use log::{Done, GroupLog, Options, Wal};
pub(crate) use reclaim::{Needs, Part, Reclaimed};
pub(crate) use space::Space;
