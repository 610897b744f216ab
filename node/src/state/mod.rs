//! The replicated state of one group: what Raft's log means. Pure: it reads nothing that is not in
//! the log: no clock, randomness, I/O, flags, tokio, metrics or hash order. (DESIGN, section 4.)
//!
//! [`GroupState::apply`] moves the state by one entry and reports [`Effect`]s in order; every
//! replica computes the same. Reading methods answer questions about the state at its position. A
//! clone is O(1): readers and snapshots work on clones while apply goes on.

mod bucket;
mod effect;
mod settings;

mod cursors;
mod dated;
mod forgotten;
mod keys;
mod limited;
mod namespace;
mod producer;
mod records;
mod room;
mod session;
mod timers;

mod connect;
mod early;
mod group;
mod lifecycle;
mod operations;
mod publish;
mod resume;
mod sockets;
mod subscribers;
mod upkeep;

mod follow;
mod history;
mod owed;
mod query;

mod codec;
mod encoding;
mod snapshot;

pub use bucket::{BUCKET_COUNT, bucket_of, default_table};
pub use cursors::ACKNOWLEDGE_EXCEPT_MAX;
pub use effect::{AckRequest, Effect, Event, OpResult, Refusal, ResumeRefusal, Verdict};
pub use follow::{FollowCursor, FollowItem, FollowPage, FollowQuery};
pub use group::{ApplyError, COMMAND_VERSION, FEATURE_LEVEL, GroupState};
pub use history::{HistoryFrom, HistoryPage};
pub use owed::Owed;
pub use query::{Counts, Member, MembersPage, MembersQuery};
pub use records::{LifecycleKind, LifecycleRecord};
pub use session::{Presence, Session};
pub use settings::Settings;
pub use snapshot::SnapshotError;
pub use subscribers::SubscriberLimit;
