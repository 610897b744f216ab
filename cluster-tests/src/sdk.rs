//! Our Rust client as the suite sees any client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roomcast_client::{
    AckError, Args, BackoffOptions, Client, ClientOptions, Inbox, Notice, Socket, SocketOptions,
};
use serde_json::{Map, Value, json};

use crate::client::{CallError, Event, Monitor, Signal, Tap};
use crate::payload::{BINARY, unhex};
use crate::wire::put_attachments;

/// A node that accepts and never answers is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The stock driver's delays.
const BACKOFF: BackoffOptions = BackoffOptions {
    initial: Duration::from_millis(150),
    max: Duration::from_millis(600),
    jitter: 0.5,
};

/// One socket on a connection of its own; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct SdkSocket {
    client: Client,
    socket: Socket,
    monitor: Arc<Monitor>,
}

impl SdkSocket {
    /// Starts connecting.
    ///
    /// # Panics
    /// When the client takes these for wrong options.
    #[must_use]
    pub fn start(addr: SocketAddr, namespace: &str, auth: Map<String, Value>, tap: Tap) -> Self {
        let options = ClientOptions {
            backoff: BACKOFF,
            connect_timeout: CONNECT_TIMEOUT,
            ..ClientOptions::default()
        };
        let client = Client::new([format!("ws://{addr}")], options).expect("a good endpoint");
        let options = SocketOptions {
            auth: Value::Object(auth),
            ..SocketOptions::default()
        };
        let (socket, inbox) = client.socket(namespace, options).expect("a new namespace");
        let monitor = Monitor::new(tap);
        tokio::spawn(listen(inbox, Arc::clone(&monitor)));
        Self {
            client,
            socket,
            monitor,
        }
    }

    pub(crate) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    pub(crate) async fn call(
        &self,
        event: &str,
        args: Vec<Value>,
        wait: Duration,
    ) -> Result<Value, CallError> {
        match self
            .socket
            .emit_with_ack(event, arguments(args), wait)
            .await
        {
            Ok(answer) => {
                let (mut values, attachments) = answer.into_parts();
                values
                    .iter_mut()
                    .for_each(|value| put_attachments(value, &attachments));
                Ok(values.into_iter().next().unwrap_or_default())
            }
            Err(error) if error.is_surely_not_sent() => Err(CallError::NotConnected),
            Err(AckError::Timeout(_)) => Err(CallError::Timeout),
            Err(_) => Err(CallError::Lost),
        }
    }

    /// An emit that finds no place in the client's buffer is as lost as one that is cut.
    pub(crate) async fn emit(&self, event: &str, args: Vec<Value>) {
        let _not_sent = self.socket.emit(event, arguments(args)).is_err();
    }

    pub(crate) async fn cut(&self) {
        self.client.cut().await;
    }

    pub(crate) async fn close(&self) {
        self.client.close().await;
    }
}

fn arguments(values: Vec<Value>) -> Args {
    let bytes = |value: &Value| value.get(BINARY).and_then(Value::as_str).and_then(unhex);
    values
        .into_iter()
        .fold(Args::new(), |args, value| match bytes(&value) {
            Some(bytes) => args.binary(bytes),
            None => args.json(value),
        })
}

async fn listen(mut inbox: Inbox, monitor: Arc<Monitor>) {
    while let Some(notice) = inbox.recv().await {
        let signal = match notice {
            Notice::Connected(now) => {
                let report = |resume: roomcast_client::ResumeReport| {
                    let (ok, from, reason) = (resume.ok, resume.from, resume.reason);
                    json!({ "ok": ok, "from": from, "reason": reason })
                };
                let resume = now.resume.map(report).unwrap_or_default();
                Signal::Connected {
                    id: now.id,
                    recovered: now.recovered,
                    resume,
                }
            }
            Notice::Event(event) => {
                let mut args = event.args;
                args.iter_mut()
                    .for_each(|value| put_attachments(value, &event.attachments));
                Signal::Event(Event {
                    name: event.name,
                    args,
                    offset: event.offset,
                })
            }
            Notice::Disconnected { reason } => {
                let reason = reason.to_string();
                let returns = reason != "io server disconnect";
                Signal::Disconnected { reason, returns }
            }
            Notice::ConnectError { data } => Signal::ConnectError {
                message: format!("44 {data}"),
                returns: false,
            },
            _ => continue,
        };
        monitor.signal(&signal);
    }
}
