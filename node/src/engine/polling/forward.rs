//! Requests that arrive at a node which does not own their session (design, section 6, "Polling
//! without stickiness"): the owner is readable from the sid and answers as if they had come to it.

use async_trait::async_trait;
use bytes::Bytes;

use super::request::RequestError;
use crate::engine::moving::RemoteSession;
use crate::engine::open::Engine;
use crate::engine::sid::Sid;

/// A request on its way to the owner of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarded {
    /// Waits for a payload; with the client's `t`, see [`super::Polling::get`].
    Get(String),
    /// Brings one.
    Post(Bytes),
    /// A POST that was cut off or is not allowed.
    BrokenPost,
}

/// The other nodes as owners of sessions; what this floor calls upward to reach them.
#[async_trait]
pub trait Owners: Send + Sync {
    /// Brings a request to the owner and its answer back; empty for a POST. Dropped when the client
    /// leaves, which the owner learns.
    ///
    /// # Errors
    /// As at the owner; [`RequestError::Unknown`] when it cannot be reached.
    async fn forward(&self, sid: Sid, request: Forwarded) -> Result<Bytes, RequestError>;

    /// Asks the owner for a session that a WebSocket here wants to upgrade.
    ///
    /// # Errors
    /// As at the owner; [`RequestError::Unknown`] when it cannot be reached.
    async fn upgrade(&self, sid: Sid) -> Result<Box<dyn RemoteSession>, RequestError>;
}

impl Engine {
    /// Answers a request that another node forwarded.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn answer_forwarded(
        &self,
        sid: &Sid,
        request: Forwarded,
    ) -> Result<Bytes, RequestError> {
        let polling = self.polling(sid)?;
        match request {
            Forwarded::Get(stamp) => polling.get(stamp).await,
            Forwarded::Post(body) => polling.post()?.handle(body).await.map(|()| Bytes::new()),
            Forwarded::BrokenPost => {
                drop(polling.post()?);
                Ok(Bytes::new())
            }
        }
    }
}
