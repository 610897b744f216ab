//! One event, encoded once per encoding: all sockets of the node share the bytes.

use std::sync::Arc;

use roomcast_proto::offset::Offset;
use roomcast_proto::socketio::encode;

use crate::engine::Frames;
use crate::ids::Position;
use crate::state::Event;

/// The encodings of one logged event, made when first asked for.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    event: &'a Event,
    epoch: u64,
    stamped: Option<Arc<Frames>>,
    plain: Option<Arc<Frames>>,
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(event: &'a Event, epoch: u64) -> Self {
        Self {
            event,
            epoch,
            stamped: None,
            plain: None,
        }
    }

    /// The frames for a socket with or without recovery. An event with an ack id carries no offset:
    /// a stock client would hand it to the handler as an argument.
    pub(crate) fn frames(&mut self, recoverable: bool) -> Arc<Frames> {
        let stamped = recoverable && self.event.request.is_none();
        let slot = if stamped {
            &mut self.stamped
        } else {
            &mut self.plain
        };
        slot.get_or_insert_with(|| {
            let position = stamped.then_some(self.event.position);
            event_frames(self.event, position.map(|at| offset(self.epoch, at)))
        })
        .clone()
    }
}

/// A position of a log as clients see it.
pub(crate) fn offset(epoch: u64, position: Position) -> Offset {
    Offset {
        epoch,
        index: position.index,
        op: position.op,
    }
}

/// Builds the frames of an event.
pub(crate) fn event_frames(event: &Event, offset: Option<Offset>) -> Arc<Frames> {
    let offset = offset.map(|offset| offset.to_string());
    let text = encode::event(
        &event.namespace,
        &event.event,
        offset.as_deref(),
        event.request.as_ref().map(|request| request.number),
        event.attachments.len(),
    );
    Frames::with_attachments(text, event.attachments.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::event;
    use crate::state::AckRequest;

    fn text(frames: &Frames) -> &str {
        std::str::from_utf8(frames.packets().0).unwrap()
    }

    #[test]
    fn all_sockets_of_an_encoding_share_the_same_bytes() {
        let event = event(Position::new(36, 1), &[], &[]);
        let mut encoded = Encoded::new(&event, 35);
        let (stamped, plain) = (encoded.frames(true), encoded.frames(false));
        assert_eq!(text(&stamped), r#"42["e","z.10.1"]"#);
        assert_eq!(text(&plain), r#"42["e"]"#);
        assert!(Arc::ptr_eq(&stamped, &encoded.frames(true)));
        assert!(Arc::ptr_eq(&plain, &encoded.frames(false)));
    }

    #[test]
    fn an_event_that_wants_an_answer_carries_no_offset() {
        let mut event = event(Position::new(36, 1), &[], &[]);
        event.request = Some(AckRequest {
            number: 7,
            incarnation: 1,
            expected: [].into(),
        });
        let mut encoded = Encoded::new(&event, 35);
        let stamped = encoded.frames(true);
        assert_eq!(text(&stamped), r#"427["e"]"#);
        assert!(Arc::ptr_eq(&stamped, &encoded.frames(false)));
    }

    #[test]
    fn attachments_follow_the_event_untouched() {
        let mut event = event(Position::new(36, 1), &[], &[]);
        event.event = bytes::Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#);
        event.attachments = vec![bytes::Bytes::from_static(b"\x00\xff")];
        let frames = Encoded::new(&event, 35).frames(true);
        let expected = r#"451-["e",{"_placeholder":true,"num":0},"z.10.1"]"#;
        assert_eq!(text(&frames), expected);
        assert_eq!(frames.packets().1, event.attachments);
    }
}
