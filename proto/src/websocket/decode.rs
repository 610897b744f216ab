//! Bytes to WebSocket frames to messages: an incremental decoder of what a client sends. Decides
//! what is a violation of RFC 6455; never reads, writes or answers.

use bytes::{Bytes, BytesMut};

/// What the client sent, as one whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message, not yet checked to be UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping to answer with this payload.
    Ping(Bytes),
    /// A pong; we send no pings of this kind, so it means nothing.
    Pong,
    /// The client's close frame.
    Close,
}

/// Why nothing more is decoded of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The client broke a rule of RFC 6455; the text says which.
    #[error("protocol violation: {0}")]
    Violation(&'static str),
    /// A message larger than allowed, or of more frames.
    #[error("message larger than allowed")]
    TooLarge,
}

/// What a client may send at most, and what is reserved on its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, all fragments together, in bytes.
    pub message_bytes_max: usize,
    /// Frames of one message.
    pub fragments_max: u32,
    /// Bytes reserved for a message on the word of its header alone.
    pub reserve_bytes_max: usize,
}

/// Kind of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// What a frame's opcode asks for (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    /// Last fragment of its message.
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the header itself.
    len: usize,
    payload_len: usize,
}

/// A data frame whose payload is being received.
#[derive(Debug, Clone, Copy)]
struct Body {
    /// Last fragment of its message.
    fin: bool,
    /// The mask, turned so that its first byte is for the next byte of payload.
    mask: [u8; 4],
    /// Bytes still to come.
    remaining: usize,
}

/// Decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    /// What the client may send.
    limits: Limits,
    /// Received bytes; those before `at` are decoded. Without memory while idle.
    input: Vec<u8>,
    /// How much of `input` is decoded.
    at: usize,
    /// The data frame under way.
    body: Option<Body>,
    /// Kind of the message under way.
    kind: Option<Kind>,
    /// Frames of the message under way.
    fragments: u32,
    /// Unmasked payload of the message under way.
    message: BytesMut,
}

impl Decoder {
    /// `received` is what arrived together with the handshake.
    #[must_use]
    pub fn new(limits: Limits, received: &[u8]) -> Self {
        Self {
            limits,
            input: received.to_vec(),
            at: 0,
            body: None,
            kind: None,
            fragments: 0,
            message: BytesMut::new(),
        }
    }

    /// Takes received bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// What was taken in and not decoded; between two messages, so that another decoder can go on.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        debug_assert!(self.kind.is_none(), "a message is under way");
        Bytes::copy_from_slice(self.input.get(self.at..).unwrap_or_default())
    }

    /// When only payload is missing, and `least` bytes of it or more: where it may be read to
    /// directly, and how much at most. What was read is then to be given to [`Decoder::filled`].
    pub fn direct(&mut self, least: usize) -> Option<(&mut BytesMut, usize)> {
        let body = self.body.filter(|body| body.remaining >= least)?;
        debug_assert!(
            self.at == self.input.len(),
            "payload is taken from the input first"
        );
        self.reserve(body.remaining);
        Some((&mut self.message, body.remaining))
    }

    /// `len` bytes were read to the end of the message directly.
    pub fn filled(&mut self, len: usize) {
        let body = self.body.as_mut().expect("direct() was asked before");
        let start = self.message.len() - len;
        let filled = self.message.get_mut(start..).unwrap_or_default();
        unmask(filled, &mut body.mask);
        body.remaining -= len;
    }

    /// The next event of what was taken in; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is not to be read any further.
    #[allow(
        clippy::should_implement_trait,
        reason = "no iterator: `None` means that more bytes are needed"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, FrameError> {
        loop {
            if self.body.is_some() {
                match self.take_payload() {
                    None => return Ok(None),
                    Some(false) => continue,
                    Some(true) => return Ok(Some(self.complete())),
                }
            }
            let Some(header) = parse_header(self.input.get(self.at..).unwrap_or_default())? else {
                self.release();
                return Ok(None);
            };
            match header.opcode {
                Opcode::Continuation => self.begin_frame(header, None)?,
                Opcode::Data(kind) => self.begin_frame(header, Some(kind))?,
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    let Some(payload) = self.control_payload(header) else {
                        return Ok(None);
                    };
                    return control_event(header.opcode, payload).map(Some);
                }
            }
        }
    }

    fn begin_frame(&mut self, header: Header, kind: Option<Kind>) -> Result<(), FrameError> {
        match (kind, self.kind) {
            (Some(kind), None) => {
                self.kind = Some(kind);
                self.fragments = 0;
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                return Err(FrameError::Violation("message inside a fragmented message"));
            }
            (None, None) => return Err(FrameError::Violation("continuation of no message")),
        }
        self.fragments += 1;
        if header.payload_len > self.limits.message_bytes_max - self.message.len()
            || self.fragments > self.limits.fragments_max
        {
            return Err(FrameError::TooLarge);
        }
        self.at += header.len;
        self.reserve(header.payload_len);
        self.body = Some(Body {
            fin: header.fin,
            mask: header.mask,
            remaining: header.payload_len,
        });
        Ok(())
    }

    /// Reserves for `remaining` more bytes: exactly when that is little or the client has shown
    /// that it means it.
    fn reserve(&mut self, remaining: usize) {
        let trusted = self.limits.reserve_bytes_max;
        let more = if self.message.len() >= trusted {
            remaining
        } else {
            remaining.min(trusted)
        };
        self.message.reserve(more);
    }

    /// Moves payload from the input; `None` when more is needed, else whether the message is
    /// complete.
    fn take_payload(&mut self) -> Option<bool> {
        let body = self.body.as_mut().expect("checked by the caller");
        let available = self.input.get(self.at..).unwrap_or_default();
        let len = available.len().min(body.remaining);
        let start = self.message.len();
        self.message
            .extend_from_slice(available.get(..len).unwrap_or_default());
        let taken = self.message.get_mut(start..).unwrap_or_default();
        unmask(taken, &mut body.mask);
        self.at += len;
        body.remaining -= len;
        let fin = body.fin;
        if body.remaining > 0 {
            self.release();
            return None;
        }
        self.body = None;
        Some(fin)
    }

    fn complete(&mut self) -> Event {
        let payload = std::mem::take(&mut self.message).freeze();
        match self.kind.take().expect("a frame began the message") {
            Kind::Text => Event::Text(payload),
            Kind::Binary => Event::Binary(payload),
        }
    }

    /// The whole payload of a control frame; `None` when more bytes are needed.
    fn control_payload(&mut self, header: Header) -> Option<Bytes> {
        let start = self.at + header.len;
        let masked = self.input.get(start..start + header.payload_len)?;
        let mut payload = BytesMut::from(masked);
        unmask(&mut payload, &mut { header.mask });
        self.at = start + header.payload_len;
        Some(payload.freeze())
    }

    /// Gives the input's memory back once all of it is decoded.
    fn release(&mut self) {
        if self.at == self.input.len() {
            self.input = Vec::new();
            self.at = 0;
        }
    }
}

