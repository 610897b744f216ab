//! To whom an event goes, and where it comes from.

use std::sync::Arc;

use crate::adapter::{Adapter, Group, LocalSocket};

/// To whom an event goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms; none means every socket of the namespace.
    pub rooms: Vec<String>,
    /// Sockets in any of these rooms are left out.
    pub except: Vec<String>,
}

/// Names of rooms: one, or several in an array or a vector.
pub trait Rooms {
    /// The names.
    fn into_names(self) -> Vec<String>;
}

impl Rooms for &str {
    fn into_names(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Rooms for String {
    fn into_names(self) -> Vec<String> {
        vec![self]
    }
}

impl Rooms for &String {
    fn into_names(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<R: Into<String>> Rooms for Vec<R> {
    fn into_names(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<R: Into<String>, const COUNT: usize> Rooms for [R; COUNT] {
    fn into_names(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<R: AsRef<str>> Rooms for &[R] {
    fn into_names(self) -> Vec<String> {
        self.iter().map(|room| room.as_ref().to_owned()).collect()
    }
}

/// Where an operation comes from: a socket of this node, or the server itself.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) group: Arc<Group>,
    pub(crate) namespace: Arc<str>,
    /// An operation of a socket is refused once it has been taken over or has ended.
    pub(crate) socket: Option<Arc<LocalSocket>>,
}
