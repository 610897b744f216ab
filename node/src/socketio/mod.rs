//! Socket.IO v5 over Engine.IO sessions, and the interface that applications are written on.
//! In reading order: what an application implements, what it is given, and how packets get to it.

mod ack;
mod arguments;
mod auth;
mod broadcast;
mod caught;
mod client;
mod connect;
mod dispatch;
mod follow;
mod handler;
mod io;
mod moving;
mod namespace;
mod namespaces;
mod operation;
mod query;
mod refusal;
mod roster;
mod selected;
mod server_side;
mod slots;
mod socket;
mod target;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::adapter::{Answer, Answers, ServerAnswers};
pub use ack::Ack;
pub use arguments::ArgumentError;
pub use broadcast::{Broadcast, Unlogged};
pub use client::{Clients, Door};
pub use follow::{Follow, FollowOptions, Followed, What};
pub use handler::{
    Admission, ConnectRequest, Event, ExpiredSession, Handler, Recovery, Rejection, SharedHandler,
    Unadmitted,
};
pub use io::Io;
pub use namespace::{
    Call, Connect, ConnectHandler, ConnectNext, DisconnectHandler, EventHandler, EventNext,
    ExpireHandler, FromEvent, FromFn, FromFnLayer, IntoOutcome, Namespace, NamespaceError, Next,
    Outcome, Reply, Routes, ServerHandler, from_fn,
};
pub use namespaces::{Namespaces, Opener};
pub(crate) use operation::{Fate, Place};
pub use operation::{Operation, OperationError};
pub use query::{HistoryFrom, HistoryPage, RemoteSocket};
pub(crate) use refusal::refused;
pub use refusal::{Code, Refusal};
pub use socket::{Question, Socket};
pub use target::{Rooms, Target};
