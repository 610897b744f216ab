//! One event, encoded once per encoding: all sockets of the node share the bytes.

use std::sync::Arc;

use roomcast_proto::offset::Offset;
use roomcast_proto::socketio::{Outgoing, Parser};

use crate::engine::Frames;
use crate::ids::Position;
use crate::state::Event;

/// The encodings of one logged event, made when first asked for.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    event: &'a Event,
    epoch: u64,
    parser: Parser,
    stamped: Option<Arc<Frames>>,
    plain: Option<Arc<Frames>>,
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(event: &'a Event, epoch: u64, parser: Parser) -> Self {
        Self {
            event,
            epoch,
            parser,
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
            let offset = position.map(|at| offset(self.epoch, at));
            event_frames(self.event, offset, self.parser)
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
pub(crate) fn event_frames(event: &Event, offset: Option<Offset>, parser: Parser) -> Arc<Frames> {
    let offset = offset.map(|offset| offset.to_string());
    Frames::of(parser.event(&Outgoing {
        namespace: &event.namespace,
        data: &event.event,
        offset: offset.as_deref(),
        id: event.request.as_ref().map(|request| request.number),
        attachments: &event.attachments,
    }))
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
        let mut encoded = Encoded::new(&event, 35, Parser::Json);
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
        let mut encoded = Encoded::new(&event, 35, Parser::Json);
        let stamped = encoded.frames(true);
        assert_eq!(text(&stamped), r#"427["e"]"#);
        assert!(Arc::ptr_eq(&stamped, &encoded.frames(false)));
    }

    #[test]
    fn attachments_follow_the_event_untouched() {
        let mut event = event(Position::new(36, 1), &[], &[]);
        event.event = bytes::Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#);
        event.attachments = vec![bytes::Bytes::from_static(b"\x00\xff")];
        let frames = Encoded::new(&event, 35, Parser::Json).frames(true);
        let expected = r#"451-["e",{"_placeholder":true,"num":0},"z.10.1"]"#;
        assert_eq!(text(&frames), expected);
        assert_eq!(frames.packets().1, event.attachments);
    }

    #[test]
    fn with_msgpack_an_event_is_one_binary_message() {
        let mut event = event(Position::new(36, 1), &[], &[]);
        event.event = bytes::Bytes::from_static(br#"["e",{"_placeholder":true,"num":0}]"#);
        event.attachments = vec![bytes::Bytes::from_static(b"\x00\xff")];
        let mut encoded = Encoded::new(&event, 35, Parser::Msgpack);
        let frames = encoded.frames(true);
        let head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa1e\xc4\x02\x00\xff\xa6z.10.1";
        assert_eq!(text(&frames), "");
        assert_eq!(frames.packets().1, [head[..].to_vec()]);
        assert!(Arc::ptr_eq(&frames, &encoded.frames(true)));
    }
}
