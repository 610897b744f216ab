//! The server side of the peer port. Checks the header of every message, hands Raft's messages to
//! their group and the rest to the [`PeerHandler`]. Served from before this node has a cluster.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming};

use super::api::{BackendStream, BackendsStream, PeerHandler, ProposeStream, UpgradeStream};
use super::convert::{
    append_from_wire, entry_to_wire, outcome_to_wire, transfer_from_wire, vote_request_from_wire,
    vote_response_to_wire,
};
use super::group::Group;
use super::peers::Peers;
use super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES};
use super::transfer::Incoming;
use crate::ids::{GroupId, NodeId};
use crate::wal::Space;

/// What this node is, as others may ask; shared by founding, service and the handle.
pub(crate) struct Local {
    /// The other nodes, and our cluster's id.
    pub(crate) peers: Arc<Peers>,
    /// `--initial-cluster` in canonical form.
    pub(crate) initial_cluster: String,
    /// Stage, and number of groups.
    pub(crate) standing: Mutex<(pb::Stage, u32)>,
    /// Founding members; known before a group is, and never forgotten: a removed id is not used
    /// again.
    pub(crate) founders: OnceLock<Vec<NodeId>>,
    /// Set once all groups have started.
    pub(crate) groups: OnceLock<Vec<Arc<Group>>>,
}

impl Local {
    /// A started group.
    pub(crate) fn group(&self, id: GroupId) -> Result<&Arc<Group>, Status> {
        let groups = self
            .groups
            .get()
            .ok_or_else(|| Status::unavailable("starting"))?;
        let unknown = || Status::invalid_argument(format!("there is no group {id}"));
        groups.get(id as usize).ok_or_else(unknown)
    }

    /// Whether a node is a member, and whether this one leads the first group. A member that has
    /// not read its log yet does not say no.
    fn knows(&self, node: NodeId, stage: pb::Stage) -> Result<(bool, bool), Status> {
        if self
            .founders
            .get()
            .is_some_and(|founders| founders.contains(&node))
        {
            return Ok((true, false));
        }
        let Some(groups) = self.groups.get() else {
            return match stage {
                pb::Stage::Member => Err(Status::unavailable("starting")),
                pb::Stage::Empty | pb::Stage::Ready => Ok((false, false)),
            };
        };
        let mut members = groups.iter().flat_map(|group| group.members());
        let known = members.any(|(id, _)| id == node);
        Ok((
            known,
            groups.first().is_some_and(|group| group.status().leading),
        ))
    }
}

/// The service.
pub(crate) struct Service {
    /// This node.
    pub(crate) local: Arc<Local>,
    /// The floors above.
    pub(crate) handler: Arc<dyn PeerHandler>,
}

/// Messages whose header is required and checked.
trait Headed {
    fn header(&self) -> Option<&pb::Header>;
}

macro_rules! headed {
    ($($message:ident),*) => {
        $(impl Headed for pb::$message {
            fn header(&self) -> Option<&pb::Header> {
                self.header.as_ref()
            }
        })*
    };
}
headed!(
    AppendRequest,
    VoteRequest,
    SnapshotOffer,
    TransferLeaderRequest,
    ProposeRequest,
    RenewRequest,
    ReadEntriesRequest,
    RelayRequest,
    ForwardRequest,
    UpgradeRequest,
    BackendsSeen,
    BackendRequest
);

impl Service {
    fn check(&self, message: &impl Headed) -> Result<NodeId, Status> {
        self.local.peers.check(message.header())
    }

    /// The first message of a stream, which carries the header, and the rest.
    async fn open<M: Headed>(
        &self,
        request: Request<Streaming<M>>,
    ) -> Result<(NodeId, M, Streaming<M>), Status> {
        let mut rest = request.into_inner();
        let first = rest.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        Ok((self.check(&first)?, first, rest))
    }
}

/// Ends a stream of requests at its first fault, which the stream of answers then ends with.
type Fault = Arc<Mutex<Option<Status>>>;

fn kept<T>(fault: &Fault, item: Result<T, Status>) -> Option<T> {
    item.map_err(|status| *fault.lock() = Some(status)).ok()
}

#[async_trait]
impl Peer for Service {
    type AppendStream = BoxStream<'static, Result<pb::AppendResponse, Status>>;
    type ProposeStream = ProposeStream;
    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;
    type UpgradeStream = UpgradeStream;
    type BackendsStream = BackendsStream;
    type ServeBackendStream = BackendStream;

