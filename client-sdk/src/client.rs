//! [`Client`]: one connection to a cluster, whichever node it leads to, and its namespaces.

use std::sync::Arc;

use roomcast_proto::socketio::Namespace;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Action, Command, Connection, Shared};
use crate::endpoint::{Endpoint, EndpointList};
use crate::error::ClientError;
use crate::options::{ClientOptions, SocketOptions};
use crate::socket::{Inbox, Socket};
use crate::socket_core::SocketCore;
use crate::transport::websocket::WebSocketConnector;

/// Commands on their way to the task; a further one waits.
const COMMANDS_MAX: usize = 16;

/// One connection, on which namespaces are multiplexed. It is opened when the first socket is
/// made and reopened whenever it is lost. Dropping the client and all its sockets and inboxes
/// closes it; the sessions stay and can be resumed by their tokens. [`Client::close`] ends them.
#[derive(Debug, Clone)]
pub struct Client {
    /// Shared with sockets and inboxes.
    handle: Arc<ClientHandle>,
}

/// What keeps the task alive.
#[derive(Debug)]
pub(crate) struct ClientHandle {
    /// To the task; it ends when this is dropped.
    commands: mpsc::Sender<Command>,
    /// Shared with the task.
    shared: Arc<Shared>,
}

impl Client {
    /// A client of the cluster behind `endpoints` (`ws://host:port[/path/]`; any node or load
    /// balancer will do). Nothing is opened yet. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoint`], [`ClientError::Endpoint`].
    pub fn new<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let endpoints = endpoints
            .into_iter()
            .map(|endpoint| endpoint.as_ref().parse())
            .collect::<Result<Vec<Endpoint>, ClientError>>()?;
        let endpoints = EndpointList::new(endpoints, options.order)?;
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared::default());
        let connector = WebSocketConnector::new(&options);
        let connection = Connection::new(connector, options, endpoints, shared.clone(), received);
        // It ends by itself when the last handle is dropped.
        drop(tokio::spawn(connection.run()));
        let handle = Arc::new(ClientHandle { commands, shared });
        Ok(Self { handle })
    }

    /// Makes the socket of a namespace and asks for it. A namespace has one socket per client;
    /// after [`Socket::disconnect`] it is [`Socket::connect`] that brings it back.
    ///
    /// # Errors
    /// [`ClientError::Namespace`], [`ClientError::NamespaceInUse`],
    /// [`ClientError::AuthNotObject`], [`ClientError::Closed`].
    pub fn socket(
        &self,
        namespace: &str,
        mut options: SocketOptions,
    ) -> Result<(Socket, Inbox), ClientError> {
        if self.handle.commands.is_closed() {
            return Err(ClientError::Closed);
        }
        let refused = || ClientError::Namespace(namespace.to_owned());
        let namespace = match Namespace::new(namespace) {
            Ok(name) if !name.contains('?') => name,
            _ => return Err(refused()),
        };
        let Value::Object(auth) = options.auth.take() else {
            return Err(ClientError::AuthNotObject);
        };
        let shared = &self.handle.shared;
        let mut sockets = shared.sockets.lock();
        if sockets
            .iter()
            .any(|socket| *socket.namespace() == namespace)
        {
            return Err(ClientError::NamespaceInUse(namespace.to_string()));
        }
        let (wake, max_payload) = (shared.wake.clone(), shared.max_payload.clone());
        let core = Arc::new(SocketCore::new(namespace, auth, options, wake, max_payload));
        sockets.push(core.clone());
        drop(sockets);
        shared.wake.notify_one();
        let socket = Socket::new(core.clone(), self.handle.clone());
        Ok((socket, Inbox::new(core, self.handle.clone())))
    }

    /// Sends what is queued, leaves every namespace, which ends the sessions, and closes the
    /// connection; within 2 s. Inboxes end after what they hold.
    pub async fn close(&self) {
        self.command(Action::Close).await;
    }

    /// Makes `endpoint` the one of the next attempt to connect, once.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub async fn connect_next(&self, endpoint: &str) -> Result<(), ClientError> {
        let endpoint = endpoint.parse()?;
        self.command(Action::ConnectNext(endpoint)).await;
        Ok(())
    }

    /// Why the last attempt to connect failed, if one ever did.
    pub fn last_error(&self) -> Option<String> {
        self.handle.shared.last_error.lock().clone()
    }

    async fn command(&self, action: Action) {
        let (done, is_done) = oneshot::channel();
        let command = Command { action, done };
        // A task that has ended has nothing left that the command could change.
        if self.handle.commands.send(command).await.is_ok() {
            drop(is_done.await);
        }
    }
}

/// Breaking the connection on purpose, to test what is built on this client.
impl Client {
    /// Drops the connection without a goodbye; reconnects as after a loss.
    pub async fn cut(&self) {
        self.command(Action::Cut).await;
    }

    /// Neither reads nor writes any more and keeps the TCP connection open: what a network that
    /// swallows everything looks like to both sides. The client finds out by its ping timeout.
    pub async fn stall(&self) {
        self.command(Action::Stall).await;
    }

    /// As [`Client::stall`], but reconnects at once as after a loss: the server sees the client
    /// come back while its old connection still looks alive.
    pub async fn abandon(&self) {
        self.command(Action::Abandon).await;
    }
}
