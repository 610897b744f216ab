//! Events for whoever is in a room: one, or many in order.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, future};
use roomcast_proto::api::{
    PublishBatchResponse, PublishRequest, PublishResponse,
    publish_batch_response::{Outcome, outcome},
};

use super::{Operations, check_names, refused};
use crate::limits;
use crate::messages::{self, Class};
use crate::socketio::{Broadcast, Io, Refusal, Unlogged};

/// Why apply refuses a publish that was checked here.
const INVALID: &str = "the cluster has as many namespaces as it may have";

/// A publish that is on its way.
type Issued = BoxFuture<'static, Result<PublishResponse, Refusal>>;

impl Operations {
    /// Publishes one event.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn publish(
        &self,
        request: PublishRequest,
    ) -> Result<PublishResponse, Refusal> {
        self.issue(request)?.await
    }

    /// Publishes in this order, without waiting for one before the next; what could not be read is
    /// refused in its place.
    ///
    /// # Errors
    /// `invalid` for the batch as a whole.
    pub(crate) async fn publish_batch(
        &self,
        requests: Vec<Result<PublishRequest, Refusal>>,
    ) -> Result<PublishBatchResponse, Refusal> {
        if requests.len() > limits::PUBLISH_BATCH_MAX {
            let max = limits::PUBLISH_BATCH_MAX;
            let message = format!("publishes has at most {max} entries");
            return Err(Refusal::invalid(message));
        }
        let issued = requests.into_iter().map(|request| {
            let issued = request.and_then(|request| self.issue(request));
            issued.unwrap_or_else(|refusal| future::err(refusal).boxed())
        });
        // Issued one by one, before the first is waited for.
        let issued: Vec<Issued> = issued.collect();
        let outcomes = future::join_all(issued).await;
        let outcomes = outcomes.into_iter().map(|outcome| Outcome {
            outcome: Some(match outcome {
                Ok(published) => outcome::Outcome::Published(published),
                Err(refusal) => outcome::Outcome::Error(messages::error_of(&refusal)),
            }),
        });
        Ok(PublishBatchResponse {
            outcomes: outcomes.collect(),
        })
    }

    fn issue(&self, request: PublishRequest) -> Result<Issued, Refusal> {
        let io = self.io(request.namespace)?;
        let target = messages::target(request.target)?;
        check_names(&io, &target)?;
        let class = messages::class(request.class)?;
        check_key(class, request.key.as_deref())?;
        let event = messages::payload(request.event)?;
        let broadcast = io.publish(target);
        let unlogged: fn(Broadcast) -> Unlogged = match class {
            Class::Logged => {
                let operation = broadcast.key(request.key);
                let fate = operation.emit_raw(event.json, event.attachments).start();
                return Ok(async move { answer(&io, fate.await) }.boxed());
            }
            Class::Volatile => Broadcast::volatile,
            Class::Transient => Broadcast::transient,
        };
        let emitted = unlogged(broadcast).emit_raw(event.json, event.attachments);
        emitted.map_err(|error| refused(&io, error, INVALID))?;
        Ok(future::ok(PublishResponse::default()).boxed())
    }
}

fn answer(io: &Io, fate: crate::socketio::Fate) -> Result<PublishResponse, Refusal> {
    match fate {
        Ok((offset, duplicate)) => Ok(PublishResponse {
            offset: offset.to_string(),
            duplicate,
        }),
        Err(error) => Err(refused(io, error, INVALID)),
    }
}

fn check_key(class: Class, key: Option<&str>) -> Result<(), Refusal> {
    let Some(key) = key else { return Ok(()) };
    if class != Class::Logged {
        return Err(Refusal::invalid("key is for logged events"));
    }
    let max = limits::KEY_BYTES_MAX;
    match key.len() {
        0 => Err(Refusal::invalid("key is empty")),
        bytes if bytes > max => Err(Refusal::invalid(format!("key has at most {max} bytes"))),
        _ => Ok(()),
    }
}
