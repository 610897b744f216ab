//! How long events are kept in some namespaces: a part of the settings.

use std::sync::Arc;

use roomcast_proto::command;

use super::settings::RETENTION_MS;
use crate::limits;

/// Overrides of retention by namespace, by ascending pattern; none by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionOverrides(Option<Arc<[RetentionOverride]>>);

/// How long events are kept in the namespaces of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionOverride {
    /// A name, or the beginning of names with `*` behind it.
    pub namespaces: Arc<str>,
    /// In milliseconds of log time.
    pub retention_ms: u64,
    /// The same when every session has acknowledged them; 0: as in all namespaces.
    pub retention_min_ms: u64,
}

impl RetentionOverrides {
    /// Not any.
    pub const NONE: Self = Self(None);

    /// Those of a command; `None` when one of them is absurd, when two are for the same namespaces,
    /// or when there are too many.
    pub(super) fn of_command(proposed: &command::RetentionOverrides) -> Option<Self> {
        let overrides = proposed.overrides.iter().map(|proposed| RetentionOverride {
            namespaces: proposed.namespaces.as_str().into(),
            retention_ms: proposed.retention_ms,
            retention_min_ms: proposed.retention_min_ms,
        });
        Self::of(overrides.collect())
    }

    /// The same, of overrides in any order.
    pub(super) fn of(mut overrides: Vec<RetentionOverride>) -> Option<Self> {
        overrides.sort_by(|one, other| one.namespaces.cmp(&other.namespaces));
        let twice = |pair: &[RetentionOverride]| pair[0].namespaces == pair[1].namespaces;
        if overrides.len() > limits::RETENTION_OVERRIDES_MAX
            || !overrides.iter().all(RetentionOverride::is_sensible)
            || overrides.windows(2).any(twice)
        {
            return None;
        }
        Some(match overrides.is_empty() {
            true => Self::NONE,
            false => Self(Some(overrides.into())),
        })
    }

    /// As a command carries them.
    pub(super) fn to_command(&self) -> command::RetentionOverrides {
        let overrides = self.iter().map(|one| command::RetentionOverride {
            namespaces: one.namespaces.to_string(),
            retention_ms: one.retention_ms,
            retention_min_ms: one.retention_min_ms,
        });
        command::RetentionOverrides {
            overrides: overrides.collect(),
        }
    }

    /// All of them, by ascending pattern.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RetentionOverride> {
        self.0.as_deref().unwrap_or_default().iter()
    }

    /// The override that means a namespace, if there is one.
    pub(super) fn of_namespace(&self, namespace: &str) -> Option<&RetentionOverride> {
        let meant = self
            .iter()
            .filter_map(|one| Some((one.rank(namespace)?, one)));
        meant.max_by_key(|(rank, _)| *rank).map(|(_, one)| one)
    }
}

impl RetentionOverride {
    fn is_sensible(&self) -> bool {
        let beginning = self.namespaces.strip_suffix('*');
        let name = beginning.unwrap_or(&self.namespaces);
        name.starts_with('/')
            && !name.contains('*')
            && name.len() <= limits::NAMESPACE_NAME_BYTES_MAX
            && RETENTION_MS.contains(&self.retention_ms)
            && (self.retention_min_ms == 0 || RETENTION_MS.contains(&self.retention_min_ms))
    }

    /// How closely it means a namespace; `None`: not at all.
    fn rank(&self, namespace: &str) -> Option<usize> {
        match self.namespaces.strip_suffix('*') {
            Some(beginning) => namespace.starts_with(beginning).then_some(beginning.len()),
            None => (*self.namespaces == *namespace).then_some(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(all: &[(&str, u64)]) -> command::RetentionOverrides {
        let one = |(namespaces, retention_ms): &(&str, u64)| command::RetentionOverride {
            namespaces: (*namespaces).to_owned(),
            retention_ms: *retention_ms,
            retention_min_ms: 0,
        };
        command::RetentionOverrides {
            overrides: all.iter().map(one).collect(),
        }
    }

    #[test]
    fn the_name_goes_before_a_beginning_and_the_longest_beginning_before_others() {
        let all = proposed(&[("/chat*", 3), ("/*", 1), ("/chat", 4), ("/ch*", 2)]);
        let overrides = RetentionOverrides::of_command(&all).unwrap();
        for (namespace, ms) in [
            ("/chat", 4),
            ("/chat/1", 3),
            ("/chats", 3),
            ("/chess", 2),
            ("/", 1),
            ("/a", 1),
        ] {
            let found = overrides.of_namespace(namespace).unwrap();
            assert_eq!(found.retention_ms, ms, "{namespace}");
        }
        let exact = RetentionOverrides::of_command(&proposed(&[("/a", 5)])).unwrap();
        assert_eq!(exact.of_namespace("/a").unwrap().retention_ms, 5);
        assert_eq!(exact.of_namespace("/a/b"), None);
        assert_eq!(RetentionOverrides::NONE.of_namespace("/a"), None);
    }

    #[test]
    fn their_command_means_the_same_in_any_order() {
        let all = proposed(&[("/b*", 2), ("/a", 1)]);
        let overrides = RetentionOverrides::of_command(&all).unwrap();
        assert_eq!(overrides.to_command(), proposed(&[("/a", 1), ("/b*", 2)]));
        let none = RetentionOverrides::of_command(&proposed(&[]));
        assert_eq!(none, Some(RetentionOverrides::NONE));
    }

    #[test]
    fn absurd_ones_are_not_taken() {
        let long = format!("/{}", "a".repeat(limits::NAMESPACE_NAME_BYTES_MAX));
        for absurd in [
            &[("/a", 0)][..],
            &[("/a", u64::MAX)],
            &[("a", 1)],
            &[("", 1)],
            &[("*", 1)],
            &[("/*a", 1)],
            &[("/a**", 1)],
            &[(&long, 1)],
            &[("/a", 1), ("/b", 1), ("/a", 2)],
        ] {
            let taken = RetentionOverrides::of_command(&proposed(absurd));
            assert_eq!(taken, None, "{absurd:?}");
        }
        let names = (0..=limits::RETENTION_OVERRIDES_MAX).map(|number| format!("/{number}"));
        let names: Vec<String> = names.collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(RetentionOverrides::of_command(&proposed(&all)), None);
        assert!(RetentionOverrides::of_command(&proposed(&all[1..])).is_some());
    }
}
