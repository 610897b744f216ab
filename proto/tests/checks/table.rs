//! The checks by name. A check, its fuzz target and its corpus are called the same.

use super::{args, engineio, msgpack, offset, socketio, websocket};

/// Every check there is.
pub(crate) const NAMES: [&str; 8] = [
    "frames",
    "payload",
    "query",
    "packet",
    "args",
    "assembler",
    "msgpack",
    "offset",
];

/// Judges what the decoder of this name makes of the bytes; panics when it is wrong.
pub(crate) fn run(name: &str, bytes: &[u8]) {
    assert!(NAMES.contains(&name), "{name} is no check");
    match name {
        "frames" => websocket::frames(bytes),
        "payload" => engineio::payload(bytes),
        "query" => engineio::query(bytes),
        "packet" => socketio::packet(bytes),
        "args" => args::args(bytes),
        "assembler" => socketio::assembler(bytes),
        "msgpack" => msgpack::msgpack(bytes),
        _ => offset::offset(bytes),
    }
}
