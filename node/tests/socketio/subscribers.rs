//! Durable subscribers: known by name, kept until acknowledged, ended by their limits or on
//! purpose. (DESIGN, section 6, "Durable subscriber".)

use roomcast::state::Settings;
use serde_json::{Value, json};

use crate::cluster::{Node, Options, one_node};
use crate::emits::{numbered, room};
use crate::wire::Wire;

const MAIL: &str = r#"{"name":"ann","subscriber":"mail"}"#;

/// Nothing but the newest event is kept for others.
fn small() -> Options {
    Options {
        settings: Settings {
            retention_count: 1,
            subscriber_events: 5,
            subscribers_max: 1,
            ..Settings::DEFAULT
        },
        ..Options::default()
    }
}

/// The subscriber in room `r`.
async fn subscribe(node: &Node) -> (Wire, Value) {
    let (wire, connect) = node.connect(MAIL).await;
    node.socket("ann").await.join("r").await.unwrap();
    (wire, connect)
}

async fn publish(node: &Node, numbers: std::ops::RangeInclusive<usize>) {
    let (_wire, _) = node.connect(r#"{"name":"bob"}"#).await;
    let bob = node.socket("bob").await;
    for number in numbers {
        let event = numbered("e", number);
        bob.publish(room("r"))
            .emit_raw(event, Vec::new())
            .await
            .unwrap();
    }
}

async fn expect(wire: &mut Wire, numbers: std::ops::RangeInclusive<usize>) -> String {
    let mut last = String::new();
    for number in numbers {
        let (event, offset) = wire.event().await;
        assert_eq!(event, [json!("e"), json!(number)]);
        last = offset;
    }
    last
}

#[tokio::test]
async fn a_subscriber_comes_back_by_its_name_and_gets_what_it_missed() {
    let mut options = small();
    options.settings.subscribers_max = 2;
    let node = one_node(options).await;
    let (mut wire, first) = subscribe(&node).await;
    assert_eq!(
        first["resume"],
        json!({ "ok": false, "reason": "unknown" }),
        "nobody had the name"
    );
    // Its client's goodbye leaves it, as does whatever else ends a transport.
    wire.send("41").await;
    node.seen(1).await;
    publish(&node, 1..=4).await;
    let (mut wire, again) = node.connect(MAIL).await;
    assert_eq!(
        (&again["sid"], &again["pid"]),
        (&first["sid"], &first["pid"])
    );
    assert_eq!(again["resume"]["ok"], true, "{again}");
    let second = expect(&mut wire, 1..=2).await;
    expect(&mut wire, 3..=4).await;
    drop(wire);
    // Exactly from an offset, without a pid, while the old socket may still look alive.
    let auth = format!(r#"{{"name":"ann","subscriber":"mail","offset":"{second}"}}"#);
    let (mut wire, exact) = node.connect(&auth).await;
    assert_eq!(exact["resume"], json!({ "ok": true, "from": second }));
    let third = expect(&mut wire, 3..=3).await;
    expect(&mut wire, 4..=4).await;
    // An ordinary resume by pid and offset is what it always was.
    let pid = first["pid"].as_str().unwrap();
    let auth = format!(r#"{{"name":"ann","subscriber":"mail","pid":"{pid}","offset":"{third}"}}"#);
    let (mut newer, exact) = node.connect(&auth).await;
    assert_eq!(exact["resume"], json!({ "ok": true, "from": third }));
    expect(&mut newer, 4..=4).await;
    assert_eq!(wire.closed().await.0, 4003, "taken over");
    // The name is within the identity.
    let eve = r#"{"name":"eve","subscriber":"mail"}"#;
    let (_wire, other) = node.connect(eve).await;
    assert_eq!(other["resume"]["reason"], "unknown", "{other}");
    node.die().await;
}

#[tokio::test]
async fn a_subscriber_past_its_limit_is_closed_and_told_so() {
    let node = one_node(small()).await;
    let manual = r#"{"name":"ann","subscriber":"mail","ack":"manual"}"#;
    let (mut wire, _) = node.connect(manual).await;
    node.socket("ann").await.join("r").await.unwrap();
    // It has everything, and acknowledges nothing.
    publish(&node, 1..=7).await;
    assert_eq!(wire.closed().await, (4002, "slow consumer".to_owned()));
    let (_wire, anew) = node.connect(manual).await;
    assert_eq!(anew["resume"], json!({ "ok": false, "reason": "limit" }));
    node.die().await;
}

#[tokio::test]
async fn a_subscriber_ends_when_its_client_says_so() {
    let node = one_node(small()).await;
    let (wire, first) = subscribe(&node).await;
    drop(wire);
    let end = r#"{"name":"ann","subscriber":"mail","end":true}"#;
    let (_wire, ordinary) = node.connect(end).await;
    assert_ne!(ordinary["sid"], first["sid"]);
    assert_eq!(ordinary["resume"], Value::Null, "nothing was resumed");
    assert!(
        node.adapter.groups()[0]
            .view()
            .session_by_id(&roomcast::ids::SocketId::parse(first["sid"].as_str().unwrap()).unwrap())
            .is_none()
    );
    let (_wire, anew) = node.connect(MAIL).await;
    assert_eq!(anew["resume"]["reason"], "unknown");
    node.die().await;
}

#[tokio::test]
async fn what_is_no_subscriber_is_refused_in_words() {
    let node = one_node(small()).await;
    let long = format!(r#"{{"subscriber":"{}"}}"#, "x".repeat(257));
    let mut wire = node.wire().await;
    for (namespace, auth, message) in [
        ("", r#"{"subscriber":7}"#, "auth.subscriber is not a string"),
        (
            "",
            r#"{"subscriber":""}"#,
            "auth.subscriber has 1 to 256 bytes",
        ),
        ("", &long, "auth.subscriber has 1 to 256 bytes"),
        (
            "",
            r#"{"subscriber":"a","ack":"Manual"}"#,
            r#"auth.ack is "manual" or "pong""#,
        ),
        (
            "",
            r#"{"subscriber":"a","end":1}"#,
            "auth.end is not a boolean",
        ),
        (
            "/off,",
            r#"{"subscriber":"a"}"#,
            "a durable subscriber needs recovery, which is off",
        ),
        (
            "",
            r#"{"subscriber":"a","recovery":false}"#,
            "a durable subscriber needs recovery, which is off",
        ),
    ] {
        let refused = wire
            .join(&format!("40{namespace}{auth}"), &format!("44{namespace}"))
            .await;
        assert_eq!(refused["message"], message, "{auth}");
    }
    // In a namespace where recovery is opt-in, the name asks for it.
    let opted = wire
        .join(r#"40/optin,{"subscriber":"a"}"#, "40/optin,")
        .await;
    assert!(opted["pid"].is_string());
    wire.join(r#"40{"subscriber":"a"}"#, "40").await;
    let mut wire = node.wire().await;
    let full = wire.join(r#"40{"subscriber":"b"}"#, "44").await;
    assert_eq!(
        full["message"],
        "too many subscribers: subscribers_max is 1"
    );
    assert_eq!(full["data"]["code"], "subscribers_full");
    // Members that go with it mean nothing without it.
    wire.join(r#"40{"ack":{"x":1},"end":"soon"}"#, "40").await;
    node.die().await;
}
