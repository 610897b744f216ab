//! JSON as far as a carrier of bytes needs it: is it well formed, how deep, which tokens.
//!
//! `serde_json` judges well-formedness, skipping values without building them. Skipping has no
//! depth limit of its own and accepts escaped lone surrogates, as `JSON.stringify` writes them.

use serde::de::IgnoredAny;

use crate::error::DecodeError;

/// A piece of well-formed JSON, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// `{` or `[`.
    Open(Bracket),
    /// `}` or `]`.
    Close,
    /// The string before it was a member's name.
    Colon,
    /// A string with its quotes, escapes as they are.
    String(&'a str),
    /// A number, `true`, `false` or `null`.
    Scalar(&'a str),
}

/// What a bracket opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bracket {
    /// `[`.
    Array,
    /// `{`.
    Object,
}

/// Walks over JSON that [`check`] has accepted; of other text it makes tokens without meaning.
#[derive(Debug, Clone)]
pub(crate) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What was not walked over yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (token, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        token
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        let token = match self.rest.bytes().next()? {
            b'{' => {
                self.take(1);
                Token::Open(Bracket::Object)
            }
            b'[' => {
                self.take(1);
                Token::Open(Bracket::Array)
            }
            b'}' | b']' => {
                self.take(1);
                Token::Close
            }
            b':' => {
                self.take(1);
                Token::Colon
            }
            b'"' => Token::String(self.take(string_length(self.rest))),
            _ => Token::Scalar(self.take(scalar_length(self.rest))),
        };
        Some(token)
    }
}

/// `text` without trailing whitespace, if it is one JSON value nested no deeper than `depth_max`.
pub(crate) fn check(text: &str, depth_max: usize) -> Result<&str, DecodeError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    let mut depth = 0_usize;
    for token in Tokens::new(text) {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Colon | Token::String(_) | Token::Scalar(_) => {}
        }
        if depth > depth_max {
            return Err(DecodeError::TooDeep { max: depth_max });
        }
    }
    Ok(text.trim_end_matches([' ', '\t', '\n', '\r']))
}

/// The text of a string token; `None` when escapes name no text (a lone surrogate).
pub(crate) fn string_text(token: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !token.contains('\\') {
        let inner = token.strip_prefix('"')?.strip_suffix('"')?;
        return Some(inner.into());
    }
    serde_json::from_str::<String>(token).ok().map(Into::into)
}

/// Where it is wrong, without a word of what was sent.
pub(crate) fn malformed(error: &serde_json::Error) -> DecodeError {
    DecodeError::Json {
        line: error.line(),
        column: error.column(),
    }
}

/// Bytes up to and with the closing quote.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// At least one byte, so that a walk over any text ends; a whole character, so that it is a `str`.
fn scalar_length(text: &str) -> usize {
    text.bytes()
        .position(|byte| {
            matches!(
                byte,
                b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r'
            )
        })
        .unwrap_or(text.len())
}
