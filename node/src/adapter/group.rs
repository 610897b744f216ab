//! One group on this node, put together: replica, proposer, fan-out, leadership, lease.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use roomcast_proto::command::{self, Op, Settings, SocketRef, op::Kind};
use roomcast_proto::socketio::Parser;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::acknowledge::Roll;
use super::catch_up::CatchUp;
use super::completion::{Completion, Failure};
use super::courier::{Carry, Courier};
use super::fanout::{Ask, Fanout, Progress, Sockets};
use super::history::History;
use super::index::Index;
use super::leadership::Leadership;
use super::lease::Lease;
use super::pending::Pending;
use super::proposer::{Proposer, Submission};
use super::replica::{Applied, Replica};
use super::requests::Requests;
use super::socket::{CatchUps, LocalSocket};
use super::unlogged::Class;
use crate::ids::{Entropy, GroupId, NodeId, Position};
use crate::limits;
use crate::raft::{Consensus, ENTRY_BYTES_MAX};
use crate::state::{Event, GroupState};

const _: () = assert!(
    limits::OPERATION_BYTES_MAX + 64 * 1024 <= ENTRY_BYTES_MAX
        && limits::BATCH_BYTES_MAX <= limits::OPERATION_BYTES_MAX,
    "every batch must fit an entry"
);

/// One group on this node.
#[derive(Debug)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    pub(crate) replica: Arc<Replica>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) history: History,
    progress: Arc<Progress>,
    submissions: mpsc::Sender<Submission>,
    /// Bytes of operations that may still wait for a batch.
    room: Arc<Semaphore>,
    asks: mpsc::Sender<Ask>,
}

/// What a group is made of, beside its replica.
pub(crate) struct Parts {
    pub(crate) node: NodeId,
    pub(crate) groups: u32,
    pub(crate) consensus: Consensus,
    pub(crate) settings: Settings,
    pub(crate) parser: Parser,
    pub(crate) entropy: Entropy,
    pub(crate) requests: Arc<Requests>,
}

impl Group {
    /// Starts the group's tasks.
    pub(crate) fn start(
        parts: &Parts,
        id: GroupId,
        replica: Arc<Replica>,
        applied: mpsc::Receiver<Applied>,
    ) -> Arc<Self> {
        let consensus = parts.consensus.clone();
        let pending = Arc::new(Pending::default());
        let lease = Arc::new(Lease::new());
        let progress = Arc::new(Progress::default());
        let history = History {
            group: id,
            consensus: consensus.clone(),
        };
        let leadership = Arc::new(Leadership::new(
            id,
            parts.groups,
            consensus.clone(),
            Arc::clone(&replica),
            parts.settings,
            parts.entropy.clone(),
        ));
        let (submissions, submitted) = mpsc::channel(limits::SUBMISSIONS_MAX);
        let (asks, asked) = mpsc::channel(limits::FANOUT_ASKS_MAX);
        let proposer = Proposer::new(
            parts.node,
            parts.entropy.clone(),
            Arc::clone(&pending),
            Arc::clone(&lease),
            Courier::new(id, consensus, Arc::clone(&leadership)),
            submitted,
        );
        let starter = Arc::new(Starter {
            group: id,
            replica: Arc::clone(&replica),
            history: history.clone(),
            progress: Arc::clone(&progress),
            submissions: submissions.downgrade(),
        });
        let fanout = Fanout {
            group: id,
            parser: parts.parser,
            replica: Arc::clone(&replica),
            pending: Arc::clone(&pending),
            lease: Arc::clone(&lease),
            requests: Arc::clone(&parts.requests),
            progress: Arc::clone(&progress),
            sockets: starter,
            index: Index::default(),
            arriving: Vec::new(),
            deliveries: crate::metrics::deliveries(),
            live: crate::metrics::sockets(),
        };
        tokio::spawn(fanout.run(applied, asked));
        replica.listen();
        tokio::spawn(proposer.run());
        tokio::spawn(Arc::clone(&leadership).run());
        Arc::new(Self {
            id,
            replica,
            leadership,
            lease,
            pending,
            history,
            progress,
            submissions,
            room: Arc::new(Semaphore::new(limits::SUBMISSION_BYTES_MAX)),
            asks,
        })
    }

    /// A frozen view of the group's state on this node.
    #[must_use]
    pub fn view(&self) -> GroupState {
        self.replica.view()
    }

