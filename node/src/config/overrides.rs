//! Retention by namespace, as people write it.

use std::collections::BTreeMap;
use std::time::Duration;

use roomcast_proto::command;

use super::parse;
use super::reader::{Wrong, within};
use super::sections::RETENTION;
use crate::limits;

const FORM: &str =
    "NAME=TIME or NAME=TIME/MIN, comma between them, for example /chat*=10m,/a=7d/7d";

/// How long events are kept in the namespaces of a name, or of a beginning with `*` behind it; and
/// how long when every session has acknowledged them, if that is not as in all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionByNamespace(BTreeMap<String, (Duration, Option<Duration>)>);

impl RetentionByNamespace {
    /// For no namespace.
    pub(super) const NONE: Self = Self(BTreeMap::new());

    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut overrides = BTreeMap::new();
        let items = text.split(',').map(str::trim);
        for item in items.filter(|_| !text.trim().is_empty()) {
            let refuse = |wrong: String| Err((wrong, FORM.to_owned()));
            let Some((name, time)) = item.rsplit_once('=') else {
                return refuse(format!("has `{item}` without a time"));
            };
            if !is_pattern(name) {
                return refuse(format!("has `{name}`, which is no namespace"));
            }
            let (max, min) = match time.split_once('/') {
                Some((max, min)) => (max, Some(min)),
                None => (time, None),
            };
            let max = duration(name, max)?;
            let min = min.map(|min| duration(name, min)).transpose()?;
            if overrides.insert(name.to_owned(), (max, min)).is_some() {
                return refuse(format!("names {name} twice"));
            }
        }
        let max = limits::RETENTION_OVERRIDES_MAX;
        if overrides.len() > max {
            let wrong = format!("names {} namespaces", overrides.len());
            return Err((wrong, format!("at most {max}; NAME* stands for many")));
        }
        Ok(Self(overrides))
    }

    /// The form that is proposed.
    pub(super) fn to_proto(&self) -> command::RetentionOverrides {
        let ms = |time: &Duration| u64::try_from(time.as_millis()).expect("it is within bounds");
        let one = |(name, (max, min)): (&String, &(Duration, Option<Duration>))| {
            command::RetentionOverride {
                namespaces: name.clone(),
                retention_ms: ms(max),
                retention_min_ms: min.as_ref().map_or(0, ms),
            }
        };
        command::RetentionOverrides {
            overrides: self.0.iter().map(one).collect(),
        }
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, Wrong> {
    let Some(time) = parse::duration(text) else {
        let wrong = format!("has `{text}` for {name}, which is no duration");
        return Err((wrong, FORM.to_owned()));
    };
    let time = within(time, &RETENTION, parse::show_duration);
    time.map_err(|(wrong, right)| (format!("for {name}: {wrong}"), right))
}

fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let fits = name.len() <= limits::NAMESPACE_NAME_BYTES_MAX;
    fits && name.starts_with('/') && !name.contains('*')
}
