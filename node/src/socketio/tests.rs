//! Packet rules and dispatch, in literal text, against a real one-node cluster.

mod hostile;
mod moving;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::testing::{EVENT_BYTES_MAX, Node, Wire};
use super::*;
use crate::limits;

mod msgpack;

/// What a script's handlers saw, and the gate at which slow ones wait.
#[derive(Clone)]
struct Script {
    seen: Arc<Mutex<Vec<String>>>,
    gate: Arc<Semaphore>,
    slow_connect: bool,
    /// The last socket that connected.
    socket: Arc<Mutex<Option<Socket>>>,
}

impl Script {
    fn new() -> Self {
        Self {
            seen: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            slow_connect: false,
            socket: Arc::default(),
        }
    }

    fn note(&self, seen: impl Into<String>) {
        self.seen.lock().push(seen.into());
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    async fn pass_gate(&self) {
        self.gate.acquire().await.unwrap().forget();
    }

    /// Waits until the handlers have seen so much.
    async fn until_seen(&self, node: &Node, count: usize) -> Vec<String> {
        node.until(&format!("{count} notes"), |_| {
            self.seen.lock().len() >= count
        })
        .await;
        self.seen()
    }

    async fn node(&self) -> Node {
        Node::start(Namespaces::closed().open("/", self.clone())).await
    }
}

#[async_trait]
impl Handler for Script {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        if request.auth.get("gate").is_some() {
            self.pass_gate().await;
        }
        if request.auth.get("refuse").is_some() {
            return Err(Rejection {
                message: "not you".into(),
                data: Some(json!({ "code": 7 })),
            });
        }
        Ok(Admission::default())
    }

