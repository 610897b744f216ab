//! Puts a namespace together: handlers by event, middlewares in the order in which they run.

use std::fmt;
use std::sync::Arc;

use roomcast_proto::socketio::args::RESERVED_EVENT_NAMES;
use tower::{Layer, Service};

use super::call::{Call, Connect};
use super::handlers::{
    ConnectHandler, DisconnectHandler, EventHandler, ExpireHandler, ServerHandler,
};
use super::middleware::{ConnectService, EventService, wrap};
use super::routes::{Handlers, Routes};
use crate::adapter::Answer;
use crate::socketio::handler::{Admission, Rejection};
use crate::socketio::refusal::Refusal;

/// A namespace's handlers and middlewares. Those of one socket run one after the other, in the
/// order of its events; those of different sockets beside each other.
///
/// ```
/// use roomcast::{Namespace, OperationError, Reply, Socket};
///
/// async fn join(socket: Socket, room: String) -> Result<Reply<usize>, OperationError> {
///     socket.join(&room).await?;
///     socket.to(&room).emit("joined", (&room, socket.id())).await?;
///     Ok(Reply(socket.rooms().len()))
/// }
///
/// let chat = Namespace::new()
///     .on_connect(|socket: Socket| socket.join("lobby"))
///     .on("join", join)
///     .on("message", |socket: Socket, (room, text): (String, String)| {
///         socket.within(&room).emit("message", (socket.identity(), text))
///     })
///     .on_disconnect(|socket: Socket, reason: String| async move {
///         println!("{} has gone: {reason}", socket.id());
///     });
/// ```
#[must_use = "a namespace is served by a server"]
#[derive(Default)]
pub struct Namespace {
    handlers: Handlers,
    connect_layers: Vec<Box<dyn FnOnce(ConnectService) -> ConnectService + Send>>,
    event_layers: Vec<Box<dyn FnOnce(EventService) -> EventService + Send>>,
    /// What is wrong with it, first thing first.
    errors: Vec<NamespaceError>,
}

/// A namespace that cannot be served as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// Only the protocol itself uses this name; no client can send it.
    #[error("`{0}` is a reserved event name")]
    ReservedEvent(String),
    /// One of the two would never run.
    #[error("the event `{0}` has two handlers")]
    TwoHandlers(String),
    /// One of the two would never run.
    #[error("there are two handlers for {0}")]
    Twice(&'static str),
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("handlers", &self.handlers)
            .field("connect_layers", &self.connect_layers.len())
            .field("event_layers", &self.event_layers.len())
            .field("errors", &self.errors)
            .finish()
    }
}

impl Namespace {
    /// A namespace that admits everybody and knows no event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs when a socket is in place, a resumed one too, before its first event. If it fails, the
    /// socket is disconnected.
    pub fn on_connect(self, handler: impl ConnectHandler) -> Self {
        let handler = Arc::new(handler);
        self.once("on_connect", |handlers| {
            handlers.connect.replace(handler).is_some()
        })
    }

    /// Runs for each event of this name. See [`EventHandler`] for what a handler may be.
    pub fn on<Form>(mut self, event: &str, handler: impl EventHandler<Form>) -> Self {
        if RESERVED_EVENT_NAMES.contains(&event) {
            self.errors
                .push(NamespaceError::ReservedEvent(event.to_owned()));
            return self;
        }
        let route = Arc::new(move |call| handler.call(call));
        if self
            .handlers
            .events
            .insert(event.to_owned(), route)
            .is_some()
        {
            self.errors
                .push(NamespaceError::TwoHandlers(event.to_owned()));
        }
        self
    }

    /// Runs for each event that no other handler takes. Without it such an event is refused as
    /// `unknown_event`.
    pub fn on_any<Form>(self, handler: impl EventHandler<Form>) -> Self {
        let route = Arc::new(move |call| handler.call(call));
        self.once("on_any", |handlers| handlers.any.replace(route).is_some())
    }

    /// Runs for each event of this name that the application on another node sends with
    /// [`crate::Io::server_side_emit`], beside everything else.
    pub fn on_server<Form>(mut self, event: &str, handler: impl ServerHandler<Form>) -> Self {
        if RESERVED_EVENT_NAMES.contains(&event) {
            self.errors
                .push(NamespaceError::ReservedEvent(event.to_owned()));
            return self;
        }
        let route = Arc::new(move |io, event| handler.call(io, event));
        let routes = &mut self.handlers.server_events;
        if routes.insert(event.to_owned(), route).is_some() {
            self.errors
                .push(NamespaceError::TwoHandlers(event.to_owned()));
        }
        self
    }

    /// Runs once for each socket in place whose transport has gone or that was disconnected, after
    /// all its events. Its session may still resume, here or elsewhere.
    pub fn on_disconnect(self, handler: impl DisconnectHandler) -> Self {
        let handler = Arc::new(handler);
        self.once("on_disconnect", |handlers| {
            handlers.disconnect.replace(handler).is_some()
        })
    }

    /// Runs for each session that ended while it was away, because its resume window ran out: on
    /// one node of the cluster, beside everything else, and at most once. Who must not miss one
    /// follows the lifecycle: see [`crate::Io::follow`].
    pub fn on_expire(self, handler: impl ExpireHandler) -> Self {
        let handler = Arc::new(handler);
        self.once("on_expire", |handlers| {
            handlers.expire.replace(handler).is_some()
        })
    }

    /// A middleware around connects and resumes; the first one added runs first. It may refuse with
    /// an error that the client sees, and decide who the client is. See [`super::from_fn`].
    pub fn connect_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<ConnectService> + Send + 'static,
        L::Service: Service<Connect, Response = Admission> + Clone + Send + Sync + 'static,
        <L::Service as Service<Connect>>::Error: Into<Rejection>,
        <L::Service as Service<Connect>>::Future: Send + 'static,
    {
        self.connect_layers
            .push(Box::new(move |inner| wrap(&layer, inner)));
        self
    }

    /// A middleware around the events of every socket; the first one added runs first. It may
    /// refuse, answer, delay, or pass on. See [`super::from_fn`]; a layer of `tower` such as
    /// `TimeoutLayer` will do as well.
    pub fn event_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<EventService> + Send + 'static,
        L::Service: Service<Call, Response = Option<Answer>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Call>>::Error: Into<Refusal>,
        <L::Service as Service<Call>>::Future: Send + 'static,
    {
        self.event_layers
            .push(Box::new(move |inner| wrap(&layer, inner)));
        self
    }

    /// The handler that a [`super::Namespaces`] opens; [`crate::ServerBuilder::namespace`] asks for
    /// it itself.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn build(self) -> Result<Routes, NamespaceError> {
        match self.errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(Routes::new(
                self.handlers,
                self.connect_layers,
                self.event_layers,
            )),
        }
    }

    /// Sets a handler of which there is one; `set` says whether there was one before.
    fn once(mut self, name: &'static str, set: impl FnOnce(&mut Handlers) -> bool) -> Self {
        if set(&mut self.handlers) {
            self.errors.push(NamespaceError::Twice(name));
        }
        self
    }
}
