//! The handler of every namespace that backends serve: each of its questions is a call to one of
//! them. Without any, what the namespace's policy says.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use roomcast_proto::api::{self, Admit, Connected, Disconnected, Expired, SocketEvent};
use roomcast_proto::api::{done, from_backend, to_backend};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::ask::{Unanswered, ask};
use super::binding::{Bound, Turn};
use super::convert;
use super::hub::Hub;
use super::operator::Operator;
use super::registry::{NotServed, Tie};
use crate::config::Policy;
use crate::messages::{self, Payload};
use crate::socketio::{
    Ack, Admission, Code, ConnectRequest, Event, ExpiredSession, Handler, Io, Refusal, Rejection,
    Socket, Unadmitted,
};
use crate::{limits, metrics};

/// How many backends are told of an expired session at most, one after the other.
const EXPIRED_TOLD_MAX: usize = 2;

/// See the module's text.
#[derive(Debug)]
pub(super) struct BackendHandler(pub(super) Arc<Hub>);

/// Why a socket has no backend.
enum Untied {
    /// There is none.
    NotServed,
    /// There is one, with too many calls.
    Overloaded,
}

#[async_trait]
impl Handler for BackendHandler {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        let decided = self.decide(request).await;
        decided.map_err(|unadmitted| match unadmitted {
            Unadmitted::Rejected(rejection) => rejection,
            Unadmitted::Later => unavailable(),
        })
    }

    async fn decide(&self, request: &ConnectRequest<'_>) -> Result<Admission, Unadmitted> {
        let hub = &self.0;
        let namespace = request.namespace;
        let latest = Instant::now() + hub.config.wait.max(hub.config.call_timeout);
        while Instant::now() < latest {
            let admitting = match hub.registry.of_connect(namespace) {
                Ok(Some(tie)) => tie,
                Ok(None) => return Ok(Admission::default()),
                Err(NotServed) => match hub.policy(namespace) {
                    // Whom it admits would be the socket of a backend that did not.
                    Policy::Builtin if !hub.registry.serves(namespace) => {
                        return hub.builtin.decide(request).await;
                    }
                    Policy::Refuse => return Err(unavailable().into()),
                    Policy::Wait | Policy::Builtin => {
                        let deadline = Instant::now() + hub.config.wait;
                        self.comes(deadline, || hub.registry.of_connect(namespace).is_ok())
                            .await?;
                        continue;
                    }
                },
            };
            let io = Io::new(Arc::clone(&hub.adapter), namespace.into());
            let operator = Operator::of_server(io, Arc::clone(&admitting.backend));
            let admit = to_backend::Message::Admit(Admit {
                namespace: namespace.to_owned(),
                auth: convert::auth(request.auth),
                handshake: Some(convert::handshake(request.handshake)),
            });
            match ask(hub, &admitting.backend, admit, &operator).await {
                Ok(from_backend::Message::Admission(admission)) => {
                    let decision = convert::decision(admission);
                    return Ok(decision.ok_or_else(|| malformed(&admitting))??);
                }
                Ok(_) => return Err(Rejection::internal().into()),
                Err(Unanswered::NotWritten | Unanswered::Lost) => {
                    sleep(limits::BACKEND_RETRY_PAUSE).await;
                }
                Err(Unanswered::Overloaded | Unanswered::TimedOut) => break,
            }
        }
        Err(Unadmitted::Later)
    }

    async fn on_connect(&self, socket: &Socket) {
        let bound = self.0.bindings.of(socket);
        let mut turn = bound.turn.lock().await;
        match self.tie(&bound, &mut turn).await {
            Ok(_) => {}
            Err(Untied::NotServed) if self.0.policy(socket.namespace()) == Policy::Builtin => {
                self.0.builtin.on_connect(socket).await;
                turn.told = true;
            }
            // It is bound when a backend comes.
            Err(Untied::NotServed) => {
                tracing::debug!(socket = socket.id(), "a socket has no backend yet");
            }
            // Nothing would tell the backend of it before its first event: it comes again.
            Err(Untied::Overloaded) => socket.close_for_now(),
        }
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let hub = &self.0;
        let policy = hub.policy(socket.namespace());
        let bound = hub.bindings.of(socket);
        let mut turn = bound.turn.lock().await;
        loop {
            let refusal = match self.find(&bound, &mut turn).await {
                Ok(tie) if tie.registered().wants(&event.name) => {
                    match self.bring(&tie, socket, &event, ack.is_some()).await {
                        Ok(done) => {
                            answer(ack, done);
                            break;
                        }
                        Err(Unanswered::NotWritten) => {
                            sleep(limits::BACKEND_RETRY_PAUSE).await;
                            continue;
                        }
                        Err(unanswered) => in_doubt(unanswered),
                    }
                }
                Ok(tie) if tie.registered().leaves_presence(&event.name) => {
                    hub.presence.answer_member(socket, &event, ack).await;
                    break;
                }
                Ok(_) | Err(Untied::NotServed) if policy == Policy::Builtin => {
                    hub.builtin.on_event(socket, event, ack).await;
                    break;
                }
                Ok(tie) if tie.registered().builtin => {
                    hub.builtin.on_event(socket, event, ack).await;
                    break;
                }
                Ok(_) => {
                    let message = format!("there is no event {:?} here", event.name);
                    Refusal::new(Code::UnknownEvent, message)
                }
                Err(Untied::NotServed) => Refusal::new(Code::Unavailable, "no backend is there"),
                Err(Untied::Overloaded) => in_doubt(Unanswered::Overloaded),
            };
            refuse(ack, &refusal);
            break;
        }
        // Its backend may have gone meanwhile: the next one is told at once.
        if self.tie(&bound, &mut turn).await.is_err() {
            tracing::trace!(socket = socket.id(), "a socket has no backend now");
        }
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        let hub = &self.0;
        let Some(bound) = hub.bindings.take(socket) else {
            return;
        };
        let mut turn = bound.turn.lock().await;
        // Its session goes on elsewhere, and whoever serves it there is told so: not that it ended.
        if socket.is_superseded() {
            turn.over = true;
            return;
        }
        let deadline = Instant::now() + limits::BACKEND_END_DEADLINE;
        while turn.tie.is_some() && Instant::now() < deadline {
            let tie = match self.tie(&bound, &mut turn).await {
                Ok(tie) => tie,
                Err(Untied::NotServed) => break,
                Err(Untied::Overloaded) => continue,
            };
            if !tie.registered().disconnects {
                break;
            }
            let gone = to_backend::Message::Disconnected(Disconnected {
                socket: socket.id().to_owned(),
                reason: reason.to_owned(),
            });
            let operator = Operator::of_socket(socket.clone(), Arc::clone(&tie.backend));
            match ask(hub, &tie.backend, gone, &operator).await {
                // Nobody waits: a program that is busy is told later.
                Err(Unanswered::NotWritten | Unanswered::Lost | Unanswered::Overloaded) => {
                    sleep(limits::BACKEND_RETRY_PAUSE).await;
                }
                _ => break,
            }
        }
        if turn.tie.is_none() && hub.policy(socket.namespace()) == Policy::Builtin {
            hub.builtin.on_disconnect(socket, reason).await;
        }
        turn.over = true;
    }

    /// Told to one backend; again to another only when that one surely or perhaps has not read it.
    async fn on_expire(&self, io: &Io, session: ExpiredSession) {
        let hub = &self.0;
        for _ in 0..EXPIRED_TOLD_MAX {
            let mut ties = hub.registry.serving(&session.namespace).into_iter();
            let Some(tie) = ties.find(|tie| tie.registered().disconnects) else {
                return;
            };
            let data = session.data.as_ref();
            let expired = to_backend::Message::Expired(Expired {
                namespace: session.namespace.clone(),
                socket: session.id.clone(),
                identity: session.identity.clone(),
                data: data.map_or_else(String::new, ToString::to_string),
            });
            let operator = Operator::of_server(io.clone(), Arc::clone(&tie.backend));
            match ask(hub, &tie.backend, expired, &operator).await {
                Err(Unanswered::NotWritten | Unanswered::Lost) => {
                    sleep(limits::BACKEND_RETRY_PAUSE).await;
                }
                _ => return,
            }
        }
    }
}

