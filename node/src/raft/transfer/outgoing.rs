//! The sender of a snapshot, and what a group remembers of those it sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_client::PeerClient;
use roomcast_proto::peer::snapshot_request::Step;
use roomcast_proto::peer::snapshot_response::Step as Answer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{GroupId, NodeId};
use crate::raft::convert::{snapshot_meta_to_wire, vote_from_wire, vote_to_wire};
use crate::raft::peers::Peers;
use crate::raft::settings::{
    SNAPSHOT_CHUNK_BYTES, SNAPSHOT_HOLD, SNAPSHOT_STALL_TIMEOUT, SNAPSHOT_WINDOW_BYTES,
};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::state_machine::blocking;
use crate::raft::types::Vote;

/// One attempt to bring a snapshot to a node.
pub(in crate::raft) struct Outgoing {
    /// The node, on the connection for snapshots.
    pub(in crate::raft) client: PeerClient<Channel>,
    /// The other nodes.
    pub(in crate::raft) peers: Arc<Peers>,
    /// The node.
    pub(in crate::raft) target: NodeId,
    /// The group.
    pub(in crate::raft) group: GroupId,
    /// The leader's vote.
    pub(in crate::raft) vote: Vote,
    /// The snapshot.
    pub(in crate::raft) file: SnapshotFile,
    /// Told how it goes on.
    pub(in crate::raft) sendings: Arc<Sendings>,
    /// How long a received snapshot may take to be installed.
    pub(in crate::raft) install_timeout: Duration,
}

impl Outgoing {
    /// Sends what the receiver does not have; returns its vote when it has installed it.
    pub(in crate::raft) async fn send(self) -> Result<Vote, Status> {
        self.sendings.began(self.target, &self.file);
        let (requests, outgoing) = mpsc::channel(1);
        push(&requests, Step::Offer(self.offer())).await?;
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut client = self.client.clone();
        let call = moving(SNAPSHOT_STALL_TIMEOUT, client.snapshot(outgoing));
        let mut answers = call.await?.into_inner();
        let (mut sent, mut received) = match next(SNAPSHOT_STALL_TIMEOUT, &mut answers).await? {
            Answer::Received(at) => (at, at),
            Answer::Installed(vote) => return self.installed(vote),
        };
        if received > 0 {
            crate::metrics::snapshots_resumed().increment(1);
            tracing::info!(
                node = self.target,
                group = self.group,
                received,
                length = self.file.state_len,
                "a snapshot's transfer goes on"
            );
        }
        loop {
            while sent < self.file.state_len && sent - received < SNAPSHOT_WINDOW_BYTES {
                sent += self.send_chunk(&requests, sent).await?;
            }
            let limit = match received < self.file.state_len {
                true => SNAPSHOT_STALL_TIMEOUT,
                false => self.install_timeout,
            };
            match next(limit, &mut answers).await? {
                Answer::Received(at) => received = at.clamp(received, sent),
                Answer::Installed(vote) => return self.installed(vote),
            }
            self.sendings.moved(self.target, received);
        }
    }

    fn offer(&self) -> pb::SnapshotOffer {
        pb::SnapshotOffer {
            header: Some(self.peers.header(self.target)),
            group: self.group,
            vote: Some(vote_to_wire(&self.vote)),
            meta: Some(snapshot_meta_to_wire(&self.file.meta)),
            length: self.file.state_len,
            checksum: self.file.state_checksum,
        }
    }

    /// Sends the piece at an offset when it is its turn; how long it is.
    async fn send_chunk(
        &self,
        requests: &mpsc::Sender<pb::SnapshotRequest>,
        offset: u64,
    ) -> Result<u64, Status> {
        let file = self.file.clone();
        let data = blocking(move || file.read(offset, SNAPSHOT_CHUNK_BYTES)).await;
        let data = data.map_err(|e| Status::internal(format!("snapshot not readable: {e}")))?;
        let len = data.len();
        self.peers.bulk.take(len).await;
        let chunk = pb::SnapshotChunk {
            offset,
            checksum: xxh3_64(&data),
            data,
        };
        push(requests, Step::Chunk(chunk)).await?;
        crate::metrics::transfer_sent_bytes("snapshot").increment(len as u64);
        Ok(len as u64)
    }

    fn installed(&self, vote: pb::Vote) -> Result<Vote, Status> {
        self.sendings.installed(self.target);
        vote_from_wire(Some(vote))
    }
}

async fn push(requests: &mpsc::Sender<pb::SnapshotRequest>, step: Step) -> Result<(), Status> {
    let request = pb::SnapshotRequest { step: Some(step) };
    let taken = async {
        let taken = requests.send(request).await;
        taken.map_err(|_| Status::unavailable("the call has ended"))
    };
    moving(SNAPSHOT_STALL_TIMEOUT, taken).await
}

async fn next(
    limit: Duration,
    answers: &mut Streaming<pb::SnapshotResponse>,
) -> Result<Answer, Status> {
    let answer = moving(limit, answers.message()).await?;
    let ended = || Status::aborted("the receiver ended the transfer");
    answer.and_then(|answer| answer.step).ok_or_else(ended)
}

async fn moving<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("nothing moves");
    tokio::time::timeout(limit, step).await.map_err(late)?
}

