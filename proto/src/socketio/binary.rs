//! Binary attachments: putting a packet and the binary messages after it together, and the
//! placeholders that mark their places. (Socket.IO v5, "Binary".)

use bytes::Bytes;
use serde_json::{Value, json};

use crate::error::DecodeError;
use crate::socketio::json::{self, Token, Tokens};
use crate::socketio::packet::Packet;

/// Puts packets of one connection together; namespaces share it, since attachments follow their
/// packet at once. Buffers at most `event_bytes_max`.
#[derive(Debug)]
pub struct Assembler {
    /// Payload and attachments of one packet together, in bytes.
    event_bytes_max: usize,
    /// The packet whose attachments are due.
    pending: Option<Pending>,
}

/// What an [`Assembler`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assembled {
    /// A packet with all its attachments.
    Whole {
        /// The packet.
        packet: Packet,
        /// Its attachments, in the order of their numbers.
        attachments: Vec<Bytes>,
    },
    /// An event or ack that was received to its end but not kept: the sender is told `too_large`
    /// and the connection goes on. (DESIGN, P11.)
    TooLarge {
        /// The packet, without its attachments.
        packet: Packet,
        /// What payload and attachments came to, in bytes.
        bytes: usize,
    },
}

#[derive(Debug)]
struct Pending {
    /// The packet that announced attachments.
    packet: Packet,
    /// Those that came; empty again once they are too large together.
    attachments: Vec<Bytes>,
    /// How many came.
    received: usize,
    /// Payload and attachments so far, in bytes.
    bytes: usize,
}

impl Assembler {
    /// For one connection. `event_bytes_max` bounds payload and attachments of a packet together.
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            pending: None,
        }
    }

    /// Takes a decoded packet; yields it at once when it has no attachments.
    ///
    /// # Errors
    /// [`DecodeError::TextAmidAttachments`], [`DecodeError::Placeholder`].
    pub fn text(&mut self, packet: Packet) -> Result<Option<Assembled>, DecodeError> {
        if self.pending.is_some() {
            return Err(DecodeError::TextAmidAttachments);
        }
        let bytes = match &packet {
            Packet::Event {
                data, attachments, ..
            }
            | Packet::Ack {
                data, attachments, ..
            } => {
                if *attachments > 0 {
                    check_placeholders(data, *attachments)?;
                }
                data.len()
            }
            Packet::Connect { .. } | Packet::Disconnect { .. } | Packet::ConnectError { .. } => 0,
        };
        let pending = Pending {
            packet,
            attachments: Vec::new(),
            received: 0,
            bytes,
        };
        Ok(self.advance(pending))
    }

    /// Takes a binary message; yields the packet when it was the last one due.
    ///
    /// # Errors
    /// [`DecodeError::BinaryUnexpected`].
    pub fn binary(&mut self, message: Bytes) -> Result<Option<Assembled>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::BinaryUnexpected)?;
        pending.received += 1;
        pending.bytes = pending.bytes.saturating_add(message.len());
        if pending.bytes > self.event_bytes_max {
            pending.attachments = Vec::new();
        } else {
            pending.attachments.push(message);
        }
        Ok(self.advance(pending))
    }

    /// True while attachments are due.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The packet whose attachments are due and those that came, to go on elsewhere: given to an
    /// empty assembler in the same order they make the same state. `None` when there is none, or
    /// when what came was too large and is not kept.
    #[must_use]
    pub fn partial(&self) -> Option<(&Packet, &[Bytes])> {
        let pending = self.pending.as_ref()?;
        let kept = pending.attachments.len() == pending.received;
        kept.then_some((&pending.packet, &*pending.attachments))
    }

    fn advance(&mut self, pending: Pending) -> Option<Assembled> {
        if pending.received < pending.packet.attachments() {
            self.pending = Some(pending);
            return None;
        }
        let Pending {
            packet,
            attachments,
            bytes,
            ..
        } = pending;
        if bytes > self.event_bytes_max {
            return Some(Assembled::TooLarge { packet, bytes });
        }
        Some(Assembled::Whole {
            packet,
            attachments,
        })
    }
}

/// The value that stands for attachment `number`, for those who build an event.
#[must_use]
pub fn placeholder(number: usize) -> Value {
    json!({ "_placeholder": true, "num": number })
}

/// Which attachment `value` stands for, if it is a placeholder.
#[must_use]
pub fn placeholder_number(value: &Value) -> Option<usize> {
    if value.get("_placeholder") != Some(&Value::Bool(true)) {
        return None;
    }
    value
        .get("num")?
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
}

/// Every placeholder in `data` names one of `count` attachments. `data` is well-formed JSON.
///
/// # Errors
/// [`DecodeError::Placeholder`], [`DecodeError::NotUtf8`].
pub fn check_placeholders(data: &Bytes, count: usize) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(data).map_err(|_| DecodeError::NotUtf8)?;
    let mut levels = Levels::default();
    for token in Tokens::new(text) {
        if let Some(closed) = levels.take(token)
            && closed.is_placeholder
            && closed.attachment(count).is_none()
        {
            return Err(DecodeError::Placeholder);
        }
    }
    Ok(())
}

/// The arrays and objects around a place in JSON. As in `JSON.parse`, the last of equal names
/// counts.
#[derive(Debug, Default)]
pub(crate) struct Levels<'a> {
    open: Vec<Level>,
    before: Option<Token<'a>>,
}

impl<'a> Levels<'a> {
    /// Goes past a token; at a closing bracket, what it closes.
    pub(crate) fn take(&mut self, token: Token<'a>) -> Option<Level> {
        let mut closed = None;
        match token {
            Token::Open(_) => {
                self.note(None);
                self.open.push(Level::default());
            }
            Token::Close => closed = Some(self.open.pop().unwrap_or_default()),
            Token::Colon => {
                if let (Some(Token::String(name)), Some(level)) =
                    (self.before, self.open.last_mut())
                {
                    level.member = Member::named(name);
                }
            }
            Token::String(_) => self.note(None),
            Token::Scalar(scalar) => self.note(Some(scalar)),
        }
        self.before = Some(token);
        closed
    }

    /// A value begins: `Some` for numbers and words, `None` for strings, arrays and objects. A
    /// member's name passes too, while no member is set, and is only counted.
    fn note(&mut self, scalar: Option<&str>) {
        let Some(level) = self.open.last_mut() else {
            return;
        };
        level.item_count += 1;
        match std::mem::take(&mut level.member) {
            Member::Placeholder => level.is_placeholder = scalar == Some("true"),
            Member::Number => level.number = scalar.and_then(|number| number.parse().ok()),
            Member::Other => {}
        }
    }
}

/// An array or object, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// The member whose value comes next.
    member: Member,
    /// Values, and names of members.
    pub(crate) item_count: usize,
    /// `_placeholder` is `true`.
    is_placeholder: bool,
    /// `num`, when it is a number.
    number: Option<f64>,
}

impl Level {
    /// Which of `count` attachments it stands for, if it is a placeholder of one.
    pub(crate) fn attachment(&self, count: usize) -> Option<usize> {
        let number = self.number.filter(|_| self.is_placeholder)?;
        let names_one = number.fract() == 0.0 && number >= 0.0 && number < count as f64;
        names_one.then_some(number as usize)
    }
}

#[derive(Debug, Default, Clone, Copy)]
enum Member {
    #[default]
    Other,
    Placeholder,
    Number,
}

impl Member {
    fn named(token: &str) -> Self {
        match json::string_text(token).as_deref() {
            Some("_placeholder") => Self::Placeholder,
            Some("num") => Self::Number,
            _ => Self::Other,
        }
    }
}