impl BackendHandler {
    /// Waits until whoever is awaited is there.
    async fn comes(
        &self,
        deadline: Instant,
        is_there: impl Fn() -> bool + Send,
    ) -> Result<(), Unadmitted> {
        let mut changes = self.0.registry.changes();
        let comes = async {
            while !is_there() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout_at(deadline, comes)
            .await
            .map_err(|_| Unadmitted::Later)
    }

    /// The socket's backend; one that is gone is replaced, and the new one told of the socket
    /// before anything else.
    async fn tie(&self, bound: &Bound, turn: &mut Turn) -> Result<Tie, Untied> {
        let (hub, socket, known) = (&self.0, &bound.socket, turn.told);
        if let (true, Some(tie)) = (turn.is_tied(), &turn.tie) {
            return Ok(tie.clone());
        }
        loop {
            let tie = hub.registry.of_socket(socket.namespace(), socket.local.id);
            let tie = tie.ok_or(Untied::NotServed)?;
            let connected = to_backend::Message::Connected(Connected {
                socket: Some(convert::remote_socket(socket)),
                namespace: socket.namespace().to_owned(),
                handshake: Some(convert::handshake(socket.handshake())),
                recovered: socket.recovered(),
                known,
            });
            let operator = Operator::of_socket(socket.clone(), Arc::clone(&tie.backend));
            match ask(hub, &tie.backend, connected, &operator).await {
                Ok(from_backend::Message::Done(done)) => {
                    if let Some(done::Outcome::Error(error)) = done.outcome {
                        tracing::debug!(
                            socket = socket.id(),
                            code = error.code,
                            "a backend does not want a socket"
                        );
                        socket.disconnect(false);
                    }
                }
                // It was told, whatever it made of it.
                Ok(_) | Err(Unanswered::TimedOut) => {}
                Err(Unanswered::NotWritten | Unanswered::Lost) => {
                    sleep(limits::BACKEND_RETRY_PAUSE).await;
                    continue;
                }
                Err(Unanswered::Overloaded) => return Err(Untied::Overloaded),
            }
            if known {
                metrics::backend_rebinds().increment(1);
            }
            turn.tie = Some(tie.clone());
            turn.told = true;
            return Ok(tie);
        }
    }

    /// As [`Self::tie`]; waits for a backend if the namespace's policy says so.
    async fn find(&self, bound: &Bound, turn: &mut Turn) -> Result<Tie, Untied> {
        let (hub, namespace) = (&self.0, bound.socket.namespace());
        loop {
            let tied = self.tie(bound, turn).await;
            if !matches!(tied, Err(Untied::NotServed)) || hub.policy(namespace) != Policy::Wait {
                return tied;
            }
            let is_served = || hub.registry.serves(namespace);
            let deadline = hub.awaited_until(namespace);
            if self.comes(deadline, is_served).await.is_err() {
                return tied;
            }
        }
    }

    /// Brings an event to a backend; what its client is answered.
    async fn bring(
        &self,
        tie: &Tie,
        socket: &Socket,
        event: &Event,
        wants_answer: bool,
    ) -> Result<Option<done::Outcome>, Unanswered> {
        let message = to_backend::Message::Event(SocketEvent {
            socket: socket.id().to_owned(),
            event: Some(messages::handled_event_of(event.clone())),
            wants_answer,
        });
        let operator = Operator::of_socket(socket.clone(), Arc::clone(&tie.backend));
        match ask(&self.0, &tie.backend, message, &operator).await? {
            from_backend::Message::Done(done) => Ok(done.outcome),
            other => {
                tracing::warn!(
                    backend = tie.backend.id,
                    ?other,
                    "an event is answered by Done"
                );
                Ok(Some(done::Outcome::Error(messages::error_of(
                    &Refusal::new(Code::Internal, "the handler failed"),
                ))))
            }
        }
    }
}

/// Binds what has no backend to one, whenever backends come or go; a socket whose turn is taken
/// looks for itself.
pub(super) async fn bind_anew(hub: Arc<Hub>) {
    let mut changes = hub.registry.changes();
    let handler = BackendHandler(Arc::clone(&hub));
    while changes.changed().await.is_ok() {
        let bound = futures_util::stream::iter(hub.bindings.all());
        bound
            .for_each_concurrent(limits::BACKEND_REBINDS_MAX, async |bound| {
                if let Ok(mut turn) = bound.turn.try_lock()
                    && !turn.over
                    && !turn.is_tied()
                    && handler.tie(&bound, &mut turn).await.is_err()
                {
                    tracing::trace!(socket = bound.socket.id(), "no backend for a socket");
                }
            })
            .await;
    }
}

fn answer(ack: Option<Ack>, outcome: Option<done::Outcome>) {
    let Some(ack) = ack else { return };
    match outcome {
        Some(done::Outcome::Answer(answer)) => {
            match messages::json("answer", answer.args, answer.attachments) {
                Ok(Payload { json, attachments }) => ack.send_raw(&json, attachments),
                Err(wrong) => {
                    tracing::warn!(%wrong, "a backend's answer");
                    ack.refuse(&Refusal::new(Code::Internal, "the handler failed"));
                }
            }
        }
        Some(done::Outcome::Error(error)) => refuse_in_its_words(ack, &error),
        // As if nobody had answered.
        None => drop(ack),
    }
}

/// The code is the backend's own word: as few as it has.
fn refuse_in_its_words(ack: Ack, error: &api::Error) {
    metrics::refusals("backend").increment(1);
    let error = json!({ "code": error.code, "message": error.message });
    ack.send(json!({ "ok": false, "error": error }));
}

fn refuse(ack: Option<Ack>, refusal: &Refusal) {
    match ack {
        Some(ack) => ack.refuse(refusal),
        None => metrics::refusals(refusal.code.word()).increment(1),
    }
}

/// A backend's mistake: its client learns nothing about the inside.
fn malformed(tie: &Tie) -> Rejection {
    let backend = &tie.backend;
    tracing::warn!(
        backend = backend.id,
        name = backend.description.name,
        "an admission whose data is no JSON, or too long"
    );
    Rejection::internal()
}

/// What a client is told whose event has no answer.
fn in_doubt(unanswered: Unanswered) -> Refusal {
    match unanswered {
        Unanswered::NotWritten => Refusal::new(Code::Unavailable, "the backend has gone"),
        Unanswered::Lost => Refusal::new(
            Code::UnknownOutcome,
            "the backend has gone: perhaps handled",
        ),
        Unanswered::Overloaded => Refusal::new(Code::Overloaded, "the backend has too many calls"),
        Unanswered::TimedOut => Refusal::new(Code::Timeout, "no answer in time"),
    }
}

fn unavailable() -> Rejection {
    Rejection::new("no backend is there").with_data(json!({ "code": "unavailable" }))
}
