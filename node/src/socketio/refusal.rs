//! What a client is told about an event that was not carried out: a fixed code and words.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::json;

use super::operation::OperationError;
use crate::adapter::Answer;
use crate::metrics;

/// Why an event was refused, in one word for programs. (DESIGN, section 7.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The arguments are not what the event takes.
    Invalid,
    /// There is no such event here.
    UnknownEvent,
    /// This client may not do it.
    Forbidden,
    /// Larger than the largest event.
    TooLarge,
    /// A queue is full; surely not written.
    Overloaded,
    /// The cluster cannot do it now; surely not written.
    Unavailable,
    /// Perhaps written: retry with the same key.
    UnknownOutcome,
    /// The idempotency key was used with another body.
    KeyReused,
    /// Not done in time.
    Timeout,
    /// The handler failed.
    Internal,
    /// A word of the application's own.
    Other(&'static str),
}

impl Code {
    /// The word on the wire and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
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
            Self::Internal => "internal",
            Self::Other(word) => word,
        }
    }
}

/// An event that is not carried out, and why. As the error of an event handler it becomes the
/// client's answer, `{"ok":false,"error":{"code":"…","message":"…"}}`, if it asked for one.
///
/// ```
/// use roomcast::{Code, Refusal};
///
/// fn check(bid: u32) -> Result<u32, Refusal> {
///     match bid {
///         0 => Err(Refusal::invalid("a bid is at least 1")),
///         1_000.. => Err(Refusal::new(Code::Other("over_limit"), "a bid is below 1,000")),
///         _ => Ok(bid),
///     }
/// }
/// assert_eq!(check(0).unwrap_err().code, Code::Invalid);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.word())]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a code and words.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The arguments are not what the event takes.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// This client may not do it.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Forbidden, message)
    }

    /// What a client gets whose handler panicked: nothing about the inside.
    pub(crate) fn internal() -> Self {
        Self::new(Code::Internal, "the handler failed")
    }

    /// Counts a refusal.
    pub(crate) fn count(&self) {
        metrics::refusals(self.code.word()).increment(1);
    }

    /// Counts it, and makes the answer of it.
    pub(crate) fn to_answer(&self) -> Answer {
        self.count();
        Answer {
            data: refused(self.code.word(), &self.message),
            attachments: Vec::new(),
        }
    }
}

/// The answer to an event that was refused; the code may be a program's own word.
pub(crate) fn refused(code: &str, message: &str) -> Bytes {
    let error = json!({ "code": code, "message": message });
    format!(r#"[{{"ok":false,"error":{error}}}]"#).into()
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        let code = match error {
            // Whoever took the socket over has its answers; this one's transport is closing.
            OperationError::Gone | OperationError::Unavailable => Code::Unavailable,
            OperationError::KeyReused => Code::KeyReused,
            OperationError::TooLarge => Code::TooLarge,
            OperationError::Invalid | OperationError::EventName => Code::Invalid,
            OperationError::Arguments => Code::Internal,
            OperationError::UnknownOutcome => Code::UnknownOutcome,
            OperationError::Overloaded => Code::Overloaded,
            OperationError::Unanswered => Code::Timeout,
        };
        Self::new(code, error.to_string())
    }
}

/// What layers that box their errors let through: ours as it was, a layer's time-out as `timeout`,
/// anything else as `internal`, its words for the log only.
impl From<tower::BoxError> for Refusal {
    fn from(error: tower::BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(refusal) => *refusal,
            Err(error) if error.is::<tower::timeout::error::Elapsed>() => {
                Self::new(Code::Timeout, "the handler took too long")
            }
            Err(error) => {
                tracing::warn!(error, "an event middleware failed");
                Self::internal()
            }
        }
    }
}
