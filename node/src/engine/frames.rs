//! What is sent: the Engine.IO packets of one Socket.IO packet, encoded once and shared by every
//! session that gets them. Never knows who they go to.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use roomcast_proto::engineio::Messages;

/// WebSocket opcodes with the FIN bit set; server frames are single and unmasked (RFC 6455, 5.1).
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;
/// Payload of a control frame at most (RFC 6455, 5.5).
const CONTROL_PAYLOAD_MAX: usize = 125;

/// One or more Engine.IO packets that belong together: a text packet and its binary attachments.
/// The complete WebSocket frames are built at construction; the packets are slices of them, so that
/// the bytes exist once whatever transport carries them.
#[derive(Debug)]
pub struct Frames {
    /// Complete frames, back to back.
    websocket: Bytes,
    /// The Engine.IO text packet, type digit first; empty for a binary message on its own and for a
    /// control frame of the transport.
    text: Bytes,
    /// Binary message payloads that follow the text packet.
    attachments: Box<[Bytes]>,
    /// Heartbeat and transport control: outside the outbox's limits and counters.
    control: bool,
}

impl Frames {
    /// What one packet of the layer above became.
    #[must_use]
    pub fn of(messages: Messages) -> Arc<Self> {
        Self::with_attachments(messages.text, messages.binary)
    }

    /// One Engine.IO text packet, type digit first (`4…` for a message).
    #[must_use]
    pub fn text(packet: Bytes) -> Arc<Self> {
        Self::with_attachments(packet, Vec::new())
    }

    /// A text packet followed by its binary messages; nothing of the same session comes between
    /// them.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the caller gives its bytes up: they are copied"
    )]
    pub fn with_attachments(packet: Bytes, attachments: Vec<Bytes>) -> Arc<Self> {
        Arc::new(Self::build(&packet, &attachments, Class::Message))
    }

    /// A binary message on its own.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the caller gives its bytes up: they are copied"
    )]
    pub fn binary(message: Bytes) -> Arc<Self> {
        Arc::new(Self::build(&[], &[message], Class::Message))
    }

    /// An Engine.IO packet of the heartbeat.
    pub(crate) fn heartbeat(packet: &'static [u8]) -> Arc<Self> {
        Arc::new(Self::build(packet, &[], Class::Control))
    }

    /// A WebSocket PONG that answers a client's PING frame (RFC 6455, 5.5.3).
    pub(crate) fn websocket_pong(payload: &[u8]) -> Arc<Self> {
        debug_assert!(
            payload.len() <= CONTROL_PAYLOAD_MAX,
            "the reader refuses longer ones"
        );
        let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_MAX)];
        Arc::new(Self::raw(&[], PONG, payload))
    }

    /// A WebSocket close frame with a code and a word (RFC 6455, 5.5.1).
    pub(crate) fn websocket_close(code: u16, word: &str) -> Arc<Self> {
        Arc::new(Self::raw(&code.to_be_bytes(), CLOSE, word.as_bytes()))
    }

    /// The complete WebSocket frames.
    #[must_use]
    pub fn websocket(&self) -> &Bytes {
        &self.websocket
    }

    /// The Engine.IO text packet and its binary messages, for transports that frame otherwise.
    #[must_use]
    pub fn packets(&self) -> (&Bytes, &[Bytes]) {
        (&self.text, &self.attachments)
    }

    /// Size on the wire in bytes; what counts against an outbox.
    #[must_use]
    pub fn len(&self) -> usize {
        self.websocket.len()
    }

    /// Never true: even an empty packet has a frame header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.websocket.is_empty()
    }

    /// Whether this is heartbeat or transport control.
    pub(crate) fn is_control(&self) -> bool {
        self.control
    }

    fn build(packet: &[u8], attachments: &[Bytes], class: Class) -> Self {
        let payload: usize = attachments.iter().map(Bytes::len).sum();
        let headers = header_len(packet.len())
            + attachments
                .iter()
                .map(|a| header_len(a.len()))
                .sum::<usize>();
        let mut buffer = BytesMut::with_capacity(headers + packet.len() + payload);
        if !packet.is_empty() {
            put_frame(&mut buffer, TEXT, packet);
        }
        for attachment in attachments {
            put_frame(&mut buffer, BINARY, attachment);
        }
        let websocket = buffer.freeze();
        let mut at = 0;
        let mut payload_of = |len: usize| {
            let start = at + header_len(len);
            at = start + len;
            websocket.slice(start..at)
        };
        let text = if packet.is_empty() {
            Bytes::new()
        } else {
            payload_of(packet.len())
        };
        let attachments = attachments.iter().map(|a| payload_of(a.len())).collect();
        Self {
            websocket,
            text,
            attachments,
            control: matches!(class, Class::Control),
        }
    }

    fn raw(prefix: &[u8], opcode: u8, payload: &[u8]) -> Self {
        let mut buffer = BytesMut::with_capacity(2 + prefix.len() + payload.len());
        buffer.put_u8(opcode);
        buffer.put_u8((prefix.len() + payload.len()) as u8);
        buffer.put_slice(prefix);
        buffer.put_slice(payload);
        Self {
            websocket: buffer.freeze(),
            text: Bytes::new(),
            attachments: Box::default(),
            control: true,
        }
    }
}

