//! Brings this node's operations into a group's log: batched, in order, exactly once. (DESIGN,
//! section 4, "Producers".) While batches are in flight the next one collects. A batch is sent
//! again until this node's own log shows its outcome, so neither a lost answer nor a new leader
//! loses or doubles it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use bytes::Bytes;
use prost::Message;
use roomcast_proto::command::{Batch, Command, Op, Register, command::Body};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::completion::{Completion, Failure};
use super::courier::Carry;
use super::lease::Lease;
use super::pending::Pending;
use crate::ids::{Entropy, Incarnation, NodeId};
use crate::{limits, metrics};

/// How long a batch may be in flight without an outcome before it is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(700);
/// How long to wait after a refusal before trying again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// An operation on its way to the proposer.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) op: Op,
    pub(crate) completion: Completion,
    /// When to tell the asker that it failed; none for what must happen sooner or later.
    pub(crate) deadline: Option<Instant>,
    /// Its share of the bytes that may wait; given back when it goes into a batch. None for what is
    /// small and bounded by the sockets.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

struct InFlight {
    sequence: u64,
    first_sent: Instant,
    command: Bytes,
    sent: Instant,
    deadline: Option<Instant>,
}

/// The proposer task of one group.
pub(crate) struct Proposer<C> {
    pub(crate) node: NodeId,
    pub(crate) entropy: Entropy,
    pub(crate) pending: Arc<Pending>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) courier: C,
    pub(crate) submissions: mpsc::Receiver<Submission>,
    pub(crate) queue: VecDeque<Submission>,
    in_flight: VecDeque<InFlight>,
    next_sequence: u64,
    metrics: Metrics,
}

/// Handles of the metrics that a proposer counts in.
struct Metrics {
    sent: Counter,
    sent_again: Counter,
    operations: Counter,
    per_batch: Histogram,
    seconds: Histogram,
    waiting: Gauge,
}

impl Metrics {
    fn new() -> Self {
        Self {
            sent: metrics::proposals("sent"),
            sent_again: metrics::proposals("sent_again"),
            operations: metrics::operations(),
            per_batch: metrics::batch_operations(),
            seconds: metrics::proposal_seconds(),
            waiting: metrics::proposals_waiting(),
        }
    }
}

/// Why a life as a producer ended.
enum Ended {
    /// Detached, or the lease was lost: register anew.
    Life,
    /// The node stops.
    Process,
}

impl<C: Carry> Proposer<C> {
    pub(crate) fn new(
        node: NodeId,
        entropy: Entropy,
        pending: Arc<Pending>,
        lease: Arc<Lease>,
        courier: C,
        submissions: mpsc::Receiver<Submission>,
    ) -> Self {
        Self {
            node,
            entropy,
            pending,
            lease,
            courier,
            submissions,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_sequence: 1,
            metrics: Metrics::new(),
        }
    }

    /// Runs until the node stops: one life as a producer after the other.
    pub(crate) async fn run(mut self) {
        loop {
            let incarnation = self.entropy.bits64();
            self.begin(incarnation);
            let ended = match self.register(incarnation).await {
                Ok(()) => self.produce(incarnation).await,
                Err(ended) => ended,
            };
            if let Ended::Process = ended {
                return;
            }
        }
    }

    fn begin(&mut self, incarnation: Incarnation) {
        for completion in self.pending.begin(incarnation) {
            completion.fail(Failure::UnknownOutcome);
        }
        for submission in self.queue.drain(..) {
            submission.completion.fail(Failure::Unavailable);
        }
        self.in_flight.clear();
        self.next_sequence = 1;
    }

    async fn register(&mut self, incarnation: Incarnation) -> Result<(), Ended> {
        let register = Register {
            node_id: self.node,
            incarnation,
        };
        let command = encode(Body::Register(register));
        let mut resend = tokio::time::interval(RESEND_AFTER / 2);
        while !self.pending.is_registered() {
            if self.pending.incarnation() != incarnation {
                return Err(Ended::Life);
            }
            tokio::select! {
                biased;
                () = self.pending.changed.notified() => {}
                submission = self.submissions.recv() => match submission {
                    Some(submission) => submission.completion.fail(Failure::Unavailable),
                    None => return Err(Ended::Process),
                },
                _ = resend.tick() => self.courier.send(command.clone()).await,
            }
        }
        self.lease.granted();
        Ok(())
    }

