//! Broadcasts with acknowledgements that this node asked for, and who has answered.

use std::collections::{BTreeMap, HashMap};
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

/// What came back of a broadcast with acknowledgements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Connected members at the event's position.
    pub expected: usize,
    /// Answers, one per socket at most.
    pub answers: BTreeMap<SocketId, Answer>,
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
    /// Known once the event's position is reached.
    expected: Option<usize>,
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
            expected: None,
            answers: BTreeMap::new(),
            done: Some(done),
        };
        self.open.lock().insert(number, open);
        (number, receiver)
    }

    /// The event stands in the log: so many sockets are expected to answer.
    pub(crate) fn expect(&self, number: u64, expected: usize) {
        if let Some(open) = self.open.lock().get_mut(&number) {
            open.expected = Some(expected);
            open.finish_when_complete();
        }
    }

    /// A socket answered; the first answer of a socket counts.
    pub(crate) fn answer(&self, number: u64, socket: SocketId, answer: Answer) {
        if let Some(open) = self.open.lock().get_mut(&number) {
            open.answers.entry(socket).or_insert(answer);
            open.finish_when_complete();
        }
    }

    /// Closes a request and takes what came.
    pub(crate) fn close(&self, number: u64) -> Answers {
        self.open
            .lock()
            .remove(&number)
            .map_or_else(Answers::default, |open| Answers {
                expected: open.expected.unwrap_or(0),
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
        if self
            .expected
            .is_some_and(|expected| self.answers.len() >= expected)
            && let Some(done) = self.done.take()
            && done.send(()).is_err()
        {
            tracing::trace!("nobody waits for the answers any more");
        }
    }
}
