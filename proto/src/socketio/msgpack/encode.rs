//! Packets to whole binary messages, in one allocation each when the text is plain.

use bytes::Bytes;

use super::insert;
use super::writer::Writer;
use crate::socketio::parser::Outgoing;

/// Room for a packet's map apart from namespace and data.
const HEAD_BYTES: usize = 64;

/// See [`crate::socketio::encode::event`].
pub(crate) fn event(event: &Outgoing<'_>) -> Bytes {
    let binary: usize = event.attachments.iter().map(Bytes::len).sum();
    let mut writer = Packet {
        kind: 2,
        namespace: event.namespace,
        id: event.id,
    }
    .with_data(event.data.len() + binary);
    match event.offset {
        Some(offset) => insert::array_and(&mut writer, event.data, event.attachments, offset),
        None => insert::json(&mut writer, event.data, event.attachments),
    }
    writer.finish()
}

/// See [`crate::socketio::encode::ack`].
pub(crate) fn ack(namespace: &str, id: u64, data: &[u8], attachments: &[Bytes]) -> Bytes {
    let binary: usize = attachments.iter().map(Bytes::len).sum();
    let mut writer = Packet {
        kind: 3,
        namespace,
        id: Some(id),
    }
    .with_data(data.len() + binary);
    insert::json(&mut writer, data, attachments);
    writer.finish()
}

/// See [`crate::socketio::encode::connect`].
pub(crate) fn connect(
    namespace: &str,
    sid: &str,
    pid: Option<&str>,
    resume_json: Option<&[u8]>,
) -> Bytes {
    let mut writer = Packet::new(0, namespace).with_data(HEAD_BYTES);
    writer.map(1 + usize::from(pid.is_some()) + usize::from(resume_json.is_some()));
    writer.string("sid");
    writer.string(sid);
    if let Some(pid) = pid {
        writer.string("pid");
        writer.string(pid);
    }
    if let Some(resume) = resume_json {
        writer.string("resume");
        insert::json(&mut writer, resume, &[]);
    }
    writer.finish()
}

/// See [`crate::socketio::encode::connect_error`].
pub(crate) fn connect_error(namespace: &str, message: &str, data_json: Option<&[u8]>) -> Bytes {
    let mut writer = Packet::new(4, namespace).with_data(HEAD_BYTES);
    writer.map(1 + usize::from(data_json.is_some()));
    writer.string("message");
    writer.string(message);
    if let Some(data) = data_json {
        writer.string("data");
        insert::json(&mut writer, data, &[]);
    }
    writer.finish()
}

/// See [`crate::socketio::encode::disconnect`].
pub(crate) fn disconnect(namespace: &str) -> Bytes {
    let packet = Packet::new(1, namespace);
    let mut writer = Writer::with_capacity(HEAD_BYTES + namespace.len());
    packet.head(&mut writer, 0);
    writer.finish()
}

/// What is written before `data`.
struct Packet<'a> {
    kind: u64,
    namespace: &'a str,
    id: Option<u64>,
}

impl<'a> Packet<'a> {
    fn new(kind: u64, namespace: &'a str) -> Self {
        Self {
            kind,
            namespace,
            id: None,
        }
    }

    /// All but the value of `data`, which comes last.
    fn with_data(&self, length: usize) -> Writer {
        let mut writer = Writer::with_capacity(HEAD_BYTES + self.namespace.len() + length);
        self.head(&mut writer, 1);
        writer.string("data");
        writer
    }

    /// The map up to what comes `after` these fields.
    fn head(&self, writer: &mut Writer, after: usize) {
        writer.map(2 + usize::from(self.id.is_some()) + after);
        writer.string("type");
        writer.unsigned(self.kind);
        writer.string("nsp");
        writer.string(self.namespace);
        if let Some(id) = self.id {
            writer.string("id");
            writer.unsigned(id);
        }
    }
}
