//! Socket.IO v5 over Engine.IO sessions, and the interface that applications are written on.
//! In reading order: what an application implements, what it is given, and how packets get to it.

mod ack;
mod auth;
mod broadcast;
mod client;
mod connect;
mod dispatch;
mod handler;
mod moving;
mod namespaces;
mod operation;
mod query;
mod slots;
mod socket;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use broadcast::{Broadcast, Target};
pub use client::{Clients, Door};
pub use handler::{Admission, ConnectRequest, Event, Handler, Recovery, Rejection};
pub use namespaces::Namespaces;
pub(crate) use operation::Place;
pub use operation::{Operation, OperationError};
pub use query::{HistoryFrom, HistoryPage};
pub use socket::Socket;