    async fn on_connect(&self, socket: &Socket) {
        *self.socket.lock() = Some(socket.clone());
        self.note("connecting");
        if self.slow_connect {
            self.pass_gate().await;
        }
        self.note("connected");
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let args = String::from_utf8(roomcast_proto::socketio::args::join(&event.args).to_vec());
        match event.name.as_str() {
            "slow" => self.pass_gate().await,
            "kick" => socket.disconnect(false),
            "kick all" => socket.disconnect(true),
            _ => {}
        }
        self.note(format!("{} {}", event.name, args.unwrap()));
        if let Some(ack) = ack {
            ack.send_raw(br#"["done"]"#, event.attachments);
        }
    }

    async fn on_disconnect(&self, _socket: &Socket, reason: &str) {
        self.note(format!("gone: {reason}"));
    }
}

#[tokio::test]
async fn events_run_in_order_and_a_slow_one_delays_the_rest() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    for event in [
        r#"42["a",1]"#,
        r#"42["slow"]"#,
        r#"42["b"]"#,
        r#"427["c",{"x":2}]"#,
    ] {
        wire.send(event).await;
    }
    script.until_seen(&node, 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(script.seen()[1..], ["connected", "a [1]"]);
    script.gate.add_permits(1);
    assert_eq!(wire.next().await, r#"437["done"]"#);
    assert_eq!(script.seen()[3..], ["slow []", "b []", r#"c [{"x":2}]"#]);
    node.end().await;
}

#[tokio::test]
async fn an_event_in_the_same_breath_as_connect_waits_for_the_handler() {
    let script = Script {
        slow_connect: true,
        ..Script::new()
    };
    let node = script.node().await;
    let mut wire = node.client().await;
    wire.send("40").await;
    wire.send(r#"420["early"]"#).await;
    wire.next().await;
    script.until_seen(&node, 1).await;
    assert_eq!(script.seen(), ["connecting"]);
    script.gate.add_permits(1);
    assert_eq!(wire.next().await, r#"430["done"]"#);
    assert_eq!(script.seen(), ["connecting", "connected", "early []"]);
    node.end().await;
}

#[tokio::test]
async fn a_full_queue_stops_reading_and_loses_nothing() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send(r#"42["slow"]"#).await;
    let filler = "x".repeat(1000);
    let count = limits::SOCKET_EVENTS_QUEUED_MAX * 2;
    let mut sent = 0;
    let flood = async {
        while sent < count {
            wire.send(&format!(r#"42["e",{sent},"{filler}"]"#)).await;
            sent += 1;
        }
    };
    assert!(
        timeout(Duration::from_millis(500), flood).await.is_err(),
        "all were read"
    );
    let queued = limits::SOCKET_EVENTS_QUEUED_MAX;
    // The rest stands in buffers on the way, which hold some ten of them.
    assert!((queued..queued + 30).contains(&sent), "{sent}");
    script.gate.add_permits(1);
    // The one under way when the time was up was begun; the stream goes on behind it.
    let seen = script.until_seen(&node, 3 + sent).await;
    for (n, seen) in seen[3..3 + sent].iter().enumerate() {
        assert!(
            seen.starts_with(&format!("e [{n},")),
            "{n}: {}",
            &seen[..20]
        );
    }
    node.end().await;
}

/// Sends each text and expects the connection to be closed as broken, whatever was before it.
async fn expect_violation(node: &Node, texts: &[&str]) {
    let mut wire = node.client().await;
    for text in texts {
        wire.send(text).await;
    }
    assert_eq!(
        wire.closed().await,
        (1002, "protocol violation".into()),
        "{texts:?}"
    );
}

#[tokio::test]
async fn what_the_protocol_forbids_closes_the_connection() {
    let node = Script::new().node().await;
    let long = format!("40/{},", "n".repeat(limits::NAMESPACE_NAME_BYTES_MAX));
    for texts in [
        &[long.as_str()][..],
        &["40", "40"],
        &[r#"42["before connect"]"#],
        &["430[]"],
        &["40", r#"42/other,["e"]"#],
        &["40", "42[]"],
        &["40", r#"42["disconnect"]"#],
        &["40", r#"42{"no":"array"}"#],
        &["40", "49"],
        &["40", r#"44{"message":"only servers send this"}"#],
        &[
            "40",
            r#"451-["e",{"_placeholder":true,"num":0}]"#,
            r#"42["between"]"#,
        ],
    ] {
        expect_violation(&node, texts).await;
    }
    node.until("empty room", |node| node.connected() == 0).await;
    node.end().await;
}

#[tokio::test]
async fn an_unknown_namespace_is_refused_and_the_connection_goes_on() {
    let node = Script::new().node().await;
    let mut wire = node.client().await;
    wire.send("40/unknown,").await;
    assert_eq!(
        wire.next().await,
        r#"44/unknown,{"message":"Invalid namespace"}"#
    );
    let long = "n".repeat(limits::NAMESPACE_NAME_BYTES_MAX - 1);
    wire.send(&format!("40/{long},")).await;
    let refusal = format!(r#"44/{long},{{"message":"Invalid namespace"}}"#);
    assert_eq!(wire.next().await, refusal);
    wire.send("40").await;
    assert!(wire.next().await.starts_with("40{"));
    node.end().await;
}

#[tokio::test]
async fn a_refused_client_may_ask_again_on_the_same_connection() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.client().await;
    wire.send(r#"40{"refuse":true}"#).await;
    wire.send(r#"42["dropped"]"#).await;
    assert_eq!(
        wire.next().await,
        r#"44{"message":"not you","data":{"code":7}}"#
    );
    wire.send("40").await;
    assert!(wire.next().await.starts_with("40{"));
    wire.send(r#"421["kept"]"#).await;
    assert_eq!(wire.next().await, r#"431["done"]"#);
    assert_eq!(script.seen(), ["connecting", "connected", "kept []"]);
    node.end().await;
}

#[tokio::test]
async fn attachments_belong_to_their_event_and_its_answer() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send(r#"451-5["e",{"_placeholder":true,"num":0}]"#)
        .await;
    wire.send_binary(b"\x00\xff").await;
    assert_eq!(wire.next().await, r#"461-5["done"]"#);
    assert_eq!(&wire.next_binary().await[..], b"\x00\xff");
    node.end().await;
}

#[tokio::test]
async fn an_event_over_the_limit_is_refused_to_who_asks_and_the_session_goes_on() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    let huge = "x".repeat(EVENT_BYTES_MAX + limits::PACKET_OVERHEAD_BYTES_MAX);
    wire.send(&format!(r#"42["e","{huge}"]"#)).await;
    wire.send(&format!(r#"423["e","{huge}"]"#)).await;
    let refusal = wire.next().await;
    assert!(
        refusal.starts_with(r#"433[{"ok":false,"error":{"code":"too_large""#),
        "{refusal}"
    );
    wire.send(r#"424["small"]"#).await;
    assert_eq!(wire.next().await, r#"434["done"]"#);
    assert_eq!(script.seen()[2..], ["small []"]);
    node.end().await;
}

#[tokio::test]
async fn a_clients_goodbye_ends_its_session_and_it_may_come_back() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send("41").await;
    let seen = script.until_seen(&node, 3).await;
    assert_eq!(seen[2], "gone: client namespace disconnect");
    let ended = |node: &Node| node.adapter.groups()[0].view().counts();
    node.until("end", |node| ended(node).connected + ended(node).away == 0)
        .await;
    wire.send("40").await;
    assert!(
        wire.next().await.starts_with("40{"),
        "on the same connection"
    );
    node.end().await;
}

#[tokio::test]
async fn a_kicked_socket_hears_it_once_and_may_come_back() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send(r#"42["kick"]"#).await;
    wire.send(r#"42["too late"]"#).await;
    assert_eq!(wire.next().await, "41");
    wire.send("40").await;
    assert!(
        wire.next().await.starts_with("40{"),
        "the connection goes on"
    );
    wire.send(r#"421["e"]"#).await;
    assert_eq!(wire.next().await, r#"431["done"]"#);
    let seen = script.seen();
    let gone: Vec<_> = seen
        .iter()
        .filter(|seen| seen.starts_with("gone"))
        .collect();
    assert_eq!(gone, ["gone: server namespace disconnect"]);
    assert!(
        !seen.iter().any(|seen| seen.starts_with("too late")),
        "{seen:?}"
    );
    node.until("one session", |node| node.connected() == 1)
        .await;
    node.end().await;
}

#[tokio::test]
async fn a_kick_with_the_whole_connection_closes_it() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send(r#"42["kick all"]"#).await;
    assert_eq!(wire.next().await, "41");
    assert_eq!(wire.closed().await, (1000, String::new()));
    let seen = script.until_seen(&node, 4).await;
    assert_eq!(
        seen[2..],
        ["kick all []", "gone: server namespace disconnect"]
    );
    node.end().await;
}

#[tokio::test]
async fn a_lost_transport_puts_the_session_away() {
    let script = Script::new();
    let node = script.node().await;
    let wire = node.joined().await;
    drop(wire);
    let seen = script.until_seen(&node, 3).await;
    assert_eq!(seen[2], "gone: transport close");
    let away = |node: &Node| node.adapter.groups()[0].view().counts().away;
    node.until("away session", |node| away(node) == 1).await;
    node.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_connects_leaves_no_ghost() {
    let script = Script::new();
    let node = script.node().await;
    // In every stage of its connect: the gaps between them are what this is about.
    for pause in 0..60_u64 {
        let mut wire = node.client().await;
        wire.send("40").await;
        tokio::time::sleep(Duration::from_micros(pause * 50)).await;
        drop(wire);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.until("empty room", |node| node.connected() == 0).await;
    node.end().await;
}

#[tokio::test]
async fn a_goodbye_before_the_socket_is_in_place_ends_it() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire: Wire = node.client().await;
    wire.send(r#"40{"gate":true}"#).await;
    wire.send("41").await;
    wire.send("40").await;
    assert!(wire.next().await.starts_with("40{"), "the second one");
    script.gate.add_permits(1);
    let seen = script.until_seen(&node, 5).await;
    let reason = "gone: client namespace disconnect".to_owned();
    assert!(seen.contains(&reason), "{seen:?}");
    node.until("one session", |node| node.connected() == 1)
        .await;
    node.end().await;
}

#[tokio::test]
async fn answers_go_to_the_broadcast_that_asked() {
    let script = Script::new();
    let node = script.node().await;
    let mut wires = [node.joined().await, node.joined().await];
    let socket = script.socket.lock().clone().unwrap();
    let asking = tokio::spawn(async move {
        let everybody = socket.publish(Target::default());
        let event = bytes::Bytes::from_static(br#"["q"]"#);
        everybody
            .timeout(Duration::from_secs(10))
            .emit_with_ack_raw(event, Vec::new())
            .await
    });
    let mut outsider = None;
    for (wire, answer) in wires.iter_mut().zip(["1", "2"]) {
        let asked = wire.next().await;
        let number = asked
            .strip_prefix("42")
            .and_then(|t| t.strip_suffix(r#"["q"]"#));
        let number: u64 = number.unwrap_or_else(|| panic!("{asked}")).parse().unwrap();
        if outsider.is_none() {
            // It connected after the event: it was not asked.
            let mut wire = node.joined().await;
            wire.send(&format!("43{number}[9]")).await;
            wire.ask(r#"["its answer was read"]"#).await;
            outsider = Some(wire);
        }
        // An unknown number is nobody's: neither an error nor an answer.
        wire.send(&format!("43{}[0]", number + 1)).await;
        wire.send("439007199254740991[0]").await;
        wire.send(&format!("43{number}[{answer}]")).await;
    }
    let answers = asking.await.unwrap().unwrap();
    let mut data: Vec<_> = answers.answers.values().map(|a| a.data.to_vec()).collect();
    data.sort();
    assert_eq!(
        (answers.missing, data),
        (vec![], vec![b"[1]".to_vec(), b"[2]".to_vec()])
    );
    assert_eq!(
        node.adapter.relay_links(),
        0,
        "no link to a node that is no member"
    );
    node.end().await;
}

#[tokio::test]
async fn operations_reach_the_log_in_the_order_of_their_issue() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    let socket = script.socket.lock().clone().unwrap();
    let count = limits::BATCH_OPS_MAX * 2;
    for n in 0..count {
        let event = format!(r#"["n",{n}]"#);
        socket.own().emit_raw(event, Vec::new()).forget();
    }
    for n in 0..count {
        let event = wire.next().await;
        assert!(
            event.starts_with(&format!(r#"42["n",{n},""#)),
            "{n}: {event}"
        );
    }
    node.end().await;
}
