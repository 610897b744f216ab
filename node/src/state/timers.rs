//! What is due when, in log time. One ordered set, so that every replica handles it in one order.

use std::sync::Arc;

use imbl::OrdSet;

use crate::ids::SocketId;

/// What a timer is for. The order of the variants is the order at equal times: part of the format.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// The resume window of an away session ends.
    Session(SocketId),
    /// The oldest event of a namespace leaves its retention.
    Retention(Arc<str>),
    /// The oldest idempotency key of a namespace is forgotten.
    Keys(Arc<str>),
}

/// A set of armed timers; derived from sessions and namespaces, hence not in snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timers<K: Ord + Clone = TimerKey> {
    /// (log time in microseconds, what is due).
    armed: OrdSet<(u64, K)>,
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self {
            armed: OrdSet::new(),
        }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Arms a timer.
    pub(super) fn arm(&mut self, due_us: u64, key: K) {
        self.armed.insert((due_us, key));
    }

    /// Takes a timer back.
    pub(super) fn cancel(&mut self, due_us: u64, key: K) {
        self.armed.remove(&(due_us, key));
    }

    /// Arms a timer anew when it is due at another time than before.
    pub(super) fn rearm(&mut self, old_us: Option<u64>, new_us: Option<u64>, key: K) {
        if old_us == new_us {
            return;
        }
        if let Some(old_us) = old_us {
            self.cancel(old_us, key.clone());
        }
        if let Some(new_us) = new_us {
            self.arm(new_us, key);
        }
    }

    /// Takes out the first timer that is due at `now_us`.
    pub(super) fn pop_due(&mut self, now_us: u64) -> Option<K> {
        if self.next_due_us()? > now_us {
            return None;
        }
        self.armed.remove_min().map(|(_, key)| key)
    }

    /// When the first timer is due.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.armed.get_min().map(|(due_us, _)| *due_us)
    }
}
