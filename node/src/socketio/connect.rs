//! A CONNECT packet on its way to a live socket: admission, then a resume, then a fresh connect.
//! What passes by itself is waited for, then the transport is closed; never a CONNECT_ERROR, which
//! a stock client does not come back from. (DESIGN, section 6.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::command::{self, Connect, Resume, op::Kind, resume};
use roomcast_proto::offset::Offset;
use roomcast_proto::socketio::encode;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dispatch::Slot;
use super::handler::{Admission, ConnectRequest, Recovery, Rejection, SharedHandler};
use super::socket::Socket;
use crate::adapter::{Adapter, Attach, Attached, Completion, Failure, Group, LocalSocket};
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

/// What a client brings of an earlier session.
#[derive(Debug, PartialEq)]
struct Earlier {
    /// None: the text cannot be one of our pids.
    pid: Option<Pid>,
    offset: Option<resume::Offset>,
}

/// A socket in place, its group, and whether it continues an earlier session.
type InPlace = (Arc<LocalSocket>, Arc<Group>, bool);

/// Why a client that was admitted has no socket.
enum Unplaced {
    /// What passes by itself: its transport is closed.
    Failed(Failure),
    /// Its namespace would be one more than this limit.
    NamespacesFull(u32),
}

impl From<Failure> for Unplaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Who connects, and how.
struct Applicant {
    identity: Option<String>,
    data: Bytes,
    recoverable: bool,
}

