//! The handler of every namespace that backends serve: each of its questions is a call to one of
//! them. Without any, what the namespace's policy says.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use roomcast_proto::api::{self, Admit, Connected, Disconnected, SocketEvent};
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
    Ack, Admission, Code, ConnectRequest, Event, Handler, Io, Refusal, Rejection, Socket,
    Unadmitted,
};
use crate::{limits, metrics};

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
                    Policy::Builtin => return hub.builtin.decide(request).await,
                    Policy::Refuse => return Err(unavailable().into()),
                    Policy::Wait => {
                        let deadline = Instant::now() + hub.config.wait;
                        self.is_served(namespace, deadline).await?;
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
        match self.tie(&bound, &mut turn, false).await {
            Ok(_) => {}
            Err(Untied::NotServed) if self.0.policy(socket.namespace()) == Policy::Builtin => {
                self.0.builtin.on_connect(socket).await;
            }
            // It is bound when a backend comes, or with its first event.
            Err(_) => tracing::debug!(socket = socket.id(), "a socket has no backend yet"),
        }
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let hub = &self.0;
        let policy = hub.policy(socket.namespace());
        let bound = hub.bindings.of(socket);
        let mut turn = bound.turn.lock().await;
        let tie = match self.tie(&bound, &mut turn, true).await {
            Err(Untied::NotServed) if policy == Policy::Wait => {
                let deadline = hub.registry.last_loss() + hub.config.wait;
                match self.is_served(socket.namespace(), deadline).await {
                    Ok(()) => self.tie(&bound, &mut turn, true).await,
                    Err(_) => Err(Untied::NotServed),
                }
            }
            tied => tied,
        };
        let refusal = match tie {
            Ok(tie) if tie.registered().wants(&event.name) => {
                return self.event(&bound, &mut turn, event, ack).await;
            }
            Ok(_) | Err(Untied::NotServed) if policy == Policy::Builtin => {
                return hub.builtin.on_event(socket, event, ack).await;
            }
            Ok(_) => {
                let message = format!("there is no event {:?} here", event.name);
                Refusal::new(Code::UnknownEvent, message)
            }
            Err(Untied::NotServed) => Refusal::new(Code::Unavailable, "no backend is there"),
            Err(Untied::Overloaded) => overloaded(),
        };
        refuse(ack, &refusal);
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        let hub = &self.0;
        let Some(bound) = hub.bindings.take(socket) else {
            return;
        };
        let mut turn = bound.turn.lock().await;
        while turn.tie.is_some() {
            let Ok(tie) = self.tie(&bound, &mut turn, true).await else {
                break;
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
                Err(Unanswered::NotWritten | Unanswered::Lost) => {
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
}

impl BackendHandler {
    /// Waits until some backend serves a namespace.
    async fn is_served(&self, namespace: &str, deadline: Instant) -> Result<(), Unadmitted> {
        let mut changes = self.0.registry.changes();
        let served = async {
            while self.0.registry.serving(namespace).is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let served = timeout_at(deadline, served).await;
        served.map_err(|_| Unadmitted::Later)
    }

    /// The socket's backend; one that is gone is replaced, and the new one told of the socket
    /// before anything else.
    async fn tie(&self, bound: &Bound, turn: &mut Turn, known: bool) -> Result<Tie, Untied> {
        let (hub, socket) = (&self.0, &bound.socket);
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
            return Ok(tie);
        }
    }

    /// Brings an event to the socket's backend. One that went before it read the event is replaced;
    /// one that may have read it leaves its sender in doubt, and is replaced, too.
    async fn event(&self, bound: &Bound, turn: &mut Turn, event: Event, ack: Option<Ack>) {
        let (hub, socket) = (&self.0, &bound.socket);
        let message = SocketEvent {
            socket: socket.id().to_owned(),
            event: Some(messages::handled_event_of(event)),
            wants_answer: ack.is_some(),
        };
        loop {
            let tie = match self.tie(bound, turn, true).await {
                Ok(tie) => tie,
                Err(Untied::NotServed) => {
                    let refusal = Refusal::new(Code::Unavailable, "the backend has gone");
                    return refuse(ack, &refusal);
                }
                Err(Untied::Overloaded) => return refuse(ack, &overloaded()),
            };
            let operator = Operator::of_socket(socket.clone(), Arc::clone(&tie.backend));
            let asked = to_backend::Message::Event(message.clone());
            let refusal = match ask(hub, &tie.backend, asked, &operator).await {
                Ok(from_backend::Message::Done(done)) => return answer(ack, done.outcome),
                Ok(_) => Refusal::new(Code::Internal, "the backend did not answer this"),
                Err(Unanswered::NotWritten) => {
                    sleep(limits::BACKEND_RETRY_PAUSE).await;
                    continue;
                }
                Err(Unanswered::Lost) => {
                    let words = "the backend has gone: perhaps handled";
                    refuse(ack, &Refusal::new(Code::UnknownOutcome, words));
                    if self.tie(bound, turn, true).await.is_err() {
                        tracing::debug!(socket = socket.id(), "a socket has no backend now");
                    }
                    return;
                }
                Err(Unanswered::Overloaded) => overloaded(),
                Err(Unanswered::TimedOut) => Refusal::new(Code::Timeout, "no answer in time"),
            };
            return refuse(ack, &refusal);
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
                    && handler.tie(&bound, &mut turn, true).await.is_err()
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

fn overloaded() -> Refusal {
    Refusal::new(Code::Overloaded, "the backend has too many calls")
}

fn unavailable() -> Rejection {
    Rejection::new("no backend is there").with_data(json!({ "code": "unavailable" }))
}
