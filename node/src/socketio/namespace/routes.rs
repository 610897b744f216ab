//! A namespace at work: each connect and event through the middlewares to its handler.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tower::service_fn;
use tower::util::{BoxCloneSyncService, ServiceExt};

use super::call::{Call, Connect, Outcome};
use super::handlers::{ConnectHandler, DisconnectHandler, ExpireHandler};
use super::middleware::{ConnectService, EventService};
use crate::socketio::ack::Ack;
use crate::socketio::handler::{
    Admission, ConnectRequest, Event, ExpiredSession, Handler, Rejection,
};
use crate::socketio::io::Io;
use crate::socketio::refusal::{Code, Refusal};
use crate::socketio::socket::Socket;

/// An event's handler, whatever its form.
pub(super) type Route = Arc<dyn Fn(Call) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// The handler of an event of another node.
pub(super) type ServerRoute = Arc<dyn Fn(Io, Event) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A layer that waits for what it goes around.
type Wrap<S> = Box<dyn FnOnce(S) -> S + Send>;

/// The handlers of a namespace.
#[derive(Default, Clone)]
pub(super) struct Handlers {
    pub(super) connect: Option<Arc<dyn ConnectHandler>>,
    /// By the event's name.
    pub(super) events: BTreeMap<String, Route>,
    /// For every other event.
    pub(super) any: Option<Route>,
    pub(super) disconnect: Option<Arc<dyn DisconnectHandler>>,
    pub(super) expire: Option<Arc<dyn ExpireHandler>>,
    /// Of other nodes, by name.
    pub(super) server_events: BTreeMap<String, ServerRoute>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("connect", &self.connect.is_some())
            .field("events", &self.events.keys())
            .field("any", &self.any.is_some())
            .field("disconnect", &self.disconnect.is_some())
            .field("expire", &self.expire.is_some())
            .finish()
    }
}

/// A namespace that is complete: a [`Handler`].
pub struct Routes {
    /// Connect middlewares; the innermost step admits whom they let through.
    connects: ConnectService,
    /// Event middlewares; the innermost step is the event's handler.
    events: EventService,
    connect: Option<Arc<dyn ConnectHandler>>,
    disconnect: Option<Arc<dyn DisconnectHandler>>,
    expire: Option<Arc<dyn ExpireHandler>>,
    server_events: BTreeMap<String, ServerRoute>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}

impl Routes {
    pub(super) fn new(
        handlers: Handlers,
        connect_layers: Vec<Wrap<ConnectService>>,
        event_layers: Vec<Wrap<EventService>>,
    ) -> Self {
        let admit = service_fn(|connect: Connect| ready(Ok(connect.admission)));
        let mut connects = BoxCloneSyncService::new(admit);
        // The last one goes around the handlers first, so that the first one is outermost.
        for wrap in connect_layers.into_iter().rev() {
            connects = wrap(connects);
        }
        let (connect, disconnect) = (handlers.connect, handlers.disconnect);
        let (expire, server_events) = (handlers.expire, handlers.server_events);
        let (routes, any) = (Arc::new(handlers.events), handlers.any);
        let route = service_fn(move |call: Call| {
            let route = routes.get(&call.event.name).or(any.as_ref()).cloned();
            async move {
                match route {
                    Some(route) => route(call).await,
                    None => Err(unknown(&call.event.name)),
                }
            }
        });
        let mut events = BoxCloneSyncService::new(route);
        for wrap in event_layers.into_iter().rev() {
            events = wrap(events);
        }
        Self {
            connects,
            events,
            connect,
            disconnect,
            expire,
            server_events,
        }
    }
}

#[async_trait]
impl Handler for Routes {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        self.connects.clone().oneshot(Connect::new(request)).await
    }

    async fn on_connect(&self, socket: &Socket) {
        let Some(handler) = &self.connect else { return };
        if let Err(refusal) = handler.call(socket.clone()).await {
            tracing::warn!(socket = socket.id(), %refusal, "a connection handler failed");
            socket.disconnect(false);
        }
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let call = Call::new(socket.clone(), event, ack);
        let outcome = self.events.clone().oneshot(call.clone()).await;
        match (outcome, call.take_ack()) {
            (Ok(Some(answer)), Some(ack)) => ack.send_raw(&answer.data, answer.attachments),
            (Ok(_), _) => {}
            (Err(refusal), Some(ack)) => ack.refuse(&refusal),
            (Err(refusal), None) => refusal.count(),
        }
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        if let Some(handler) = &self.disconnect {
            handler.call(socket.clone(), reason.to_owned()).await;
        }
    }

    async fn on_expire(&self, io: &Io, session: ExpiredSession) {
        if let Some(handler) = &self.expire {
            handler.call(io.clone(), session).await;
        }
    }

    async fn on_server_event(&self, io: &Io, event: Event) -> Outcome {
        match self.server_events.get(&event.name) {
            Some(route) => route(io.clone(), event).await,
            None => Err(unknown(&event.name)),
        }
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        Code::UnknownEvent,
        format!("there is no event {name:?} here"),
    )
}
