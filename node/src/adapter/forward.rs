//! Requests of polling clients between nodes: to the owner of a session, and as the owner. One call
//! per request on a connection of their own; a client that leaves drops the call, which drops the
//! request at the owner.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roomcast_proto::peer::{ForwardKind, ForwardOutcome, ForwardRequest, ForwardResponse};
use tokio::sync::Semaphore;
use tonic::Status;

use super::upgrade::{self, outcome_of, read_outcome};
use crate::engine::moving::RemoteSession;
use crate::engine::{Engine, Forwarded, Owners, RequestError, Sid};
use crate::limits;
use crate::raft::Consensus;

/// Reaches the owners of sessions.
#[derive(Debug)]
pub struct Forwarder {
    /// None while this node waits for its cluster: then it knows no owner.
    consensus: OnceLock<Consensus>,
    /// Requests and upgrades under way.
    places: Arc<Semaphore>,
    /// Longer than any GET waits.
    deadline: Duration,
}

impl Forwarder {
    /// `heartbeat` is the longest that a session says nothing: ping interval and timeout together.
    #[must_use]
    pub fn new(heartbeat: Duration) -> Arc<Self> {
        Arc::new(Self {
            consensus: OnceLock::new(),
            places: Arc::new(Semaphore::new(limits::FORWARDS_IN_FLIGHT_MAX)),
            deadline: heartbeat + limits::FORWARD_SLACK,
        })
    }

    /// From now on owners are reached through `consensus`.
    pub fn connect(&self, consensus: Consensus) {
        assert!(
            self.consensus.set(consensus).is_ok(),
            "a node joins its cluster once"
        );
    }

    async fn ask(&self, sid: Sid, request: Forwarded) -> Result<Bytes, RequestError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(RequestError::Overloaded);
        };
        let owner = sid.node();
        let consensus = self.consensus.get().ok_or(RequestError::Unknown)?;
        let client = consensus.forward_client(owner);
        let mut client = client.ok_or(RequestError::Unknown)?;
        let (kind, body) = match request {
            Forwarded::Get(stamp) => (ForwardKind::Get, stamp.into()),
            Forwarded::Post(body) => (ForwardKind::Post, body),
            Forwarded::BrokenPost => (ForwardKind::BrokenPost, Bytes::new()),
        };
        let request = ForwardRequest {
            header: Some(consensus.header(owner)),
            sid: sid.reveal(),
            kind: kind.into(),
            body,
        };
        match tokio::time::timeout(self.deadline, client.forward(request)).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                read_outcome(response.outcome()).map(|()| response.payload)
            }
            Ok(Err(status)) => {
                tracing::debug!(owner, %status, "a session's owner did not answer");
                Err(RequestError::Unknown)
            }
            Err(_) => Err(RequestError::Unknown),
        }
    }
}

#[async_trait]
impl Owners for Forwarder {
    async fn forward(&self, sid: Sid, request: Forwarded) -> Result<Bytes, RequestError> {
        let answered = self.ask(sid, request).await;
        let result = match &answered {
            Ok(_) => "done",
            Err(RequestError::Unknown) => "unknown",
            Err(RequestError::Upgraded) => "upgraded",
            Err(RequestError::Overlap) => "overlap",
            Err(RequestError::Repeated) => "repeated",
            Err(RequestError::Overloaded) => "overloaded",
        };
        crate::metrics::forwards(result).increment(1);
        answered
    }

    async fn upgrade(&self, sid: Sid) -> Result<Box<dyn RemoteSession>, RequestError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let begun = match (place, self.consensus.get()) {
            (Err(_), _) => Err(RequestError::Overloaded),
            (_, None) => Err(RequestError::Unknown),
            (Ok(place), Some(consensus)) => upgrade::begin(consensus, sid, place).await,
        };
        if begun.is_err() {
            crate::metrics::forwarded_upgrades("refused").increment(1);
        }
        begun
    }
}

/// Answers as the owner.
pub(super) async fn answer(
    engine: &Engine,
    request: ForwardRequest,
) -> Result<ForwardResponse, Status> {
    let kind = request.kind();
    let sid = Sid::parse(&request.sid);
    let sid = sid.ok_or_else(|| Status::invalid_argument("no id of a session"))?;
    let request = match kind {
        ForwardKind::Get => {
            let stamp = String::from_utf8(request.body.to_vec());
            Forwarded::Get(stamp.unwrap_or_default())
        }
        ForwardKind::Post => Forwarded::Post(request.body),
        ForwardKind::BrokenPost => Forwarded::BrokenPost,
        ForwardKind::Unspecified => return Err(Status::invalid_argument("no kind of request")),
    };
    let (outcome, payload) = match engine.answer_forwarded(&sid, request).await {
        Ok(payload) => (ForwardOutcome::Done, payload),
        Err(error) => (outcome_of(error), Bytes::new()),
    };
    Ok(ForwardResponse {
        outcome: outcome.into(),
        payload,
    })
}
