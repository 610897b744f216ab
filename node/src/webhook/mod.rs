//! Namespaces that an application serves over HTTP, where it cannot hold a stream: each connect,
//! event and disconnect is a signed POST, and its answer says what to do. In reading order: the
//! handler, what is said (`message`), how it gets there (`client`), and how it is signed
//! (`signature`).

mod acting;
mod client;
mod message;
mod signature;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::config::{Webhook as Hook, WebhooksConfig};
use crate::socketio::{
    Ack, Admission, Code, ConnectRequest, Event, Handler, Namespaces, Refusal, Rejection, Socket,
    Unadmitted,
};
use crate::{limits, metrics};
use client::{Client, Undelivered};
use message::{Acted, Admitted, Message, Reject, Shake, Who};

/// Opens the namespaces that webhooks serve.
///
/// # Errors
/// When an application is reached over TLS and this machine has no root certificates.
pub fn open(config: &WebhooksConfig, mut namespaces: Namespaces) -> std::io::Result<Namespaces> {
    if config.hooks.is_empty() {
        return Ok(namespaces);
    }
    let client = Arc::new(Client::new(config)?);
    let notices = Arc::new(AtomicUsize::new(0));
    for Hook {
        namespaces: pattern,
        url,
    } in config.closest_first()
    {
        let handler = Webhook {
            client: Arc::clone(&client),
            url,
            deadline: config.deadline,
            notices: Arc::clone(&notices),
        };
        let serves = move |name: &str| pattern.fit(name).is_some();
        namespaces = namespaces.open_matching(serves, handler);
    }
    Ok(namespaces)
}

/// Serves the sockets of some namespaces.
struct Webhook {
    client: Arc<Client>,
    url: Uri,
    /// How long a client waits at most for what the application answers.
    deadline: Duration,
    /// Disconnects of this node that are not delivered yet.
    notices: Arc<AtomicUsize>,
}

impl Webhook {
    /// Asks the application, which has until the deadline, and reads its answer.
    async fn ask<T: DeserializeOwned + Default>(
        &self,
        message: &Message<'_>,
    ) -> Result<T, Undelivered> {
        let deadline = Instant::now() + self.deadline;
        let (kind, body) = (message.kind(), message.to_body());
        let answer = self.client.deliver(&self.url, kind, body, deadline).await?;
        read(&answer).map_err(|error| {
            tracing::warn!(url = %self.url, kind, error, "a webhook's answer is not understood");
            Undelivered::Refused(StatusCode::OK, answer)
        })
    }
}

/// An answer without a body is one without contents.
fn read<T: DeserializeOwned + Default>(answer: &Bytes) -> Result<T, String> {
    if answer.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(answer).map_err(|error| error.to_string())
}

#[async_trait]
impl Handler for Webhook {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        self.decide(request)
            .await
            .map_err(|unadmitted| match unadmitted {
                Unadmitted::Rejected(rejection) => rejection,
                Unadmitted::Later => Rejection::internal(),
            })
    }

    async fn decide(&self, request: &ConnectRequest<'_>) -> Result<Admission, Unadmitted> {
        let message = Message::Connect {
            namespace: request.namespace,
            auth: request.auth,
            handshake: Shake::of(request.handshake),
        };
        let admitted: Admitted = self.ask(&message).await.map_err(refused)?;
        if let Some(reject) = admitted.reject {
            return Err(reject.into());
        }
        Ok(Admission {
            identity: admitted.identity,
            data: admitted.data,
            recovery: admitted.recovery.into(),
        })
    }

    /// Without an answer the connection is closed: its client comes again by itself, and its
    /// session with it.
    async fn on_connect(&self, socket: &Socket) {
        let message = Message::Connected {
            namespace: socket.namespace(),
            socket: Who::of(socket),
            handshake: Shake::of(socket.handshake()),
            recovered: socket.recovered(),
        };
        let acted: Result<Acted, Undelivered> = self.ask(&message).await;
        let done = match acted {
            Ok(acted) if acted.error.is_some() => return socket.disconnect(false),
            Ok(acted) => acting::run(socket, acted.operations).await,
            Err(_) => Err(Refusal::new(Code::Unavailable, "no answer")),
        };
        if let Err(refusal) = done {
            tracing::warn!(socket = socket.id(), %refusal, "a connect was not carried through");
            socket.close_for_now();
        }
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let message = message::event(socket, &event, ack.is_some());
        let outcome = match self.ask(&message).await {
            Ok(acted) => acting::carry_out(socket, acted).await,
            Err(undelivered) => Err(unanswered(&undelivered)),
        };
        let Some(ack) = ack else { return };
        match outcome {
            Ok(Some(args)) => ack.send_raw(&args, Vec::new()),
            Ok(None) => {}
            Err(refusal) => ack.refuse(&refusal),
        }
    }

    /// Told in the background, for longer than a client would wait.
    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        // Its session goes on elsewhere, where `connected` is told.
        if socket.is_superseded() {
            return;
        }
        if self.notices.fetch_add(1, Ordering::Relaxed) < limits::WEBHOOK_NOTICES_MAX {
            let message = Message::Disconnect {
                namespace: socket.namespace(),
                socket: Who::of(socket),
                reason,
            };
            let (kind, body) = (message.kind(), message.to_body());
            let deadline = Instant::now() + limits::WEBHOOK_NOTICE_DEADLINE;
            let delivered = self.client.deliver(&self.url, kind, body, deadline).await;
            if let Err(error) = delivered {
                tracing::warn!(url = %self.url, ?error, "a disconnect was not delivered");
            }
        } else {
            metrics::webhooks("disconnect", "dropped").increment(1);
        }
        self.notices.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why an event was not handled. An application that did not answer may have handled it.
fn unanswered(undelivered: &Undelivered) -> Refusal {
    match undelivered {
        Undelivered::Refused(..) => Refusal::new(Code::Internal, "the application failed"),
        Undelivered::Failed => {
            Refusal::new(Code::UnknownOutcome, "the application has not answered")
        }
        Undelivered::Overloaded => Refusal::new(Code::Overloaded, "too many events at once"),
    }
}

/// Why a client was not admitted. Only the application's own refusal is final.
fn refused(undelivered: Undelivered) -> Unadmitted {
    match undelivered {
        Undelivered::Refused(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, body) => {
            let admitted: Admitted = read(&body).unwrap_or_default();
            let forbidden = || Rejection::new("forbidden").into();
            admitted.reject.map_or_else(forbidden, Into::into)
        }
        _ => Unadmitted::Later,
    }
}

impl From<Reject> for Unadmitted {
    fn from(reject: Reject) -> Self {
        Self::Rejected(Rejection {
            message: reject.message,
            data: reject.data,
        })
    }
}
