//! The sockets of one connection, by namespace; shared by the client that reads its packets and the
//! handlers that may end it whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::dispatch::Slot;
use crate::limits;

/// See the module's text. Ordered, so that a connection is taken down the same way every time.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<BTreeMap<Arc<str>, Arc<Slot>>>);

impl Slots {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<Slot>> {
        self.0.lock().get(namespace).cloned()
    }

    pub(crate) fn insert(&self, namespace: Arc<str>, slot: Arc<Slot>) {
        self.0.lock().insert(namespace, slot);
    }

    pub(crate) fn remove(&self, namespace: &str) -> Option<Arc<Slot>> {
        self.0.lock().remove(namespace)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        self.0.lock().values().cloned().collect()
    }

    /// Whether the connection may join no other namespace. Those that refused it, or that it has
    /// left, make room.
    pub(crate) fn is_full(&self) -> bool {
        let mut slots = self.0.lock();
        if slots.len() >= limits::NAMESPACES_PER_SESSION_MAX {
            slots.retain(|_, slot| !slot.is_over());
        }
        slots.len() >= limits::NAMESPACES_PER_SESSION_MAX
    }
}
