//! Consensus: several Raft groups per node over one peer port. The only module that names openraft.
//! It knows nothing of commands: their bytes are opaque. It never reads the state, and it never
//! decides when to snapshot or to purge.
//!
//! The road of a proposal: [`Consensus::propose`] - openraft's core - `log_store` (fdatasync) and
//! `network` (one pipelined stream per peer and group) - commit - `state_machine` - the
//! [`StateMachine`] of the floor above. Founding and identity of a node: `founding`, `identity`.

mod api;
mod consensus;
mod convert;
mod founding;
mod gate;
mod group;
mod history;
mod identity;
mod install;
mod log_store;
mod net;
mod network;
mod peers;
mod service;
mod settings;
mod snapshot;
mod space;
mod start;
mod state_machine;
mod transfer;
mod types;

#[cfg(test)]
mod tests;

pub(crate) use crate::wal::{Needs, Part};
pub use api::{
    BackendStream, BackendsStream, ChangeError, Committed, Config, FatalHook, FrozenState,
    GroupStatus, PeerAddress, PeerHandler, ProposeError, ProposeStream, ReadError, RestoreError,
    SnapshotError, StartError, StateMachine, Timings, UpgradeStream, exit_process,
};
pub use consensus::Consensus;
pub use history::Backfilled;
pub use identity::stored_groups;
pub use settings::{ENTRY_BYTES_MAX, MESSAGE_BYTES_MAX};
