//! Collects the text of every key from flags, environment and TOML file; flags win over variables,
//! variables over the file, the file over defaults. Nothing is interpreted here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::keys::{FILE_KEY, KEYS, Key, Section};

/// How a variable is looked up; `std::env::var_os` outside tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What one source or another says about a key.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// As it was written.
    pub(crate) text: String,
    /// Who wrote it.
    pub(crate) origin: Origin,
}

/// The texts of all keys that somebody gave or that have a default, and what was wrong so far.
#[derive(Debug, Default)]
pub struct Sources {
    /// By flag name.
    given: BTreeMap<&'static str, Given>,
    /// Refusals found while collecting.
    pub(crate) errors: Vec<ConfigError>,
}

impl Sources {
    /// Collects from all sources. `flags` are (name, text) of what stood on the command line.
    #[must_use]
    pub fn collect(flags: &[(&'static str, String)], lookup: Lookup<'_>) -> Self {
        let mut sources = Self::default();
        for key in KEYS {
            if let Some(text) = key.default {
                sources.insert(key, text.to_owned(), Origin::Default);
            }
        }
        let file = flag(flags, &FILE_KEY)
            .map(|text| (PathBuf::from(text), Origin::Flag(FILE_KEY.flag)))
            .or_else(|| {
                let name = FILE_KEY.variable();
                let text = lookup(&name).filter(|text| !text.is_empty())?;
                Some((PathBuf::from(text), Origin::Variable(name)))
            });
        if let Some((path, origin)) = file {
            sources.read_file(&path, origin);
        }
        for key in KEYS {
            sources.read_variable(key, lookup);
            if let Some(text) = flag(flags, key) {
                sources.insert(key, text.to_owned(), Origin::Flag(key.flag));
            }
        }
        sources
    }

    /// What is known about a key.
    pub(crate) fn get(&self, flag: &str) -> Option<&Given> {
        self.given.get(flag)
    }

    /// Keys of a section that somebody gave, as opposed to defaults.
    pub(crate) fn given_in(&self, section: Section) -> Vec<&'static str> {
        let in_section = KEYS.iter().filter(|key| key.section == section);
        in_section
            .filter(|key| {
                self.given
                    .get(key.flag)
                    .is_some_and(|g| g.origin != Origin::Default)
            })
            .map(|key| key.flag)
            .collect()
    }

    fn insert(&mut self, key: &Key, text: String, origin: Origin) {
        self.given.insert(key.flag, Given { text, origin });
    }

    /// An empty variable counts as not given: charts and shells make them by accident.
    fn read_variable(&mut self, key: &'static Key, lookup: Lookup<'_>) {
        let name = key.variable();
        let Some(text) = lookup(&name).filter(|text| !text.is_empty()) else {
            return;
        };
        match text.into_string() {
            Ok(text) => self.insert(key, text, Origin::Variable(name)),
            Err(_) => self.errors.push(ConfigError {
                key: key.path(),
                origin: Some(Origin::Variable(name)),
                wrong: "is not UTF-8".to_owned(),
                right: format!("{} as UTF-8 text", key.value),
            }),
        }
    }

    fn read_file(&mut self, path: &Path, named_by: Origin) {
        let mut refuse = |wrong: String, right: &str| {
            self.errors.push(ConfigError {
                key: FILE_KEY.path(),
                origin: Some(named_by.clone()),
                wrong,
                right: right.to_owned(),
            });
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                refuse(
                    format!("cannot be read: {}: {error}", path.display()),
                    "a readable file",
                );
                return;
            }
        };
        match toml::from_str::<Table>(&text) {
            Ok(table) => self.read_table(path, Section::Node, table),
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    1 + text
                        .bytes()
                        .take(span.start)
                        .filter(|byte| *byte == b'\n')
                        .count()
                });
                let wrong = format!(
                    "is not TOML: {}: line {line}: {}",
                    path.display(),
                    error.message()
                );
                refuse(
                    wrong,
                    "key = value lines and [cluster], [engine], [dev] tables",
                );
            }
        }
    }

    fn read_table(&mut self, path: &Path, section: Section, table: Table) {
        for (name, value) in table {
            let nested = Section::ALL.into_iter().find(|s| s.table() == name);
            match (section, nested, value) {
                (Section::Node, Some(nested), Value::Table(table)) => {
                    self.read_table(path, nested, table);
                }
                (_, _, value) => self.read_value(path, section, &name, &value),
            }
        }
    }

    fn read_value(&mut self, path: &Path, section: Section, name: &str, value: &Value) {
        let origin = Origin::File(path.to_owned());
        let known = KEYS
            .iter()
            .find(|key| key.section == section && key.name() == name);
        let text = match value {
            // `KEY=VALUE,…` may be a table of its own.
            Value::Table(pairs) if known.is_some_and(|key| key.value.contains('=')) => {
                pairs_of(pairs)
            }
            value => text_of(value),
        };
        let (key, wrong, right) = match (known, text) {
            (Some(key), Some(text)) => return self.insert(key, text, origin),
            (Some(key), None) => {
                let right = format!("a string, a number or a list of strings ({})", key.value);
                (key.path(), "has a value that no key has".to_owned(), right)
            }
            (None, _) => {
                let full = match section.table() {
                    "" => name.to_owned(),
                    table => format!("{table}.{name}"),
                };
                (
                    full,
                    "is not a key of Roomcast".to_owned(),
                    suggestion(section, name),
                )
            }
        };
        self.errors.push(ConfigError {
            key,
            origin: Some(origin),
            wrong,
            right,
        });
    }
}

fn flag<'a>(flags: &'a [(&'static str, String)], key: &Key) -> Option<&'a str> {
    flags
        .iter()
        .find(|(name, _)| *name == key.flag)
        .map(|(_, text)| text.as_str())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

fn pairs_of(pairs: &Table) -> Option<String> {
    let pair = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
    let texts: Option<Vec<_>> = pairs.iter().map(pair).collect();
    texts.map(|texts| texts.join(","))
}

/// The nearest key of any section, or the section's keys when none is near.
fn suggestion(section: Section, name: &str) -> String {
    let distance = |key: &&Key| (edits(&key.name(), name), key.section != section);
    if let Some(near) = KEYS.iter().min_by_key(distance)
        && edits(&near.name(), name) <= 2
    {
        return match near.section.table() {
            "" => format!("`{}` at the top of the file", near.name()),
            table => format!("`{}` in [{table}]", near.name()),
        };
    }
    let names = KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(Key::name);
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}

/// Levenshtein distance in bytes.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
