//! Packets to whole Engine.IO text packets, the leading `4` included, in one allocation each.
//!
//! Arguments that are JSON are written as they are: they were checked where they entered.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};

use crate::socketio::packet::Packet;

/// Room for the head of a packet apart from its namespace: types, counts, ids, an offset.
const HEAD_BYTES: usize = 80;

/// An event, `42["name",…,"offset"]`, or `45<n>-[…]` with attachments. `offset` becomes the last
/// element; stock clients store it, so events without `id` have one. (DESIGN, section 6.)
#[must_use]
pub fn event(
    namespace: &str,
    event_json: &[u8],
    offset: Option<&str>,
    id: Option<u64>,
    attachments: usize,
) -> Bytes {
    let mut text = head(
        if attachments > 0 { '5' } else { '2' },
        namespace,
        event_json.len(),
    );
    write_after_type(&mut text, namespace, id, attachments);
    match (offset, split_last_bracket(event_json)) {
        (Some(offset), Some(open)) => {
            text.put_slice(open);
            if open.trim_ascii_end() != b"[" {
                text.put_u8(b',');
            }
            write_string(&mut text, offset);
            text.put_u8(b']');
        }
        _ => text.put_slice(event_json),
    }
    text.freeze()
}

/// The answer to event `id`: `43<id>[…]`, or `46<n>-<id>[…]` with attachments.
#[must_use]
pub fn ack(namespace: &str, id: u64, data_json: &[u8], attachments: usize) -> Bytes {
    let mut text = head(
        if attachments > 0 { '6' } else { '3' },
        namespace,
        data_json.len(),
    );
    write_after_type(&mut text, namespace, Some(id), attachments);
    text.put_slice(data_json);
    text.freeze()
}

/// The server's CONNECT: `40{"sid":…,"pid":…,"resume":…}`. `pid` is absent when recovery is off;
/// `resume_json` is given after every attempted resume. (DESIGN, section 6.)
#[must_use]
pub fn connect(namespace: &str, sid: &str, pid: Option<&str>, resume_json: Option<&[u8]>) -> Bytes {
    let extra = pid.map_or(0, str::len) + resume_json.map_or(0, <[u8]>::len);
    let mut text = head('0', namespace, sid.len() + extra + 32);
    write_after_type(&mut text, namespace, None, 0);
    text.put_slice(b"{\"sid\":");
    write_string(&mut text, sid);
    if let Some(pid) = pid {
        text.put_slice(b",\"pid\":");
        write_string(&mut text, pid);
    }
    if let Some(resume) = resume_json {
        text.put_slice(b",\"resume\":");
        text.put_slice(resume);
    }
    text.put_u8(b'}');
    text.freeze()
}

/// A client's CONNECT: `40`, `40/namespace,` and its `auth`, a JSON object.
#[must_use]
pub fn connect_request(namespace: &str, auth_json: Option<&[u8]>) -> Bytes {
    let auth = auth_json.unwrap_or_default();
    let mut text = head('0', namespace, auth.len());
    write_after_type(&mut text, namespace, None, 0);
    text.put_slice(auth);
    text.freeze()
}

/// CONNECT_ERROR, `44{"message":…,"data":…}`. A stock client does not come back after it by itself.
#[must_use]
pub fn connect_error(namespace: &str, message: &str, data_json: Option<&[u8]>) -> Bytes {
    let data_length = data_json.map_or(0, <[u8]>::len);
    let mut text = head('4', namespace, message.len() + data_length + 32);
    write_after_type(&mut text, namespace, None, 0);
    text.put_slice(b"{\"message\":");
    write_string(&mut text, message);
    if let Some(data) = data_json {
        text.put_slice(b",\"data\":");
        text.put_slice(data);
    }
    text.put_u8(b'}');
    text.freeze()
}

/// DISCONNECT, `41` or `41/namespace,`. A stock client does not come back after a server's.
#[must_use]
pub fn disconnect(namespace: &str) -> Bytes {
    let mut text = head('1', namespace, 0);
    write_after_type(&mut text, namespace, None, 0);
    text.freeze()
}

/// Any packet, as it was decoded; nothing is appended.
#[must_use]
pub fn packet(packet: &Packet) -> Bytes {
    match packet {
        Packet::Connect { namespace, auth } => connect_request(namespace, auth.as_deref()),
        Packet::Disconnect { namespace } => disconnect(namespace),
        Packet::Event {
            namespace,
            id,
            data,
            attachments,
        } => event(namespace, data, None, *id, *attachments),
        Packet::Ack {
            namespace,
            id,
            data,
            attachments,
        } => ack(namespace, *id, data, *attachments),
        Packet::ConnectError { namespace, data } => {
            let mut text = head('4', namespace, data.len());
            write_after_type(&mut text, namespace, None, 0);
            text.put_slice(data);
            text.freeze()
        }
    }
}

fn head(kind: char, namespace: &str, payload_length: usize) -> BytesMut {
    let mut text = BytesMut::with_capacity(HEAD_BYTES + namespace.len() + payload_length);
    write(&mut text, format_args!("4{kind}"));
    text
}

/// `[<attachments>-][/namespace,][<id>]`; `/` is the namespace that is not written.
fn write_after_type(text: &mut BytesMut, namespace: &str, id: Option<u64>, attachments: usize) {
    debug_assert!(
        namespace.starts_with('/') && !namespace.contains(','),
        "{namespace}"
    );
    if attachments > 0 {
        write(text, format_args!("{attachments}-"));
    }
    if namespace != "/" {
        write(text, format_args!("{namespace},"));
    }
    if let Some(id) = id {
        write(text, format_args!("{id}"));
    }
}

fn write(text: &mut BytesMut, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a BytesMut grows");
}

fn write_string(text: &mut BytesMut, value: &str) {
    serde_json::to_writer(text.writer(), value).expect("a string always serializes");
}

/// What stands before the array's closing bracket.
fn split_last_bracket(array: &[u8]) -> Option<&[u8]> {
    let open = array.trim_ascii_end().strip_suffix(b"]");
    debug_assert!(open.is_some(), "an event is a checked JSON array");
    open
}
