//! openraft's state machine over ours: applies committed commands in batches, and makes, installs
//! and hands out snapshots. The state itself is behind [`StateMachine`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{FutureExt, Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;

use super::api::{Committed, FrozenState, StateMachine};
use super::settings::PAGE_BYTES;
use super::snapshot::{SnapshotFile, SnapshotStore};
use super::transfer::Sendings;
use super::types::{Content, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// Commands handed to the state at once.
const BATCH_COMMAND_COUNT_MAX: usize = 256;

/// A snapshot with openraft's meta data.
pub(crate) type MachineSnapshot =
    openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// One group's state machine, owned by openraft's worker.
pub(crate) struct Machine {
    /// The state.
    state: Arc<dyn StateMachine>,
    /// Its snapshots.
    snapshots: Arc<SnapshotStore>,
    /// Those that are being sent.
    sendings: Arc<Sendings>,
    /// Last applied entry; `None` at start: the state is in memory and is restored.
    applied: Option<LogId>,
    /// The same index for other tasks; 0 before the first.
    applied_index: Arc<AtomicU64>,
    /// Last applied membership.
    membership: StoredMembership,
}

/// What is collected before it is applied.
#[derive(Default)]
struct Batch {
    /// Commands, in log order.
    commands: Vec<Committed>,
    /// Bytes of commands.
    bytes: usize,
    /// Told after the batch is applied.
    responders: Vec<ApplyResponder<TypeConfig>>,
    /// The last entry taken in.
    last: Option<LogId>,
}

impl Machine {
    /// Over an empty state.
    pub(crate) fn new(
        state: Arc<dyn StateMachine>,
        snapshots: Arc<SnapshotStore>,
        sendings: Arc<Sendings>,
        applied_index: Arc<AtomicU64>,
    ) -> Self {
        let membership = StoredMembership::default();
        Self {
            state,
            snapshots,
            sendings,
            applied: None,
            applied_index,
            membership,
        }
    }

    fn take_in(&mut self, batch: &mut Batch, item: EntryResponder<TypeConfig>) {
        let (entry, responder) = item;
        batch.last = Some(entry.log_id);
        batch.responders.extend(responder);
        if let Some(membership) = entry.get_membership() {
            self.membership = StoredMembership::new(Some(entry.log_id), membership);
        }
        if let Content::Command(command) = entry.content {
            batch.bytes += command.len();
            batch.commands.push(Committed {
                index: entry.log_id.index,
                command,
            });
        }
    }

    async fn apply_batch(&mut self, batch: Batch) {
        if !batch.commands.is_empty() {
            self.state.apply(batch.commands).await;
        }
        if let Some(last) = batch.last {
            self.applied = Some(last);
            self.applied_index.store(last.index, Ordering::Release);
        }
        for responder in batch.responders {
            responder.send(());
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let mut batch = Batch::default();
            self.take_in(&mut batch, entry?);
            while batch.commands.len() < BATCH_COMMAND_COUNT_MAX && batch.bytes < PAGE_BYTES {
                let Some(Some(entry)) = entries.next().now_or_never() else {
                    break;
                };
                self.take_in(&mut batch, entry?);
            }
            self.apply_batch(batch).await;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            frozen: Mutex::new(Some(self.state.freeze())),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
        }
    }

    /// The file is durable under its final name before the state changes: openraft purges the log
    /// after this.
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> io::Result<()> {
        let snapshots = self.snapshots.clone();
        let state = blocking(move || {
            snapshots.keep(&file)?;
            file.state()
        })
        .await?;
        self.state.restore(state).await.map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.applied_index.store(index, Ordering::Release);
        Ok(())
    }

    /// What is to be sent: rather one that is on its way than a newer one, of which a receiver
    /// would have nothing yet.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<MachineSnapshot>> {
        let current = self.sendings.oldest().or_else(|| self.snapshots.current());
        Ok(current.map(|file| Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        }))
    }
}

/// Writes one snapshot of a frozen state, while apply goes on.
pub(crate) struct Builder {
    /// The state; the lock only makes it `Sync`. Taken by the first build.
    frozen: Mutex<Option<Box<dyn FrozenState>>>,
    /// What it contains.
    meta: SnapshotMeta,
    /// Where it goes.
    snapshots: Arc<SnapshotStore>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<MachineSnapshot> {
        let frozen = self.frozen.lock().take();
        let frozen = frozen.ok_or_else(|| io::Error::other("a builder builds once"))?;
        let (snapshots, meta) = (self.snapshots.clone(), self.meta.clone());
        let file = blocking(move || {
            let mut writer = snapshots.begin(meta)?;
            writer.write(&frozen.encode())?;
            let file = writer.finish()?;
            snapshots.keep(&file)?;
            Ok(file)
        })
        .await?;
        Ok(Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        })
    }
}

/// Runs what waits for the disk off the runtime's workers.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
