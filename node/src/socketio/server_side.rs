//! From the application on one node to the application on the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use roomcast_proto::socketio::args;
use serde::Serialize;

use super::arguments;
use super::caught::caught;
use super::client::Clients;
use super::handler::{Event, ExpiredSession};
use super::io::Io;
use super::operation::OperationError;
use super::refusal::{Code, Refusal};
use crate::adapter::{Application, ServerAnswers, ServerEvent};
use crate::limits;
use crate::state;

impl Io {
    /// Sends an event to the application on every other node, which [`super::Namespace::on_server`]
    /// handles: not logged, in no promised order, and lost where a queue is full.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`, `Arguments`.
    pub fn server_side_emit<A: Serialize>(
        &self,
        name: &str,
        args: A,
    ) -> Result<(), OperationError> {
        let event = arguments::event(name, &args).map_err(|_| OperationError::Arguments)?;
        self.server_side_emit_raw(event)
    }

    /// The same, with a JSON array, name first.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`.
    pub fn server_side_emit_raw(&self, event: Bytes) -> Result<(), OperationError> {
        let event = self.server_event(event)?;
        self.adapter.emit_to_servers(&event);
        Ok(())
    }

    /// The same, and waits until every other node has answered, or for `timeout`. A node without
    /// a handler answers as a client would be answered: `unknown_event`.
    ///
    /// # Errors
    /// The same.
    pub async fn server_side_emit_with_ack<A: Serialize>(
        &self,
        name: &str,
        args: A,
        timeout: Duration,
    ) -> Result<ServerAnswers, OperationError> {
        let event = arguments::event(name, &args).map_err(|_| OperationError::Arguments)?;
        self.server_side_emit_with_ack_raw(event, timeout).await
    }

    /// The same, with a JSON array, name first.
    ///
    /// # Errors
    /// `TooLarge`, `EventName`.
    pub async fn server_side_emit_with_ack_raw(
        &self,
        event: Bytes,
        timeout: Duration,
    ) -> Result<ServerAnswers, OperationError> {
        let event = self.server_event(event)?;
        Ok(self.adapter.ask_servers(&event, timeout).await)
    }

    fn server_event(&self, event: Bytes) -> Result<ServerEvent, OperationError> {
        args::event_name(&event).map_err(|_| OperationError::EventName)?;
        if event.len() > limits::SERVER_EVENT_BYTES_MAX {
            return Err(OperationError::TooLarge);
        }
        Ok(ServerEvent {
            namespace: self.namespace().to_owned(),
            event,
        })
    }
}

impl Application for Clients {
    fn on_server_event(self: Arc<Self>, event: ServerEvent) -> BoxFuture<'static, Bytes> {
        let answered = async move {
            let answer = caught("server_event", self.handle(event)).await;
            answer.unwrap_or_else(|| Refusal::internal().to_answer().data)
        };
        answered.boxed()
    }

    fn on_expired(self: Arc<Self>, session: state::ExpiredSession) -> BoxFuture<'static, ()> {
        let expiring = async move {
            let Some(handler) = self.namespaces.find(&session.namespace) else {
                return;
            };
            let io = Io::new(self.adapter(), Arc::clone(&session.namespace));
            let expired = ExpiredSession {
                id: session.id.to_string(),
                namespace: session.namespace.to_string(),
                identity: session.identity.as_deref().map(str::to_owned),
                data: serde_json::from_slice(&session.data).ok(),
            };
            // A panic is counted, and harms nobody.
            let _: Option<()> = caught("expire", handler.on_expire(&io, expired)).await;
        };
        expiring.boxed()
    }
}

impl Clients {
    /// The namespace's handler runs, and what it returns is the answer.
    async fn handle(&self, event: ServerEvent) -> Bytes {
        let ServerEvent { namespace, event } = event;
        let unknown = || Refusal::new(Code::UnknownEvent, "nobody handles this event here");
        let parts = args::event_name(&event).and_then(|name| Ok((name, args::split(&event)?)));
        let (Some(handler), Ok((name, mut args))) = (self.namespaces.find(&namespace), parts)
        else {
            return unknown().to_answer().data;
        };
        args.remove(0);
        let io = Io::new(self.adapter(), namespace.into());
        let event = Event {
            name,
            args,
            attachments: Vec::new(),
        };
        match handler.on_server_event(&io, event).await {
            Ok(Some(answer)) => answer.data,
            Ok(None) => Bytes::from_static(b"[]"),
            Err(refusal) => refusal.to_answer().data,
        }
    }
}