fn control_event(opcode: Opcode, payload: Bytes) -> Result<Event, FrameError> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong),
        _ => close_event(&payload),
    }
}

/// A close frame carries nothing, or a code and a text (RFC 6455, 5.5.1).
fn close_event(payload: &[u8]) -> Result<Event, FrameError> {
    match payload {
        [] => Ok(Event::Close),
        [_] => Err(FrameError::Violation("close frame with half a code")),
        [high, low, reason @ ..] => {
            if !may_be_sent(u16::from_be_bytes([*high, *low])) {
                return Err(FrameError::Violation("close code that is not to be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(FrameError::Violation("close reason is not utf-8"));
            }
            Ok(Event::Close)
        }
    }
}

/// Close codes of the standard's registry that may stand in a frame, and those of applications
/// (RFC 6455, 7.4).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads a header; `None` when more bytes are needed.
fn parse_header(input: &[u8]) -> Result<Option<Header>, FrameError> {
    let &[first, second, ..] = input else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::Violation("reserved bits without an extension"));
    }
    let fin = first & 0x80 != 0;
    let opcode = match first & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Data(Kind::Text),
        0x2 => Opcode::Data(Kind::Binary),
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return Err(FrameError::Violation("unknown opcode")),
    };
    if second & 0x80 == 0 {
        return Err(FrameError::Violation("frame is not masked"));
    }
    let short = second & 0x7f;
    if first & 0x08 != 0 && (!fin || short > 125) {
        return Err(FrameError::Violation(
            "control frame is fragmented or too long",
        ));
    }
    let (length_end, payload_len) = match short {
        126 => match input.get(2..4) {
            Some(bytes) => (4, big_endian(bytes)),
            None => return Ok(None),
        },
        127 => match input.get(2..10) {
            Some(bytes) => (10, big_endian(bytes)),
            None => return Ok(None),
        },
        _ => (2, u64::from(short)),
    };
    let Some(&[a, b, c, d]) = input.get(length_end..length_end + 4) else {
        return Ok(None);
    };
    let payload_len = usize::try_from(payload_len).map_err(|_| FrameError::TooLarge)?;
    Ok(Some(Header {
        fin,
        opcode,
        mask: [a, b, c, d],
        len: length_end + 4,
        payload_len,
    }))
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Unmasks in place and turns the mask for the bytes that follow. Eight bytes at a time: a simple
/// loop over bytes costs several times as much on large messages.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d].into_iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len() % 4);
}
