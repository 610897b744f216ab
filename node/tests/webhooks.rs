//! A namespace that an application serves over HTTP: what it is asked, what its answers do, and
//! what clients notice when it is slow, wrong or gone.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use parking_lot::Mutex;
use ring::hmac;
use roomcast::config::{NamespacePattern, Webhook, WebhookSecret};
use roomcast::{ServeConfig, Server};
use roomcast_client::{Args, Client, ClientOptions, Inbox, Notice, Socket, SocketOptions};
use roomcast_proto::engineio::base64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// Longest wait for anything; far more than any of it takes.
const LIMIT: Duration = Duration::from_secs(20);
/// What requests are signed with.
const SECRET: [u8; 32] = [7; 32];

/// What the application does with the next message of a kind.
#[derive(Clone)]
enum Turn {
    Answer(StatusCode, Value),
    /// It is so slow that nobody waits for it.
    Hang,
}

/// An application: what it was asked, and what it answers.
#[derive(Default)]
struct Application {
    asked: Mutex<Vec<(Option<String>, Value)>>,
    /// By kind; without a turn it answers `{}`.
    turns: Mutex<Vec<(&'static str, VecDeque<Turn>)>>,
}

impl Application {
    /// One that listens; nothing else does at its address.
    async fn start() -> (Arc<Self>, SocketAddr) {
        let application = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let router = Router::new().route("/hooks", post(asked));
        let router = router.with_state(Arc::clone(&application));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (application, addr)
    }

    fn turns(&self, kind: &'static str, turns: impl IntoIterator<Item = Turn>) {
        self.turns.lock().push((kind, turns.into_iter().collect()));
    }

    fn answers(&self, kind: &'static str, answer: Value) {
        self.turns(kind, [Turn::Answer(StatusCode::OK, answer)]);
    }

    fn turn(&self, kind: &str) -> Turn {
        let mut turns = self.turns.lock();
        let found = turns
            .iter_mut()
            .find(|(of, turns)| *of == kind && !turns.is_empty());
        let turn = found.and_then(|(_, turns)| turns.pop_front());
        turn.unwrap_or(Turn::Answer(StatusCode::OK, json!({})))
    }

    /// The messages of a kind with their ids, as soon as there are so many.
    async fn asked(&self, kind: &str, count: usize) -> Vec<(Option<String>, Value)> {
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            let mut of_kind = self.asked.lock().clone();
            of_kind.retain(|(_, message)| message["type"] == kind);
            if of_kind.len() >= count {
                return of_kind;
            }
            assert!(tokio::time::Instant::now() < until, "{kind}: {of_kind:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn asked(
    State(application): State<Arc<Application>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let message: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(is_signed(&headers, &body), "{headers:?}");
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let kind = message["type"].as_str().expect("a type").to_owned();
    application
        .asked
        .lock()
        .push((id.map(str::to_owned), message));
    match application.turn(&kind) {
        Turn::Answer(status, answer) => (status, answer.to_string()),
        Turn::Hang => std::future::pending().await,
    }
}

/// Whether the signature is of these very bytes, as Standard Webhooks has it.
fn is_signed(headers: &HeaderMap, body: &Bytes) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let mut signed = format!("{}.{}.", id.expect("an id"), timestamp.expect("a time"));
    signed.push_str(std::str::from_utf8(body).expect("text"));
    let given = header("webhook-signature").and_then(|given| given.strip_prefix("v1,"));
    let given = base64::decode(given.expect("a version").as_bytes()).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    hmac::verify(&key, signed.as_bytes(), &given).is_ok()
}

/// A node whose namespace `/app` an application serves.
struct Stage {
    server: Server,
    application: Arc<Application>,
    _dir: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let (application, addr) = Application::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = ServeConfig::single_node(dir.path());
        config.disk_reserve_bytes = 0;
        config.webhooks.hooks = vec![Webhook {
            namespaces: NamespacePattern::parse("/app*").expect("a pattern"),
            url: format!("http://{addr}/hooks").parse().expect("a URL"),
        }];
        config.webhooks.secrets = vec![WebhookSecret(Bytes::from_static(&SECRET))];
        config.webhooks.timeout = Duration::from_millis(500);
        config.webhooks.deadline = Duration::from_millis(1_500);
        let server = Server::builder(config).start().await.expect("it starts");
        timeout(LIMIT, server.ready()).await.expect("it is ready");
        Self {
            server,
            application,
            _dir: dir,
        }
    }

    fn come(&self, auth: Value) -> (Client, Socket, Inbox) {
        let url = format!("ws://{}", self.server.client_addr());
        let client = Client::new([&url], ClientOptions::default()).expect("a good URL");
        let options = SocketOptions {
            auth,
            ..SocketOptions::default()
        };
        let (socket, inbox) = client.socket("/app", options).expect("a namespace");
        (client, socket, inbox)
    }