/// The snapshots that one group sends, by receiver. One that is on its way is finished rather than
/// begun anew with a newer one, and the log behind it stays while it moves, and until its receiver
/// has caught up with it.
#[derive(Debug, Default)]
pub(in crate::raft) struct Sendings {
    by_receiver: Mutex<BTreeMap<NodeId, Sending>>,
}

#[derive(Debug)]
struct Sending {
    file: SnapshotFile,
    /// The receiver has it and takes the log behind it.
    installed: bool,
    /// Bytes of it that the receiver has had. One that begins anew gets nowhere.
    received: u64,
    /// What the receiver has or will have with the snapshot; it needs the log behind this.
    reached: u64,
    /// When the receiver last got something.
    moved: Instant,
}

impl Sendings {
    fn began(&self, to: NodeId, file: &SnapshotFile) {
        let mut sendings = self.by_receiver.lock();
        let sending = sendings.get(&to).filter(|sending| !sending.installed);
        if sending.is_none_or(|sending| sending.file.meta != file.meta) {
            let sending = Sending {
                file: file.clone(),
                installed: false,
                received: 0,
                reached: file.meta.last_log_id.map_or(0, |id| id.index),
                moved: Instant::now(),
            };
            sendings.insert(to, sending);
        }
    }

    fn moved(&self, to: NodeId, received: u64) {
        if let Some(sending) = self.by_receiver.lock().get_mut(&to)
            && received > sending.received
        {
            (sending.received, sending.moved) = (received, Instant::now());
        }
    }

    fn installed(&self, to: NodeId) {
        if let Some(sending) = self.by_receiver.lock().get_mut(&to) {
            (sending.installed, sending.moved) = (true, Instant::now());
        }
    }

    /// Given up: somebody else leads, or the receiver is no member any more.
    pub(in crate::raft) fn ended(&self, to: NodeId) {
        self.by_receiver.lock().remove(&to);
    }

    /// The log behind none of them stays: those on their way begin anew with a newer one.
    pub(in crate::raft) fn let_go(&self) {
        self.by_receiver.lock().clear();
    }

    /// The oldest one on its way.
    pub(in crate::raft) fn oldest(&self) -> Option<SnapshotFile> {
        let sendings = self.by_receiver.lock();
        let sendings = sendings.values().filter(|sending| !sending.installed);
        let moving = sendings.filter(|sending| sending.is_moving());
        let oldest = moving.min_by_key(|sending| sending.file.meta.last_log_id);
        oldest.map(|sending| sending.file.clone())
    }

    /// How much of the log up to `upto` may go; `matched` is how much of it each node has. What
    /// does not move any more holds nothing, and is not gone on with.
    pub(in crate::raft) fn hold(&self, upto: u64, matched: &BTreeMap<NodeId, u64>) -> u64 {
        let mut sendings = self.by_receiver.lock();
        for (to, sending) in sendings.iter_mut().filter(|(_, s)| s.installed) {
            let matched = matched.get(to).copied().unwrap_or_default();
            if matched > sending.reached {
                (sending.reached, sending.moved) = (matched, Instant::now());
            }
        }
        sendings.retain(|_, sending| {
            let needs_no_more = sending.installed && sending.reached >= upto;
            sending.is_moving() && !needs_no_more
        });
        let reached = sendings.values().map(|sending| sending.reached);
        reached.fold(upto, u64::min)
    }
}

impl Sending {
    fn is_moving(&self) -> bool {
        self.moved.elapsed() < SNAPSHOT_HOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::snapshot::SnapshotStore;
    use crate::raft::types::{SnapshotMeta, StoredMembership, log_id};

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_is_finished_and_keeps_its_log_while_it_moves() {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path().to_owned()).unwrap();
        let made = |index| {
            let meta = SnapshotMeta {
                last_log_id: Some(log_id(1, index)),
                last_membership: StoredMembership::default(),
            };
            store.begin(meta).unwrap().finish().unwrap()
        };
        let sendings = Sendings::default();
        let index = |file: Option<SnapshotFile>| file.map(|f| f.meta.last_log_id.unwrap().index);
        let none = BTreeMap::new();
        let state = || (index(sendings.oldest()), sendings.hold(90, &none));
        assert_eq!(state(), (None, 90));
        let (older, newer) = (made(5), made(7));
        sendings.began(2, &newer);
        sendings.began(3, &older);
        assert_eq!(state(), (Some(5), 5));
        assert_eq!(sendings.hold(4, &none), 4);

        // Attempts alone hold nothing for ever: the receiver may be gone.
        tokio::time::advance(SNAPSHOT_HOLD / 2).await;
        sendings.moved(2, 1);
        sendings.began(3, &older);
        tokio::time::advance(SNAPSHOT_HOLD / 2).await;
        assert_eq!(state(), (Some(7), 7));

        // Who has installed it needs the log behind it, as long as it takes that.
        sendings.installed(2);
        assert_eq!(state(), (None, 7));
        for matched in [20, 40, 60] {
            tokio::time::advance(SNAPSHOT_HOLD * 2 / 3).await;
            assert_eq!(sendings.hold(90, &BTreeMap::from([(2, matched)])), matched);
        }
        assert_eq!(sendings.hold(60, &none), 60);
        assert_eq!(state(), (None, 90));
        sendings.began(2, &newer);
        sendings.ended(2);
        assert_eq!(state(), (None, 90));
    }
}
