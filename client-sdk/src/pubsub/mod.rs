//! The server's built-in `pubsub` handler: rooms that need no backend. (Design, section 7.)
//!
//! Reading order: [`operations`] (what can be asked), [`answer`] (what comes back), [`error`].

mod answer;
mod error;
mod operations;

pub use answer::{History, LoggedEvent, Member, Members, Published};
pub use error::{ErrorCode, PubsubError};
pub use operations::{HistoryQuery, MembersQuery, Publish, Pubsub};