/// Whether a packet counts against the outbox.
enum Class {
    Message,
    Control,
}

/// Length of the header before an unmasked payload (RFC 6455, 5.2).
const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

fn put_frame(buffer: &mut BytesMut, opcode: u8, payload: &[u8]) {
    buffer.put_u8(opcode);
    match header_len(payload.len()) {
        2 => buffer.put_u8(payload.len() as u8),
        4 => {
            buffer.put_u8(126);
            buffer.put_u16(payload.len() as u16);
        }
        _ => {
            buffer.put_u8(127);
            buffer.put_u64(payload.len() as u64);
        }
    }
    buffer.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_unmasked_with_the_shortest_length() {
        assert_eq!(
            &Frames::text(Bytes::from_static(b"42[]")).websocket()[..],
            b"\x81\x0442[]"
        );
        for (len, head) in [
            (125, &b"\x81\x7d"[..]),
            (126, b"\x81\x7e\x00\x7e"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let frames = Frames::text(Bytes::from(vec![b'x'; len]));
            assert_eq!(&frames.websocket()[..head.len()], head, "length {len}");
            assert_eq!(frames.len(), head.len() + len);
        }
    }

    #[test]
    fn attachments_follow_their_text_and_share_its_allocation() {
        let parts = vec![Bytes::from_static(&[1, 2]), Bytes::from(vec![7; 200])];
        let frames = Frames::with_attachments(Bytes::from_static(b"452-[]"), parts);
        assert_eq!(&frames.websocket()[..12], b"\x81\x06452-[]\x82\x02\x01\x02");
        assert_eq!(&frames.websocket()[12..16], b"\x82\x7e\x00\xc8");
        let (text, attachments) = frames.packets();
        assert_eq!(&text[..], b"452-[]");
        assert_eq!(&attachments[0][..], &[1, 2]);
        assert_eq!(&attachments[1][..], &[7; 200]);
        assert_eq!(frames.len(), 16 + 200);
        let alone = Frames::binary(Bytes::from_static(&[1, 2]));
        assert_eq!(&alone.websocket()[..], b"\x82\x02\x01\x02");
        assert!(alone.packets().0.is_empty());
        assert_eq!(&alone.packets().1[0][..], &[1, 2]);
    }

    #[test]
    fn control_frames_are_literal() {
        assert_eq!(
            &Frames::websocket_close(4001, "draining").websocket()[..],
            b"\x88\x0a\x0f\xa1draining"
        );
        assert_eq!(
            &Frames::websocket_pong(b"hi").websocket()[..],
            b"\x8a\x02hi"
        );
        assert_eq!(&Frames::heartbeat(b"2").websocket()[..], b"\x81\x012");
        assert!(Frames::heartbeat(b"2").is_control());
    }
}
