//! Refusals of a configuration: every one names the key, what was wrong, what would be right.

use std::fmt;
use std::path::PathBuf;

use super::keys::Key;

/// Where a value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// The TOML file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag on the command line, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Full name of the key, for example `cluster.retention`.
    pub key: String,
    /// Where the refused value came from; `None` when nobody gave one.
    pub origin: Option<Origin>,
    /// What was wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl ConfigError {
    /// A required key that nobody gave.
    pub(crate) fn missing(key: &Key, example: &str) -> Self {
        Self {
            key: key.path(),
            origin: None,
            wrong: "is missing".to_owned(),
            right: format!(
                "give --{} {example}, {} or {} in the file",
                key.flag,
                key.variable(),
                key.path()
            ),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, " {}; right would be: {}", self.wrong, self.right)
    }
}

/// All refusals of a configuration, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(
            f,
            "configuration refused, {} error{plural}; nothing was opened",
            self.0.len()
        )?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
