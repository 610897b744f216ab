//! WebSocket frames, beside what a library makes of them.

use std::io::{self, Read, Write};

use bytes::Bytes;
use roomcast_proto::websocket::{Decoder, Event, FrameError, Limits};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// Messages of this size are large enough to be read directly, and to be refused.
const DIRECT_BYTES_MIN: usize = 32;
const MESSAGE_BYTES_MAX: usize = 1000;
/// More frames than a checked input has; the library does not count them.
const FRAGMENTS_MAX: u32 = 1 << 20;
/// The library's own buffer; its default of 128 KiB would cost most of the time.
const LIBRARY_BUFFER_BYTES: usize = 1024;

/// What came of a connection: its data messages, and how it ended.
type Outcome = (Vec<Bytes>, End);

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There were no more bytes.
    Ended,
    /// With a close frame.
    Closed,
    TooLarge,
    NotUtf8,
    Violation,
}

/// The bytes as what a client sends after its handshake; the first says in which pieces.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    in_pieces(bytes, 1 + usize::from(piece), MESSAGE_BYTES_MAX);
}

/// Ours sees what the library sees, whatever the pieces, and never more with a narrower limit.
pub(crate) fn in_pieces(bytes: &[u8], piece: usize, message_bytes_max: usize) {
    let limits = Limits {
        message_bytes_max,
        fragments_max: FRAGMENTS_MAX,
        reserve_bytes_max: 64,
    };
    let (messages, end) = ours(bytes, limits, piece);
    assert_eq!(ours(bytes, limits, bytes.len()), (messages.clone(), end));
    let total: usize = messages.iter().map(Bytes::len).sum();
    assert!(total <= bytes.len(), "decoding adds nothing");
    assert!(messages.iter().all(|m| m.len() <= message_bytes_max));

    let (expected, library_end) = library(bytes, message_bytes_max);
    assert_eq!(messages, expected);
    assert!(
        same_end(library_end, end),
        "library: {library_end:?}, ours: {end:?}"
    );

    let narrow = Limits {
        fragments_max: 3,
        ..limits
    };
    let (fewer, narrow_end) = ours(bytes, narrow, piece);
    assert_eq!(fewer[..], messages[..fewer.len()]);
    assert!(narrow_end == end || narrow_end == End::TooLarge);
}

/// What our decoder makes of the bytes, fed in pieces.
fn ours(bytes: &[u8], limits: Limits, piece: usize) -> Outcome {
    let mut decoder = Decoder::new(limits, &[]);
    let mut messages = Vec::new();
    let mut rest = bytes;
    loop {
        match decoder.next() {
            Ok(Some(Event::Text(text))) => {
                if std::str::from_utf8(&text).is_err() {
                    return (messages, End::NotUtf8);
                }
                messages.push(text);
            }
            Ok(Some(Event::Binary(bytes))) => messages.push(bytes),
            Ok(Some(Event::Ping(payload))) => assert!(payload.len() <= 125),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close)) => return (messages, End::Closed),
            Err(FrameError::TooLarge) => return (messages, End::TooLarge),
            Err(FrameError::Violation(_)) => return (messages, End::Violation),
            Ok(None) if rest.is_empty() => return (messages, End::Ended),
            Ok(None) => rest = feed(&mut decoder, rest, piece),
        }
    }
}

/// Gives the decoder one piece, as a reader does; answers what is left.
fn feed<'a>(decoder: &mut Decoder, rest: &'a [u8], piece: usize) -> &'a [u8] {
    let mut len = piece.min(rest.len());
    if let Some((message, room)) = decoder.direct(DIRECT_BYTES_MIN) {
        len = len.min(room);
        message.extend_from_slice(&rest[..len]);
        decoder.filled(len);
    } else {
        decoder.feed(&rest[..len]);
    }
    &rest[len..]
}

/// A stream of given bytes that swallows what is written.
struct Canned<'a>(&'a [u8]);

impl Read for Canned<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut self.0, into)
    }
}

impl Write for Canned<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the library makes of the bytes.
fn library(bytes: &[u8], message_bytes_max: usize) -> Outcome {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(message_bytes_max);
    config.max_frame_size = Some(message_bytes_max);
    config.read_buffer_size = LIBRARY_BUFFER_BYTES;
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut stream = Canned(bytes);
    let mut messages = Vec::new();
    loop {
        match context.read(&mut stream) {
            Ok(Message::Text(text)) => messages.push(text.into()),
            Ok(Message::Binary(bytes)) => messages.push(bytes),
            Ok(Message::Close(_)) => return (messages, End::Closed),
            Ok(_) => {}
            Err(Error::Capacity(_)) => return (messages, End::TooLarge),
            Err(Error::Utf8(_)) => return (messages, End::NotUtf8),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (messages, End::Ended);
            }
            Err(Error::Protocol(_)) => return (messages, End::Violation),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Whether two ends are the same but for when and by which of several faults they are found: ours
/// judges a header before its payload has come, theirs checks text fragment by fragment and answers
/// a close code that may not be sent without an error of its own.
fn same_end(library: End, ours: End) -> bool {
    let fault = |end| matches!(end, End::Violation | End::TooLarge | End::NotUtf8);
    library == ours
        || fault(library) && fault(ours)
        || library == End::Ended && fault(ours) && ours != End::NotUtf8
        || library == End::Closed && ours == End::Violation
        || library == End::NotUtf8 && matches!(ours, End::Ended | End::Closed)
}
