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
    let mut levels: Vec<Level> = Vec::new();
    let mut before = None;
    for token in Tokens::new(text) {
        match token {
            Token::Open => {
                note(&mut levels, None);
                levels.push(Level::default());
            }
            Token::Close => {
                let closed = levels.pop().unwrap_or_default();
                if closed.is_placeholder && !closed.number.is_some_and(|n| names(n, count)) {
                    return Err(DecodeError::Placeholder);
                }
            }
            Token::Colon => {
                if let (Some(Token::String(name)), Some(level)) = (before, levels.last_mut()) {
                    level.member = Member::named(name);
                }
            }
            Token::String(_) => note(&mut levels, None),
            Token::Scalar(scalar) => note(&mut levels, Some(scalar)),
        }
        before = Some(token);
    }
    Ok(())
}

/// An array or object around the present token. As in `JSON.parse`, the last of equal names counts.
#[derive(Debug, Default)]
struct Level {
    /// The member whose value comes next.
    member: Member,
    /// `_placeholder` is `true`.
    is_placeholder: bool,
    /// `num`, when it is a number.
    number: Option<f64>,
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

/// A value begins: `Some` for numbers and words, `None` for strings, arrays and objects. A member's
/// name passes too, while no member is set, and is noted nowhere.
fn note(levels: &mut [Level], scalar: Option<&str>) {
    let Some(level) = levels.last_mut() else {
        return;
    };
    match std::mem::take(&mut level.member) {
        Member::Placeholder => level.is_placeholder = scalar == Some("true"),
        Member::Number => level.number = scalar.and_then(|number| number.parse().ok()),
        Member::Other => {}
    }
}

fn names(number: f64, count: usize) -> bool {
    number.fract() == 0.0 && number >= 0.0 && number < count as f64
}
