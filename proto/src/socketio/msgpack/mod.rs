//! Socket.IO packets as msgpack, by the rules of `socket.io-msgpack-parser` 3.0 (over
//! `notepack.io`): one binary message per packet, a map of `type`, `nsp`, `data` and `id`, with
//! binary arguments in their places.
//!
//! Inside, an event stays what it is with the other parser: JSON text with placeholders, and
//! attachments. Reading order: `reader`, `extract` (msgpack to JSON), `decode`; `writer`, `insert`
//! (JSON to msgpack), `encode`; `date` serves the first.

pub(super) mod decode;
pub(super) mod encode;

mod date;
mod extract;
mod insert;
mod reader;
mod writer;
