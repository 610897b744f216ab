//! A proposer with a courier that only notes what it was given; time moves when the test says so.

use parking_lot::Mutex;
use roomcast_proto::command::{Publish, op::Kind};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::adapter::completion::Outcome;

const SECOND: Duration = Duration::from_secs(1);

/// What left, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    Register(Incarnation),
    Batch {
        incarnation: Incarnation,
        sequence: u64,
        ops: Vec<String>,
    },
}

#[derive(Debug, Default)]
struct Post {
    left: Mutex<Vec<Left>>,
    trouble: Notify,
}

struct Courier(Arc<Post>);

impl Carry for Courier {
    async fn send(&mut self, command: Bytes) {
        let command = Command::decode(command).unwrap();
        let left = match command.body.unwrap() {
            Body::Register(register) => Left::Register(register.incarnation),
            Body::Batch(batch) => {
                let batch = Batch::decode(batch).unwrap();
                Left::Batch {
                    incarnation: batch.incarnation,
                    sequence: batch.sequence,
                    ops: batch.ops.into_iter().map(name).collect(),
                }
            }
            other => panic!("a proposer sends no {other:?}"),
        };
        self.0.left.lock().push(left);
    }

    async fn troubled(&self) {
        self.0.trouble.notified().await;
    }
}

fn op(name: &str) -> Op {
    let publish = Publish {
        namespace: name.to_owned(),
        ..Publish::default()
    };
    Op {
        kind: Some(Kind::Publish(publish)),
    }
}

fn name(op: Op) -> String {
    match op.kind {
        Some(Kind::Publish(publish)) => publish.namespace,
        other => panic!("not sent by these tests: {other:?}"),
    }
}

type Fates = Arc<Mutex<Vec<(String, Outcome)>>>;

struct Rig {
    post: Arc<Post>,
    pending: Arc<Pending>,
    lease: Arc<Lease>,
    submissions: mpsc::Sender<Submission>,
    fates: Fates,
    task: JoinHandle<()>,
}

impl Rig {
    fn start() -> Self {
        let (submissions, submitted) = mpsc::channel(limits::SUBMISSIONS_MAX);
        let (post, pending) = (Arc::new(Post::default()), Arc::new(Pending::default()));
        let lease = Arc::new(Lease::new());
        let proposer = Proposer::new(
            1,
            Entropy::from_seed(1),
            Arc::clone(&pending),
            Arc::clone(&lease),
            Courier(Arc::clone(&post)),
            submitted,
        );
        Self {
            post,
            pending,
            lease,
            submissions,
            fates: Fates::default(),
            task: tokio::spawn(proposer.run()),
        }
    }

    /// A proposer whose registration was seen in the log.
    async fn registered() -> Self {
        let rig = Self::start();
        settle().await;
        rig.register().await;
        rig
    }

    async fn register(&self) -> Incarnation {
        let left = self.left();
        let Some(Left::Register(incarnation)) = left.last().cloned() else {
            panic!("not registering: {left:?}");
        };
        assert_eq!(self.pending.incarnation(), incarnation);
        self.pending.registered(incarnation);
        settle().await;
        incarnation
    }

    async fn submit(&self, names: &[&str]) {
        for name in names {
            self.submit_until(name, Some(Instant::now() + limits::OPERATION_DEADLINE));
        }
        settle().await;
    }

    fn submit_until(&self, name: &str, deadline: Option<Instant>) {
        let (fates, named) = (Arc::clone(&self.fates), name.to_owned());
        let call = move |outcome| fates.lock().push((named, outcome));
        let submission = Submission {
            room: None,
            op: op(name),
            completion: Completion::Call(Box::new(call)),
            deadline,
        };
        self.submissions.try_send(submission).unwrap();
    }

    /// The fan-out reaches a batch of `op_count` operations: they are done.
    async fn apply(&self, sequence: u64, op_count: u32) {
        for op in 0..op_count {
            let incarnation = self.pending.incarnation();
            let completion = self.pending.take(incarnation, sequence, op);
            assert!(matches!(completion, Completion::Call(_)), "{sequence}.{op}");
        }
        settle().await;
    }

