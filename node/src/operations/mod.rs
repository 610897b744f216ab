//! What programs outside the cluster can do, once for every door: each operation takes the message
//! that gRPC carries and gives the one that answers it. HTTP puts JSON around the same messages.

mod emit;
mod follow;
mod publish;
mod read;
mod sockets;

use std::sync::OnceLock;

use crate::messages;
use crate::socketio::{Code, Io, OperationError, Refusal, Target};

/// The operations of this node. It exists before the node has joined its cluster, and refuses
/// everything until then.
#[derive(Debug, Default)]
pub struct Operations {
    io: OnceLock<Io>,
}

impl Operations {
    /// From here on they are carried out.
    pub(crate) fn unlock(&self, io: Io) {
        assert!(self.io.set(io).is_ok(), "a node joins once");
    }

    /// A namespace of the cluster.
    ///
    /// # Errors
    /// `invalid` for its name; `unavailable` when this node cannot speak for it.
    fn io(&self, namespace: String) -> Result<Io, Refusal> {
        let namespace = messages::namespace(namespace)?;
        let unavailable = |why| Refusal::new(Code::Unavailable, why);
        let Some(io) = self.io.get() else {
            return Err(unavailable("this node waits for its cluster"));
        };
        let io = io.of(&namespace);
        if !io.is_available() {
            return Err(unavailable("this node has no lease for the namespace"));
        }
        Ok(io)
    }
}

/// What the log's names of rooms have in common.
fn check_names(io: &Io, target: &Target) -> Result<(), Refusal> {
    let names = target.rooms.iter().chain(&target.except);
    check_lengths(io, names)
}

fn check_lengths<'a>(io: &Io, mut names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    let max = io.room_name_bytes_max();
    match names.find(|name| name.len() > max) {
        Some(_) => Err(Refusal::invalid(format!(
            "a room's name has at most {max} bytes"
        ))),
        None => Ok(()),
    }
}

/// A refusal of the log, in words that say more where they can.
fn refused(io: &Io, error: OperationError, invalid: &'static str) -> Refusal {
    match error {
        OperationError::TooLarge => {
            let max = io.event_bytes_max();
            Refusal::new(Code::TooLarge, format!("an event has at most {max} bytes"))
        }
        OperationError::Invalid => Refusal::invalid(invalid),
        error => error.into(),
    }
}
