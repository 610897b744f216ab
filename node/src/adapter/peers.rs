//! What other nodes ask of this one, beside Raft: proposals, renewals, relayed events.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use prost::Message;
use roomcast_proto::command::{Batch, Command, command::Body};
use roomcast_proto::peer::{
    BackendRequest, BackendsSeen, Emit, ForwardRequest, ForwardResponse, Lease, ProposeRequest,
    ProposeResponse, RelayRequest, RelayResponse, RenewRequest, RenewResponse, UpgradeRequest,
    relay_request::Kind,
};
use tonic::Status;

use super::forward;
use super::groups::Adapter;
use super::requests::Answer;
use super::unlogged::Class;
use super::upgrade;
use crate::engine::Engine;
use crate::ids::{GroupId, NodeId, Position, SocketId};
use crate::raft::{
    BackendStream, BackendsStream, PeerHandler, ProposeError, ProposeStream, UpgradeStream,
};
use crate::state::{COMMAND_VERSION, Event};

/// See the module's text. Requests before the adapter has started are refused as unavailable.
#[derive(Debug)]
pub(crate) struct Peers {
    adapter: OnceLock<Weak<Adapter>>,
    engine: OnceLock<Weak<Engine>>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self {
            adapter: OnceLock::new(),
            engine: OnceLock::new(),
        }
    }

    /// From now on requests are answered.
    pub(crate) fn serve(&self, adapter: &Arc<Adapter>) {
        if self.adapter.set(Arc::downgrade(adapter)).is_err() {
            tracing::error!("peers are served twice");
        }
    }

    /// From now on requests for sessions are answered.
    pub(crate) fn serve_sessions(&self, engine: &Arc<Engine>) {
        if self.engine.set(Arc::downgrade(engine)).is_err() {
            tracing::error!("sessions are served twice");
        }
    }

    fn engine(&self) -> Result<Arc<Engine>, Status> {
        let engine = self.engine.get().and_then(Weak::upgrade);
        engine.ok_or_else(|| Status::unavailable("this node is starting"))
    }

    fn adapter(&self) -> Result<Arc<Adapter>, Status> {
        let adapter = self.adapter.get().and_then(Weak::upgrade);
        adapter.ok_or_else(|| Status::unavailable("this node is starting"))
    }
}

#[async_trait]
impl PeerHandler for Peers {
    async fn on_propose(
        &self,
        _from: NodeId,
        _group: GroupId,
        requests: BoxStream<'static, Result<ProposeRequest, Status>>,
    ) -> Result<ProposeStream, Status> {
        let adapter = self.adapter()?;
        // One at a time, in the order of the stream.
        let answers = requests.then(move |request| {
            let adapter = Arc::clone(&adapter);
            async move { propose(&adapter, request?).await }
        });
        Ok(answers.boxed())
    }

    async fn on_renew(
        &self,
        _from: NodeId,
        request: RenewRequest,
    ) -> Result<RenewResponse, Status> {
        let adapter = self.adapter()?;
        let renews = |lease: &Lease| {
            adapter
                .group(lease.group)
                .is_some_and(|group| group.leadership.renew(lease.incarnation))
        };
        Ok(RenewResponse {
            renewed: request.leases.into_iter().filter(renews).collect(),
        })
    }

    async fn on_relay(
        &self,
        from: NodeId,
        mut requests: BoxStream<'static, Result<RelayRequest, Status>>,
    ) -> Result<RelayResponse, Status> {
        let adapter = self.adapter()?;
        while let Some(request) = requests.next().await {
            match request?.kind {
                Some(Kind::Emit(emit)) => {
                    crate::metrics::relay_received("emit").increment(1);
                    if let Some(group) = adapter.group(emit.group) {
                        let class = if emit.volatile {
                            Class::Volatile
                        } else {
                            Class::Transient
                        };
                        group.emit(Arc::new(event(emit)), class);
                    }
                }
                Some(Kind::Answer(answer)) => {
                    crate::metrics::relay_received("answer").increment(1);
                    if let Ok(id) = <[u8; 16]>::try_from(answer.socket_id.as_ref()) {
                        let data = Answer {
                            data: answer.data,
                            attachments: answer.attachments,
                        };
                        adapter
                            .requests()
                            .answer(answer.request, SocketId(id), data);
                    }
                }
                Some(Kind::ServerEvent(event)) => {
                    crate::metrics::relay_received("server_event").increment(1);
                    adapter.server_event(from, event);
                }
                Some(Kind::ServerAnswer(answer)) => {
                    crate::metrics::relay_received("server_answer").increment(1);
                    let events = adapter.server_events();
                    events.answer(answer.request, from, answer.data);
                }
                None => {}
            }
        }
        Ok(RelayResponse {})
    }

    async fn on_forward(
        &self,
        _from: NodeId,
        request: ForwardRequest,
    ) -> Result<ForwardResponse, Status> {
        forward::answer(&*self.engine()?, request).await
    }

    async fn on_upgrade(
        &self,
        _from: NodeId,
        sid: String,
        steps: BoxStream<'static, Result<UpgradeRequest, Status>>,
    ) -> Result<UpgradeStream, Status> {
        upgrade::serve(&self.engine()?, &sid, steps)
    }

    async fn on_backends(
        &self,
        from: NodeId,
        seen: BoxStream<'static, Result<BackendsSeen, Status>>,
    ) -> Result<BackendsStream, Status> {
        let peers = self.adapter()?.backend_door().get()?;
        peers.follow(from, seen).await
    }

    async fn on_serve_backend(
        &self,
        from: NodeId,
        backend_id: String,
        steps: BoxStream<'static, Result<BackendRequest, Status>>,
    ) -> Result<BackendStream, Status> {
        let peers = self.adapter()?.backend_door().get()?;
        peers.serve(from, backend_id, steps).await
    }
}

async fn propose(adapter: &Adapter, request: ProposeRequest) -> Result<ProposeResponse, Status> {
    let group = adapter
        .group(request.group)
        .ok_or_else(|| Status::invalid_argument("no such group"))?;
    if !is_understood(&request.command) {
        // In the log it would stop every node.
        return Err(Status::invalid_argument("not a command of this version"));
    }
    let leader = match group.leadership.propose(&request.command).await {
        Ok(()) => None,
        Err(ProposeError::NotLeader(leader)) => Some(leader.unwrap_or(0)),
        Err(ProposeError::TooLarge | ProposeError::Stopped) => Some(0),
    };
    Ok(ProposeResponse {
        sequence: request.sequence,
        accepted: leader.is_none(),
        leader: leader.unwrap_or(0),
    })
}

fn is_understood(command: &Bytes) -> bool {
    let Ok(command) = Command::decode(command.clone()) else {
        return false;
    };
    let known = command.version == COMMAND_VERSION;
    match command.body {
        None | Some(Body::Kept(_)) => false,
        Some(Body::Batch(batch)) => {
            let batch = Batch::decode(batch);
            known && batch.is_ok_and(|batch| batch.ops.iter().all(|op| op.kind.is_some()))
        }
        Some(_) => known,
    }
}

fn event(emit: Emit) -> Event {
    let rooms = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
    Event {
        position: Position::ZERO,
        namespace: emit.namespace.into(),
        rooms: rooms(emit.rooms),
        except: rooms(emit.except),
        event: emit.event,
        attachments: emit.attachments,
        wall_ms: 0,
        request: None,
    }
}
