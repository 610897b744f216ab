//! A CONNECT packet on its way to a live socket: admission, then a resume, then a fresh connect.
//! What passes by itself is waited for, then the transport is closed; never a CONNECT_ERROR, which
//! a stock client does not come back from. (DESIGN, section 6.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{Connect, Resume, op::Kind};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::auth::{Brought, Earlier, Subscriber};
use super::caught::caught;
use super::dispatch::Slot;
use super::handler::{Admission, ConnectRequest, Rejection, SharedHandler, Unadmitted};
use super::socket::Socket;
use crate::adapter::{Adapter, Attach, Attached, Completion, Failure, Group, LocalSocket, Opening};
use crate::engine::{CloseReason, Frames, Handshake, SessionHandle};
use crate::ids::{Pid, SocketId};
use crate::limits;
use crate::metrics;
use crate::state::{Refusal, ResumeRefusal};

/// Pause before a connect that found no leader is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One CONNECT packet.
pub(crate) struct Connecting {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) session: SessionHandle,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) namespace: Arc<str>,
    pub(crate) handler: SharedHandler,
    pub(crate) slot: Arc<Slot>,
}

/// A socket in place, its group, and whether it continues an earlier session.
pub(super) type InPlace = (Arc<LocalSocket>, Arc<Group>, bool);

/// Why a client that was admitted has no socket.
enum Unplaced {
    /// What passes by itself: its transport is closed.
    Failed(Failure),
    /// Its namespace would be one more than this limit.
    NamespacesFull(u32),
    /// It would be one durable subscriber more than this limit.
    SubscribersFull(u32),
}

impl From<Failure> for Unplaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What an application says of a client is replicated with its session: it is bounded.
fn within_bounds(admission: &Admission) -> Result<(), Rejection> {
    let identity = admission.identity.as_ref().map_or(0, String::len);
    let data = admission.data.as_ref();
    let data = data.map_or(0, |data| data.to_string().len());
    if identity > limits::IDENTITY_BYTES_MAX || data > limits::MEMBER_DATA_BYTES_MAX {
        tracing::error!(
            identity,
            data,
            "an admission with more bytes than may be kept"
        );
        return Err(Rejection::internal());
    }
    Ok(())
}

/// Who connects, and how.
pub(super) struct Applicant {
    pub(super) identity: Option<String>,
    pub(super) data: Bytes,
    pub(super) recoverable: bool,
    pub(super) subscriber: Option<Subscriber>,
    pub(super) manual: bool,
}

impl Connecting {
    /// Runs until the socket is in place and its queue drained, or the connect has failed.
    pub(crate) async fn run(self, auth: Option<Bytes>) {
        let brought = Brought::read(auth, &self.handshake);
        let subscriber = match brought.subscriber {
            Ok(subscriber) => subscriber,
            Err(wrong) => {
                metrics::connects("rejected").increment(1);
                return self.reject(&invalid_subscriber(wrong));
            }
        };
        let request = ConnectRequest {
            namespace: &self.namespace,
            auth: &brought.auth,
            handshake: &self.handshake,
        };
        let admission = match self.admit(&request).await {
            Ok(admission) => admission,
            Err(Unadmitted::Rejected(rejection)) => {
                metrics::connects("rejected").increment(1);
                return self.reject(&rejection);
            }
            Err(Unadmitted::Later) => {
                metrics::connects("undecided").increment(1);
                self.slot.fail();
                return self.session.close(CloseReason::Overloaded);
            }
        };
        if let Err(rejection) = within_bounds(&admission) {
            metrics::connects("rejected").increment(1);
            return self.reject(&rejection);
        }
        let recoverable = brought.wish.is_granted(admission.recovery);
        if subscriber.is_some() && !recoverable {
            metrics::connects("rejected").increment(1);
            let wrong = "a durable subscriber needs recovery, which is off";
            return self.reject(&invalid_subscriber(wrong.to_owned()));
        }
        let applicant = Applicant {
            identity: admission.identity,
            data: admission
                .data
                .map_or_else(Bytes::new, |data| data.to_string().into()),
            recoverable,
            subscriber,
            manual: brought.manual,
        };
        let deadline = Instant::now() + limits::OPERATION_DEADLINE;
        let attached = self.attach(&applicant, brought.earlier, deadline).await;
        let result = match &attached {
            Ok((_, _, true)) => "recovered",
            Ok((_, _, false)) => "new",
            Err(Unplaced::NamespacesFull(_)) => "namespaces_full",
            Err(Unplaced::SubscribersFull(_)) => "subscribers_full",
            Err(Unplaced::Failed(Failure::Overloaded)) => "overloaded",
            Err(Unplaced::Failed(_)) => "unavailable",
        };
        metrics::connects(result).increment(1);
        match attached {
            Ok(in_place) => self.in_place(in_place).await,
            Err(Unplaced::NamespacesFull(limit)) => {
                self.reject(&full("namespaces", "namespaces_max", limit));
            }
            Err(Unplaced::SubscribersFull(limit)) => {
                self.reject(&full("subscribers", "subscribers_max", limit));
            }
            Err(Unplaced::Failed(Failure::Overloaded)) => {
                self.session.close(CloseReason::Overloaded);
            }
            Err(Unplaced::Failed(_)) => self.session.close(CloseReason::NoQuorum),
        }
    }

