//! The tokens with which programs use the API port: read once, and never shown.

use std::fmt;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use super::reader::Wrong;

/// Shortest token, in bytes: what is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token, in bytes: it has to fit a request's head.
const TOKEN_BYTES_MAX: usize = 1024;
/// Tokens of a file: the old, the new, and one for each program.
const TOKENS_MAX: usize = 64;
const FORM: &str = "a file with one token a line, each of 16 to 1024 visible ASCII characters, for \
    example of `openssl rand -hex 32`";

/// Tokens that open the API port. Several, so that they can be changed without a gap.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiTokens(Arc<[String]>);

impl fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiTokens({})", self.0.len())
    }
}

impl ApiTokens {
    /// Reads a file; empty lines do not count.
    pub(crate) fn read(path: &str) -> Result<Self, Wrong> {
        let text = std::fs::read_to_string(Path::new(path));
        let text = text.map_err(|error| wrong(format!("`{path}` cannot be read: {error}")))?;
        Self::parse(&text).map_err(|what| wrong(format!("`{path}` {what}")))
    }

    /// Reads the text of such a file: a token per line.
    ///
    /// # Errors
    /// What is wrong with it, without any token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines: Vec<_> = lines.filter(|(line, _)| !line.is_empty()).collect();
        if lines.is_empty() {
            return Err("has no token".to_owned());
        }
        if lines.len() > TOKENS_MAX {
            return Err(format!("has more than {TOKENS_MAX} tokens"));
        }
        for (line, number) in &lines {
            let lengths = TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX;
            let visible = line.bytes().all(|byte| byte.is_ascii_graphic());
            if !visible || !lengths.contains(&line.len()) {
                return Err(format!("has no token in line {number}"));
            }
        }
        let tokens = lines.into_iter().map(|(line, _)| line.to_owned());
        Ok(Self(tokens.collect()))
    }

    /// Whether a token is one of these. How long that takes tells nothing about them but their
    /// lengths.
    pub(crate) fn knows(&self, token: &str) -> bool {
        let mut found = false;
        for known in &*self.0 {
            found |= same(known.as_bytes(), token.as_bytes());
        }
        found
    }

    /// The first one, for who asks with it.
    pub(crate) fn first(&self) -> &str {
        &self.0[0]
    }
}

fn same(known: &[u8], given: &[u8]) -> bool {
    if known.len() != given.len() {
        return false;
    }
    let pairs = known.iter().zip(given);
    let difference = pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    difference == 0
}

fn wrong(what: String) -> Wrong {
    (what, FORM.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_of_the_file_is_known_and_nothing_else() {
        let (old, new) = ("0123456789abcdef", "fedcba9876543210f");
        let tokens = ApiTokens::parse(&format!("\n{old}\r\n  {new}\n\n")).unwrap();
        assert!(tokens.knows(old) && tokens.knows(new));
        for other in [
            "",
            "0123456789abcdeF",
            "0123456789abcdef0",
            "0123456789abcde",
        ] {
            assert!(!tokens.knows(other), "{other}");
        }
        assert_eq!(format!("{tokens:?}"), "ApiTokens(2)");
        assert_eq!(tokens.first(), old);
    }

    #[test]
    fn a_file_without_good_tokens_says_what_is_wrong() {
        for (text, words) in [
            ("", "has no token"),
            (" \n\n", "has no token"),
            ("0123456789abcdef\nshort\n", "has no token in line 2"),
            (
                "0123456789abcdef 0123456789abcdef",
                "has no token in line 1",
            ),
            ("0123456789abcdeü", "has no token in line 1"),
        ] {
            assert_eq!(ApiTokens::parse(text).unwrap_err(), words, "{text:?}");
        }
        let many = "0123456789abcdef\n".repeat(65);
        assert_eq!(
            ApiTokens::parse(&many).unwrap_err(),
            "has more than 64 tokens"
        );
        assert!(
            ApiTokens::read("nowhere")
                .unwrap_err()
                .0
                .contains("cannot be read")
        );
    }
}