    /// What left since the last look.
    fn left(&self) -> Vec<Left> {
        std::mem::take(&mut *self.post.left.lock())
    }

    /// Sequences and operations of the batches that left since the last look.
    fn batches(&self) -> Vec<(u64, String)> {
        let batch = |left| match left {
            Left::Batch { sequence, ops, .. } => (sequence, ops.join(" ")),
            Left::Register(_) => panic!("it registers again"),
        };
        self.left().into_iter().map(batch).collect()
    }

    fn fates(&self) -> Vec<(String, Outcome)> {
        std::mem::take(&mut *self.fates.lock())
    }

    fn failed(&self) -> Vec<(String, Failure)> {
        let failure = |(name, outcome)| match outcome {
            Outcome::Failed(failure) => (name, failure),
            other => panic!("{name}: {other:?}"),
        };
        self.fates().into_iter().map(failure).collect()
    }
}

/// Lets every task do what it can without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    settle().await;
}

fn batch(sequence: u64, ops: &str) -> (u64, String) {
    (sequence, ops.to_owned())
}

fn failed(name: &str, failure: Failure) -> (String, Failure) {
    (name.to_owned(), failure)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proposed_before_the_registration_is_seen() {
    let rig = Rig::start();
    settle().await;
    rig.submit(&["a"]).await;
    assert_eq!(rig.failed(), [failed("a", Failure::Unavailable)]);
    pass(SECOND).await;
    let left = rig.left();
    assert!(left.len() >= 3, "a registration is sent again: {left:?}");
    assert!(
        left.iter().all(|one| *one == left[0]),
        "the same one: {left:?}"
    );
    assert!(!rig.lease.holds());
    rig.pending.registered(rig.pending.incarnation());
    settle().await;
    assert!(rig.lease.holds());
    rig.submit(&["b"]).await;
    assert_eq!(rig.batches(), [batch(1, "b")]);
}

#[tokio::test(start_paused = true)]
async fn while_batches_are_in_flight_the_next_one_collects() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    rig.submit(&["b"]).await;
    assert_eq!(limits::BATCHES_IN_FLIGHT_MAX, 2);
    assert_eq!(rig.batches(), [batch(1, "a"), batch(2, "b")]);
    rig.submit(&["c"]).await;
    rig.submit(&["d", "e"]).await;
    assert_eq!(rig.batches(), []);
    rig.apply(1, 1).await;
    assert_eq!(
        rig.batches(),
        [batch(3, "c d e")],
        "in the order of submission"
    );
    rig.apply(2, 1).await;
    rig.apply(3, 3).await;
    assert!(!rig.pending.is_busy());
    pass(60 * SECOND).await;
    assert_eq!(rig.batches(), [], "what was seen applied is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_largest_number_of_operations() {
    let rig = Rig::registered().await;
    let names: Vec<String> = (0..limits::BATCH_OPS_MAX + 1)
        .map(|n| n.to_string())
        .collect();
    rig.submit(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let sent = rig.batches();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].1.split(' ').count(), limits::BATCH_OPS_MAX);
    assert_eq!(sent[1], batch(2, &limits::BATCH_OPS_MAX.to_string()));
}

#[tokio::test(start_paused = true)]
async fn an_operation_larger_than_a_batch_is_one_of_its_own() {
    let rig = Rig::registered().await;
    let large = "x".repeat(limits::BATCH_BYTES_MAX + 1);
    rig.submit(&["a", &large, "b"]).await;
    assert_eq!(rig.batches(), [batch(1, "a"), batch(2, &large)]);
    rig.apply(1, 1).await;
    assert_eq!(rig.batches(), [batch(3, "b")]);
}

