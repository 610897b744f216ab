//! Idempotency keys of one namespace: a publish that is retried within the window stands in the log
//! once (P12).

use std::sync::Arc;

use imbl::OrdMap;
use roomcast_proto::command::Publish;
use xxhash_rust::xxh3::Xxh3;

use crate::ids::{Position, SocketId};

/// Whose key it is (DESIGN, section 7: per namespace and identity, without one per session).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyScope {
    /// The server's own publishes.
    Server,
    /// Everything published under one identity.
    Identity(Arc<str>),
    /// A session without identity.
    Session(SocketId),
}

/// A key within its scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyName {
    pub(super) scope: KeyScope,
    pub(super) key: Arc<str>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyRecord {
    /// Digest of the publish that it stands for.
    pub(super) body: u128,
    /// Where that stands in the log.
    pub(super) first: Position,
    /// Log time of it, in microseconds.
    pub(super) at_us: u64,
}

/// The keys of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    by_name: OrdMap<KeyName, KeyRecord>,
    /// By position of the first publish: the oldest goes first.
    order: OrdMap<Position, KeyName>,
}

impl Keys {
    /// What is known of a key.
    pub(super) fn get(&self, name: &KeyName) -> Option<&KeyRecord> {
        self.by_name.get(name)
    }

    /// Remembers a new key, and of all keys at most `keys_max`.
    pub(super) fn insert(&mut self, name: KeyName, record: KeyRecord, keys_max: u32) {
        self.order.insert(record.first, name.clone());
        self.by_name.insert(name, record);
        self.shrink(keys_max);
    }

    /// Forgets the oldest keys beyond `keys_max`.
    pub(super) fn shrink(&mut self, keys_max: u32) {
        while self.order.len() > keys_max as usize {
            self.drop_oldest();
        }
    }

    /// Forgets the keys that were first seen at or before `at_us`.
    pub(super) fn drop_until(&mut self, at_us: u64) {
        while self.oldest_us().is_some_and(|oldest| oldest <= at_us) {
            self.drop_oldest();
        }
    }

    /// Log time of the oldest key, in microseconds.
    pub(super) fn oldest_us(&self) -> Option<u64> {
        let (_, name) = self.order.get_min()?;
        self.by_name.get(name).map(|record| record.at_us)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// For snapshots: oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&KeyName, &KeyRecord)> {
        self.order
            .values()
            .filter_map(|name| self.by_name.get_key_value(name))
    }

    fn drop_oldest(&mut self) {
        let Some((first, name)) = self.order.get_min().cloned() else {
            return;
        };
        self.order.remove(&first);
        self.by_name.remove(&name);
    }
}

/// Digest of what a publish says; every part is preceded by its length, so that none runs into
/// another.
pub(super) fn body_digest(publish: &Publish) -> u128 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(publish.namespace.as_bytes());
    for list in [&publish.rooms, &publish.except] {
        part(&(list.len() as u64).to_le_bytes());
        list.iter().for_each(|room| part(room.as_bytes()));
    }
    part(&publish.event);
    publish
        .attachments
        .iter()
        .for_each(|attachment| part(attachment));
    hash.digest128()
}
