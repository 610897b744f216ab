//! Last dropped positions of things that are gone: needed only for the `complete` of a history
//! page. Exact for the newest [`FORGOTTEN_MAX`] names; older ones share one position, which errs
//! towards "something may be missing", never the other way.

use std::sync::Arc;

use super::dated::Dated;
use crate::ids::Position;

/// Names remembered one by one. Part of the format: every replica forgets the same.
const FORGOTTEN_MAX: usize = 10_000;

/// Rooms of a namespace, or namespaces of a group, that were deleted when they were empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// Last dropped position by name.
    by_name: Dated<Arc<str>>,
    /// The latest position of all the names that were forgotten altogether.
    rest: Position,
}

impl Forgotten {
    /// Nothing by name, and `rest` for all others.
    pub(super) fn starting_at(rest: Position) -> Self {
        Self {
            rest,
            ..Self::default()
        }
    }

    /// Keeps the last dropped position of something that goes away now.
    pub(super) fn remember(&mut self, name: Arc<str>, last_dropped: Position) {
        if last_dropped <= self.rest {
            return;
        }
        self.restore(name, last_dropped);
        if self.by_name.len() > FORGOTTEN_MAX
            && let Some(position) = self.by_name.remove_oldest()
        {
            self.rest = self.rest.max(position);
        }
    }

    /// For snapshots: puts back what [`Self::iter`] gave.
    pub(super) fn restore(&mut self, name: Arc<str>, last_dropped: Position) {
        self.by_name.insert(name, last_dropped);
    }

    /// The last dropped position under a name, exact or later.
    pub(super) fn last_dropped(&self, name: &str) -> Position {
        self.by_name.get(name).unwrap_or(self.rest)
    }

    /// The same, for something that comes back and remembers for itself from now on.
    pub(super) fn take(&mut self, name: &str) -> Position {
        self.by_name.remove(name).unwrap_or(self.rest)
    }

    /// For snapshots: what all names not listed share.
    pub(super) fn rest(&self) -> Position {
        self.rest
    }

    /// For snapshots: what is remembered by name, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Position, Arc<str>)> {
        self.by_name.iter()
    }

    /// For snapshots.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_names_are_folded_and_never_look_complete() {
        let mut forgotten = Forgotten::default();
        for i in 0..=FORGOTTEN_MAX as u64 {
            forgotten.remember(format!("r{i}").into(), Position::new(i + 1, 0));
        }
        assert_eq!(forgotten.len(), FORGOTTEN_MAX);
        assert_eq!(
            forgotten.last_dropped("r0"),
            Position::new(1, 0),
            "folded into the rest"
        );
        assert_eq!(forgotten.last_dropped("never seen"), Position::new(1, 0));
        assert_eq!(forgotten.take("r7"), Position::new(8, 0));
        assert_eq!(forgotten.last_dropped("r7"), Position::new(1, 0));
        assert_eq!(forgotten.len(), FORGOTTEN_MAX - 1);
    }
}
