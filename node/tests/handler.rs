//! An application's own handler on a real one-node cluster, with our client over loopback:
//! everything that the handler interface offers, once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roomcast::adapter::{Adapter, Start};
use roomcast::engine::{DrainPace, Engine, EngineConfig};
use roomcast::ids::Entropy;
use roomcast::raft::{Config, PeerAddress, Timings};
use roomcast::server::{ClientPort, ClientPortParts, Readiness, listener};
use roomcast::shutdown::Tasks;
use roomcast::socketio::{
    Ack, Admission, Clients, ConnectRequest, Door, Event, Handler, Namespaces, Rejection, Socket,
    Target,
};
use roomcast_client::{Args, Client, ClientOptions, Connected, Inbox, Notice, SocketOptions};
use roomcast_proto::socketio::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest wait for anything; far more than any of it takes.
const LIMIT: Duration = Duration::from_secs(20);

/// What the application under test saw, in order, and what it answers.
#[derive(Clone)]
struct App {
    seen: mpsc::Sender<String>,
}

fn array(value: &Value) -> Bytes {
    value.to_string().into()
}

fn room(name: &str) -> Target {
    Target {
        rooms: vec![name.to_owned()],
        ..Target::default()
    }
}

impl App {
    async fn note(&self, text: impl Into<String>) {
        self.seen.send(text.into()).await.expect("the test listens");
    }

    /// What the client asks of the handler by name, with one argument.
    async fn act(&self, socket: &Socket, event: &Event) -> Value {
        let arg: Value = event.args.first().map_or(Value::Null, |arg| {
            serde_json::from_slice(arg).expect("a client's JSON")
        });
        let text = arg.as_str().unwrap_or_default();
        match event.name.as_str() {
            "join" => json!(socket.join(text).await.is_ok()),
            "leave" => json!(socket.leave(text).await.is_ok()),
            "to room" => {
                let event = array(&json!(["line", 1, "room"]));
                json!(
                    socket
                        .publish(room(text))
                        .emit_raw(event, Vec::new())
                        .await
                        .is_ok()
                )
            }
            "to others" => {
                let mut target = room(text);
                target.except.push(socket.id().to_owned());
                let event = array(&json!(["line", 2, "others"]));
                json!(
                    socket
                        .publish(target)
                        .emit_raw(event, Vec::new())
                        .await
                        .is_ok()
                )
            }
            "to own" => {
                let event = array(&json!(["line", 3, { "_placeholder": true, "num": 0 }]));
                let bytes = vec![Bytes::from_static(b"\x00\xff")];
                json!(socket.own().emit_raw(event, bytes).await.is_ok())
            }
            "volatile" => {
                let event = array(&json!(["line", 4, "volatile"]));
                let emitting = socket.publish(room(text)).volatile();
                json!(emitting.emit_raw(event, Vec::new()).is_ok())
            }
            "ask" => {
                let asked = socket.publish(room(text));
                let wait = Duration::from_millis(if text == "silent" { 300 } else { 10_000 });
                let event = array(&json!(["question"]));
                let answers = asked
                    .timeout(wait)
                    .emit_with_ack_raw(event, Vec::new())
                    .await;
                let answers = answers.expect("the event was written");
                let texts = answers.answers.values().map(|answer| &answer.data[..]);
                let mut texts: Vec<_> = texts.map(String::from_utf8_lossy).collect();
                texts.sort();
                json!([answers.missing.len(), texts.concat()])
            }
            "too large" => {
                let event = array(&json!(["line", "x".repeat(2_000_000)]));
                let refused = socket.own().emit_raw(event, Vec::new()).await;
                json!(refused.map_err(|error| error.to_string()).err())
            }
            "kick" => {
                socket.disconnect(false);
                let late = socket.join("late").await;
                json!(late.map_err(|error| error.to_string()).err())
            }
            other => json!(other),
        }
    }
}

#[async_trait]
impl Handler for App {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        let Some(name) = request.auth.get("name").and_then(Value::as_str) else {
            return Err(Rejection {
                message: "who are you?".into(),
                data: Some(json!({ "missing": "name" })),
            });
        };
        Ok(Admission {
            identity: Some(name.to_owned()),
            ..Admission::default()
        })
    }

    async fn on_connect(&self, socket: &Socket) {
        let (name, recovered) = (socket.identity().unwrap_or("?"), socket.recovered());
        self.note(format!("{name} connected, recovered {recovered}"))
            .await;
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let answer = self.act(socket, &event).await;
        if event.name == "kick" {
            self.note(format!("after a kick: {answer}")).await;
        }
        if let Some(ack) = ack {
            ack.send(answer);
        }
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        let name = socket.identity().unwrap_or("?");
        self.note(format!("{name} gone: {reason}")).await;
    }
}

