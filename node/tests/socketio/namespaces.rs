//! Namespaces: joined, unknown, by pattern, and how many there may be.

use roomcast::state::Settings;

use crate::cluster::{Options, one_node};

#[tokio::test]
async fn several_namespaces_share_a_connection() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    let main = wire.join("40", "40").await;
    let custom = wire.join(r#"40/custom,{"name":"ann"}"#, "40/custom,").await;
    // Without its comma, too.
    let room = wire.join("40/room-7", "40/room-7,").await;
    let ids = [&main["sid"], &custom["sid"], &room["sid"]];
    assert!(
        ids.iter()
            .all(|id| id.as_str().is_some_and(|id| id.len() == 22))
    );
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    wire.send(r#"42/room-7,5["e","r"]"#).await;
    assert_eq!(wire.text().await, r#"43/room-7,5["r"]"#);
    // Leaving one leaves the others.
    wire.send("41/custom,").await;
    assert_eq!(
        node.seen(2).await[1],
        "/custom gone: client namespace disconnect"
    );
    wire.send(r#"425["e","m"]"#).await;
    assert_eq!(wire.text().await, r#"435["m"]"#);
    let again = wire.join("40/custom,", "40/custom,").await;
    assert_ne!(again["sid"], custom["sid"], "a new socket");
    node.die().await;
}

#[tokio::test]
async fn an_unknown_namespace_is_refused_and_the_connection_goes_on() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    for (packet, name) in [
        ("40/unknown,", "/unknown"),
        ("40/unknown", "/unknown"),
        (r#"40/room-x,{"token":1}"#, "/room-x"),
        ("40/room-,", "/room-"),
        // The text before the comma is the name, a query too.
        ("40/custom?a=b,{}", "/custom?a=b"),
    ] {
        wire.send(packet).await;
        let refused = format!(r#"44{name},{{"message":"Invalid namespace"}}"#);
        assert_eq!(wire.text().await, refused, "{packet}");
    }
    wire.join("40", "40").await;
    node.die().await;
}

#[tokio::test]
async fn a_namespace_more_than_the_limit_is_refused_by_name_until_there_is_room() {
    let settings = Settings {
        namespaces_max: 2,
        ..Settings::DEFAULT
    };
    let options = Options {
        settings,
        ..Options::default()
    };
    let node = one_node(options).await;
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.join("40/room-1,", "40/room-1,").await;
    wire.send("40/room-2,").await;
    let refused = concat!(
        r#"44/room-2,{"message":"too many namespaces: namespaces_max is 2","#,
        r#""data":{"code":"namespaces_full","namespaces_max":2}}"#,
    );
    assert_eq!(wire.text().await, refused);
    // One that exists is open to others; one that is left makes room.
    let mut other = node.wire().await;
    other.join("40/room-1,", "40/room-1,").await;
    wire.send("41/room-1,").await;
    wire.send("40/room-2,").await;
    assert_eq!(wire.text().await, refused, "the other one is still there");
    other.send("41/room-1,").await;
    other.join("40/room-2,", "40/room-2,").await;
    wire.join("40/room-2,", "40/room-2,").await;
    node.die().await;
}

#[tokio::test]
async fn refused_and_left_namespaces_do_not_fill_a_connection() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    for number in 0..100 {
        let name = format!("/room-{number}");
        wire.join(&format!("40{name},"), &format!("40{name},"))
            .await;
        wire.send(&format!("41{name},")).await;
    }
    for number in 0..roomcast::limits::NAMESPACES_PER_SESSION_MAX {
        let name = format!("/room-{number}");
        wire.join(&format!("40{name},"), &format!("40{name},"))
            .await;
    }
    wire.send("40/room-1000,").await;
    assert_eq!(wire.closed().await, (1002, "protocol violation".into()));
    node.die().await;
}
