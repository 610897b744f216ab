//! The receiver of a snapshot: one call. What it has received stays when the call ends early.

use std::sync::Arc;

use futures_util::{Stream, stream};
use roomcast_proto::peer as pb;
use roomcast_proto::peer::snapshot_request::Step;
use roomcast_proto::peer::snapshot_response::Step as Answer;
use tonic::{Status, Streaming};
use xxhash_rust::xxh3::xxh3_64;

use super::arriving::{Offered, Ticket};
use crate::ids::NodeId;
use crate::raft::convert::{snapshot_meta_from_wire, vote_from_wire, vote_to_wire};
use crate::raft::group::Group;
use crate::raft::state_machine::blocking;
use crate::raft::types::{LogId, Vote};
use crate::wal::Space;

/// A snapshot as it comes in.
pub(in crate::raft) struct Incoming {
    group: Arc<Group>,
    /// The sender's.
    vote: Vote,
    requests: Streaming<pb::SnapshotRequest>,
    stage: Stage,
}

/// What is answered next.
enum Stage {
    /// Everything up to here is here already.
    Known(Option<LogId>),
    /// How much of it is here; the first answer is due.
    Offered(Ticket, u64, u64),
    /// Of how many bytes these are here and answered.
    Receiving(Ticket, u64, u64),
}

impl Incoming {
    /// Takes an offer.
    pub(in crate::raft) async fn begin(
        from: NodeId,
        group: &Arc<Group>,
        offer: pb::SnapshotOffer,
        requests: Streaming<pb::SnapshotRequest>,
    ) -> Result<Self, Status> {
        let vote = vote_from_wire(offer.vote)?;
        let missing = || Status::invalid_argument("meta data is missing");
        let meta = snapshot_meta_from_wire(offer.meta.ok_or_else(missing)?)?;
        let last = meta.last_log_id.map_or(0, |id| id.index);
        let stage = if last <= group.applied() {
            // An earlier call ended while it was being installed.
            Stage::Known(meta.last_log_id)
        } else if group.wal.space() == Space::Exhausted {
            return Err(Status::resource_exhausted(
                "this node's disk is nearly full",
            ));
        } else {
            let offered = Offered {
                meta,
                len: offer.length,
                checksum: offer.checksum,
            };
            let arriving = group.arriving.clone();
            let (ticket, received) = blocking(move || arriving.begin(offered))
                .await
                .map_err(disk)?;
            let (length, group) = (offer.length, group.id);
            tracing::info!(from, group, last, received, length, "receiving a snapshot");
            Stage::Offered(ticket, received, length)
        };
        Ok(Self {
            group: Arc::clone(group),
            vote,
            requests,
            stage,
        })
    }

    /// The answers, to the offer and to every chunk; the last one when it is installed.
    pub(in crate::raft) fn answers(
        self,
    ) -> impl Stream<Item = Result<pb::SnapshotResponse, Status>> {
        stream::unfold(Some(self), |incoming| async {
            let mut incoming = incoming?;
            let answer = incoming.answer().await;
            let goes_on = matches!(answer, Ok(Answer::Received(_)));
            let answer = answer.map(|step| pb::SnapshotResponse { step: Some(step) });
            Some((answer, goes_on.then_some(incoming)))
        })
    }

    async fn answer(&mut self) -> Result<Answer, Status> {
        let (ticket, received, length) = match self.stage {
            Stage::Known(last) => {
                let vote = self.group.commit(self.vote, last).await;
                let vote = vote.map_err(Status::unavailable)?;
                let vote = vote.ok_or_else(|| Status::aborted("another log's snapshot"))?;
                return Ok(Answer::Installed(vote_to_wire(&vote)));
            }
            Stage::Offered(ticket, received, length) => {
                self.stage = Stage::Receiving(ticket, received, length);
                return Ok(Answer::Received(received));
            }
            Stage::Receiving(ticket, received, length) => (ticket, received, length),
        };
        if received == length {
            return self.install(ticket).await;
        }
        let request = self.requests.message().await?;
        let Some(Step::Chunk(chunk)) = request.and_then(|request| request.step) else {
            return Err(Status::aborted("the snapshot ended early"));
        };
        if chunk.checksum != xxh3_64(&chunk.data) {
            return Err(Status::data_loss("a damaged piece of a snapshot"));
        }
        let arriving = self.group.arriving.clone();
        let added = blocking(move || arriving.add(ticket, chunk.offset, &chunk.data));
        let received = added.await.map_err(disk)?;
        self.stage = Stage::Receiving(ticket, received, length);
        Ok(Answer::Received(received))
    }

    async fn install(&self, ticket: Ticket) -> Result<Answer, Status> {
        let arriving = self.group.arriving.clone();
        let file = blocking(move || arriving.complete(ticket)).await;
        let file = file.map_err(disk)?;
        let answer = self.group.install(self.vote, file).await;
        let answer = answer.map_err(Status::unavailable)?;
        Ok(Answer::Installed(vote_to_wire(&answer)))
    }
}

fn disk(error: std::io::Error) -> Status {
    Status::internal(format!("snapshot not received: {error}"))
}
