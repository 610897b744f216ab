//! Calls to programs outside the cluster that serve namespaces, between nodes: routing and bytes.
//! What they mean is a floor's above, which answers through [`BackendPeers`].

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use roomcast_proto::peer::{BackendRequest, BackendResponse, BackendsList, BackendsSeen};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::groups::Adapter;
use crate::ids::NodeId;
use crate::raft::{BackendStream, BackendsStream};

/// Who answers other nodes about the backends here; set by the floor above.
#[async_trait]
pub(crate) trait BackendPeers: Send + Sync + 'static {
    /// A node follows the list of the backends here, and says which version it has.
    async fn follow(
        self: Arc<Self>,
        from: NodeId,
        seen: BoxStream<'static, Result<BackendsSeen, Status>>,
    ) -> Result<BackendsStream, Status>;
    /// A node has calls for a backend here.
    async fn serve(
        self: Arc<Self>,
        from: NodeId,
        backend_id: String,
        steps: BoxStream<'static, Result<BackendRequest, Status>>,
    ) -> Result<BackendStream, Status>;
}

/// Set once, when the node serves.
#[derive(Default)]
pub(super) struct BackendDoor(OnceLock<Arc<dyn BackendPeers>>);

impl std::fmt::Debug for BackendDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.0.get().is_some();
        f.debug_tuple("BackendDoor").field(&open).finish()
    }
}

impl BackendDoor {
    pub(super) fn get(&self) -> Result<Arc<dyn BackendPeers>, Status> {
        let peers = self.0.get().map(Arc::clone);
        peers.ok_or_else(|| Status::unavailable("this node is starting"))
    }

    pub(super) fn open(&self, peers: Arc<dyn BackendPeers>) {
        if self.0.set(peers).is_err() {
            tracing::error!("backends are served twice");
        }
    }
}

impl Adapter {
    /// From now on other nodes learn of the backends here, and reach them.
    pub(crate) fn serve_backends(&self, peers: Arc<dyn BackendPeers>) {
        self.backend_door().open(peers);
    }

    /// The other members of the cluster.
    pub(crate) fn other_nodes(&self) -> Vec<NodeId> {
        let own = self.consensus().node_id();
        let members = self.consensus().members().into_iter().map(|peer| peer.id);
        members.filter(|id| *id != own).collect()
    }

    /// Follows the backends at another node; versions that were taken in go into `seen`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub(crate) async fn follow_backends(
        &self,
        node: NodeId,
        seen: mpsc::Receiver<u64>,
    ) -> Result<Streaming<BackendsList>, Status> {
        let mut client = self.backend_client(node)?;
        let first = BackendsSeen {
            header: Some(self.consensus().header(node)),
            version: 0,
        };
        let later = ReceiverStream::new(seen).map(|version| BackendsSeen {
            header: None,
            version,
        });
        let seen = stream::once(async { first }).chain(later);
        client.backends(seen).await.map(tonic::Response::into_inner)
    }

    /// Opens the way to a backend at another node.
    ///
    /// # Errors
    /// When the node does not answer, or has no such backend.
    pub(crate) async fn reach_backend(
        &self,
        node: NodeId,
        backend_id: String,
        steps: impl futures_util::Stream<Item = BackendRequest> + Send + 'static,
    ) -> Result<Streaming<BackendResponse>, Status> {
        let mut client = self.backend_client(node)?;
        let first = BackendRequest {
            header: Some(self.consensus().header(node)),
            backend_id,
            step: None,
        };
        let steps = stream::once(async { first }).chain(steps);
        let answers = client.serve_backend(steps).await?;
        Ok(answers.into_inner())
    }

    fn backend_client(
        &self,
        node: NodeId,
    ) -> Result<roomcast_proto::peer::peer_client::PeerClient<tonic::transport::Channel>, Status>
    {
        let client = self.consensus().backend_client(node);
        client.ok_or_else(|| Status::not_found("no address of that node is known"))
    }
}
