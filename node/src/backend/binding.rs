//! The sockets of this node whose namespace backends serve, and the backend to which each is bound.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::registry::Tie;
use crate::socketio::Socket;

/// A socket and its backend.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: Socket,
    /// Held for each call: they come one after the other.
    pub(super) turn: tokio::sync::Mutex<Turn>,
}

/// Whose the socket is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Its backend, which has been told of it; perhaps gone since.
    pub(super) tie: Option<Tie>,
    /// Some backend has been told of it, or the built-in handler has it.
    pub(super) told: bool,
    /// Its end has been told, or need not be.
    pub(super) over: bool,
}

impl Turn {
    /// Whether it has a backend that is there.
    pub(super) fn is_tied(&self) -> bool {
        self.tie.as_ref().is_some_and(|tie| !tie.backend.is_gone())
    }
}

/// See the module's text. A socket that resumes is another one while its old connection ends.
#[derive(Debug, Default)]
pub(super) struct Bindings(Mutex<HashMap<usize, Arc<Bound>>>);

impl Bindings {
    /// The socket's place, made when it has none.
    pub(super) fn of(&self, socket: &Socket) -> Arc<Bound> {
        let mut bindings = self.0.lock();
        let bound = bindings.entry(key(socket)).or_insert_with(|| {
            Arc::new(Bound {
                socket: socket.clone(),
                turn: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(bound)
    }

    /// The socket has ended; its place, for the last call.
    pub(super) fn take(&self, socket: &Socket) -> Option<Arc<Bound>> {
        self.0.lock().remove(&key(socket))
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Bound>> {
        self.0.lock().values().map(Arc::clone).collect()
    }
}

/// Its connection's own: the place holds it, so no other gets the same.
fn key(socket: &Socket) -> usize {
    Arc::as_ptr(&socket.local) as usize
}
