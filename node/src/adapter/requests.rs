//! Broadcasts with acknowledgements that this node asked for, and who has answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::ids::{NodeId, SocketId};

/// A request number says which node asked: ack ids on the wire are JSON-safe integers below 2^53.
const COUNTER_BITS: u32 = 40;

/// An answer: a JSON array and its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// JSON array: the arguments of the acknowledgement.
    pub data: Bytes,
    /// Binary attachments, in the order of their placeholders.
    pub attachments: Vec<Bytes>,
}

/// What came back of a broadcast with acknowledgements. The two together are the connected members
/// at the event's position, whatever became of them or their nodes later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Answers, one per socket at most.
    pub answers: BTreeMap<SocketId, Answer>,
    /// Who has not answered in time, by id.
    pub missing: Vec<SocketId>,
}

impl Answers {
    /// Connected members at the event's position.
    #[must_use]
    pub fn expected_count(&self) -> usize {
        self.answers.len() + self.missing.len()
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Requests {
    node: NodeId,
    counter: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// Who has not answered; known once the event's position is reached.
    missing: Option<BTreeSet<SocketId>>,
    /// Answers of those who are expected; until that is known, of all.
    answers: BTreeMap<SocketId, Answer>,
    done: Option<oneshot::Sender<()>>,
}

impl Requests {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            counter: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
        }
    }

    /// Opens a request; the receiver resolves when everybody has answered.
    pub(crate) fn open(&self) -> (u64, oneshot::Receiver<()>) {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & ((1 << COUNTER_BITS) - 1);
        let number = (self.node << COUNTER_BITS) | count;
        let (done, receiver) = oneshot::channel();
        let open = Open {
            missing: None,
            answers: BTreeMap::new(),
            done: Some(done),
        };
        self.open.lock().insert(number, open);
        (number, receiver)
    }

    /// The event stands in the log: these sockets are expected to answer, and no others.
    pub(crate) fn expect(&self, number: u64, expected: &[SocketId]) {
        if let Some(open) = self.open.lock().get_mut(&number) {
            let mut missing: BTreeSet<SocketId> = expected.iter().copied().collect();
            open.answers.retain(|socket, _| missing.remove(socket));
            open.missing = Some(missing);
            open.finish_when_complete();
        }
    }

    /// A socket answered; the first answer of a socket counts.
    pub(crate) fn answer(&self, number: u64, socket: SocketId, answer: Answer) {
        if let Some(open) = self.open.lock().get_mut(&number) {
            let counts = match &mut open.missing {
                Some(missing) => missing.remove(&socket),
                None => !open.answers.contains_key(&socket),
            };
            if counts {
                open.answers.insert(socket, answer);
                open.finish_when_complete();
            }
        }
    }

    /// Closes a request and takes what came; none when its event was not seen in the log.
    pub(crate) fn close(&self, number: u64) -> Option<Answers> {
        let open = self.open.lock().remove(&number)?;
        Some(Answers {
            missing: open.missing?.into_iter().collect(),
            answers: open.answers,
        })
    }

    /// The node that asked for `number`.
    pub(crate) fn asker(number: u64) -> NodeId {
        number >> COUNTER_BITS
    }
}

impl Open {
    fn finish_when_complete(&mut self) {
        if self.missing.as_ref().is_some_and(BTreeSet::is_empty)
            && let Some(done) = self.done.take()
            && done.send(()).is_err()
        {
            tracing::trace!("nobody waits for the answers any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::id;

    fn answer(text: &'static str) -> Answer {
        Answer {
            data: Bytes::from_static(text.as_bytes()),
            attachments: Vec::new(),
        }
    }

    #[test]
    fn a_request_is_done_when_everybody_expected_has_answered_once() {
        let requests = Requests::new(3);
        let (number, mut done) = requests.open();
        requests.expect(number, &[id(1), id(2)]);
        requests.answer(number, id(1), answer("first"));
        requests.answer(number, id(1), answer("again"));
        assert!(done.try_recv().is_err(), "one socket of two");
        requests.answer(number, id(2), answer("second"));
        assert_eq!(done.try_recv(), Ok(()));
        let answers = requests.close(number).unwrap();
        assert_eq!((answers.expected_count(), answers.missing), (2, vec![]));
        assert_eq!(answers.answers[&id(1)], answer("first"));
    }

    #[test]
    fn who_has_not_answered_is_named_and_others_do_not_count() {
        let requests = Requests::new(3);
        let (number, mut done) = requests.open();
        requests.answer(number, id(4), answer("not asked, early"));
        requests.expect(number, &[id(1), id(2), id(3)]);
        requests.answer(number, id(2), answer("second"));
        requests.answer(number, id(5), answer("not asked, late"));
        assert!(done.try_recv().is_err(), "one of three has answered");
        let answers = requests.close(number).unwrap();
        assert_eq!(answers.expected_count(), 3);
        assert_eq!(answers.missing, [id(1), id(3)]);
        assert_eq!(answers.answers.into_keys().collect::<Vec<_>>(), [id(2)]);
    }

    #[test]
    fn answers_may_overtake_the_event_on_the_askers_node() {
        let requests = Requests::new(3);
        let (number, mut done) = requests.open();
        requests.answer(number, id(1), answer("early"));
        assert!(
            done.try_recv().is_err(),
            "nobody knows yet how many there are"
        );
        requests.expect(number, &[id(1)]);
        assert_eq!(done.try_recv(), Ok(()));
    }

    #[test]
    fn an_event_for_nobody_is_done_at_once() {
        let requests = Requests::new(3);
        let (number, mut done) = requests.open();
        requests.expect(number, &[]);
        assert_eq!(done.try_recv(), Ok(()));
        assert_eq!(requests.close(number), Some(Answers::default()));
    }

    #[test]
    fn a_request_whose_event_was_never_seen_has_no_count() {
        let requests = Requests::new(3);
        let (number, _done) = requests.open();
        assert_eq!(requests.close(number), None);
        requests.answer(number, id(1), answer("late"));
        requests.expect(number, &[id(1)]);
        assert_eq!(requests.close(number), None, "closed is closed");
    }

    #[test]
    fn numbers_name_their_asker_and_are_json_safe() {
        let requests = Requests::new(crate::limits::NODE_ID_MAX);
        let (first, _a) = requests.open();
        let (second, _b) = requests.open();
        assert_ne!(first, second);
        for number in [first, second] {
            assert_eq!(Requests::asker(number), crate::limits::NODE_ID_MAX);
            assert!(number < 1 << 53, "{number}");
        }
    }
}
