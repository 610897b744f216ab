//! Turns texts into typed values and keeps every refusal, so that all are told at once.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Origin};
use super::keys::{Key, Section};
use super::parse;
use super::sources::{Given, Sources};

/// Why a text was refused: (what was wrong, what would be right).
pub(crate) type Wrong = (String, String);

/// Reads keys one by one. A method answers `None` after it noted a refusal, or for an absent
/// optional key.
#[derive(Debug)]
pub(crate) struct Reader {
    sources: Sources,
}

impl Reader {
    pub(crate) fn new(sources: Sources) -> Self {
        Self { sources }
    }

    /// All refusals so far.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        self.sources.errors
    }

    /// True while nothing was refused.
    pub(crate) fn is_clean(&self) -> bool {
        self.sources.errors.is_empty()
    }

    /// Keys of a section that somebody gave.
    pub(crate) fn given_in(&self, section: Section) -> Vec<&'static str> {
        self.sources.given_in(section)
    }

    /// Who gave a key, if anybody did.
    pub(crate) fn origin(&self, flag: &str) -> Option<Origin> {
        self.sources.get(flag).map(|given| given.origin.clone())
    }

    /// What somebody wrote for a key, as opposed to its default.
    pub(crate) fn given_text(&self, flag: &str) -> Option<&str> {
        let given = self.sources.get(flag)?;
        (given.origin != Origin::Default).then_some(given.text.as_str())
    }

    /// Notes a refusal of a key whose text was well-formed.
    pub(crate) fn refuse(&mut self, flag: &'static str, (wrong, right): Wrong) {
        let origin = self.origin(flag);
        let key = known(flag).path();
        self.sources.errors.push(ConfigError {
            key,
            origin,
            wrong,
            right,
        });
    }

    /// A key that may be absent.
    pub(crate) fn optional<T>(
        &mut self,
        flag: &'static str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let Given { text, .. } = self.sources.get(flag)?;
        let outcome = read(text);
        match outcome {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.refuse(flag, wrong);
                None
            }
        }
    }

    /// A key without a default that must be there.
    pub(crate) fn required<T>(
        &mut self,
        flag: &'static str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.sources.get(flag).is_none() {
            self.sources
                .errors
                .push(ConfigError::missing(known(flag), example));
        }
        self.optional(flag, read)
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &mut self,
        flag: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.optional(flag, |text| {
            let value = parse::duration(text)
                .ok_or_else(|| not_a("duration", text, parse::DURATION_FORM))?;
            within(value, &bounds, parse::show_duration)
        })
    }

    /// A size in bytes within bounds.
    pub(crate) fn bytes(&mut self, flag: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        self.optional(flag, |text| {
            let value = parse::bytes(text).ok_or_else(|| not_a("size", text, parse::BYTES_FORM))?;
            within(value, &bounds, parse::show_bytes)
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        flag: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.optional(flag, |text| number(text, &bounds))
    }

    /// A whole number within bounds that fit 32 bits.
    pub(crate) fn small(&mut self, flag: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let bounds = u64::from(*bounds.start())..=u64::from(*bounds.end());
        let value = self.number(flag, bounds)?;
        Some(u32::try_from(value).expect("within bounds of 32 bits"))
    }

    /// A whole number within bounds that fit this machine's addresses.
    pub(crate) fn count(
        &mut self,
        flag: &'static str,
        bounds: RangeInclusive<u32>,
    ) -> Option<usize> {
        self.small(flag, bounds).map(|value| value as usize)
    }

    /// An address to listen on.
    pub(crate) fn listen(&mut self, flag: &'static str) -> Option<SocketAddr> {
        self.optional(flag, |text| {
            text.parse().map_err(|_| {
                let right = "IP:PORT, for example 127.0.0.1:3001 or [::]:3001";
                (
                    format!("`{text}` is no address to listen on"),
                    right.to_owned(),
                )
            })
        })
    }

    /// An existing directory.
    pub(crate) fn directory(&mut self, flag: &'static str) -> Option<PathBuf> {
        self.optional(flag, |text| {
            let path = PathBuf::from(text);
            if path.is_dir() {
                return Ok(path);
            }
            Err((
                format!("`{text}` is no directory"),
                "an existing directory".to_owned(),
            ))
        })
    }
}

/// A directory that exists or can come to exist.
pub(crate) fn future_directory(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text);
    let right = "a directory, or a path where one can be made".to_owned();
    if text.is_empty() {
        return Err(("is empty".to_owned(), right));
    }
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    match existing {
        Some(ancestor) if !ancestor.is_dir() => {
            Err((format!("`{}` is no directory", ancestor.display()), right))
        }
        _ => Ok(path),
    }
}

/// A whole number within bounds.
pub(crate) fn number(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let value = text
        .parse()
        .map_err(|_| not_a("whole number", text, &range(bounds, u64::to_string)))?;
    within(value, bounds, |bound| bound.to_string())
}

/// `host:port` that others can dial; the host may be a name.
pub(crate) fn host_port(text: &str) -> Result<String, Wrong> {
    let wrong = || {
        let right = "HOST:PORT, for example node-1.example:5001 or 127.0.0.1:5001";
        (
            format!("`{text}` is no address to connect to"),
            right.to_owned(),
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let named = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let numeric = bracketed.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    let port_ok = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || !(named || numeric) || !port_ok {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

fn known(flag: &'static str) -> &'static Key {
    Key::find(flag).expect("only keys of the table are read")
}

fn not_a(what: &str, text: &str, right: &str) -> Wrong {
    let article = if text.is_empty() {
        "is empty".to_owned()
    } else {
        format!("`{text}` is no {what}")
    };
    (article, right.to_owned())
}

fn range<T>(bounds: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("{} to {}", show(bounds.start()), show(bounds.end()))
}

pub(super) fn within<T: PartialOrd + Copy>(
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, Wrong> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err((
        format!("`{}` is out of bounds", show(value)),
        range(bounds, |bound| show(*bound)),
    ))
}
