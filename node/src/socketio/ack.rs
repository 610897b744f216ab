//! The answer to an event that asked for one.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::arguments;
use super::refusal::Refusal;
use crate::adapter::{Answer, LocalSocket};
use crate::engine::Frames;
use crate::ids::Position;

/// Answers one event, once. Dropped by a handler that panics, it answers with the code `internal`;
/// dropped otherwise, it answers nothing, and the client's time-out runs.
#[derive(Debug)]
pub struct Ack {
    socket: Arc<LocalSocket>,
    id: u64,
    answered: bool,
}

impl Ack {
    pub(crate) fn new(socket: Arc<LocalSocket>, id: u64) -> Self {
        socket.answer_opened();
        Self {
            socket,
            id,
            answered: false,
        }
    }

    /// Answers: a tuple is several arguments of the client's callback, anything else is one. It
    /// leaves after the operations that were issued before it on this socket have been applied.
    /// (DESIGN, section 3, "Acks in the socket's stream".)
    pub fn send<A: Serialize>(self, args: A) {
        match arguments::array(&args) {
            Ok(args) => self.send_raw(&args, Vec::new()),
            Err(error) => {
                tracing::error!(%error, "an answer that is no JSON");
                self.refuse(&Refusal::internal());
            }
        }
    }

    /// As [`Ack::send`], with a JSON array and binary attachments for the placeholders in it.
    pub fn send_raw(mut self, args: &[u8], attachments: Vec<Bytes>) {
        self.answer(args, &attachments);
    }

    /// Answers that the event was refused, and counts it.
    pub fn refuse(self, refusal: &Refusal) {
        let Answer { data, attachments } = refusal.to_answer();
        self.send_raw(&data, attachments);
    }

    /// Answers at a position of the log: after the events before it and before those after it.
    pub(crate) fn send_at(mut self, position: Position, args: &[u8]) {
        let frames = self.frames(args, &[]);
        self.answered = true;
        self.socket.answer_at(position, frames);
    }

    /// Answers now.
    pub(crate) fn send_now(mut self, args: &[u8]) {
        let frames = self.frames(args, &[]);
        self.answered = true;
        self.socket.answer_now(&frames);
    }

    fn answer(&mut self, args: &[u8], attachments: &[Bytes]) {
        let frames = self.frames(args, attachments);
        self.answered = true;
        self.socket.answer_after_issued(frames);
    }

    fn frames(&self, args: &[u8], attachments: &[Bytes]) -> Arc<Frames> {
        let parser = self.socket.parser;
        Frames::of(parser.ack(&self.socket.namespace, self.id, args, attachments))
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.answered && std::thread::panicking() {
            let Answer { data, attachments } = Refusal::internal().to_answer();
            self.answer(&data, &attachments);
        }
        self.socket.answer_closed();
    }
}
