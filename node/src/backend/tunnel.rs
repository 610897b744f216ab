//! The way to a backend whose stream ends at another node: one stream between the nodes for all
//! calls of this node's sockets. It is opened with the first call, and anew when it broke; it ends
//! when the backend is gone and no call is open.

use std::future::ready;
use std::sync::Arc;

use futures_util::StreamExt;
use prost::Message as _;
use roomcast_proto::api::{FromBackend, Result as Outcome, ToBackend, from_backend, to_backend};
use roomcast_proto::peer::{BackendRequest, BackendResponse, backend_request, backend_response};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::routes::{Replies, Reply, Routes, Unopened, What, is_told_anyway};
use crate::adapter::Adapter;
use crate::ids::NodeId;
use crate::limits;

/// A step on its way.
#[derive(Debug)]
struct Step {
    what: backend_request::Step,
    /// The call whose message it is; 0: none.
    call: u64,
    /// Sent though nobody may wait for it any more.
    anyway: bool,
}

impl Step {
    /// One that is no call's message.
    fn of_none(what: backend_request::Step) -> Self {
        let (call, anyway) = (0, true);
        Self { what, call, anyway }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Tunnel {
    node: NodeId,
    backend_id: String,
    /// The one that is open, or was last.
    open: tokio::sync::Mutex<Option<Arc<OpenTunnel>>>,
}

/// A stream to the other node.
#[derive(Debug)]
pub(super) struct OpenTunnel {
    steps: mpsc::Sender<Step>,
    routes: Arc<Routes>,
}

impl Tunnel {
    pub(super) fn new(node: NodeId, backend_id: String) -> Self {
        Self {
            node,
            backend_id,
            open: tokio::sync::Mutex::new(None),
        }
    }

    /// The stream, which is opened if there is none.
    pub(super) async fn stream(
        &self,
        adapter: &Adapter,
        gone: &CancellationToken,
    ) -> Result<Arc<OpenTunnel>, Unopened> {
        let mut open = self.open.lock().await;
        if let Some(known) = open.as_ref().filter(|known| !known.routes.has_ended()) {
            return Ok(Arc::clone(known));
        }
        let reached = OpenTunnel::reach(adapter, self.node, &self.backend_id, gone.clone());
        match timeout(limits::BACKEND_REACH_DEADLINE, reached).await {
            Ok(Ok(tunnel)) => {
                *open = Some(Arc::clone(&tunnel));
                Ok(tunnel)
            }
            Ok(Err(status)) => {
                tracing::debug!(node = self.node, %status, "a backend is not reached");
                Err(Unopened::Gone)
            }
            Err(_) => Err(Unopened::Gone),
        }
    }

    /// The outcome of an operation; lost with the stream over which the operation came.
    pub(super) async fn outcome(&self, outcome: Outcome) {
        let open = self.open.lock().await.clone();
        if let Some(open) = open {
            let message = ToBackend {
                call: 0,
                message: Some(to_backend::Message::Result(outcome)),
            };
            let step = backend_request::Step::Message(message.encode_to_vec().into());
            if open.steps.send(Step::of_none(step)).await.is_err() {
                tracing::debug!("an outcome for a backend that is gone");
            }
        }
    }
}

impl OpenTunnel {
    async fn reach(
        adapter: &Adapter,
        node: NodeId,
        backend: &str,
        gone: CancellationToken,
    ) -> Result<Arc<Self>, Status> {
        let (steps, taken) = mpsc::channel::<Step>(limits::BACKEND_QUEUE_MAX);
        let routes = Arc::new(Routes::default());
        let written = Arc::clone(&routes);
        let taken = ReceiverStream::new(taken).filter_map(move |step| {
            let goes = written.written(step.call) || step.anyway;
            ready(goes.then(|| BackendRequest {
                step: Some(step.what),
                ..BackendRequest::default()
            }))
        });
        let open = Arc::clone(&routes);
        let taken = taken.take_until(Box::pin(async move {
            gone.cancelled().await;
            open.idle().await;
        }));
        let answers = adapter.reach_backend(node, backend.to_owned(), taken);
        let answers = answers.await?;
        let tunnel = Arc::new(Self { steps, routes });
        tokio::spawn(read(answers, Arc::clone(&tunnel.routes)));
        Ok(tunnel)
    }

    pub(super) async fn open(
        &self,
        message: to_backend::Message,
        call: u64,
        replies: Replies,
    ) -> Result<u64, Unopened> {
        let room = self.steps.reserve().await.map_err(|_| Unopened::Gone)?;
        let number = self.routes.open(call, replies, None);
        let number = number.ok_or(Unopened::Gone)?;
        let anyway = is_told_anyway(&message);
        let message = ToBackend {
            call: number,
            message: Some(message),
        };
        room.send(Step {
            what: backend_request::Step::Message(message.encode_to_vec().into()),
            call: number,
            anyway,
        });
        Ok(number)
    }

    /// Nobody waits for the call any more: the other node frees its place. One that has ended is
    /// not spoken of.
    pub(super) fn close(&self, number: u64) {
        if self.routes.close(number).is_none() {
            return;
        }
        let steps = self.steps.clone();
        tokio::spawn(async move {
            let closed = backend_request::Step::Closed(number);
            if steps.send(Step::of_none(closed)).await.is_err() {
                tracing::trace!("a call's stream was gone before the call");
            }
        });
    }
}

/// Brings replies to whoever waits, until the stream ends; then what is open is lost.
async fn read(mut answers: Streaming<BackendResponse>, routes: Arc<Routes>) {
    loop {
        let step = match answers.message().await {
            Ok(Some(response)) => response.step,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(%status, "the way to a backend broke");
                break;
            }
        };
        let Some((number, what)) = step.and_then(reply) else {
            continue;
        };
        let goes_on = matches!(&what, What::Message(from_backend::Message::Operation(_)));
        let waiting = match goes_on {
            true => routes.waiting(number),
            false => routes.close(number),
        };
        if let Some((call, replies)) = waiting
            && replies.send(Reply { call, what }).await.is_err()
        {
            tracing::debug!(call, "an answer of a backend came too late");
        }
    }
    routes.end();
}

/// What another node says of a call.
fn reply(step: backend_response::Step) -> Option<(u64, What)> {
    match step {
        backend_response::Step::Message(message) => {
            let message = FromBackend::decode(message).ok()?.message?;
            Some((call_of(&message)?, What::Message(message)))
        }
        backend_response::Step::Lost(lost) => {
            let written = lost.written;
            Some((lost.call, What::Lost { written }))
        }
        backend_response::Step::Overloaded(call) => Some((call, What::Overloaded)),
    }
}

/// The call that a message of a backend is about; 0: none.
pub(super) fn call_of(message: &from_backend::Message) -> Option<u64> {
    match message {
        from_backend::Message::Admission(admission) => Some(admission.call),
        from_backend::Message::Done(done) => Some(done.call),
        from_backend::Message::Operation(operation) => Some(operation.call),
        from_backend::Message::Hello(_) | from_backend::Message::Goodbye(_) => None,
    }
}

/// The same message about the same call by another number.
pub(super) fn renumbered(mut message: from_backend::Message, call: u64) -> from_backend::Message {
    match &mut message {
        from_backend::Message::Admission(admission) => admission.call = call,
        from_backend::Message::Done(done) => done.call = call,
        from_backend::Message::Operation(operation) => operation.call = call,
        from_backend::Message::Hello(_) | from_backend::Message::Goodbye(_) => {}
    }
    message
}