struct Always;

impl Readiness for Always {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A one-node cluster with an application on `/app`.
struct Node {
    adapter: Arc<Adapter>,
    port: ClientPort,
    url: String,
    seen: mpsc::Receiver<String>,
    _dir: TempDir,
}

impl Node {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let loopback = ([127, 0, 0, 1], 0).into();
        let peer = listener::bind(loopback).expect("a port");
        let entropy = Entropy::from_os();
        let address = peer.local_addr().expect("bound").to_string();
        let consensus = Config {
            node_id: 1,
            data_dir: dir.path().to_owned(),
            initial_cluster: vec![PeerAddress { id: 1, address }],
            groups: 2,
            timings: Timings::regional(),
            disk_reserve_bytes: 0,
            log_cache_bytes_max: 1 << 20,
            log_segment_bytes: 1 << 20,
            transfer_bytes_per_second: 1 << 30,
            entropy: entropy.clone(),
            on_fatal: Arc::new(|_| {}),
        };
        let start = Start {
            consensus,
            peer,
            snapshot_every_entries: 1000,
            settings: roomcast::state::Settings::DEFAULT.to_command(),
            propose_settings: false,
            parser: Parser::Json,
            entropy: entropy.clone(),
        };
        let adapter = Adapter::start(start).await.expect("it starts");
        let (sender, seen) = mpsc::channel(1000);
        let namespaces = Namespaces::closed().open("/app", App { seen: sender });
        let clients = Clients::new(Arc::clone(&adapter), namespaces, 1_000_000);
        let door = Arc::new(Door::default());
        door.unlock(clients);
        let parts = ClientPortParts {
            engine: Arc::new(Engine::new(1, EngineConfig::standard(), entropy, door)),
            readiness: Arc::new(Always),
            owners: None,
            http: roomcast::server::HttpSettings::standard(),
            extra: None,
            sessions_max: 100,
            http_connections_max: 100,
        };
        let listener = listener::bind(loopback).expect("a port");
        let address = listener.local_addr().expect("bound");
        let port = ClientPort::start(listener, parts, Tasks::new()).expect("it serves");
        let node = Self {
            adapter,
            port,
            url: format!("ws://{address}"),
            seen,
            _dir: dir,
        };
        let ready = async {
            while node.adapter.ready().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, ready).await.expect("a leader");
        node
    }

    /// The next thing that the application saw.
    async fn saw(&mut self) -> String {
        let seen = timeout(LIMIT, self.seen.recv()).await;
        seen.expect("nothing was seen")
            .expect("the application lives")
    }

    /// A named client in its place.
    async fn join(&mut self, name: &str) -> Person {
        let client = Client::new([&self.url], ClientOptions::default()).expect("a good URL");
        let options = SocketOptions {
            auth: json!({ "name": name }),
            ..SocketOptions::default()
        };
        let (socket, inbox) = client.socket("/app", options).expect("a namespace");
        let mut person = Person {
            client,
            socket,
            inbox,
        };
        person.connected().await;
        assert_eq!(
            self.saw().await,
            format!("{name} connected, recovered false")
        );
        person
    }

    async fn end(self) {
        let pace = DrainPace {
            sessions_per_second: 1000,
        };
        let ended = async {
            self.port.begin_drain();
            self.port.drain(pace).await;
            self.port.stop().await;
        };
        timeout(LIMIT, ended).await.expect("every session ends");
        self.adapter.consensus().shutdown().await;
    }
}

struct Person {
    client: Client,
    socket: roomcast_client::Socket,
    inbox: Inbox,
}

impl Person {
    async fn notice(&mut self) -> Notice {
        let notice = timeout(LIMIT, self.inbox.recv()).await;
        notice.expect("nothing comes").expect("the client lives")
    }

    async fn connected(&mut self) -> Connected {
        loop {
            match self.notice().await {
                Notice::Connected(connected) => return connected,
                Notice::Disconnected { .. } => {}
                other => panic!("not connected: {other:?}"),
            }
        }
    }

