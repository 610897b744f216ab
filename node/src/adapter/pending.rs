//! The batches of this node that are on their way, and who waits for their operations. Shared by the
//! proposer, which adds, and the fan-out, which completes in log order.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::completion::{Completion, Failure};
use crate::ids::Incarnation;

/// Between two lives; never drawn for one.
const NO_LIFE: Incarnation = 0;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    /// Something changed that the proposer acts on.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    incarnation: Incarnation,
    registered: bool,
    batches: BTreeMap<u64, Batch>,
}

#[derive(Debug)]
struct Batch {
    completions: Vec<Completion>,
    open: usize,
}

impl Pending {
    /// A new life begins: what is left of the old one is failed by the caller.
    pub(crate) fn begin(&self, incarnation: Incarnation) -> Vec<Completion> {
        let mut inner = self.inner.lock();
        inner.incarnation = incarnation;
        inner.registered = false;
        let left = std::mem::take(&mut inner.batches);
        left.into_values()
            .flat_map(|batch| batch.completions)
            .collect()
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.inner.lock().incarnation
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.inner.lock().registered
    }

    pub(crate) fn add(&self, sequence: u64, completions: Vec<Completion>) {
        let open = completions.len();
        self.inner
            .lock()
            .batches
            .insert(sequence, Batch { completions, open });
    }

    /// Whether any batch still waits for its operations.
    pub(crate) fn is_busy(&self) -> bool {
        !self.inner.lock().batches.is_empty()
    }

    /// Whether a batch still waits for its operations.
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.inner.lock().batches.contains_key(&sequence)
    }

    /// The fan-out reached an operation of ours.
    pub(crate) fn take(&self, incarnation: Incarnation, sequence: u64, op: u32) -> Completion {
        let mut inner = self.inner.lock();
        if inner.incarnation != incarnation {
            return Completion::Nothing;
        }
        let Some(batch) = inner.batches.get_mut(&sequence) else {
            return Completion::Nothing;
        };
        let slot = batch.completions.get_mut(op as usize);
        let completion = slot.map_or(Completion::Nothing, |slot| {
            std::mem::replace(slot, Completion::Nothing)
        });
        batch.open = batch.open.saturating_sub(1);
        if batch.open == 0 {
            inner.batches.remove(&sequence);
            self.changed.notify_one();
        }
        completion
    }

    /// The outcome of a batch is unknown after its deadline: its askers are told, the batch goes on.
    /// Attaches stay: the connection stops waiting by itself, and a socket that nobody waits for any
    /// more is put away when it turns up.
    pub(crate) fn give_up(&self, sequence: u64) {
        let completions: Vec<Completion> = {
            let mut inner = self.inner.lock();
            let Some(batch) = inner.batches.get_mut(&sequence) else {
                return;
            };
            let calls = batch
                .completions
                .iter_mut()
                .filter(|c| matches!(c, Completion::Call(_)));
            calls
                .map(|slot| std::mem::replace(slot, Completion::Nothing))
                .collect()
        };
        for completion in completions {
            completion.fail(Failure::UnknownOutcome);
        }
    }

    /// The fan-out saw our registration; true when it is news.
    pub(crate) fn registered(&self, incarnation: Incarnation) -> bool {
        let mut inner = self.inner.lock();
        if inner.incarnation != incarnation || inner.registered {
            return false;
        }
        inner.registered = true;
        self.changed.notify_one();
        true
    }

    /// The fan-out saw the end of this life, if it is the present one. What is open fails: it was
    /// surely not written when every entry up to the end was seen here.
    pub(crate) fn end(&self, incarnation: Incarnation, failure: Failure) -> bool {
        let left = {
            let mut inner = self.inner.lock();
            if inner.incarnation != incarnation {
                return false;
            }
            // A repeated registration must not bring it back before the proposer has looked.
            inner.incarnation = NO_LIFE;
            inner.registered = false;
            std::mem::take(&mut inner.batches)
        };
        for completion in left.into_values().flat_map(|batch| batch.completions) {
            completion.fail(failure);
        }
        self.changed.notify_one();
        true
    }
}
