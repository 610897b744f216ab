//! Positions by key, of which the oldest are known.

use std::borrow::Borrow;

use imbl::{OrdMap, OrdSet};

use crate::ids::Position;

/// Positions by key; what is beyond a bound is taken out by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dated<K: Ord + Clone> {
    by_key: OrdMap<K, Position>,
    /// The same, oldest first.
    by_age: OrdSet<(Position, K)>,
}

impl<K: Ord + Clone> Default for Dated<K> {
    fn default() -> Self {
        Self {
            by_key: OrdMap::new(),
            by_age: OrdSet::new(),
        }
    }
}

impl<K: Ord + Clone> Dated<K> {
    /// Sets a key's position.
    pub(super) fn insert(&mut self, key: K, at: Position) {
        self.remove(&key);
        self.by_age.insert((at, key.clone()));
        self.by_key.insert(key, at);
    }

    /// A key's position.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Position>
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key).copied()
    }

    /// Takes a key out; where it was.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Position>
    where
        K: Borrow<Q>,
    {
        let (key, at) = self.by_key.remove_with_key(key)?;
        self.by_age.remove(&(at, key));
        Some(at)
    }

    /// Takes the oldest one out.
    pub(super) fn remove_oldest(&mut self) -> Option<Position> {
        let (at, key) = self.by_age.remove_min()?;
        self.by_key.remove(&key);
        Some(at)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Position, K)> {
        self.by_age.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
