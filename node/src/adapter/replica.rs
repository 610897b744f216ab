//! One group's replicated state on this node: applies what Raft commits and hands the effects to
//! the group's fan-out. Readers clone a view under a short lock; building a snapshot never stops
//! apply.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};

use crate::ids::GroupId;
use crate::raft::{Committed, FrozenState, RestoreError, StateMachine};
use crate::state::{Effect, GroupState};

/// Exit code when this node cannot go on applying the log (`EX_SOFTWARE`).
const EXIT_CANNOT_APPLY: i32 = 70;

/// What the fan-out reads, in log order.
#[derive(Debug)]
pub(crate) enum Applied {
    /// One entry and what it caused.
    Entry { index: u64, effects: Vec<Effect> },
    /// A snapshot replaced the state: what lies between was not seen here.
    Restored,
}

/// The state machine of one group on this node.
pub(crate) struct Replica {
    group: GroupId,
    state: RwLock<GroupState>,
    /// The log's epoch, 0 before the founding entry.
    epoch: AtomicU64,
    effects: mpsc::Sender<Applied>,
    /// Whether the fan-out listens. What is replayed at start concerns no socket of this process.
    listening: AtomicBool,
    entries_applied: metrics::Counter,
    /// Bytes of commands applied by this process.
    bytes_applied: AtomicU64,
    /// Snapshots that replaced the state.
    restores: AtomicU64,
    /// The index of the last entry applied, for whoever waits for the next one.
    applied: watch::Sender<u64>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Replica {
    pub(crate) fn new(group: GroupId, effects: mpsc::Sender<Applied>) -> Self {
        Self {
            group,
            state: RwLock::new(GroupState::new()),
            epoch: AtomicU64::new(0),
            effects,
            listening: AtomicBool::new(false),
            entries_applied: crate::metrics::entries_applied(),
            bytes_applied: AtomicU64::new(0),
            restores: AtomicU64::new(0),
            applied: watch::Sender::new(0),
        }
    }

    /// Tells of every entry that is applied; a view taken then has it.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// From here on effects are reported.
    pub(crate) fn listen(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Largest event in bytes; asked for each publish, hence without a view.
    pub(crate) fn event_bytes_max(&self) -> usize {
        self.state.read().settings().event_bytes_max as usize
    }

    /// Bytes of commands applied by this process.
    pub(crate) fn bytes_applied(&self) -> u64 {
        self.bytes_applied.load(Ordering::Relaxed)
    }

    /// How often a snapshot has replaced the state, the one at start included: after that the log
    /// may lack what the state needs.
    pub(crate) fn restores(&self) -> u64 {
        self.restores.load(Ordering::Acquire)
    }

    async fn report(&self, applied: Applied) {
        if self.listening.load(Ordering::Acquire) && self.effects.send(applied).await.is_err() {
            tracing::debug!(group = self.group, "fan-out has stopped");
        }
    }

    /// A frozen view of the present state: cheap to take, cheap to hold.
    #[must_use]
    pub(crate) fn view(&self) -> GroupState {
        self.state.read().clone()
    }

    /// The log's epoch; 0 before it was founded.
    #[must_use]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn apply_one(&self, committed: &Committed) -> Vec<Effect> {
        let mut state = self.state.write();
        match state.apply_encoded(committed.index, &committed.command) {
            Ok(effects) => {
                if self.epoch() == 0 {
                    self.epoch
                        .store(state.epoch().unwrap_or(0), Ordering::Release);
                }
                effects
            }
            Err(error) => {
                tracing::error!(group = self.group, index = committed.index, %error,
                    "cannot apply a committed entry: this node stops, so that its state cannot \
                     differ from the others'; was the log written by a newer version?");
                std::process::exit(EXIT_CANNOT_APPLY);
            }
        }
    }
}

#[async_trait]
impl StateMachine for Replica {
    async fn apply(&self, entries: Vec<Committed>) {
        for committed in entries {
            let effects = self.apply_one(&committed);
            self.applied.send_replace(committed.index);
            self.entries_applied.increment(1);
            let bytes = committed.command.len() as u64;
            self.bytes_applied.fetch_add(bytes, Ordering::Relaxed);
            self.report(Applied::Entry {
                index: committed.index,
                effects,
            })
            .await;
        }
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        Box::new(Frozen(self.view()))
    }

    async fn restore(&self, snapshot: Bytes) -> Result<(), RestoreError> {
        // Of a large state it takes long: not on a worker that others wait for.
        let decoded = tokio::task::spawn_blocking(move || {
            GroupState::decode(&snapshot).map_err(|error| RestoreError(error.to_string()))
        });
        let state = decoded
            .await
            .map_err(|error| RestoreError(error.to_string()))??;
        self.epoch
            .store(state.epoch().unwrap_or(0), Ordering::Release);
        let index = state.position().index;
        *self.state.write() = state;
        self.applied.send_replace(index);
        self.restores.fetch_add(1, Ordering::Release);
        self.report(Applied::Restored).await;
        Ok(())
    }
}

struct Frozen(GroupState);

impl FrozenState for Frozen {
    fn encode(&self) -> Bytes {
        self.0.encode()
    }
}