#[tokio::test(start_paused = true)]
async fn after_trouble_everything_in_flight_goes_out_again_in_order() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    rig.submit(&["b"]).await;
    rig.submit(&["c"]).await;
    rig.left();
    rig.post.trouble.notify_one();
    pass(RETRY_PAUSE).await;
    assert_eq!(rig.batches(), [batch(1, "a"), batch(2, "b")]);
    assert_eq!(rig.failed(), [], "a refusal decides nothing");
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_an_outcome_is_sent_again_unchanged() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    let first = rig.left();
    pass(RESEND_AFTER - Duration::from_millis(10)).await;
    assert_eq!(rig.left(), []);
    pass(Duration::from_millis(20)).await;
    assert_eq!(rig.left(), first);
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_queued_operation_is_unavailable_and_a_sent_one_unknown() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    rig.submit(&["b"]).await;
    rig.submit(&["queued"]).await;
    rig.submit_until("must", None);
    pass(limits::OPERATION_DEADLINE - Duration::from_millis(100)).await;
    assert_eq!(rig.failed(), []);
    pass(Duration::from_millis(200)).await;
    let expected = [
        failed("a", Failure::UnknownOutcome),
        failed("b", Failure::UnknownOutcome),
        failed("queued", Failure::Unavailable),
    ];
    assert_eq!(rig.failed(), expected);
    rig.left();
    pass(SECOND).await;
    let again = rig.batches();
    assert!(
        again.starts_with(&[batch(1, "a"), batch(2, "b")]),
        "they go on: {again:?}"
    );
    rig.pending.take(rig.pending.incarnation(), 1, 0);
    rig.pending.take(rig.pending.incarnation(), 2, 0);
    settle().await;
    assert_eq!(
        rig.batches(),
        [batch(3, "must")],
        "no deadline: it happens in the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_detachment_ends_a_life_and_the_next_one_starts_from_one() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    rig.submit(&["b"]).await;
    rig.submit(&["queued"]).await;
    rig.left();
    let old = rig.pending.incarnation();
    rig.lease.revoke();
    assert!(rig.pending.end(old, Failure::Unavailable));
    settle().await;
    let expected = ["a", "b", "queued"].map(|name| failed(name, Failure::Unavailable));
    assert_eq!(rig.failed(), expected, "surely not written");
    let new = rig.register().await;
    assert_ne!(new, old);
    assert!(rig.lease.holds());
    rig.submit(&["c"]).await;
    assert_eq!(
        rig.left(),
        [Left::Batch {
            incarnation: new,
            sequence: 1,
            ops: vec!["c".into()]
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_a_life_with_unknown_outcomes() {
    let rig = Rig::registered().await;
    rig.submit(&["a"]).await;
    rig.submit(&["b"]).await;
    rig.submit(&["queued"]).await;
    rig.left();
    pass(SECOND).await;
    rig.left();
    assert!(rig.lease.expire(SECOND));
    settle().await;
    let expected = [
        failed("a", Failure::UnknownOutcome),
        failed("b", Failure::UnknownOutcome),
        failed("queued", Failure::Unavailable),
    ];
    assert_eq!(rig.failed(), expected);
    assert!(matches!(rig.left()[..], [Left::Register(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_lease_lost_in_an_earlier_life_does_not_end_this_one() {
    let rig = Rig::registered().await;
    pass(SECOND).await;
    // Both at once: the detachment is noticed first, the lost lease is stale news by then.
    assert!(rig.lease.expire(SECOND));
    assert!(
        rig.pending
            .end(rig.pending.incarnation(), Failure::Unavailable)
    );
    settle().await;
    let incarnation = rig.register().await;
    settle().await;
    assert_eq!(
        rig.pending.incarnation(),
        incarnation,
        "it registered once more for nothing"
    );
    rig.submit(&["a"]).await;
    assert_eq!(rig.batches(), [batch(1, "a")]);
}

#[tokio::test(start_paused = true)]
async fn a_proposer_ends_with_its_senders() {
    let Rig {
        task, submissions, ..
    } = Rig::registered().await;
    drop(submissions);
    task.await.unwrap();
}