    /// What the application decides; one that panics admits nobody.
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Unadmitted> {
        let admitted = caught("admit", self.handler.decide(request)).await;
        admitted.unwrap_or_else(|| Err(Rejection::internal().into()))
    }

    /// The socket is in place: runs its connection handler, then what waited.
    pub(super) async fn in_place(self, (local, group, recovered): InPlace) {
        self.session.mark_joined();
        let socket = Socket {
            local,
            group,
            adapter: self.adapter,
            handshake: self.handshake,
            recovered,
            slot: Arc::downgrade(&self.slot),
        };
        self.slot.attached(socket).await;
    }

    async fn attach(
        &self,
        applicant: &Applicant,
        earlier: Option<Earlier>,
        deadline: Instant,
    ) -> Result<InPlace, Unplaced> {
        let mut refused = None;
        if self.session.is_closed() {
            return Err(Failure::Unavailable.into());
        }
        if let Some(earlier) = earlier.filter(|_| applicant.recoverable) {
            match self.resume(applicant, &earlier, deadline).await? {
                Ok(attached) => {
                    metrics::resumes("recovered").increment(1);
                    return Ok(attached);
                }
                Err(reason) => {
                    metrics::resumes(reason.word()).increment(1);
                    refused = Some(reason);
                }
            }
        }
        self.connect(applicant, refused, deadline).await
    }

    async fn resume(
        &self,
        applicant: &Applicant,
        earlier: &Earlier,
        deadline: Instant,
    ) -> Result<Result<InPlace, ResumeRefusal>, Failure> {
        let subscriber = applicant.subscriber_name();
        if earlier.pid.is_none() && subscriber.is_none() {
            return Ok(Err(ResumeRefusal::Unknown));
        }
        // Who comes back by name is told the pid by the verdict.
        let pid = earlier.pid.unwrap_or_else(|| self.adapter.entropy().pid());
        let resume = Resume {
            pid: pid.0.to_vec().into(),
            namespace: self.namespace.to_string(),
            identity: applicant.identity.clone(),
            offset: earlier.offset,
            moved: false,
            subscriber,
            manual: applicant.manual,
        };
        let opening = Opening::Connect {
            resume_refused: None,
        };
        let attach = |reply| self.attach_of(applicant, pid, None, opening.clone(), reply);
        match self.until(deadline, &Kind::Resume(resume), attach).await {
            (Attached::Socket { socket, recovered }, group) => Ok(Ok((socket, group, recovered))),
            (Attached::NotRecovered(reason), _) => Ok(Err(reason)),
            (Attached::Refused(_), _) => Ok(Err(ResumeRefusal::Invalid)),
            (Attached::Failed(failure), _) => Err(failure),
        }
    }