    async fn produce(&mut self, incarnation: Incarnation) -> Ended {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = self.pending.changed.notified() => {}
                () = self.lease.lost() => return Ended::Life,
                () = tokio::time::sleep_until(wake) => self.on_time().await,
                submission = self.submissions.recv(), if self.has_room() => match submission {
                    Some(submission) => self.enqueue(submission),
                    None => return Ended::Process,
                },
                // Last: without a leader there is trouble all the time, but deadlines pass.
                () = self.courier.troubled() => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    self.resend().await;
                }
            }
            if !self.pending.is_registered() {
                return Ended::Life;
            }
            let pending = &self.pending;
            while self
                .in_flight
                .front()
                .is_some_and(|batch| !pending.contains(batch.sequence))
            {
                if let Some(batch) = self.in_flight.pop_front() {
                    self.metrics
                        .seconds
                        .record(batch.first_sent.elapsed().as_secs_f64());
                }
            }
            while self.in_flight.len() < limits::BATCHES_IN_FLIGHT_MAX && !self.queue.is_empty() {
                self.send_batch(incarnation).await;
            }
            self.metrics.waiting.set(self.queue.len() as f64);
        }
    }

    fn has_room(&self) -> bool {
        self.queue.len() < limits::PROPOSER_QUEUE_MAX
    }

    fn enqueue(&mut self, first: Submission) {
        self.queue.push_back(first);
        while self.has_room() {
            match self.submissions.try_recv() {
                Ok(submission) => self.queue.push_back(submission),
                Err(_) => return,
            }
        }
    }

    async fn send_batch(&mut self, incarnation: Incarnation) {
        let mut ops = Vec::new();
        let mut completions = Vec::new();
        let mut deadline: Option<Instant> = None;
        let mut bytes = 0;
        while let Some(submission) = self.queue.front() {
            let size = submission.op.encoded_len();
            let full = ops.len() >= limits::BATCH_OPS_MAX || bytes + size > limits::BATCH_BYTES_MAX;
            if full && !ops.is_empty() {
                break;
            }
            let Some(submission) = self.queue.pop_front() else {
                break;
            };
            bytes += size;
            deadline = match (deadline, submission.deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            drop(submission.room);
            ops.push(submission.op);
            completions.push(submission.completion);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let batch = Batch {
            incarnation,
            sequence,
            ops,
        };
        let command = encode(Body::Batch(batch.encode_to_vec().into()));
        self.metrics.sent.increment(1);
        self.metrics.operations.increment(completions.len() as u64);
        self.metrics.per_batch.record(completions.len() as f64);
        self.pending.add(sequence, completions);
        self.courier.send(command.clone()).await;
        let now = Instant::now();
        let batch = InFlight {
            sequence,
            first_sent: now,
            command,
            sent: now,
            deadline,
        };
        self.in_flight.push_back(batch);
    }

    /// Everything in flight goes out again, in order: apply ignores what it has seen.
    async fn resend(&mut self) {
        for batch in &mut self.in_flight {
            batch.sent = Instant::now();
            self.metrics.sent_again.increment(1);
            self.courier.send(batch.command.clone()).await;
        }
    }

    fn next_wake(&self) -> Instant {
        let resend = self
            .in_flight
            .front()
            .map(|batch| batch.sent + RESEND_AFTER);
        let give_up = self
            .in_flight
            .iter()
            .filter_map(|batch| batch.deadline)
            .min();
        // Every deadline is the same time after its submission: the first one is the earliest.
        let expire = self.queue.iter().find_map(|submission| submission.deadline);
        let far = Instant::now() + Duration::from_secs(60);
        [resend, give_up, expire]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(far)
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        for batch in &mut self.in_flight {
            if batch.deadline.is_some_and(|deadline| deadline <= now) {
                batch.deadline = None;
                self.pending.give_up(batch.sequence);
            }
        }
        if self
            .queue
            .iter()
            .any(|s| s.deadline.is_some_and(|deadline| deadline <= now))
        {
            let queue = std::mem::take(&mut self.queue);
            for submission in queue {
                if submission.deadline.is_some_and(|deadline| deadline <= now) {
                    submission.completion.fail(Failure::Unavailable);
                } else {
                    self.queue.push_back(submission);
                }
            }
        }
        if self
            .in_flight
            .front()
            .is_some_and(|batch| batch.sent + RESEND_AFTER <= now)
        {
            self.resend().await;
        }
    }
}

/// A command without its time fields, which the leader stamps.
pub(crate) fn encode(body: Body) -> Bytes {
    let command = Command {
        version: crate::state::COMMAND_VERSION,
        body: Some(body),
        ..Command::default()
    };
    command.encode_to_vec().into()
}

#[cfg(test)]
mod tests;
