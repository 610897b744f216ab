//! Why an operation was refused: the codes of the wire, which are fixed.

use std::fmt;

use crate::error::{AckError, EmitError};

/// The code of a refusal. The server's codes are fixed; one of a later server is kept as text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request has a wrong form.
    Invalid,
    /// No handler knows the event.
    UnknownEvent,
    /// Policy does not allow it.
    Forbidden,
    /// The event with its attachments is larger than the limit.
    TooLarge,
    /// Too many requests.
    RateLimited,
    /// The server has too much to do.
    Overloaded,
    /// No leader, or no connection: surely not written.
    Unavailable,
    /// Perhaps written: try again with the same idempotency key.
    UnknownOutcome,
    /// The idempotency key was used for another body.
    KeyReused,
    /// No answer in time.
    Timeout,
    /// A code that this client does not know.
    Other(String),
}

impl ErrorCode {
    /// The code as the wire has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownEvent => "unknown_event",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::UnknownOutcome => "unknown_outcome",
            Self::KeyReused => "key_reused",
            Self::Timeout => "timeout",
            Self::Other(code) => code,
        }
    }
}

impl From<&str> for ErrorCode {
    fn from(code: &str) -> Self {
        match code {
            "invalid" => Self::Invalid,
            "unknown_event" => Self::UnknownEvent,
            "forbidden" => Self::Forbidden,
            "too_large" => Self::TooLarge,
            "rate_limited" => Self::RateLimited,
            "overloaded" => Self::Overloaded,
            "unavailable" => Self::Unavailable,
            "unknown_outcome" => Self::UnknownOutcome,
            "key_reused" => Self::KeyReused,
            "timeout" => Self::Timeout,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation was refused, by the server or on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PubsubError {
    /// What to do about it.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl PubsubError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// Whether trying again can succeed. After [`ErrorCode::UnknownOutcome`] only a publish with
    /// an idempotency key may be tried again without the risk of a second copy.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::RateLimited
                | ErrorCode::Overloaded
                | ErrorCode::Unavailable
                | ErrorCode::UnknownOutcome
                | ErrorCode::Timeout
        )
    }
}

impl From<AckError> for PubsubError {
    fn from(error: AckError) -> Self {
        let code = match &error {
            AckError::Refused(EmitError::TooLarge { .. }) => ErrorCode::TooLarge,
            AckError::Refused(EmitError::ReservedName(_)) => ErrorCode::Invalid,
            AckError::Refused(EmitError::BufferFull { .. }) => ErrorCode::Overloaded,
            AckError::Refused(_) | AckError::NotSent(_) | AckError::Closed => {
                ErrorCode::Unavailable
            }
            AckError::Timeout(_) | AckError::UnknownOutcome => ErrorCode::UnknownOutcome,
        };
        Self::new(code, error.to_string())
    }
}
