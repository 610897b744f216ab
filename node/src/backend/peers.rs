//! The door of other nodes: the list of the backends here, and calls to one of them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use prost::Message as _;
use roomcast_proto::api::{FromBackend, ToBackend, from_backend, to_backend};
use roomcast_proto::peer::{
    BackendLost, BackendRequest, BackendResponse, BackendsSeen, backend_request, backend_response,
};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::hub::Hub;
use super::registry::Way;
use super::routes::{Replies, Reply, What};
use super::stream::BackendStream;
use super::tunnel::renumbered;
use crate::adapter::BackendPeers;
use crate::ids::NodeId;
use crate::{limits, raft};

#[async_trait]
impl BackendPeers for Hub {
    async fn follow(
        self: Arc<Self>,
        from: NodeId,
        seen: BoxStream<'static, Result<BackendsSeen, Status>>,
    ) -> Result<raft::BackendsStream, Status> {
        Ok(self.announcement.follow(from, seen))
    }

    async fn serve(
        self: Arc<Self>,
        from: NodeId,
        backend_id: String,
        steps: BoxStream<'static, Result<BackendRequest, Status>>,
    ) -> Result<raft::BackendStream, Status> {
        let backends = self.registry.at(self.node());
        let backend = backends.iter().find(|backend| backend.id == backend_id);
        let backend = backend.ok_or_else(|| Status::not_found("there is no such backend here"))?;
        let Way::Here(stream) = &backend.way else {
            return Err(Status::internal("a backend of this node is elsewhere"));
        };
        let (replies, came) = mpsc::channel(limits::BACKEND_QUEUE_MAX);
        let calls = Arc::new(Calls {
            stream: Arc::clone(stream),
            open: Mutex::default(),
        });
        tracing::debug!(from, backend = backend.id, "a node has calls for a backend");
        self.tunnels.spawn(take(Arc::clone(&calls), replies, steps));
        let said = ReceiverStream::new(came).map(move |reply| Ok(calls.response(reply)));
        Ok(said.boxed())
    }
}

/// The calls of one node to one backend, by that node's numbers.
struct Calls {
    stream: Arc<BackendStream>,
    open: Mutex<HashMap<u64, Option<u64>>>,
}

impl Calls {
    /// What the other node is told; a call that has ended is forgotten.
    fn response(&self, reply: Reply) -> BackendResponse {
        let Reply { call, what } = reply;
        if !matches!(&what, What::Message(from_backend::Message::Operation(_))) {
            self.open.lock().remove(&call);
        }
        let step = match what {
            What::Message(message) => {
                let message = FromBackend {
                    message: Some(renumbered(message, call)),
                };
                backend_response::Step::Message(message.encode_to_vec().into())
            }
            What::Overloaded => backend_response::Step::Overloaded(call),
            What::Lost { written } => backend_response::Step::Lost(BackendLost { call, written }),
        };
        BackendResponse { step: Some(step) }
    }

    /// Opens a call: in a task of its own, for the window may be full.
    async fn open(self: Arc<Self>, message: to_backend::Message, call: u64, replies: Replies) {
        let opened = self.stream.open(message, call, replies.clone()).await;
        match opened {
            Ok(number) => {
                let known = self
                    .open
                    .lock()
                    .get_mut(&call)
                    .map(|known| *known = Some(number));
                if known.is_none() {
                    // Its node has given it up meanwhile, or it is done already.
                    self.stream.close(number);
                }
            }
            Err(unopened) => {
                let what = unopened.into();
                if replies.send(Reply { call, what }).await.is_err() {
                    tracing::trace!(call, "nobody waits for a call that was not opened");
                }
            }
        }
    }

    fn close(&self, call: u64) {
        if let Some(Some(number)) = self.open.lock().remove(&call) {
            self.stream.close(number);
        }
    }

    fn close_all(&self) {
        let open: Vec<u64> = self
            .open
            .lock()
            .drain()
            .filter_map(|(_, number)| number)
            .collect();
        for number in open {
            self.stream.close(number);
        }
    }
}

/// Takes what the other node sends, until it has heard that the backend is gone: what it sends
/// before that is answered as surely not read.
async fn take(
    calls: Arc<Calls>,
    replies: Replies,
    mut steps: BoxStream<'static, Result<BackendRequest, Status>>,
) {
    let stream = Arc::clone(&calls.stream);
    let mut over = pin!(async {
        stream.ended().await;
        sleep(limits::BACKEND_DRAIN_DEADLINE).await;
    });
    loop {
        let step = tokio::select! {
            biased;
            () = &mut over => break,
            step = steps.next() => step,
        };
        let Some(Ok(step)) = step else { break };
        match step.step {
            Some(backend_request::Step::Message(message)) => {
                let Ok(ToBackend { call, message }) = ToBackend::decode(message) else {
                    break;
                };
                match message {
                    Some(to_backend::Message::Result(outcome)) => {
                        calls.stream.outcome(outcome).await;
                    }
                    Some(message) => {
                        calls.open.lock().insert(call, None);
                        tokio::spawn(Arc::clone(&calls).open(message, call, replies.clone()));
                    }
                    None => break,
                }
            }
            Some(backend_request::Step::Closed(call)) => calls.close(call),
            None => {}
        }
    }
    calls.close_all();
}
