//! The sessions of this node by id. Ordered maps, so that a drain visits them in an order that a
//! simulation can repeat.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::close::CloseReason;
use super::session::SessionHandle;
use super::sid::Sid;
use crate::limits;

/// Locks are short, but all handshakes and closes of a node meet here.
const SHARD_COUNT: usize = 64;

/// The open sessions of a node.
#[derive(Debug)]
pub struct Registry {
    /// Sessions by id, spread by their random bits.
    shards: Box<[Mutex<BTreeMap<Sid, SessionHandle>>]>,
    /// Sessions in all shards.
    count: AtomicUsize,
    /// Sessions that went on at other nodes, oldest first, so that a late request of one is told
    /// from one that was never known.
    moved: Mutex<VecDeque<Sid>>,
}

/// How fast a drain closes sessions, so that the nodes that take them are not overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPace {
    /// Sessions closed in a second; at least 1.
    pub sessions_per_second: u32,
}

impl Registry {
    /// A registry without sessions.
    #[must_use]
    pub fn new() -> Self {
        let shards = (0..SHARD_COUNT).map(|_| Mutex::default()).collect();
        Self {
            shards,
            count: AtomicUsize::new(0),
            moved: Mutex::default(),
        }
    }

    /// The session of this id.
    #[must_use]
    pub fn get(&self, sid: &Sid) -> Option<SessionHandle> {
        self.shard(sid).lock().get(sid).cloned()
    }

    /// Sessions that are open or closing.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// All sessions, in the order of shards and ids.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionHandle> {
        let mut all = Vec::with_capacity(self.count());
        for shard in &self.shards {
            all.extend(shard.lock().values().cloned());
        }
        all
    }

    /// Asks every session to close, at a pace, until none is left. Sessions that open meanwhile are
    /// closed too; refusing them is the caller's business.
    pub async fn drain(&self, pace: DrainPace, reason: CloseReason) {
        let start = Instant::now();
        let per_second = u128::from(pace.sessions_per_second.max(1));
        let mut asked: u128 = 0;
        while self.count() > 0 {
            for session in self.sessions() {
                if session.is_closed() {
                    continue;
                }
                while asked > start.elapsed().as_millis() * per_second / 1000 {
                    tokio::time::sleep(limits::DRAIN_STEP).await;
                }
                session.close(reason);
                asked += 1;
            }
            tokio::time::sleep(limits::DRAIN_STEP).await;
        }
    }

    /// Notes that a session goes on at another node.
    pub(crate) fn note_moved(&self, sid: Sid) {
        let mut moved = self.moved.lock();
        if moved.len() == limits::MOVED_SIDS_MAX {
            moved.pop_front();
        }
        moved.push_back(sid);
    }

    /// Whether a session went on at another node, as far as that is remembered. Only late requests
    /// ask.
    pub(crate) fn has_moved(&self, sid: &Sid) -> bool {
        self.moved.lock().contains(sid)
    }

    pub(crate) fn insert(&self, session: &SessionHandle) {
        let sid = session.sid();
        if self
            .shard(&sid)
            .lock()
            .insert(sid, session.clone())
            .is_none()
        {
            self.count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn remove(&self, sid: &Sid) {
        if self.shard(sid).lock().remove(sid).is_some() {
            self.count.fetch_sub(1, Relaxed);
        }
    }

    fn shard(&self, sid: &Sid) -> &Mutex<BTreeMap<Sid, SessionHandle>> {
        &self.shards[sid.spread() % SHARD_COUNT]
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
