//! Packets that no honest client sends, in literal text: each ends in a documented close or answer,
//! and leaves nothing behind.

use super::*;
use crate::engine::{CloseReason, EngineConfig};
use crate::metrics;

/// A node on which every namespace is open.
async fn open_node(script: &Script) -> Node {
    Node::start(Namespaces::closed().open_every_other(script.clone())).await
}

/// Nothing is left of the clients: no session, nobody connected in the log.
async fn expect_empty(node: Node) {
    node.until("empty node", |node| {
        node.engine().registry().count() == 0 && node.connected() == 0
    })
    .await;
    assert_eq!(node.engine().counters().values().open(), 0);
    node.end().await;
}

/// What the metric of protocol errors stands at, for one kind.
fn errors(kind: &str) -> u64 {
    let text = metrics::install().unwrap().render();
    let name = format!("roomcast_protocol_errors_total{{kind=\"{kind}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn deep_or_endless_json_closes_the_connection() {
    let before = errors("socketio");
    let node = Script::new().node().await;
    let deep = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    for event in [
        format!(r#"42["e",{}]"#, deep("[", "]", 20_000)),
        format!(r#"42["e",{}]"#, deep(r#"{"a":"#, "}", 20_000)),
        format!(r#"42["e",{}"#, "[".repeat(50_000)),
        format!(r#"42["e"{}]"#, ",1".repeat(5_000)),
        format!(r#"431{}"#, deep("[", "]", 20_000)),
        r#"42["e",1e]"#.to_owned(),
        r#"42["e"] x"#.to_owned(),
        r#"42["e","\ud800\u12"]"#.to_owned(),
    ] {
        expect_violation(&node, &["40", &event]).await;
    }
    let auth = format!(r#"40{{"a":{}}}"#, deep("[", "]", 20_000));
    expect_violation(&node, &[&auth]).await;
    assert!(errors("socketio") >= before + 9, "each is counted");
    expect_empty(node).await;
}

#[tokio::test]
async fn numbers_as_namespaces_and_ids_are_read_as_what_they_are() {
    let node = Script::new().node().await;
    // An ack id belongs to an event.
    for text in [
        "40123",
        "41123",
        "401,",
        "40-1",
        "4012/a,",
        "4099999999999999999999",
    ] {
        expect_violation(&node, &[text]).await;
    }
    for text in [
        r#"42184467440737095516160["e"]"#,
        r#"4299999999999999999999999999["e"]"#,
        r#"42-1["e"]"#,
        r#"421.5["e"]"#,
        "43184467440737095516160[]",
        "4511-[]",
        r#"4599999999999999999999-["e"]"#,
        r#"45["e"]"#,
        r#"450x-["e"]"#,
    ] {
        expect_violation(&node, &["40", text]).await;
    }
    let mut wire = node.joined().await;
    for id in ["0", "9007199254740993", "18446744073709551615"] {
        wire.send(&format!(r#"42{id}["e"]"#)).await;
        assert_eq!(wire.next().await, format!(r#"43{id}["done"]"#));
    }
    // Answers that nobody waits for are nothing.
    wire.send("4318446744073709551615[]").await;
    wire.send("430[1,2,3]").await;
    wire.send("40/123,").await;
    assert_eq!(
        wire.next().await,
        r#"44/123,{"message":"Invalid namespace"}"#
    );
    drop(wire);
    expect_empty(node).await;
}

#[tokio::test]
async fn a_connection_has_so_many_namespaces_and_no_more() {
    let script = Script::new();
    let node = open_node(&script).await;
    let mut wire = node.client().await;
    for i in 0..limits::NAMESPACES_PER_SESSION_MAX {
        wire.send(&format!("40/n{i},")).await;
        let connect = wire.next().await;
        assert!(connect.starts_with(&format!("40/n{i},")), "{connect}");
    }
    assert_eq!(node.connected(), limits::NAMESPACES_PER_SESSION_MAX as u64);
    wire.send("40/one-more,").await;
    assert_eq!(wire.closed().await, (1002, "protocol violation".into()));
    drop(wire);
    expect_empty(node).await;
}

/// Each leaves before it has come: without a limit, every one of them would be a task and an
/// operation of the log at once.
#[tokio::test]
async fn a_flood_of_connects_that_leave_at_once_is_cut_off() {
    let script = Script::new();
    let node = Script {
        slow_connect: true,
        ..script.clone()
    }
    .node()
    .await;
    let mut wire = node.client().await;
    for _ in 0..=limits::NAMESPACES_PER_SESSION_MAX {
        wire.send("40").await;
        wire.send("41").await;
    }
    assert_eq!(wire.closed().await, (4005, "overloaded".into()));
    drop(wire);
    script.gate.add_permits(limits::NAMESPACES_PER_SESSION_MAX);
    expect_empty(node).await;
}

#[tokio::test]
async fn unknown_namespaces_are_each_refused_and_remembered_by_nobody() {
    let node = Script::new().node().await;
    let mut wire = node.client().await;
    for i in 0..10_000 {
        wire.send(&format!("40/unknown{i}")).await;
        let refusal = format!(r#"44/unknown{i},{{"message":"Invalid namespace"}}"#);
        assert_eq!(wire.next().await, refusal);
    }
    let session = node.engine().registry().sessions().remove(0);
    assert_eq!(session.outbox_depth(), (0, 0));
    wire.send("40").await;
    assert!(wire.next().await.starts_with("40{"), "none of them counts");
    drop(wire);
    expect_empty(node).await;
}

/// A client that asks and never reads fills its own outbox, and ends as any slow consumer.
#[tokio::test]
async fn refusals_that_nobody_reads_end_at_the_outbox() {
    let node = Script::new().node().await;
    let mut wire = node.client().await;
    for i in 0..limits::OUTBOX_FRAMES_MAX + 200 {
        if wire.try_send(&format!("40/unknown{i}")).await.is_err() {
            break;
        }
    }
    let session = node.engine().registry().sessions().pop();
    if let Some(session) = session {
        assert!(session.outbox_depth().0 <= limits::OUTBOX_FRAMES_MAX);
    }
    node.until("close", |node| {
        node.engine().counters().values().closed[CloseReason::SlowConsumer as usize] == 1
    })
    .await;
    drop(wire);
    expect_empty(node).await;
}

#[tokio::test]
async fn attachments_that_never_come_are_waited_for_until_the_ping_timeout() {
    let mut config = EngineConfig::standard();
    config.ping_interval = Duration::from_millis(300);
    config.ping_timeout = Duration::from_millis(200);
    let namespaces = Namespaces::closed().open("/", Script::new());
    let node = Node::start_with(namespaces, config).await;
    let announced = r#"452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let mut patient = node.joined().await;
    let mut silent = node.joined().await;
    for wire in [&mut patient, &mut silent] {
        wire.send(announced).await;
        wire.send_binary(&[1]).await;
    }
    // Pongs are no text amid attachments: the packet waits as long as its client lives.
    for _ in 0..3 {
        assert_eq!(patient.next().await, "2");
        patient.send("3").await;
    }
    assert_eq!(silent.closed().await, (1001, "ping timeout".into()));
    patient.send_binary(&[2]).await;
    patient.send(r#"421["e"]"#).await;
    assert_eq!(patient.next().await, r#"431["done"]"#);
    drop((patient, silent));
    node.until("empty registry", |node| {
        node.engine().registry().count() == 0
    })
    .await;
    node.end().await;
}

#[tokio::test]
async fn attachments_out_of_turn_close_the_connection() {
    let node = Script::new().node().await;
    let announced = r#"451-["e",{"_placeholder":true,"num":0}]"#;
    for between in [announced, "41", "43[]", "40/b,"] {
        expect_violation(&node, &["40", announced, between]).await;
    }
    for wrong in [
        r#"451-["e",{"_placeholder":true,"num":1}]"#,
        r#"451-["e",{"_placeholder":true,"num":-1}]"#,
        r#"451-["e",{"_placeholder":true,"num":"0"}]"#,
    ] {
        let mut wire = node.joined().await;
        wire.send(wrong).await;
        assert_eq!(
            wire.closed().await,
            (1002, "protocol violation".into()),
            "{wrong}"
        );
    }
    let mut wire = node.joined().await;
    wire.send_binary(b"nobody announced it").await;
    assert_eq!(wire.closed().await, (1002, "protocol violation".into()));
    drop(wire);
    node.end().await;
}

/// Large events for a handler that does not come to them: reading stops at the limit in bytes.
#[tokio::test]
async fn a_slow_handler_holds_few_bytes_of_events() {
    let script = Script::new();
    let node = script.node().await;
    let mut wire = node.joined().await;
    wire.send(r#"42["slow"]"#).await;
    let large = format!(r#"42["large","{}"]"#, "x".repeat(EVENT_BYTES_MAX - 100));
    let fit = limits::SOCKET_EVENT_BYTES_QUEUED_MAX / EVENT_BYTES_MAX;
    let mut sent = 0;
    while sent < 2 * fit {
        let sending = wire.send(&large);
        if timeout(Duration::from_millis(500), sending).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(
        (fit..=fit + 3).contains(&sent),
        "{sent} were taken, {fit} fit"
    );
    script.gate.add_permits(1);
    node.until("end of the queue", |_| script.seen().len() >= 2 + sent)
        .await;
    drop(wire);
    node.end().await;
}
