//! The side of the node where the WebSocket landed.

use async_trait::async_trait;
use roomcast_proto::peer::{UpgradeRequest, UpgradeResponse, upgrade_request, upgrade_response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{carry_both, from_wire, read_outcome, send_bytes, write_bytes};
use crate::engine::moving::{Carried, OwnerLost, RemoteSession, Taken};
use crate::engine::{RequestError, Sid};
use crate::raft::Consensus;
use crate::{limits, metrics};

/// An upgrade under way with the session's owner.
struct Upgrade {
    steps: mpsc::Sender<UpgradeRequest>,
    answers: Streaming<UpgradeResponse>,
    /// One of the forwarded requests under way.
    _place: OwnedSemaphorePermit,
}

/// Asks the owner of `sid` for its session.
pub(in crate::adapter) async fn begin(
    consensus: &Consensus,
    sid: Sid,
    place: OwnedSemaphorePermit,
) -> Result<Box<dyn RemoteSession>, RequestError> {
    let owner = sid.node();
    let client = consensus.forward_client(owner);
    let mut client = client.ok_or(RequestError::Unknown)?;
    let (steps, taken) = mpsc::channel(limits::UPGRADE_QUEUE_MAX);
    let first = UpgradeRequest {
        header: Some(consensus.header(owner)),
        sid: sid.reveal(),
        step: None,
    };
    steps.try_send(first).expect("an empty queue takes one");
    let beginning = async {
        let answers = client.upgrade(ReceiverStream::new(taken)).await?;
        let mut answers = answers.into_inner();
        let begun = answers.message().await?;
        Ok::<_, tonic::Status>((answers, begun))
    };
    let (answers, begun) = match timeout(limits::UPGRADE_BEGIN_DEADLINE, beginning).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(status)) => {
            tracing::debug!(owner, %status, "a session's owner did not answer");
            return Err(RequestError::Unknown);
        }
        Err(_) => return Err(RequestError::Unknown),
    };
    match begun.and_then(|response| response.step) {
        Some(upgrade_response::Step::Begun(outcome)) => {
            read_outcome(outcome.try_into().unwrap_or_default())?;
        }
        _ => return Err(RequestError::Unknown),
    }
    Ok(Box::new(Upgrade {
        steps,
        answers,
        _place: place,
    }))
}

impl Upgrade {
    async fn say(&self, step: upgrade_request::Step) -> Result<(), OwnerLost> {
        let said = self.steps.send(request(step)).await;
        said.map_err(|_| OwnerLost)
    }

    async fn next(&mut self) -> Result<upgrade_response::Step, OwnerLost> {
        let message = self.answers.message().await.map_err(|_| OwnerLost)?;
        message.and_then(|m| m.step).ok_or(OwnerLost)
    }
}

#[async_trait]
impl RemoteSession for Upgrade {
    async fn probed(&mut self) -> Result<(), OwnerLost> {
        self.say(upgrade_request::Step::Probed(true)).await
    }

    async fn confirmed(&mut self) -> Result<Taken, OwnerLost> {
        self.say(upgrade_request::Step::Confirmed(true)).await?;
        let (taken, result) = match self.next().await {
            Ok(upgrade_response::Step::Moved(session)) => {
                (Ok(Taken::Session(from_wire(session))), "moved")
            }
            Ok(upgrade_response::Step::Carried(_)) => (Ok(Taken::Bytes), "carried"),
            _ => (Err(OwnerLost), "lost"),
        };
        metrics::forwarded_upgrades(result).increment(1);
        taken
    }

    async fn in_place(self: Box<Self>) {
        let Ok(()) = self.say(upgrade_request::Step::Taken(true)).await else {
            return tracing::debug!("the owner of a moved session is gone");
        };
        // Until the owner has read it: ending the stream before would take it back.
        let Self { mut answers, .. } = *self;
        if let Ok(Some(_)) = answers.message().await {
            tracing::debug!("an owner went on about a session it gave up");
        }
    }

    async fn carry(self: Box<Self>, client: Carried) {
        let Self { steps, answers, .. } = *self;
        let data = |bytes| request(upgrade_request::Step::Data(bytes));
        let to_owner = async {
            if client.received.is_empty() || steps.send(data(client.received)).await.is_ok() {
                send_bytes(client.read, &steps, data).await;
            }
            drop(steps);
        };
        let pieces = answers.map_while(|answer| match answer.ok()?.step? {
            upgrade_response::Step::Data(bytes) => Some(bytes),
            _ => None,
        });
        let to_client = write_bytes(client.write, pieces);
        carry_both(to_owner, to_client).await;
    }
}

fn request(step: upgrade_request::Step) -> UpgradeRequest {
    UpgradeRequest {
        step: Some(step),
        ..UpgradeRequest::default()
    }
}
