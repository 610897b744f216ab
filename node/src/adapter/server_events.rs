//! From the application on one node to the application on the others, outside the log: an event
//! that a full queue or a broken stream loses is lost, and its answer is missed by name.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::ids::NodeId;
use crate::state::ExpiredSession;
use crate::{limits, metrics};

/// An event between applications: its namespace, and a JSON array, name first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) namespace: String,
    pub(crate) event: Bytes,
}

/// Who runs this node's application; set by the floor above.
pub(crate) trait Application: fmt::Debug + Send + Sync + 'static {
    /// Runs its handler; the answer is a JSON array.
    fn on_server_event(self: Arc<Self>, event: ServerEvent) -> BoxFuture<'static, Bytes>;

    /// Runs its handler for a session that ended while it was away.
    fn on_expired(self: Arc<Self>, session: ExpiredSession) -> BoxFuture<'static, ()>;
}

/// What came back from the other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAnswers {
    /// JSON arrays, by node.
    pub answers: BTreeMap<NodeId, Bytes>,
    /// Nodes that have not answered in time.
    pub missing: Vec<NodeId>,
}

/// This node's application, and what it has asked of the others.
#[derive(Debug)]
pub(crate) struct ServerEvents {
    application: OnceLock<Weak<dyn Application>>,
    /// One permit per handler at work.
    running: Arc<Semaphore>,
    counter: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

/// A question that some nodes have not answered.
#[derive(Debug)]
struct Open {
    answers: ServerAnswers,
    done: Option<oneshot::Sender<()>>,
}

impl ServerEvents {
    pub(crate) fn new() -> Self {
        Self {
            application: OnceLock::new(),
            running: Arc::new(Semaphore::new(limits::SERVER_EVENTS_RUNNING_MAX)),
            counter: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
        }
    }

    /// From now on events of other nodes are handled.
    pub(crate) fn serve(&self, application: Weak<dyn Application>) {
        if self.application.set(application).is_err() {
            tracing::error!("the application is served twice");
        }
    }

    /// The application, once there is one.
    pub(crate) fn application(&self) -> Option<Arc<dyn Application>> {
        self.application.get().and_then(Weak::upgrade)
    }

    /// Runs the application's handler beside whatever else it does, and then what comes `after`.
    /// Above the bound, or before there is an application, the event is dropped.
    pub(crate) fn handle(&self, event: ServerEvent, after: impl FnOnce(Bytes) + Send + 'static) {
        let application = self.application();
        let permit = Arc::clone(&self.running).try_acquire_owned();
        let (Some(application), Ok(permit)) = (application, permit) else {
            metrics::relay_dropped("server_event").increment(1);
            return;
        };
        tokio::spawn(async move {
            after(application.on_server_event(event).await);
            drop(permit);
        });
    }

    /// Opens a question to these nodes; the receiver resolves when all have answered.
    pub(crate) fn open(&self, nodes: &[NodeId]) -> (u64, oneshot::Receiver<()>) {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let (done, all) = oneshot::channel();
        let mut open = Open {
            answers: ServerAnswers {
                answers: BTreeMap::new(),
                missing: nodes.to_vec(),
            },
            done: Some(done),
        };
        open.finish_when_complete();
        self.open.lock().insert(number, open);
        (number, all)
    }

    /// A node answered; the first answer of a node counts.
    pub(crate) fn answer(&self, number: u64, node: NodeId, data: Bytes) {
        if let Some(open) = self.open.lock().get_mut(&number)
            && let Some(at) = open.answers.missing.iter().position(|id| *id == node)
        {
            open.answers.missing.remove(at);
            open.answers.answers.insert(node, data);
            open.finish_when_complete();
        }
    }

    /// Closes a question and takes what came.
    pub(crate) fn close(&self, number: u64) -> ServerAnswers {
        let open = self.open.lock().remove(&number);
        open.map_or_else(ServerAnswers::default, |open| open.answers)
    }
}

impl Open {
    fn finish_when_complete(&mut self) {
        if self.answers.missing.is_empty()
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

    #[test]
    fn a_question_is_done_when_every_node_has_answered_once() {
        let events = ServerEvents::new();
        let (number, mut all) = events.open(&[2, 3]);
        let answer = |node, text: &'static str| {
            events.answer(number, node, Bytes::from_static(text.as_bytes()));
        };
        answer(2, "[1]");
        answer(2, "[2]");
        answer(4, "[3]");
        assert!(all.try_recv().is_err(), "one of two");
        answer(3, "[4]");
        assert_eq!(all.try_recv(), Ok(()));
        let answers = events.close(number);
        assert_eq!(answers.missing, [0; 0]);
        let texts: Vec<_> = answers.answers.into_iter().collect();
        assert_eq!(
            texts,
            [
                (2, Bytes::from_static(b"[1]")),
                (3, Bytes::from_static(b"[4]"))
            ]
        );
        let (alone, mut all) = events.open(&[]);
        assert_eq!(all.try_recv(), Ok(()), "nobody else");
        assert_eq!(events.close(alone), ServerAnswers::default());
    }
}