    async fn end(self) {
        let ending = timeout(LIMIT, self.server.shutdown());
        ending.await.expect("it ends");
    }
}

async fn notice(inbox: &mut Inbox) -> Notice {
    let notice = timeout(LIMIT, inbox.recv()).await;
    notice.expect("nothing comes").expect("the client lives")
}

async fn connected(inbox: &mut Inbox) {
    while !matches!(notice(inbox).await, Notice::Connected(_)) {}
}

async fn ask(socket: &Socket, event: &str, arg: Value) -> Value {
    let answer = socket
        .emit_with_ack(event, Args::new().json(arg), LIMIT)
        .await;
    let answer = answer.expect("an answer");
    answer.values().first().cloned().unwrap_or_default()
}

#[tokio::test]
async fn an_application_decides_joins_emits_and_answers() {
    let stage = Stage::set().await;
    let application = &stage.application;
    application.answers(
        "connect",
        json!({ "identity": "ann", "data": { "hat": "red" } }),
    );
    application.answers(
        "connected",
        json!({ "operations": [
            { "join": ["lobby"] },
            { "emit": { "event": "hello", "args": [1] } },
        ] }),
    );
    let (client, socket, mut inbox) = stage.come(json!({ "name": "ann" }));
    connected(&mut inbox).await;
    let Notice::Event(hello) = notice(&mut inbox).await else {
        panic!("no event");
    };
    assert_eq!((hello.name.as_str(), hello.args), ("hello", vec![json!(1)]));
    let (_, connect) = application.asked("connect", 1).await.remove(0);
    assert_eq!(connect["auth"], json!({ "name": "ann" }));

    application.answers(
        "event",
        json!({
            "operations": [
                { "emit": { "rooms": ["lobby"], "event": "said", "args": ["hi"] } },
                { "leave": ["lobby"] },
            ],
            "answer": [{ "ok": true }],
        }),
    );
    assert_eq!(
        ask(&socket, "say", json!("hi")).await,
        json!({ "ok": true })
    );
    let Notice::Event(said) = notice(&mut inbox).await else {
        panic!("no event");
    };
    assert_eq!(said.args, vec![json!("hi")]);
    let (_, event) = application.asked("event", 1).await.remove(0);
    assert_eq!(
        (&event["event"], &event["args"]),
        (&json!("say"), &json!(["hi"]))
    );
    assert_eq!(event["socket"]["identity"], "ann");
    assert_eq!(event["socket"]["data"], json!({ "hat": "red" }));
    let io = stage.server.io().of("/app");
    assert_eq!(
        io.to("lobby").fetch_sockets(),
        [],
        "it left before its client was answered"
    );

    application.answers(
        "event",
        json!({ "error": { "code": "closed", "message": "come at 8" } }),
    );
    let refused = ask(&socket, "say", json!("hi")).await;
    assert_eq!(
        refused["error"],
        json!({ "code": "closed", "message": "come at 8" })
    );
    client.close().await;
    let (_, gone) = application.asked("disconnect", 1).await.remove(0);
    assert_eq!(gone["socket"]["id"], event["socket"]["id"]);
    stage.end().await;
}

#[tokio::test]
async fn a_rejected_client_hears_it_and_one_that_nobody_decides_about_comes_again() {
    let stage = Stage::set().await;
    let application = &stage.application;
    let reject = json!({ "reject": { "message": "not today", "data": { "retry": false } } });
    application.answers("connect", reject.clone());
    application.turns("connect", [Turn::Answer(StatusCode::FORBIDDEN, reject)]);
    for _ in 0..2 {
        let (_client, _socket, mut inbox) = stage.come(json!({}));
        let Notice::ConnectError { data } = notice(&mut inbox).await else {
            panic!("not refused");
        };
        assert_eq!(
            data,
            json!({ "message": "not today", "data": { "retry": false } })
        );
    }
    let broken = Turn::Answer(StatusCode::INTERNAL_SERVER_ERROR, Value::Null);
    application.turns("connect", std::iter::repeat_n(broken, 12));
    let (_client, _socket, mut inbox) = stage.come(json!({}));
    connected(&mut inbox).await;
    stage.end().await;
}

#[tokio::test]
async fn attempts_bear_one_id_and_an_application_that_hangs_leaves_the_outcome_unknown() {
    let stage = Stage::set().await;
    let application = &stage.application;
    let (_client, socket, mut inbox) = stage.come(json!({}));
    connected(&mut inbox).await;
    let busy = Turn::Answer(StatusCode::SERVICE_UNAVAILABLE, Value::Null);
    let fine = Turn::Answer(StatusCode::OK, json!({ "answer": ["late"] }));
    application.turns("event", [busy, Turn::Hang, fine]);
    assert_eq!(ask(&socket, "a", Value::Null).await, "late");
    let ids = application.asked("event", 3).await;
    assert!(
        ids[0].0.is_some() && ids.iter().all(|(id, _)| *id == ids[0].0),
        "{ids:?}"
    );

    application.turns("event", std::iter::repeat_n(Turn::Hang, 12));
    let unknown = ask(&socket, "b", Value::Null).await;
    assert_eq!(unknown["error"]["code"], "unknown_outcome");
    application.turns.lock().clear();
    let wrong = Turn::Answer(StatusCode::NOT_FOUND, Value::Null);
    application.turns("event", [wrong]);
    let failed = ask(&socket, "c", Value::Null).await;
    assert_eq!(
        failed["error"]["code"], "internal",
        "what is final is not tried again"
    );
    stage.end().await;
}
