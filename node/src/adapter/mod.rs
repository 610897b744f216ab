//! Between sockets and the log: operations go in through a group's proposer, effects come out
//! through its fan-out. In reading order: the road in, the log's meaning here, the road out.

mod acknowledge;
mod backends;
mod backfill;
mod catch_up;
mod completion;
mod courier;
mod encoded;
mod expiries;
mod fanout;
mod forward;
mod group;
mod groups;
mod history;
mod index;
mod leadership;
mod lease;
mod peers;
mod pending;
mod proposer;
mod relay;
mod renewal;
mod replica;
mod requests;
mod retention;
mod server_events;
mod socket;
mod unlogged;
mod upgrade;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use backends::BackendPeers;
pub(crate) use completion::{Attach, Attached, Completion, Opening};
pub use completion::{Failure, Outcome};
pub(crate) use encoded::offset;
pub use forward::Forwarder;
pub use group::Group;
pub(crate) use group::{Parting, socket_ref};
pub use groups::{Adapter, Start};
pub use requests::{Answer, Answers};
pub use server_events::ServerAnswers;
pub(crate) use server_events::{Application, ServerEvent};
pub use socket::LocalSocket;
pub(crate) use socket::{Frozen, Holder};
pub(crate) use unlogged::{Class, Stamped};