    async fn connect(
        &self,
        applicant: &Applicant,
        refused: Option<ResumeRefusal>,
        deadline: Instant,
    ) -> Result<InPlace, Unplaced> {
        let entropy = self.adapter.entropy();
        let (id, pid) = (entropy.socket_id(), entropy.pid());
        let connect = Connect {
            id: id.0.to_vec().into(),
            pid: pid.0.to_vec().into(),
            namespace: self.namespace.to_string(),
            identity: applicant.identity.clone(),
            data: applicant.data.clone(),
            recoverable: applicant.recoverable,
            rooms: Vec::new(),
            subscriber: applicant.subscriber.as_ref().map(|of| of.name.clone()),
            manual: applicant.manual,
            end_subscriber: applicant.subscriber.as_ref().is_some_and(|of| of.end),
        };
        let kind = Kind::Connect(connect);
        let opening = Opening::Connect {
            resume_refused: refused,
        };
        let attach = |reply| self.attach_of(applicant, pid, Some(id), opening.clone(), reply);
        match self.until(deadline, &kind, attach).await {
            (Attached::Socket { socket, recovered }, group) => Ok((socket, group, recovered)),
            (Attached::Failed(failure), _) => Err(failure.into()),
            (Attached::Refused(Refusal::NamespacesFull), group) => {
                let limit = group.view().settings().namespaces_max;
                Err(Unplaced::NamespacesFull(limit))
            }
            (Attached::Refused(Refusal::SubscribersFull), group) => {
                let limit = group.view().settings().subscribers_max;
                Err(Unplaced::SubscribersFull(limit))
            }
            (Attached::Refused(refusal), _) => {
                tracing::warn!(?refusal, "apply refused a connect");
                Err(Failure::Unavailable.into())
            }
            (Attached::NotRecovered(_), _) => Err(Failure::Unavailable.into()),
        }
    }

    /// Submits until it is accepted, the deadline has passed or the client is gone: no leader
    /// passes by itself. A socket that arrived is taken in any case, or its end would be nobody's.
    pub(super) async fn until(
        &self,
        deadline: Instant,
        kind: &Kind,
        attach: impl Fn(oneshot::Sender<Attached>) -> Attach,
    ) -> (Attached, Arc<Group>) {
        loop {
            let group = Arc::clone(self.adapter.group_of(&self.namespace));
            let (reply, mut attached) = oneshot::channel();
            group.submit(kind.clone(), Completion::Attach(Box::new(attach(reply))));
            let answered = tokio::select! {
                biased;
                answered = &mut attached => answered.ok(),
                _ = self.session.closed() => None,
                () = tokio::time::sleep_until(deadline) => None,
            };
            // Closed first: from here on the fan-out knows that nobody waits.
            attached.close();
            let attached = answered
                .or_else(|| attached.try_recv().ok())
                .unwrap_or(Attached::Failed(Failure::UnknownOutcome));
            let retry = matches!(attached, Attached::Failed(Failure::Unavailable))
                && Instant::now() + RETRY_PAUSE < deadline
                && !self.session.is_closed();
            if !retry {
                return (attached, group);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    pub(super) fn attach_of(
        &self,
        applicant: &Applicant,
        pid: Pid,
        id: Option<SocketId>,
        opening: Opening,
        reply: oneshot::Sender<Attached>,
    ) -> Attach {
        Attach {
            session: self.session.clone(),
            namespace: Arc::clone(&self.namespace),
            identity: applicant.identity.as_deref().map(Arc::from),
            recoverable: applicant.recoverable,
            pid,
            id,
            opening,
            reply,
        }
    }

    fn reject(&self, rejection: &Rejection) {
        let data = rejection.data.as_ref().map(ToString::to_string);
        let data = data.as_ref().map(String::as_bytes);
        let parser = self.adapter.parser();
        let messages = parser.connect_error(&self.namespace, &rejection.message, data);
        self.slot.fail();
        if self.session.try_push(&Frames::of(messages)).is_err() {
            tracing::debug!("a refused client was gone before it was told");
        }
    }
}

/// Only the operator or the client's own choice of names can cure it.
fn full(what: &str, limit_name: &str, limit: u32) -> Rejection {
    Rejection {
        message: format!("too many {what}: {limit_name} is {limit}"),
        data: Some(json!({ "code": format!("{what}_full"), limit_name: limit })),
    }
}

/// Only who wrote the client can cure it; what it is owed stays.
fn invalid_subscriber(message: String) -> Rejection {
    Rejection {
        message,
        data: Some(json!({ "code": "invalid" })),
    }
}

impl Applicant {
    /// The durable subscriber that it is, unless that is to end.
    fn subscriber_name(&self) -> Option<String> {
        let subscriber = self.subscriber.as_ref().filter(|of| !of.end)?;
        Some(subscriber.name.clone())
    }
}
