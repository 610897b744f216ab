//! The client side of Raft: openraft's network traits over tonic. Appends run pipelined on one
//! stream per peer and group; heartbeats, votes and snapshots have connections of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream as RaftStream};
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_client::PeerClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::convert::{
    append_to_wire, log_id_to_wire, outcome_from_wire, vote_response_from_wire, vote_to_wire,
};
use super::peers::{Class, Peers};
use super::settings::APPEND_TIMEOUT;
use super::snapshot::SnapshotFile;
use super::state_machine::MachineSnapshot;
use super::transfer::{Outgoing, Sendings};
use super::types::{PeerNode, RpcError, TypeConfig, Vote};
use crate::ids::{GroupId, NodeId};

/// Makes the clients of one group.
pub(crate) struct Network {
    /// The other nodes.
    pub(crate) peers: Arc<Peers>,
    /// The group.
    pub(crate) group: GroupId,
    /// Deadline of a vote: shorter than the shortest election timeout, or elections never end.
    pub(crate) vote_timeout: Duration,
    /// The group's snapshots on their way.
    pub(crate) sendings: Arc<Sendings>,
}

/// One group's client to one node.
pub(crate) struct Link {
    /// The other nodes.
    peers: Arc<Peers>,
    /// The group.
    group: GroupId,
    /// The node.
    target: NodeId,
    /// Whose connection appends use.
    class: Class,
    /// See [`Network::vote_timeout`].
    vote_timeout: Duration,
    /// See [`Network::sendings`].
    sendings: Arc<Sendings>,
}

