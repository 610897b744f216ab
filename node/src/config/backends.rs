//! What becomes of the clients of a namespace while no backend serves it, as typed values.

use std::time::Duration;

use super::reader::{Reader, Wrong};
use crate::limits;

const POLICIES_FORM: &str =
    "NAMESPACE=POLICY, comma between them, for example /chat=wait,/game-*=refuse,/lab=builtin";

/// A namespace's name, or a pattern: `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacePattern(String);

/// How well a pattern fits a name: a name wins over patterns, of patterns the longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    is_name: bool,
    length: usize,
}

impl NamespacePattern {
    /// # Errors
    /// Without its leading slash (a pattern may begin with `*`), too long, or with characters that
    /// no namespace has.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with(['/', '*']) {
            return Err("begins with no slash");
        }
        if text.len() > limits::NAMESPACE_NAME_BYTES_MAX {
            return Err("is too long");
        }
        if text.contains([',', '?']) || text.contains(char::is_control) {
            return Err("has characters that no namespace has");
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How well it fits a name, if it does.
    #[must_use]
    pub fn fit(&self, name: &str) -> Option<Fit> {
        let fits = match self.is_name() {
            true => self.0 == name,
            false => matches(&self.0, name),
        };
        fits.then(|| self.closeness())
    }

    /// How well it fits each name that it fits.
    #[must_use]
    pub fn closeness(&self) -> Fit {
        Fit {
            is_name: self.is_name(),
            length: self.0.len(),
        }
    }

    fn is_name(&self) -> bool {
        !self.0.contains('*')
    }
}

/// Each part between stars is looked for where the one before ended: the first place is as good as
/// any later one.
fn matches(pattern: &str, name: &str) -> bool {
    let (first, rest) = pattern.split_once('*').unwrap_or((pattern, ""));
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match name.split_once(part) {
            Some((_, behind)) => name = behind,
            None => return false,
        }
    }
    name.ends_with(last)
}

/// What becomes of the clients of a namespace while no backend serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They wait, within a bound; then a connect is put off and an event is `unavailable`.
    Wait,
    /// A connect is rejected, an event is `unavailable`.
    Refuse,
    /// The built-in handler serves them.
    Builtin,
}

/// Programs that serve namespaces over a stream, as this node treats them and their clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// Policies that somebody gave, in the order in which they were.
    pub policies: Vec<(NamespacePattern, Policy)>,
    /// How long clients wait for a backend.
    pub wait: Duration,
    /// How long a backend may take for one call.
    pub call_timeout: Duration,
}

impl BackendConfig {
    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let second = Duration::from_secs(1);
        let policies = match reader.origin("backend-policies") {
            Some(_) => reader.optional("backend-policies", policies),
            None => Some(Vec::new()),
        };
        let wait = reader.duration("backend-wait", Duration::ZERO..=300 * second);
        let call_timeout = reader.duration("backend-call-timeout", second..=600 * second);
        Some(Self {
            policies: policies?,
            wait: wait?,
            call_timeout: call_timeout?,
        })
    }

    /// The policy that somebody gave for a namespace: that of the pattern that fits best.
    #[must_use]
    pub fn policy(&self, namespace: &str) -> Option<Policy> {
        let fitting = self.policies.iter().filter_map(|(pattern, policy)| {
            let fit = pattern.fit(namespace)?;
            Some((fit, *policy))
        });
        fitting
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, policy)| policy)
    }
}

fn policies(text: &str) -> Result<Vec<(NamespacePattern, Policy)>, Wrong> {
    let mut policies: Vec<(NamespacePattern, Policy)> = Vec::new();
    for item in text.split(',') {
        let refuse = |wrong: String| (wrong, POLICIES_FORM.to_owned());
        let (name, word) = item
            .trim()
            .rsplit_once('=')
            .ok_or_else(|| refuse(format!("has `{item}` without a policy")))?;
        let pattern = NamespacePattern::parse(name)
            .map_err(|wrong| refuse(format!("has `{name}`, which {wrong}")))?;
        let policy = match word {
            "wait" => Policy::Wait,
            "refuse" => Policy::Refuse,
            "builtin" => Policy::Builtin,
            _ => return Err(refuse(format!("has `{word}`, which is no policy"))),
        };
        if policies.iter().any(|(known, _)| *known == pattern) {
            return Err(refuse(format!("names `{name}` twice")));
        }
        policies.push((pattern, policy));
    }
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_does() {
        for (pattern, name, fits) in [
            ("/chat", "/chat", true),
            ("/chat", "/chat2", false),
            ("/game-*", "/game-", true),
            ("/game-*", "/game-7/x", true),
            ("/game-*", "/gam", false),
            ("*", "/", true),
            ("/*/end", "/a/b/end", true),
            ("/*/end", "/end", false),
            ("/a*b*c", "/axbxbxc", true),
            ("/a*b*c", "/acb", false),
            ("/ab*ba", "/aba", false),
            ("/a**b", "/ab", true),
        ] {
            let pattern = NamespacePattern::parse(pattern).unwrap();
            assert_eq!(pattern.fit(name).is_some(), fits, "{pattern:?} {name}");
        }
    }

    #[test]
    fn a_name_wins_over_patterns_and_the_longest_pattern_over_shorter_ones() {
        let config = BackendConfig {
            policies: policies("/*=wait,/game-*=refuse,/game-1=builtin").unwrap(),
            wait: Duration::ZERO,
            call_timeout: Duration::ZERO,
        };
        assert_eq!(config.policy("/game-1"), Some(Policy::Builtin));
        assert_eq!(config.policy("/game-2"), Some(Policy::Refuse));
        assert_eq!(config.policy("/x"), Some(Policy::Wait));
    }
}