impl Connecting {
    /// Runs until the socket is in place and its queue drained, or the connect has failed.
    pub(crate) async fn run(self, auth: Option<Bytes>) {
        let (auth, earlier, wants_recovery) = read_auth(auth, &self.handshake);
        let request = ConnectRequest {
            namespace: &self.namespace,
            auth: &auth,
            handshake: &self.handshake,
        };
        let admission = match self.handler.admit(&request).await {
            Ok(admission) => admission,
            Err(rejection) => {
                metrics::connects("rejected").increment(1);
                return self.reject(&rejection);
            }
        };
        let applicant = applicant(admission, wants_recovery);
        let deadline = Instant::now() + limits::OPERATION_DEADLINE;
        let attached = self.attach(&applicant, earlier, deadline).await;
        let result = match &attached {
            Ok((_, _, true)) => "recovered",
            Ok((_, _, false)) => "new",
            Err(Unplaced::NamespacesFull(_)) => "namespaces_full",
            Err(Unplaced::Failed(Failure::Overloaded)) => "overloaded",
            Err(Unplaced::Failed(_)) => "unavailable",
        };
        metrics::connects(result).increment(1);
        match attached {
            Ok((local, group, recovered)) => {
                self.session.mark_joined();
                let adapter = Arc::clone(&self.adapter);
                let socket = Socket {
                    local,
                    group,
                    adapter,
                    recovered,
                    slot: Arc::downgrade(&self.slot),
                };
                self.slot.attached(socket).await;
            }
            Err(Unplaced::NamespacesFull(limit)) => self.reject(&namespaces_full(limit)),
            Err(Unplaced::Failed(Failure::Overloaded)) => {
                self.session.close(CloseReason::Overloaded);
            }
            Err(Unplaced::Failed(_)) => self.session.close(CloseReason::NoQuorum),
        }
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
        let Some(pid) = earlier.pid else {
            return Ok(Err(ResumeRefusal::Unknown));
        };
        let resume = Resume {
            pid: pid.0.to_vec().into(),
            namespace: self.namespace.to_string(),
            identity: applicant.identity.clone(),
            offset: earlier.offset,
        };
        let kind = Kind::Resume(resume);
        match self
            .until(deadline, &kind, |reply| {
                self.attach_of(applicant, pid, None, None, reply)
            })
            .await
        {
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
        };
        let kind = Kind::Connect(connect);
        let attach = |reply| self.attach_of(applicant, pid, Some(id), refused, reply);
        match self.until(deadline, &kind, attach).await {
            (Attached::Socket { socket, recovered }, group) => Ok((socket, group, recovered)),
            (Attached::Failed(failure), _) => Err(failure.into()),
            (Attached::Refused(Refusal::NamespacesFull), group) => {
                let limit = group.view().settings().namespaces_max;
                Err(Unplaced::NamespacesFull(limit))
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
    async fn until(
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

    fn attach_of(
        &self,
        applicant: &Applicant,
        pid: Pid,
        id: Option<SocketId>,
        resume_refused: Option<ResumeRefusal>,
        reply: oneshot::Sender<Attached>,
    ) -> Attach {
        Attach {
            session: self.session.clone(),
            namespace: Arc::clone(&self.namespace),
            identity: applicant.identity.as_deref().map(Arc::from),
            recoverable: applicant.recoverable,
            pid,
            id,
            resume_refused,
            reply,
        }
    }

    fn reject(&self, rejection: &Rejection) {
        let data = rejection.data.as_ref().map(ToString::to_string);
        let data = data.as_ref().map(String::as_bytes);
        let text = encode::connect_error(&self.namespace, &rejection.message, data);
        self.slot.fail();
        if self.session.try_push(&Frames::text(text)).is_err() {
            tracing::debug!("a refused client was gone before it was told");
        }
    }
}

/// Only the operator or the client's own choice of names can cure it.
fn namespaces_full(limit: u32) -> Rejection {
    Rejection {
        message: format!("too many namespaces: namespaces_max is {limit}"),
        data: Some(json!({ "code": "namespaces_full", "namespaces_max": limit })),
    }
}

/// Takes `pid` and `offset` out of the client's auth, and whether it wants recovery.
fn read_auth(auth: Option<Bytes>, handshake: &Handshake) -> (Value, Option<Earlier>, bool) {
    let parsed = auth.and_then(|auth| serde_json::from_slice::<Map<String, Value>>(&auth).ok());
    let mut auth = parsed.unwrap_or_default();
    let offset = match auth.remove("offset") {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_offset(&value)),
    };
    let earlier = match auth.remove("pid") {
        None | Some(Value::Null) => None,
        Some(pid) => Some(Earlier {
            pid: pid.as_str().and_then(Pid::parse),
            offset,
        }),
    };
    let declined = auth.get("recovery") == Some(&Value::Bool(false))
        || handshake.query("recovery") == Some("0");
    (Value::Object(auth), earlier, !declined)
}

fn read_offset(value: &Value) -> resume::Offset {
    let known = value.as_str().and_then(|text| text.parse::<Offset>().ok());
    match known {
        Some(offset) => resume::Offset::Known(command::Offset {
            epoch: offset.epoch,
            index: offset.index,
            op: offset.op,
        }),
        None => resume::Offset::Unreadable(true),
    }
}

fn applicant(admission: Admission, wants_recovery: bool) -> Applicant {
    let recoverable = wants_recovery && admission.recovery == Recovery::Offered;
    let data = admission
        .data
        .map_or_else(Bytes::new, |data| data.to_string().into());
    Applicant {
        identity: admission.identity,
        data,
        recoverable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(auth: &str, query: &[(&str, &str)]) -> (Value, Option<Earlier>, bool) {
        let query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let remote = ([127, 0, 0, 1], 1).into();
        let handshake = Handshake::new(query.collect(), &http::HeaderMap::new(), remote);
        read_auth(Some(Bytes::copy_from_slice(auth.as_bytes())), &handshake)
    }

    fn earlier(auth: &str) -> Option<Earlier> {
        read(auth, &[]).1
    }

    #[test]
    fn a_pid_makes_a_resume_and_an_offset_alone_does_not() {
        let pid = Pid([1; 16]);
        let text = pid.reveal();
        let known = resume::Offset::Known(command::Offset {
            epoch: 35,
            index: 36,
            op: 1,
        });
        let unreadable = resume::Offset::Unreadable(true);
        for (auth, expected) in [
            (format!(r#"{{"pid":"{text}"}}"#), Some((Some(pid), None))),
            (
                format!(r#"{{"pid":"{text}","offset":null}}"#),
                Some((Some(pid), None)),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":"z.10.1"}}"#),
                Some((Some(pid), Some(known))),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":"z.10"}}"#),
                Some((Some(pid), Some(unreadable))),
            ),
            (
                format!(r#"{{"pid":"{text}","offset":7}}"#),
                Some((Some(pid), Some(unreadable))),
            ),
            (r#"{"pid":"short"}"#.into(), Some((None, None))),
            (r#"{"pid":7}"#.into(), Some((None, None))),
            (r#"{"pid":null,"offset":"z.10.1"}"#.into(), None),
            (r#"{"offset":"z.10.1"}"#.into(), None),
            ("{}".into(), None),
        ] {
            let expected = expected.map(|(pid, offset)| Earlier { pid, offset });
            assert_eq!(earlier(&auth), expected, "{auth}");
        }
    }

    #[test]
    fn middlewares_see_the_auth_without_the_bearer_secret() {
        let (auth, _, _) = read(r#"{"pid":"p","offset":"o","token":"t","n":[1]}"#, &[]);
        assert_eq!(auth, json!({ "token": "t", "n": [1] }));
        assert_eq!(read_auth(None, &handshake()).0, json!({}));
    }

    fn handshake() -> Handshake {
        let remote = ([127, 0, 0, 1], 1).into();
        Handshake::new(Vec::new(), &http::HeaderMap::new(), remote)
    }

    #[test]
    fn recovery_is_declined_by_auth_or_query_alone() {
        for (auth, query, wanted) in [
            ("{}", &[][..], true),
            (r#"{"recovery":true}"#, &[], true),
            (r#"{"recovery":false}"#, &[], false),
            (r#"{"recovery":"false"}"#, &[], true),
            ("{}", &[("recovery", "0")], false),
            ("{}", &[("recovery", "1")], true),
            (r#"{"recovery":true}"#, &[("recovery", "0")], false),
        ] {
            assert_eq!(read(auth, query).2, wanted, "{auth} {query:?}");
        }
    }
}