    async fn identify(
        &self,
        request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        let (stage, groups) = *self.local.standing.lock();
        let (knows_sender, leads) = self.local.knows(request.get_ref().from, stage)?;
        Ok(Response::new(pb::IdentifyResponse {
            node_id: self.local.peers.node_id,
            cluster_id: self.local.peers.cluster_id().to_owned(),
            initial_cluster: self.local.initial_cluster.clone(),
            knows_sender,
            stage: stage.into(),
            groups,
            leads,
        }))
    }

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (_, first, rest) = self.open(request).await?;
        let group = self.local.group(first.group)?.clone();
        let (peers, fault) = (self.local.peers.clone(), Fault::default());
        let (id, at_input, gate) = (group.id, fault.clone(), group.gate.clone());
        let wal = group.wal.clone();
        let requests = stream::once(async { Ok(first) }).chain(rest);
        let requests = tokio_stream::StreamExt::map_while(requests, move |item| {
            let request = item.and_then(|request: pb::AppendRequest| {
                peers.check(request.header())?;
                if request.group != id {
                    return Err(Status::invalid_argument("one stream, one group"));
                }
                if !request.entries.is_empty() && wal.space() == Space::Exhausted {
                    return Err(Status::resource_exhausted(
                        "this node's disk is nearly full",
                    ));
                }
                append_from_wire(request)
            });
            if let Ok(request) = &request {
                gate.heard(&request.vote, request.leader_commit.as_ref());
            }
            kept(&at_input, request)
        });
        let answers = group
            .raft
            .stream_append(requests)
            .map(|answer| match answer {
                Ok(outcome) => Ok(outcome_to_wire(outcome)),
                Err(fatal) => Err(Status::unavailable(fatal.to_string())),
            });
        let fault = stream::once(async move { fault.lock().take().map(Err) });
        Ok(Response::new(
            answers.chain(fault.filter_map(std::future::ready)).boxed(),
        ))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let message = request.into_inner();
        self.check(&message)?;
        let group = self.local.group(message.group)?;
        if group.gate.is_closed() {
            return Err(Status::unavailable(
                "this node may lack acknowledged entries",
            ));
        }
        let request = vote_request_from_wire(&message)?;
        let answer = match message.pre_vote {
            true => group.raft.pre_vote(request).await,
            false => group.raft.vote(request).await,
        };
        let answer = answer.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(Response::new(vote_response_to_wire(&answer)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotRequest>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.step);
        let Some(pb::snapshot_request::Step::Offer(offer)) = first else {
            return Err(Status::invalid_argument("a snapshot begins with its offer"));
        };
        let from = self.check(&offer)?;
        let group = self.local.group(offer.group)?;
        let incoming = Incoming::begin(from, group, offer, requests).await?;
        Ok(Response::new(incoming.answers().boxed()))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let message = request.into_inner();
        self.check(&message)?;
        let group = self.local.group(message.group)?;
        let request = transfer_from_wire(&message)?;
        let answer = group.raft.handle_transfer_leader(request).await;
        let answer = answer.map_err(|e| Status::unavailable(e.to_string()))?;
        // Not ready for it (its log is behind): the old leader goes on.
        answer.map_err(|e| Status::aborted(e.to_string()))?;
        Ok(Response::new(pb::TransferLeaderResponse {}))
    }

    async fn propose(
        &self,
        request: Request<Streaming<pb::ProposeRequest>>,
    ) -> Result<Response<ProposeStream>, Status> {
        let (from, first, rest) = self.open(request).await?;
        let group = self.local.group(first.group)?.id;
        let proposals = stream::once(async { Ok(first) }).chain(rest).boxed();
        self.handler
            .on_propose(from, group, proposals)
            .await
            .map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        let from = self.check(request.get_ref())?;
        self.handler
            .on_renew(from, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn read_entries(
        &self,
        request: Request<pb::ReadEntriesRequest>,
    ) -> Result<Response<pb::ReadEntriesResponse>, Status> {
        let message = request.into_inner();
        self.check(&message)?;
        let group = self.local.group(message.group)?;
        let bytes_max = match message.background {
            true => PAGE_BYTES,
            false => ENTRY_BYTES_MAX,
        };
        let read = group.read_some(message.indexes, bytes_max).await;
        let (entries, looked_at) = read.map_err(|e| Status::internal(e.to_string()))?;
        let entries: Vec<_> = entries.iter().map(entry_to_wire).collect();
        if message.background {
            let bytes = entries.iter().map(Message::encoded_len).sum();
            self.local.peers.bulk.take(bytes).await;
            crate::metrics::transfer_sent_bytes("history").increment(bytes as u64);
        }
        Ok(Response::new(pb::ReadEntriesResponse {
            entries,
            looked_at: u32::try_from(looked_at).unwrap_or(u32::MAX),
        }))
    }

    async fn relay(
        &self,
        request: Request<Streaming<pb::RelayRequest>>,
    ) -> Result<Response<pb::RelayResponse>, Status> {
        let (from, first, rest) = self.open(request).await?;
        let requests = stream::once(async { Ok(first) }).chain(rest).boxed();
        self.handler
            .on_relay(from, requests)
            .await
            .map(Response::new)
    }

    async fn forward(
        &self,
        request: Request<pb::ForwardRequest>,
    ) -> Result<Response<pb::ForwardResponse>, Status> {
        let from = self.check(request.get_ref())?;
        self.handler
            .on_forward(from, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn upgrade(
        &self,
        request: Request<Streaming<pb::UpgradeRequest>>,
    ) -> Result<Response<Self::UpgradeStream>, Status> {
        let (from, first, rest) = self.open(request).await?;
        self.handler
            .on_upgrade(from, first.sid, rest.boxed())
            .await
            .map(Response::new)
    }

    async fn backends(
        &self,
        request: Request<Streaming<pb::BackendsSeen>>,
    ) -> Result<Response<BackendsStream>, Status> {
        let (from, first, rest) = self.open(request).await?;
        let seen = stream::once(async { Ok(first) }).chain(rest).boxed();
        self.handler
            .on_backends(from, seen)
            .await
            .map(Response::new)
    }

    async fn serve_backend(
        &self,
        request: Request<Streaming<pb::BackendRequest>>,
    ) -> Result<Response<BackendStream>, Status> {
        let (from, first, rest) = self.open(request).await?;
        self.handler
            .on_serve_backend(from, first.backend_id, rest.boxed())
            .await
            .map(Response::new)
    }
}
