//! How sockets end: what the client is told, and the reason that the handler hears, in the words
//! of the reference.

use std::time::Duration;

use roomcast::engine::EngineConfig;

use crate::cluster::{Options, one_node};

fn fast() -> Options {
    let mut engine = EngineConfig::standard();
    engine.ping_interval = Duration::from_millis(150);
    engine.ping_timeout = Duration::from_millis(150);
    Options {
        engine,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_clients_ends_have_their_reasons() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.send("41").await;
    assert_eq!(node.seen(1).await[0], "/ gone: client namespace disconnect");
    wire.join("40", "40").await;
    wire.close().await;
    assert_eq!(node.seen(2).await[1], "/ gone: transport close");
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    drop(wire);
    assert_eq!(node.seen(3).await[2], "/ gone: transport close");
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.send("1").await;
    assert_eq!(node.seen(4).await[3], "/ gone: transport close");
    for (bad, reason) in [
        ("no packet", "/ gone: parse error"),
        ("4no packet", "/ gone: forced close"),
    ] {
        let count = node.app.seen.lock().len() + 1;
        let mut wire = node.wire().await;
        wire.join("40", "40").await;
        wire.send(bad).await;
        assert_eq!(node.seen(count).await[count - 1], reason, "{bad}");
    }
    node.die().await;
}

#[tokio::test]
async fn a_silent_client_ends_by_ping_timeout() {
    let node = one_node(fast()).await;
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    assert_eq!(wire.text().await, "2");
    assert_eq!(node.seen(1).await[0], "/ gone: ping timeout");
    node.die().await;
}

#[tokio::test]
async fn a_kick_ends_one_namespace_and_pings_go_on() {
    let node = one_node(fast()).await;
    let mut wire = node.wire().await;
    wire.join("40/custom,", "40/custom,").await;
    wire.send(r#"42/custom,["kick"]"#).await;
    // In flight when it was kicked: dropped, for the client could not know.
    wire.send(r#"42/custom,1["late"]"#).await;
    let mut pings = 0;
    let mut told = 0;
    while pings < 3 {
        match wire.text().await.as_str() {
            "2" => {
                pings += 1;
                wire.send("3").await;
            }
            "41/custom," => told += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(told, 1);
    let seen = ["/custom kick", "/custom gone: server namespace disconnect"];
    assert_eq!(node.seen(2).await, seen);
    node.die().await;
}

#[tokio::test]
async fn a_kick_with_close_says_goodbye_in_every_namespace_and_closes() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    for name in ["", "/custom,", "/room-1,"] {
        wire.join(&format!("40{name}"), &format!("40{name}")).await;
    }
    wire.send("41/room-1,").await;
    wire.send(r#"42/custom,["kick all"]"#).await;
    assert_eq!(wire.text().await, "41");
    assert_eq!(wire.text().await, "41/custom,");
    assert_eq!(wire.closed().await, (1000, String::new()));
    let mut seen = node.seen(4).await;
    seen.sort();
    let expected = [
        "/ gone: server namespace disconnect",
        "/custom gone: server namespace disconnect",
        "/custom kick all",
        "/room-1 gone: client namespace disconnect",
    ];
    assert_eq!(seen, expected);
    node.die().await;
}

#[tokio::test]
async fn a_node_that_shuts_down_says_so_to_its_handlers_alone() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    node.drain().await;
    // No `41`: a stock client would not come back by itself.
    assert_eq!(wire.closed().await, (4001, "draining".into()));
    assert_eq!(node.seen(1).await[0], "/ gone: server shutting down");
    node.die().await;
}

#[tokio::test]
async fn a_connection_that_joins_nothing_is_closed_in_time() {
    let mut options = Options::default();
    options.engine.connect_timeout = Duration::from_millis(200);
    let node = one_node(options).await;
    let mut refused = node.wire().await;
    refused.send("40/unknown,").await;
    let mut left = node.wire().await;
    left.join("40", "40").await;
    left.send("41").await;
    assert_eq!(refused.closed().await, (1000, "connect timeout".into()));
    // Having joined once is enough, as in the reference.
    tokio::time::sleep(Duration::from_millis(300)).await;
    left.join("40", "40").await;
    node.die().await;
}
