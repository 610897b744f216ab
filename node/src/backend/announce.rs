//! What other nodes know of the backends here: each follows the list, and says which version it
//! has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use prost::Message as _;
use roomcast_proto::peer::{AnnouncedBackend, BackendsList, BackendsSeen};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::registry::Backend;
use crate::ids::NodeId;
use crate::limits;
use crate::raft::BackendsStream;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Announcement {
    list: watch::Sender<BackendsList>,
    /// Who follows, and the version that it has.
    followers: Mutex<HashMap<NodeId, Follower>>,
    /// Streams of followers so far.
    streams: AtomicU64,
    /// Told when a follower has another version, or is gone.
    seen: watch::Sender<()>,
}

#[derive(Debug)]
struct Follower {
    /// A node that follows anew replaces itself.
    stream: u64,
    version: u64,
}

impl Announcement {
    pub(super) fn new() -> Self {
        // Version 0 means that nothing is known.
        let list = BackendsList {
            version: 1,
            backends: Vec::new(),
        };
        Self {
            list: watch::Sender::new(list),
            followers: Mutex::default(),
            streams: AtomicU64::new(0),
            seen: watch::Sender::new(()),
        }
    }

    /// These are the backends here from now on, read while nobody else replaces them; the version
    /// of that list.
    pub(super) fn replace(&self, read: impl FnOnce() -> Vec<Arc<Backend>>) -> u64 {
        let announced = |backend: &Arc<Backend>| AnnouncedBackend {
            id: backend.id.clone(),
            hello: backend.description.to_hello().encode_to_vec().into(),
        };
        let mut version = 0;
        self.list.send_modify(|list| {
            list.version += 1;
            list.backends = read().iter().map(announced).collect();
            version = list.version;
        });
        version
    }

    /// Waits until everybody who follows has this version or a later one, for a bounded time.
    pub(super) async fn is_known(&self, version: u64) {
        let mut seen = self.seen.subscribe();
        let known = async {
            while self.followers.lock().values().any(|f| f.version < version) {
                if seen.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(limits::BACKEND_ANNOUNCE_DEADLINE, known)
            .await
            .is_err()
        {
            tracing::warn!(version, "not every node has heard of the backends here");
        }
    }

    /// A node follows.
    pub(super) fn follow(
        self: &Arc<Self>,
        from: NodeId,
        seen: BoxStream<'static, Result<BackendsSeen, Status>>,
    ) -> BackendsStream {
        let (out, lists) = mpsc::channel(1);
        tokio::spawn(Arc::clone(self).tell(from, seen, out));
        ReceiverStream::new(lists).map(Ok).boxed()
    }

    async fn tell(
        self: Arc<Self>,
        from: NodeId,
        mut seen: BoxStream<'static, Result<BackendsSeen, Status>>,
        out: mpsc::Sender<BackendsList>,
    ) {
        let mut lists = self.list.subscribe();
        lists.mark_changed();
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let version = 0;
        self.followers
            .lock()
            .insert(from, Follower { stream, version });
        loop {
            tokio::select! {
                changed = lists.changed() => {
                    let list = lists.borrow_and_update().clone();
                    if changed.is_err() || out.send(list).await.is_err() {
                        break;
                    }
                }
                said = seen.next() => {
                    let Some(Ok(said)) = said else { break };
                    if let Some(follower) = self.followers.lock().get_mut(&from)
                        && follower.stream == stream
                    {
                        follower.version = said.version;
                    }
                    self.seen.send_replace(());
                }
            }
        }
        let mut followers = self.followers.lock();
        if followers
            .get(&from)
            .is_some_and(|follower| follower.stream == stream)
        {
            followers.remove(&from);
        }
        drop(followers);
        self.seen.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: u64) -> Result<BackendsSeen, Status> {
        let header = None;
        Ok(BackendsSeen { header, version })
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_list_is_known_when_every_follower_said_so_or_its_time_is_over() {
        let announcement = Arc::new(Announcement::new());
        let version = announcement.replace(Vec::new);
        // Nobody follows.
        announcement.is_known(version).await;
        let (says, seen) = mpsc::channel(4);
        let mut lists = announcement.follow(2, ReceiverStream::new(seen).boxed());
        says.send(said(0)).await.unwrap();
        assert_eq!(lists.next().await.unwrap().unwrap().version, version);
        says.send(said(version)).await.unwrap();
        let later = announcement.replace(Vec::new);
        assert_eq!(lists.next().await.unwrap().unwrap().version, later);
        let started = tokio::time::Instant::now();
        announcement.is_known(later).await;
        let waited = started.elapsed();
        assert_eq!(
            waited,
            limits::BACKEND_ANNOUNCE_DEADLINE,
            "it has not said so"
        );
        says.send(said(later)).await.unwrap();
        let started = tokio::time::Instant::now();
        announcement.is_known(later).await;
        assert!(started.elapsed() < limits::BACKEND_ANNOUNCE_DEADLINE);
        // One that is gone is not waited for.
        let last = announcement.replace(Vec::new);
        drop((says, lists));
        announcement.is_known(last).await;
        assert!(started.elapsed() < limits::BACKEND_ANNOUNCE_DEADLINE);
    }
}
