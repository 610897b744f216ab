//! The answer to an event that asked for one.

use std::sync::Arc;

use bytes::Bytes;

use crate::adapter::LocalSocket;
use crate::engine::Frames;
use crate::ids::Position;

/// Answers one event, once.
#[derive(Debug)]
pub struct Ack {
    socket: Arc<LocalSocket>,
    id: u64,
}

impl Ack {
    pub(crate) fn new(socket: Arc<LocalSocket>, id: u64) -> Self {
        socket.answer_opened();
        Self { socket, id }
    }

    /// Answers with `args`, a JSON array. It leaves after the operations that were issued before it
    /// on this socket have been applied. (DESIGN, section 3, "Acks in the socket's stream".)
    pub fn send(self, args: &[u8]) {
        self.send_with(args, Vec::new());
    }

    /// As [`Ack::send`], with binary attachments for the placeholders in `args`.
    pub fn send_with(self, args: &[u8], attachments: Vec<Bytes>) {
        let frames = self.frames(args, &attachments);
        self.socket.answer_after_issued(frames);
    }

    /// Answers at a position of the log: after the events before it and before those after it.
    pub(crate) fn send_at(self, position: Position, args: &[u8]) {
        let frames = self.frames(args, &[]);
        self.socket.answer_at(position, frames);
    }

    /// Answers now.
    pub(crate) fn send_now(self, args: &[u8]) {
        let frames = self.frames(args, &[]);
        self.socket.answer_now(&frames);
    }

    fn frames(&self, args: &[u8], attachments: &[Bytes]) -> Arc<Frames> {
        let parser = self.socket.parser;
        Frames::of(parser.ack(&self.socket.namespace, self.id, args, attachments))
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.socket.answer_closed();
    }
}
