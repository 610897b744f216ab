//! The stock client against an application's own handlers, on one node in this process: what each
//! side is told when a socket ends, answers, refusals, and recovery that has to be asked for.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

#[path = "../../node/tests/socketio/app.rs"]
mod app;
#[allow(dead_code, reason = "one node is enough here")]
#[path = "../../node/tests/socketio/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "the stock client speaks for itself")]
#[path = "../../node/tests/socketio/wire.rs"]
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Node, Options, one_node};
use roomcast::engine::EngineConfig;
use roomcast::state::Settings;
use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::stock::{StockDriver, StockSocket, StockSpec};
use serde_json::{Map, Value, json};

const SOON: Duration = Duration::from_secs(20);

/// A client in its namespace.
async fn open(
    driver: &Arc<StockDriver>,
    node: &Node,
    namespace: &str,
    auth: &Value,
) -> (StockSocket, Client) {
    let spec = StockSpec {
        namespace: namespace.to_owned(),
        auth: auth.as_object().unwrap().clone(),
        ..StockSpec::new(node.port.local_addr())
    };
    let socket = driver.open(spec, Arc::new(|_| {})).await;
    let client = Client::Stock(socket.clone());
    connected(&client).await;
    (socket, client)
}

async fn connected(client: &Client) {
    client
        .wait_for("connected", SOON, |state| state.connected)
        .await;
}

/// The reason of the client's first disconnect, and whether it comes back.
async fn told(client: &Client) -> (String, bool) {
    let gone = |state: &roomcast_cluster_tests::client::State| !state.disconnects.is_empty();
    let state = client.wait_for("told", SOON, gone).await;
    (state.disconnects[0].clone(), state.gave_up.is_none())
}

#[tokio::test]
async fn both_sides_hear_why_a_socket_ends() {
    let node = one_node(Options::default()).await;
    let driver = StockDriver::start().unwrap();
    let (_, kicked) = open(&driver, &node, "/custom", &json!({})).await;
    kicked.emit("kick", Vec::new()).await;
    let by_server = ("io server disconnect".to_owned(), false);
    assert_eq!(told(&kicked).await, by_server);
    let (_, leaves) = open(&driver, &node, "/custom", &json!({})).await;
    leaves.close().await;
    assert_eq!(told(&leaves).await.0, "io client disconnect");
    let seen = [
        "/custom kick",
        "/custom gone: server namespace disconnect",
        "/custom gone: client namespace disconnect",
    ];
    assert_eq!(node.seen(3).await, seen);

    let (main, first) = open(&driver, &node, "/", &json!({})).await;
    let beside = driver.open_beside(&main, "/custom", Arc::new(|_| {})).await;
    let second = Client::Stock(beside);
    connected(&second).await;
    second.emit("kick all", Vec::new()).await;
    assert_eq!(told(&first).await, by_server);
    assert_eq!(told(&second).await, by_server);
    let mut seen = node.seen(6).await.split_off(3);
    seen.sort();
    let expected = [
        "/ gone: server namespace disconnect",
        "/custom gone: server namespace disconnect",
        "/custom kick all",
    ];
    assert_eq!(seen, expected);

    let (_, closes) = open(&driver, &node, "/", &json!({})).await;
    closes.cut().await;
    assert_eq!(told(&closes).await, ("forced close".to_owned(), true));
    assert_eq!(node.seen(7).await[6], "/ gone: transport close");
    connected(&closes).await;
    node.drain().await;
    let told = closes
        .wait_for("drained", SOON, |state| state.disconnects.len() == 2)
        .await;
    assert_eq!(told.disconnects[1], "transport close");
    assert_eq!(node.seen(8).await[7], "/ gone: server shutting down");
    node.die().await;
}

#[tokio::test]
async fn a_stock_client_answers_with_text_and_bytes() {
    let node = one_node(Options::default()).await;
    let driver = StockDriver::start().unwrap();
    let (_, _client) = open(&driver, &node, "/", &json!({ "name": "ann" })).await;
    let socket = node.socket("ann").await;
    let holder = r#"{"_placeholder":true,"num":0}"#;
    let bytes = Bytes::from_static(b"\x00\xff");
    for (args, attachments) in [
        (String::new(), vec![]),
        (r#","text",{"n":[1,null]}"#.to_owned(), vec![]),
        (format!(r#",{holder},7"#), vec![bytes]),
    ] {
        let event = format!(r#"["q"{args}]"#);
        let answer = socket
            .timeout(SOON)
            .emit_with_ack_raw(event, attachments.clone())
            .await;
        let answer = answer.unwrap();
        let expected = format!("[{}]", args.trim_start_matches(','));
        assert_eq!(answer.data, expected.as_bytes());
        assert_eq!(answer.attachments, attachments);
    }
    node.die().await;
}

#[tokio::test]
async fn a_namespace_too_many_is_told_to_the_client() {
    let settings = Settings {
        namespaces_max: 1,
        ..Settings::DEFAULT
    };
    let options = Options {
        settings,
        engine: EngineConfig::standard(),
    };
    let node = one_node(options).await;
    let driver = StockDriver::start().unwrap();
    let (main, _client) = open(&driver, &node, "/", &json!({})).await;
    let beside = driver.open_beside(&main, "/room-1", Arc::new(|_| {})).await;
    let refused = Client::Stock(beside);
    let state = refused
        .wait_for("refused", SOON, |state| state.gave_up.is_some())
        .await;
    let message = "too many namespaces: namespaces_max is 1";
    assert_eq!(state.connect_errors, [message]);
    node.die().await;
}

#[tokio::test]
async fn recovery_on_request_is_recovery_with_the_stock_client() {
    let node = one_node(Options::default()).await;
    let driver = StockDriver::start().unwrap();
    for (auth, query, recovers) in [
        (json!({ "recovery": true }), json!({}), true),
        (json!({}), json!({ "recovery": "1" }), true),
        (json!({}), json!({}), false),
        (
            json!({ "recovery": false }),
            json!({ "recovery": "1" }),
            false,
        ),
    ] {
        let case = format!("{auth} {query}");
        let mut options = Map::new();
        options.insert("query".to_owned(), query);
        let spec = StockSpec {
            namespace: "/optin".to_owned(),
            auth: auth.as_object().unwrap().clone(),
            options,
            ..StockSpec::new(node.port.local_addr())
        };
        let client = Client::Stock(driver.open(spec, Arc::new(|_| {})).await);
        connected(&client).await;
        let id = client.state().id;
        client.cut().await;
        let back = client
            .wait_for("back", SOON, |state| state.connects == 2)
            .await;
        assert_eq!(
            (back.recovered == 1, back.id == id),
            (recovers, recovers),
            "{case}"
        );
        client.close().await;
    }
    node.die().await;
}