impl Network {
    fn link(&self, target: NodeId, node: &PeerNode, class: Class) -> Link {
        self.peers.learn(target, &node.address);
        Link {
            peers: self.peers.clone(),
            group: self.group,
            target,
            class,
            vote_timeout: self.vote_timeout,
            sendings: self.sendings.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &PeerNode) -> Link {
        self.link(target, node, Class::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &PeerNode) -> Link {
        self.link(target, node, Class::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &PeerNode) -> Link {
        self.link(target, node, Class::Bulk)
    }
}

impl Link {
    fn client(&self, class: Class) -> Result<PeerClient<Channel>, Status> {
        let unknown = || Status::unavailable(format!("node {} has no address", self.target));
        self.peers.client(self.target, class).ok_or_else(unknown)
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let message = pb::VoteRequest {
            header: Some(self.peers.header(self.target)),
            group: self.group,
            vote: Some(vote_to_wire(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: request.leadership_transfer,
            pre_vote,
        };
        let answer = async { self.client(Class::Control)?.vote(message).await };
        let answer = tokio::time::timeout(self.vote_timeout, answer).await;
        let answer = answer.map_err(|_| unreachable("no answer to a vote in time"))?;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        vote_response_from_wire(&answer).map_err(|status| self.failed(&status))
    }

    /// A refusal means that something is set up wrongly, and is worth an operator's attention.
    fn failed(&self, status: &Status) -> RpcError {
        if status.code() == Code::FailedPrecondition {
            tracing::error!(
                node = self.target,
                group = self.group,
                reason = status.message(),
                "a peer refuses this node's messages",
            );
        }
        unreachable(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// Openraft waits before it tries again.
fn unreachable(reason: impl ToString) -> RpcError {
    RpcError::Unreachable(Unreachable::from_string(reason))
}

impl NetBackoff<TypeConfig> for Link {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetVote<TypeConfig> for Link {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(request, true).await
    }
}

impl NetTransferLeader<TypeConfig> for Link {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let message = pb::TransferLeaderRequest {
            header: Some(self.peers.header(self.target)),
            group: self.group,
            from_leader: Some(vote_to_wire(request.from_leader())),
            to_node: *request.to_node_id(),
            last_log_id: request.last_log_id().map(log_id_to_wire),
        };
        let answer = async { self.client(Class::Control)?.transfer_leader(message).await };
        let answer = tokio::time::timeout(APPEND_TIMEOUT, answer).await;
        let answer = answer.map_err(|_| unreachable("no answer to a transfer in time"))?;
        answer
            .map(|_| Ok(()))
            .map_err(|status| self.failed(&status))
    }
}

/// What is unanswered on an append stream. Its deadline runs from the last sign of life, and only
/// while something is unanswered: an idle stream stays open.
#[derive(Debug)]
struct Pace {
    /// Sent, answered, and when either last moved from or towards "all answered".
    state: Mutex<(u64, u64, Instant)>,
}

impl Pace {
    fn new() -> Self {
        Self {
            state: Mutex::new((0, 0, Instant::now())),
        }
    }

    fn sent(&self) {
        let mut state = self.state.lock();
        if state.0 == state.1 {
            state.2 = Instant::now();
        }
        state.0 += 1;
    }

    fn answered(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        state.2 = Instant::now();
    }

    fn is_late(&self) -> bool {
        let state = self.state.lock();
        state.0 > state.1 && state.2.elapsed() > APPEND_TIMEOUT
    }

    /// Waits for the peer; `None` when it is late.
    async fn wait<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        loop {
            match tokio::time::timeout(APPEND_TIMEOUT / 4, answer.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.is_late() => return None,
                Err(_) => {}
            }
        }
    }
}

type AppendResult = Result<StreamAppendResult<TypeConfig>, RpcError>;

impl Link {
    async fn open_append<'s, S>(&'s self, input: S) -> Result<BoxStream<'s, AppendResult>, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let pace = Arc::new(Pace::new());
        let (header, group) = (self.peers.header(self.target), self.group);
        let sender = pace.clone();
        // Openraft waits out its backoff when it makes a request. A node that is gone refuses the
        // call before it reads one, so without this look the backoff would never be waited for.
        let mut input = input.peekable();
        if Pin::new(&mut input).peek().await.is_none() {
            return Ok(stream::empty().boxed());
        }
        let requests = input.map(move |request| {
            sender.sent();
            append_to_wire(header.clone(), group, &request)
        });
        let mut client = self
            .client(self.class)
            .map_err(|status| self.failed(&status))?;
        let opened = pace.wait(client.append(requests)).await;
        let opened = opened.ok_or_else(|| unreachable("no answer to an append in time"))?;
        let answers = opened.map_err(|status| self.failed(&status))?.into_inner();
        let answers = stream::unfold(Some(answers), move |answers| {
            let pace = pace.clone();
            async move {
                let mut answers = answers?;
                let answer = self.next_answer(&mut answers, &pace).await?;
                let rest = matches!(answer, Ok(Ok(_))).then_some(answers);
                Some((answer, rest))
            }
        });
        Ok(answers.boxed())
    }

    async fn next_answer(
        &self,
        answers: &mut Streaming<pb::AppendResponse>,
        pace: &Pace,
    ) -> Option<AppendResult> {
        let Some(answer) = pace.wait(answers.message()).await else {
            return Some(Err(unreachable("no answer to an append in time")));
        };
        match answer {
            Ok(None) => None,
            Ok(Some(answer)) => {
                pace.answered();
                Some(outcome_from_wire(&answer).map_err(|status| self.failed(&status)))
            }
            Err(status) => Some(Err(self.failed(&status))),
        }
    }
}

impl NetStreamAppend<TypeConfig> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<RaftStream<'s, AppendResult>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let answers: RaftStream<'s, AppendResult> = self.open_append(input).await?;
            Ok(answers)
        })
    }
}

impl NetSnapshot<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: MachineSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unreachable = |reason: String| Unreachable::<TypeConfig>::from_string(reason);
        let client = self.client(Class::Bulk);
        let outgoing = Outgoing {
            client: client.map_err(|status| unreachable(status.to_string()))?,
            peers: self.peers.clone(),
            target: self.target,
            group: self.group,
            vote,
            file: snapshot.snapshot,
            sendings: self.sendings.clone(),
            install_timeout: option.hard_ttl(),
        };
        let answer = tokio::select! {
            biased;
            closed = cancel => {
                self.sendings.ended(self.target);
                return Err(closed.into());
            }
            answer = outgoing.send() => answer,
        };
        match answer {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            // Openraft waits a moment and calls again; the receiver has kept what it has.
            Err(status) => {
                let reason = format!("{:?}: {}", status.code(), status.message());
                tracing::debug!(
                    node = self.target,
                    group = self.group,
                    reason,
                    "the transfer of a snapshot broke"
                );
                Err(unreachable(reason).into())
            }
        }
    }
}