    /// Tells the index of every entry that this node applies; a view taken then has it.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.replica.applied()
    }

    /// Largest event, payload and attachments together, as the replicated settings say.
    #[must_use]
    pub fn event_bytes_max(&self) -> usize {
        self.replica.event_bytes_max()
    }

    /// The log's epoch; 0 before it was founded.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.replica.epoch()
    }

    /// Everything up to here has been fanned out to this node's sockets.
    pub(crate) fn fanned_out(&self) -> Position {
        self.progress.position()
    }

    /// Hands an operation to the proposer. Full: refused; no lease, or no space for an event on
    /// this node's disk: refused at once.
    pub(crate) fn submit(&self, kind: Kind, completion: Completion) {
        let has_space = !matches!(kind, Kind::Publish(_)) || self.history.consensus.has_space();
        if !self.lease.holds() || !has_space {
            completion.fail(Failure::Unavailable);
            return;
        }
        let op = Op { kind: Some(kind) };
        let bytes = op.encoded_len();
        if bytes > limits::OPERATION_BYTES_MAX {
            completion.fail(Failure::TooLarge);
            return;
        }
        let bytes = u32::try_from(bytes).expect("below the limit");
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else {
            completion.fail(Failure::Overloaded);
            return;
        };
        let submission = Submission {
            op,
            completion,
            deadline: Some(Instant::now() + limits::OPERATION_DEADLINE),
            room: Some(room),
        };
        if let Err(error) = self.submissions.try_send(submission) {
            error.into_inner().completion.fail(Failure::Overloaded);
        }
    }

    /// Hands over an operation that speaks for the node, to stand in the log in its place among the
    /// others, or not at all: false when there is no room now.
    pub(crate) fn submit_report(&self, kind: Kind) -> bool {
        let submission = Submission {
            op: Op { kind: Some(kind) },
            completion: Completion::Nothing,
            deadline: None,
            room: None,
        };
        self.lease.holds() && self.submissions.try_send(submission).is_ok()
    }

    /// What this node owns in the group; `None` while that cannot be said.
    pub(crate) async fn roll(&self) -> Option<Roll> {
        let (reply, roll) = oneshot::channel();
        self.asks.send(Ask::Roll(reply)).await.ok()?;
        roll.await.ok()?
    }

    /// Ends or puts away a socket's session: waits for room instead of refusing.
    pub(crate) fn part(&self, socket: &LocalSocket, parting: Parting) {
        let op = parting.op(socket);
        part(&self.submissions, op);
    }

    /// Brings one command that belongs to no producer to the leader; once, without a promise.
    pub(crate) async fn propose_plain(&self, command: bytes::Bytes) {
        let consensus = self.history.consensus.clone();
        let mut courier = Courier::new(self.id, consensus, Arc::clone(&self.leadership));
        courier.send(command).await;
    }

    /// Whether this node may accept work for the group.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.lease.holds()
    }

    /// Whether operations of this node are on their way to the log.
    pub(crate) fn is_busy(&self) -> bool {
        let queued = self.submissions.capacity() < self.submissions.max_capacity();
        self.lease.holds() && (queued || self.pending.is_busy())
    }

    /// Delivers an event that is not logged to this node's sockets; dropped when the fan-out is
    /// busy.
    pub(crate) fn emit(&self, event: Arc<Event>, class: Class) {
        if self.asks.try_send(Ask::Emit(event, class)).is_err() {
            class.count_dropped(1);
        }
    }

    /// Closes every socket of this group here: the lease is lost.
    pub(crate) async fn lose_all(&self) {
        if self.asks.send(Ask::LoseAll).await.is_err() {
            tracing::debug!(group = self.id, "fan-out has stopped");
        }
    }
}

/// How a socket leaves its node.
#[derive(Debug, Clone)]
pub(crate) enum Parting {
    /// Its transport is gone; the session waits for a resume.
    Away,
    /// Its client left: the session ends, unless it is a durable subscriber's.
    Left { reason: &'static str },
    /// The session ends.
    End { reason: &'static str },
}

impl Parting {
    fn op(&self, socket: &LocalSocket) -> Op {
        let reference = Some(socket_ref(socket));
        let kind = match self {
            Self::Away => Kind::Away(command::Away { socket: reference }),
            Self::Left { reason } | Self::End { reason } => Kind::Disconnect(command::Disconnect {
                socket: reference,
                reason: (*reason).to_owned(),
                by_client: matches!(self, Self::Left { .. }),
            }),
        };
        Op { kind: Some(kind) }
    }
}

/// How the log names a socket of this node.
pub(crate) fn socket_ref(socket: &LocalSocket) -> SocketRef {
    SocketRef {
        id: socket.id.0.to_vec().into(),
        generation: socket.generation,
    }
}

fn part(submissions: &mpsc::Sender<Submission>, op: Op) {
    let submission = Submission {
        op,
        completion: Completion::Nothing,
        deadline: None,
        room: None,
    };
    if let Err(mpsc::error::TrySendError::Full(submission)) = submissions.try_send(submission) {
        let submissions = submissions.clone();
        tokio::spawn(async move {
            if submissions.send(submission).await.is_err() {
                tracing::debug!("the proposer has stopped: the lease will end the session");
            }
        });
    }
}

/// Starts catch-ups, and puts away what nobody waits for.
#[derive(Debug)]
struct Starter {
    group: GroupId,
    replica: Arc<Replica>,
    history: History,
    progress: Arc<Progress>,
    submissions: mpsc::WeakSender<Submission>,
}

impl CatchUps for Starter {
    fn fanned_out(&self) -> Position {
        self.progress.position()
    }

    fn catch_up(&self, socket: Arc<LocalSocket>, start: Position) {
        let catch_up = CatchUp {
            group: self.group,
            replica: Arc::clone(&self.replica),
            history: self.history.clone(),
            progress: Arc::clone(&self.progress),
            socket,
        };
        tokio::spawn(catch_up.run(start));
    }
}

impl Sockets for Starter {
    fn abandoned(&self, socket: &LocalSocket) {
        socket.stop();
        if let Some(submissions) = self.submissions.upgrade() {
            part(&submissions, Parting::Away.op(socket));
        }
    }
}

/// The lease's length as the replicated settings say.
pub(crate) fn lease_length(view: &GroupState) -> Duration {
    Duration::from_millis(view.settings().lease_ms)
}
