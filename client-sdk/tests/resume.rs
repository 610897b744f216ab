//! What a reconnection brings, and that nothing is lost or handed over twice by it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;

use bytes::Bytes;
use fake::*;
use roomcast_client::{Acknowledgement, Inbox, ResumeReport, ResumeToken, Socket, SocketOptions};

const REPLY: &str = r#"40{"sid":"s","pid":"p"}"#;

async fn start(options: SocketOptions) -> (FakeServer, roomcast_client::Client, Socket, Inbox) {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, inbox) = client.socket("/", options).unwrap();
    (server, client, socket, inbox)
}

#[tokio::test]
async fn the_offset_is_that_of_the_last_event_handed_over_and_nothing_comes_twice() {
    let (server, client, _socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    assert!(!connected(&mut inbox).await.recovered);
    for number in 1..=4 {
        peer.send(&format!(r#"42["e",{number},"e.{number}.0"]"#))
            .await;
    }
    assert_eq!(event(&mut inbox).await.offset.as_deref(), Some("e.1.0"));
    // An answered ping proves that all four have arrived.
    peer.send("2").await;
    peer.expect("3").await;
    client.cut().await;
    let mut peer = server.accept().await;
    peer.expect(r#"40{"offset":"e.1.0","pid":"p"}"#).await;
    // Taken between CONNECT and its answer.
    assert_eq!(event(&mut inbox).await.offset.as_deref(), Some("e.2.0"));
    peer.send(REPLY).await;
    for number in 2..=6 {
        peer.send(&format!(r#"42["e",{number},"e.{number}.0"]"#))
            .await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(inbox.event().await.unwrap().args[0].clone());
    }
    assert_eq!(seen, [3, 4, 5, 6]);
    expect_no_notice(&mut inbox).await;
}

#[tokio::test]
async fn a_client_that_received_nothing_brings_its_pid_alone() {
    let (server, client, _socket, mut inbox) = start(SocketOptions::default()).await;
    server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    client.cut().await;
    disconnected(&mut inbox).await;
    let reply = r#"40{"sid":"s","pid":"p","resume":{"ok":true,"from":"e.9.0"}}"#;
    let mut peer = server.accept_connect(r#"40{"pid":"p"}"#, reply).await;
    let now = connected(&mut inbox).await;
    assert!(now.recovered);
    let report = ResumeReport {
        ok: true,
        from: Some("e.9.0".to_owned()),
        reason: None,
    };
    assert_eq!(now.resume, Some(report));
    peer.send(r#"451-["b",{"_placeholder":true,"num":0},"e.a.0"]"#)
        .await;
    peer.send_binary(b"missed").await;
    let missed = event(&mut inbox).await;
    assert_eq!(missed.attachments, [Bytes::from_static(b"missed")]);
}

#[tokio::test]
async fn a_refused_resume_starts_anew_without_the_old_offset() {
    let (server, client, _socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    peer.send(r#"42["e","e.1.0"]"#).await;
    peer.send(r#"42["e","e.2.0"]"#).await;
    event(&mut inbox).await;
    peer.send("2").await;
    peer.expect("3").await;
    drop(peer);
    let reply = r#"40{"sid":"t","pid":"q","resume":{"ok":false,"reason":"dropped"}}"#;
    let connect = r#"40{"offset":"e.1.0","pid":"p"}"#;
    server.accept_connect(connect, reply).await;
    // The event of the old session that lay in the inbox moves no offset of the new one.
    assert_eq!(event(&mut inbox).await.offset.as_deref(), Some("e.2.0"));
    disconnected(&mut inbox).await;
    let now = connected(&mut inbox).await;
    assert!(!now.recovered);
    assert_eq!(now.resume.unwrap().reason.as_deref(), Some("dropped"));
    client.cut().await;
    server.accept_connect(r#"40{"pid":"q"}"#, REPLY).await;
}

#[tokio::test]
async fn a_volatile_event_moves_the_offset_too() {
    let (server, client, _socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    peer.send(r#"42["volatile","e.7.0"]"#).await;
    event(&mut inbox).await;
    client.cut().await;
    server
        .accept_connect(r#"40{"offset":"e.7.0","pid":"p"}"#, REPLY)
        .await;
}

#[tokio::test]
async fn without_a_pid_a_trailing_string_is_an_argument() {
    let (server, client, socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", r#"40{"sid":"s"}"#).await;
    connected(&mut inbox).await;
    peer.send(r#"42["e","word"]"#).await;
    let event = event(&mut inbox).await;
    assert_eq!((event.args[0].as_str(), event.offset), (Some("word"), None));
    assert_eq!(socket.resume_token(), None);
    client.cut().await;
    server.accept_connect("40", r#"40{"sid":"t"}"#).await;
}

#[tokio::test]
async fn with_manual_acknowledgement_all_behind_the_acknowledged_comes_again() {
    let manual = SocketOptions {
        acknowledgement: Acknowledgement::Manual,
        ..SocketOptions::default()
    };
    let (server, client, socket, mut inbox) = start(manual).await;
    let mut peer = server.accept_connect(r#"40{"ack":"manual"}"#, REPLY).await;
    connected(&mut inbox).await;
    peer.send(r#"42["e","e.1.0"]"#).await;
    peer.send(r#"42["e","e.2.0"]"#).await;
    event(&mut inbox).await;
    event(&mut inbox).await;
    client.cut().await;
    let mut peer = server
        .accept_connect(r#"40{"ack":"manual","pid":"p"}"#, REPLY)
        .await;
    disconnected(&mut inbox).await;
    assert!(connected(&mut inbox).await.recovered);
    peer.send(r#"42["e","e.1.0"]"#).await;
    assert_eq!(event(&mut inbox).await.offset.as_deref(), Some("e.1.0"));
    socket.acknowledge("e.1.0");
    client.cut().await;
    server
        .accept_connect(r#"40{"ack":"manual","offset":"e.1.0","pid":"p"}"#, REPLY)
        .await;
}

#[tokio::test]
async fn the_token_resumes_from_another_client() {
    let (server, client, socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    peer.send(r#"42["e","e.1.0"]"#).await;
    event(&mut inbox).await;
    let token = socket.resume_token().unwrap();
    assert_eq!(
        (token.pid.as_deref(), token.offset.as_deref()),
        (Some("p"), Some("e.1.0"))
    );
    drop((client, socket, inbox));
    let other = client_of(&server);
    let resume = SocketOptions {
        resume: Some(token),
        ..SocketOptions::default()
    };
    let (_socket, mut inbox) = other.socket("/", resume).unwrap();
    server
        .accept_connect(r#"40{"offset":"e.1.0","pid":"p"}"#, REPLY)
        .await;
    assert!(connected(&mut inbox).await.recovered);
}

#[tokio::test]
async fn a_dropped_inbox_counts_as_handled() {
    let (server, client, _socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    drop(inbox);
    peer.send(r#"42["e","e.5.0"]"#).await;
    peer.send("2").await;
    peer.expect("3").await;
    client.cut().await;
    server
        .accept_connect(r#"40{"offset":"e.5.0","pid":"p"}"#, REPLY)
        .await;
}

#[tokio::test]
async fn an_event_before_connect_is_refused_rather_than_lost() {
    let (server, _client, _socket, mut inbox) = start(SocketOptions::default()).await;
    let mut peer = server.accept().await;
    peer.expect("40").await;
    peer.send(r#"42["e","e.1.0"]"#).await;
    peer.expect_drop().await;
    server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
}

#[tokio::test]
async fn a_full_inbox_stops_the_reading_and_loses_nothing() {
    let small = SocketOptions {
        inbox_events_max: 3,
        ..SocketOptions::default()
    };
    let (server, _client, socket, mut inbox) = start(small).await;
    let mut peer = server.accept_connect("40", REPLY).await;
    for number in 0..10 {
        peer.send(&format!(r#"42["e",{number},"e.{number}.0"]"#))
            .await;
    }
    peer.send("2").await;
    peer.expect_silence().await;
    // Writing goes on while reading is stopped.
    socket.emit("still", "writing").unwrap();
    peer.expect(r#"42["still","writing"]"#).await;
    connected(&mut inbox).await;
    for number in 0..10 {
        assert_eq!(event(&mut inbox).await.args, [number]);
    }
    peer.expect("3").await;
}

#[tokio::test]
async fn a_durable_subscriber_starts_from_its_offset_without_a_pid() {
    let subscriber = SocketOptions {
        subscriber: Some("billing".to_owned()),
        resume: Some(ResumeToken {
            pid: None,
            offset: Some("e.1.0".to_owned()),
        }),
        ..SocketOptions::default()
    };
    let (server, _client, _socket, mut inbox) = start(subscriber).await;
    let connect = r#"40{"offset":"e.1.0","subscriber":"billing"}"#;
    let reply = r#"40{"sid":"s","pid":"p","resume":{"ok":true,"from":"e.1.0"}}"#;
    server.accept_connect(connect, reply).await;
    assert!(connected(&mut inbox).await.recovered);
}