    async fn event(&mut self) -> roomcast_client::Event {
        match self.notice().await {
            Notice::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    /// The next `line`'s arguments.
    async fn line(&mut self) -> Vec<Value> {
        let event = self.event().await;
        assert_eq!(event.name, "line");
        assert!(event.offset.is_some(), "every event carries an offset");
        event.args
    }

    async fn ask(&self, name: &str, arg: &str) -> Value {
        let answer = self
            .socket
            .emit_with_ack(name, Args::new().json(arg), LIMIT)
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        answer.values()[0].clone()
    }
}

#[tokio::test]
async fn a_handler_admits_joins_emits_and_leaves() {
    let mut node = Node::start().await;
    let (mut ann, mut ben) = (node.join("ann").await, node.join("ben").await);
    assert_eq!(ann.ask("join", "r").await, true);
    assert_eq!(ben.ask("join", "r").await, true);
    assert_eq!(ann.ask("to room", "r").await, true);
    assert_eq!(ann.ask("to others", "r").await, true);
    assert_eq!(ann.ask("to own", "").await, true);
    assert_eq!(ann.line().await, [json!(1), json!("room")]);
    assert_eq!(ben.line().await, [json!(1), json!("room")]);
    assert_eq!(ben.line().await, [json!(2), json!("others")]);
    let own = ann.event().await;
    assert_eq!(
        (&own.args[0], &own.attachments[0][..]),
        (&json!(3), &b"\x00\xff"[..])
    );
    assert_eq!(ben.ask("leave", "r").await, true);
    // Ben asks: an answer on its way to Ann would make her transport busy.
    assert_eq!(ben.ask("volatile", "r").await, true);
    assert_eq!(ann.line().await, [json!(4), json!("volatile")]);
    assert_eq!(ann.ask("to room", "r").await, true);
    assert_eq!(ann.line().await, [json!(1), json!("room")]);
    assert_eq!(ben.ask("echo", "").await, "echo");
    assert!(ben.inbox.try_recv().is_none(), "nothing after leaving");
    let refused = ann.ask("too large", "").await;
    assert_eq!(refused, "the event is larger than the limit");
    node.end().await;
}

#[tokio::test]
async fn a_broadcast_with_ack_counts_exactly_who_was_there() {
    let mut node = Node::start().await;
    let (ann, mut ben) = (node.join("ann").await, node.join("ben").await);
    let mut eve = node.join("eve").await;
    for room in ["r", "silent"] {
        assert_eq!(ben.ask("join", room).await, true);
        assert_eq!(eve.ask("join", room).await, true);
    }
    let answering = async {
        for (person, answer) in [(&mut ben, "b"), (&mut eve, "e")] {
            let question = person.event().await;
            assert_eq!(
                (question.name.as_str(), &question.offset),
                ("question", &None)
            );
            let ack = question.ack.expect("it asks");
            ack.send(Args::new().json(answer)).expect("connected");
        }
    };
    let (answers, ()) = tokio::join!(ann.ask("ask", "r"), answering);
    assert_eq!(answers, json!([0, r#"["b"]["e"]"#]));
    assert_eq!(ann.ask("ask", "nobody").await, json!([0, ""]), "at once");
    let answering = async {
        let question = ben.event().await;
        question
            .ack
            .expect("it asks")
            .send("only me")
            .expect("connected");
    };
    let (answers, ()) = tokio::join!(ann.ask("ask", "silent"), answering);
    assert_eq!(answers, json!([1, r#"["only me"]"#]), "after the time-out");
    node.end().await;
}

#[tokio::test]
async fn each_end_has_its_reason_and_a_resume_is_no_new_socket() {
    let mut node = Node::start().await;
    let mut ann = node.join("ann").await;
    let id = ann.socket.id();
    ann.client.cut().await;
    let back = ann.connected().await;
    assert_eq!((back.recovered, Some(back.id)), (true, id));
    let mut saw = vec![node.saw().await, node.saw().await];
    // The new transport may be there before the old one is known to be gone.
    saw.sort();
    assert_eq!(
        saw,
        ["ann connected, recovered true", "ann gone: transport close"]
    );
    ann.socket.disconnect();
    assert_eq!(node.saw().await, "ann gone: client namespace disconnect");

    let mut ben = node.join("ben").await;
    ben.socket.emit("kick", Args::new()).expect("connected");
    match ben.notice().await {
        Notice::Disconnected { reason } => assert!(reason.is_final(), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.saw().await, r#"after a kick: "the socket is gone""#);
    assert_eq!(node.saw().await, "ben gone: server namespace disconnect");
    ben.socket.connect();
    let back = ben.connected().await;
    assert!(!back.recovered, "a kicked session is over");
    assert_eq!(node.saw().await, "ben connected, recovered false");
    node.end().await;
}

#[tokio::test]
async fn a_refused_client_is_told_why() {
    let node = Node::start().await;
    let client = Client::new([&node.url], ClientOptions::default()).expect("a good URL");
    let namespace = client.socket("/app", SocketOptions::default());
    let (_socket, mut inbox) = namespace.expect("a namespace");
    match timeout(LIMIT, inbox.recv()).await.expect("nothing comes") {
        Some(Notice::ConnectError { data }) => {
            let expected = json!({ "message": "who are you?", "data": { "missing": "name" } });
            assert_eq!(data, expected);
        }
        other => panic!("{other:?}"),
    }
    node.end().await;
}
