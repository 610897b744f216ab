//! The door of backends, on the API port: a Hello, then calls and answers until either side ends
//! the stream.

use std::sync::Arc;

use async_trait::async_trait;
use roomcast_proto::api::backend_server::Backend as BackendService;
use roomcast_proto::api::{FromBackend, Operation, ToBackend, Welcome, from_backend, to_backend};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::description::Description;
use super::hub::{BackendDoor, Hub};
use super::operator::{Operator, refuse_closed};
use super::registry::{Backend, Way};
use super::stream::{BackendStream, Sent};
use super::tunnel::call_of;
use crate::limits;
use crate::messages;
use crate::socketio::Io;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Service(pub(super) BackendDoor);

#[async_trait]
impl BackendService for Service {
    type ServeStream = Sent;

    /// Answers at once: some programs send their Hello only when they hear something.
    async fn serve(
        &self,
        request: Request<Streaming<FromBackend>>,
    ) -> Result<Response<Sent>, Status> {
        let hub = self.0.hub().filter(|hub| !hub.is_draining());
        let hub = hub.ok_or_else(|| Status::unavailable("this node starts or ends"))?;
        let (stream, sent) = BackendStream::new();
        tokio::spawn(run(Arc::clone(hub), stream, request.into_inner()));
        Ok(Response::new(sent))
    }
}

async fn run(hub: Arc<Hub>, stream: Arc<BackendStream>, mut said: Streaming<FromBackend>) {
    let served = match hello(&mut said).await {
        Ok(description) => serve(&hub, &stream, description, said).await,
        Err(status) => Err(status),
    };
    match served {
        Ok(()) => stream.end(),
        Err(status) => {
            tracing::info!(%status, "a backend's stream ends");
            stream.refuse(status).await;
        }
    }
}

async fn hello(said: &mut Streaming<FromBackend>) -> Result<Description, Status> {
    let first = timeout(limits::BACKEND_HELLO_DEADLINE, said.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
    let Some(from_backend::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message is a hello"));
    };
    Description::read(hello).map_err(Status::invalid_argument)
}

async fn serve(
    hub: &Arc<Hub>,
    stream: &Arc<BackendStream>,
    description: Description,
    said: Streaming<FromBackend>,
) -> Result<(), Status> {
    let id = hub.adapter.entropy().socket_id().to_string();
    let window = description.window;
    let way = Way::Here(Arc::clone(stream));
    let backend = Backend::new(id, hub.node(), description, way);
    let version = hub.join(Arc::clone(&backend));
    let version = version.ok_or_else(|| {
        let max = limits::BACKENDS_MAX;
        Status::resource_exhausted(format!("this node has {max} backends: dial another"))
    })?;
    hub.announcement.is_known(version).await;
    let welcome = ToBackend {
        call: 0,
        message: Some(to_backend::Message::Welcome(Welcome {
            backend_id: backend.id.clone(),
            node_id: hub.node(),
            window,
        })),
    };
    stream.send(Ok(welcome)).await;
    stream.open_window(window);
    let ended = listen(hub, stream, &backend, said).await;
    hub.leave(&backend.id);
    ended
}

/// Takes what the backend says, until its stream ends.
async fn listen(
    hub: &Arc<Hub>,
    stream: &Arc<BackendStream>,
    backend: &Arc<Backend>,
    mut said: Streaming<FromBackend>,
) -> Result<(), Status> {
    loop {
        let message = tokio::select! {
            biased;
            () = stream.ended() => return Ok(()),
            message = said.message() => message?,
        };
        let Some(message) = message else {
            return Ok(());
        };
        match message.message {
            Some(from_backend::Message::Hello(_)) => {
                return Err(Status::invalid_argument("a second hello"));
            }
            Some(from_backend::Message::Goodbye(_)) => {
                hub.leave(&backend.id);
                tokio::spawn(finish(Arc::clone(hub), Arc::clone(stream)));
            }
            Some(from_backend::Message::Operation(operation)) if operation.call == 0 => {
                operate(hub, backend, operation).await?;
            }
            Some(message) => {
                let call = call_of(&message).unwrap_or_default();
                if let Err(message) = stream.said(call, message).await {
                    refuse_closed(backend, &message).await;
                }
            }
            None => return Err(Status::invalid_argument("a message of nothing")),
        }
    }
}

/// An operation of the server.
async fn operate(
    hub: &Arc<Hub>,
    backend: &Arc<Backend>,
    mut operation: Operation,
) -> Result<(), Status> {
    let namespace = std::mem::take(&mut operation.namespace);
    let namespace = messages::namespace(namespace);
    let namespace = namespace.map_err(|refusal| messages::refusal_status(&refusal))?;
    let io = Io::new(Arc::clone(&hub.adapter), namespace.into());
    let operator = Operator::of_server(io, Arc::clone(backend));
    operator.run(operation).await;
    Ok(())
}

/// The backend said goodbye: its stream ends when its open calls have, or their time is over.
async fn finish(hub: Arc<Hub>, stream: Arc<BackendStream>) {
    if timeout(hub.config.call_timeout, stream.settle())
        .await
        .is_err()
    {
        tracing::warn!("a backend said goodbye and did not finish its calls");
    }
    stream.end();
}
