//! A one-node server with an application, and clients that say who they are.

use std::time::Duration;

use roomcast::{Connect, ConnectNext, Namespace, ServeConfig, Server, from_fn};
use roomcast_client::{
    Args, Client, ClientOptions, Connected, Event, Inbox, Notice, SocketOptions,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longest wait for anything; far more than any of it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The namespace with clients who are who they say they are.
pub(crate) fn named(namespace: Namespace) -> Namespace {
    namespace.connect_layer(from_fn(|mut connect: Connect, next: ConnectNext| {
        let name = connect.auth["name"].as_str();
        connect.admission.identity = name.map(str::to_owned);
        connect.admission.data = Some(json!({ "hat": "red" }));
        next.run(connect)
    }))
}

/// A server that is ready.
pub(crate) struct Node {
    pub(crate) server: Server,
    _dir: TempDir,
}

impl Node {
    /// One whose namespace `/app` this is; clients are who they say they are.
    pub(crate) async fn serve(namespace: Namespace) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = ServeConfig::single_node(dir.path());
        config.disk_reserve_bytes = 0;
        let building = Server::builder(config).namespace("/app", named(namespace));
        let server = building.start().await.expect("it starts");
        timeout(LIMIT, server.ready()).await.expect("it is ready");
        Self { server, _dir: dir }
    }

    /// A client that is connected.
    pub(crate) async fn join(&self, name: &str) -> Person {
        Person::join(&self.server, name).await
    }

    pub(crate) async fn end(self) {
        let ending = timeout(LIMIT, self.server.shutdown());
        ending.await.expect("it ends");
    }
}

/// A client with a socket.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) socket: roomcast_client::Socket,
    pub(crate) inbox: Inbox,
}

impl Person {
    /// One that is connected to `/app`.
    pub(crate) async fn join(server: &Server, name: &str) -> Self {
        let url = format!("ws://{}", server.client_addr());
        let client = Client::new([&url], ClientOptions::default()).expect("a good URL");
        let options = SocketOptions {
            auth: json!({ "name": name }),
            ..SocketOptions::default()
        };
        let (socket, inbox) = client.socket("/app", options).expect("a namespace");
        let mut person = Self {
            client,
            socket,
            inbox,
        };
        person.connected().await;
        person
    }

    pub(crate) async fn notice(&mut self) -> Notice {
        let notice = timeout(LIMIT, self.inbox.recv()).await;
        notice.expect("nothing comes").expect("the client lives")
    }

    pub(crate) async fn connected(&mut self) -> Connected {
        loop {
            match self.notice().await {
                Notice::Connected(connected) => return connected,
                Notice::Disconnected { .. } => {}
                other => panic!("not connected: {other:?}"),
            }
        }
    }

    pub(crate) async fn event(&mut self) -> Event {
        match self.notice().await {
            Notice::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    /// The next event as one JSON array, name first.
    pub(crate) async fn heard(&mut self) -> Value {
        let Event { name, args, .. } = self.event().await;
        [vec![json!(name)], args].concat().into()
    }

    /// Emits an event with one argument, and gives the first argument of its answer.
    pub(crate) async fn ask(&self, name: &str, arg: impl Into<Value>) -> Value {
        let args = Args::new().json(arg.into());
        let answer = self.socket.emit_with_ack(name, args, LIMIT).await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        answer.values().first().cloned().unwrap_or_default()
    }
}
