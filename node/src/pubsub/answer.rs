//! What clients are answered: `{"ok":true,…}`, or a refusal with one of the fixed codes.

use roomcast_proto::offset::Offset;
use serde_json::json;

use crate::socketio::{Ack, OperationError};

/// The codes of refusals, fixed by the contract. (DESIGN, section 7.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Invalid,
    UnknownEvent,
    Forbidden,
    TooLarge,
    Overloaded,
    Unavailable,
    UnknownOutcome,
    KeyReused,
    Timeout,
}

impl Code {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownEvent => "unknown_event",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::UnknownOutcome => "unknown_outcome",
            Self::KeyReused => "key_reused",
            Self::Timeout => "timeout",
        }
    }
}

/// A request that is not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        let code = match error {
            // Whoever took the socket over has its answers; this one's transport is closing.
            OperationError::Gone | OperationError::Unavailable => Code::Unavailable,
            OperationError::KeyReused => Code::KeyReused,
            OperationError::TooLarge => Code::TooLarge,
            OperationError::Invalid | OperationError::EventName => Code::Invalid,
            OperationError::UnknownOutcome => Code::UnknownOutcome,
            OperationError::Overloaded => Code::Overloaded,
            OperationError::Unanswered => Code::Timeout,
        };
        Self::new(code, error.to_string())
    }
}

/// `[{"ok":true,"offset":"…"}]`, with `"duplicate":true` when a key was seen.
pub(crate) fn ok_offset(offset: &Offset, duplicate: bool) -> String {
    let duplicate = if duplicate {
        r#","duplicate":true"#
    } else {
        ""
    };
    format!(r#"[{{"ok":true,"offset":"{offset}"{duplicate}}}]"#)
}

/// `[{"ok":false,"error":{…}}]`.
pub(crate) fn refused(refusal: &Refusal) -> String {
    crate::metrics::refusals(refusal.code.word()).increment(1);
    let error = json!({ "code": refusal.code.word(), "message": refusal.message });
    format!(r#"[{{"ok":false,"error":{error}}}]"#)
}

/// Answers now, when an answer was asked for.
pub(crate) fn reply(ack: Option<Ack>, answer: Result<String, Refusal>) {
    let args = answer.unwrap_or_else(|refusal| refused(&refusal));
    if let Some(ack) = ack {
        ack.send(args.as_bytes());
    }
}
