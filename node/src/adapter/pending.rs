//! The batches of this node that are on their way, and who waits for their operations. Shared by
//! the proposer, which adds, and the fan-out, which completes in log order.

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

    /// The outcome of a batch is unknown after its deadline: its askers are told, the batch goes
    /// on. Attaches stay: the connection stops waiting by itself, and a socket that nobody waits
    /// for any more is put away when it turns up.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::adapter::completion::{Attach, Attached, Opening, Outcome};
    use crate::adapter::testing::session;
    use crate::ids::Pid;
    use crate::state::Refusal;
    use tokio::sync::oneshot;

    type Fates = Arc<Mutex<Vec<(&'static str, Outcome)>>>;

    fn call(name: &'static str, fates: &Fates) -> Completion {
        let fates = Arc::clone(fates);
        Completion::Call(Box::new(move |outcome| fates.lock().push((name, outcome))))
    }

    fn attach() -> (Completion, oneshot::Receiver<Attached>) {
        let (reply, attached) = oneshot::channel();
        let attach = Attach {
            session: session(1),
            namespace: "/".into(),
            identity: None,
            recoverable: true,
            pid: Pid([1; 16]),
            id: None,
            opening: Opening::Connect {
                resume_refused: None,
            },
            reply,
        };
        (Completion::Attach(Box::new(attach)), attached)
    }

    fn registered(incarnation: Incarnation) -> Pending {
        let pending = Pending::default();
        assert!(pending.begin(incarnation).is_empty());
        pending.registered(incarnation);
        pending
    }

    /// Takes a completion and runs it, if it is one.
    fn run(completion: Completion) -> bool {
        match completion {
            Completion::Call(call) => call(Outcome::Refused(Refusal::Stale)),
            Completion::Attach(_) | Completion::Nothing => return false,
        }
        true
    }

    #[test]
    fn an_operation_is_completed_once_and_a_repeat_finds_nothing() {
        let (pending, fates) = (registered(7), Fates::default());
        pending.add(1, vec![call("a", &fates), call("b", &fates)]);
        assert!(run(pending.take(7, 1, 0)) && pending.contains(1));
        assert!(run(pending.take(7, 1, 1)) && !pending.contains(1) && !pending.is_busy());
        for op in 0..3 {
            assert!(!run(pending.take(7, 1, op)), "{op}");
        }
        assert_eq!(fates.lock().len(), 2);
    }

    #[test]
    fn another_incarnations_operation_completes_nothing_of_ours() {
        let (pending, fates) = (registered(7), Fates::default());
        pending.add(1, vec![call("a", &fates)]);
        assert!(!run(pending.take(6, 1, 0)) && pending.contains(1));
        assert!(!pending.end(6, Failure::Unavailable) && pending.is_registered());
        pending.registered(6);
        assert!(fates.lock().is_empty());
    }

    #[test]
    fn registration_of_an_older_life_does_not_count() {
        let pending = registered(7);
        pending.begin(8);
        pending.registered(7);
        assert!(!pending.is_registered());
        pending.registered(8);
        assert!(pending.is_registered());
    }

    #[test]
    fn giving_up_tells_the_askers_and_keeps_the_batch_and_its_attaches() {
        let (pending, fates) = (registered(7), Fates::default());
        let (attach, mut attached) = attach();
        pending.add(1, vec![call("a", &fates), attach]);
        pending.give_up(1);
        pending.give_up(1);
        pending.give_up(2);
        let unknown = Outcome::Failed(Failure::UnknownOutcome);
        assert_eq!(*fates.lock(), [("a", unknown)]);
        assert!(attached.try_recv().is_err(), "not answered");
        assert!(pending.contains(1), "the batch goes on");
        assert!(!run(pending.take(7, 1, 0)));
        assert!(matches!(pending.take(7, 1, 1), Completion::Attach(_)));
        assert!(!pending.is_busy());
    }

    #[test]
    fn after_our_detachment_what_was_in_flight_is_surely_not_written() {
        let (pending, fates) = (registered(7), Fates::default());
        let (attach, mut attached) = attach();
        pending.add(1, vec![call("a", &fates), attach]);
        pending.add(2, vec![call("b", &fates)]);
        run(pending.take(7, 1, 0));
        assert!(
            pending.end(7, Failure::Unavailable) && !pending.is_registered() && !pending.is_busy()
        );
        assert_eq!(
            fates.lock()[1..],
            [("b", Outcome::Failed(Failure::Unavailable))]
        );
        let attached = attached.try_recv().unwrap();
        assert!(matches!(attached, Attached::Failed(Failure::Unavailable)));
    }

    #[test]
    fn a_new_life_hands_back_what_the_old_one_left() {
        let (pending, fates) = (registered(7), Fates::default());
        pending.add(1, vec![call("a", &fates)]);
        assert_eq!(pending.begin(8).len(), 1);
        assert!(!pending.is_busy() && !pending.is_registered() && pending.incarnation() == 8);
    }
}
