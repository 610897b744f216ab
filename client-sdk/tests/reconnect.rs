//! Losing connections in every way, and what becomes of what was under way.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;

use std::time::{Duration, Instant};

use fake::*;
use roomcast_client::{
    AckError, Args, Client, DisconnectReason, EmitError, EndpointOrder, SocketOptions,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REPLY: &str = r#"40{"sid":"s","pid":"p"}"#;
const RESUME: &str = r#"40{"pid":"p"}"#;
const SECOND: Duration = Duration::from_secs(1);
/// Ping interval and timeout that add up to 200 ms.
const IMPATIENT: &str =
    r#"0{"sid":"e","upgrades":[],"pingInterval":120,"pingTimeout":80,"maxPayload":100000}"#;

#[tokio::test]
async fn a_lost_connection_is_replaced_by_one_to_the_next_endpoint_that_answers() {
    let (first, second) = (FakeServer::start().await, FakeServer::start().await);
    let dead = FakeServer::start().await;
    let dead_url = dead.url();
    drop(dead);
    let client = Client::new([first.url(), dead_url, second.url()], hasty()).unwrap();
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let peer = first.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    peer.close(4001, "draining").await;
    let reason = disconnected(&mut inbox).await;
    assert_eq!(reason.to_string(), "transport close (4001 draining)");
    assert!(!reason.is_final());
    let peer = second.accept_connect(RESUME, REPLY).await;
    let now = connected(&mut inbox).await;
    assert!(now.recovered && now.endpoint.starts_with(&second.url()));
    assert!(client.last_error().unwrap().contains("refused"));
    drop(peer);
    let reason = disconnected(&mut inbox).await;
    assert_eq!(reason.to_string(), "transport close");
    first.accept_connect(RESUME, REPLY).await;
    connected(&mut inbox).await;
}

#[tokio::test]
async fn connect_next_chooses_the_endpoint_once() {
    let (first, second) = (FakeServer::start().await, FakeServer::start().await);
    let options = roomcast_client::ClientOptions {
        order: EndpointOrder::Random,
        ..hasty()
    };
    let client = Client::new([first.url()], options).unwrap();
    client.connect_next(&second.url()).await.unwrap();
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    second.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    client.cut().await;
    first.accept_connect(RESUME, REPLY).await;
    assert!(client.connect_next("wss://a").await.is_err());
}

#[tokio::test]
async fn pings_are_answered_and_their_absence_ends_the_connection() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server.accept_with(IMPATIENT).await;
    peer.expect("40").await;
    peer.send(REPLY).await;
    connected(&mut inbox).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        peer.send("2").await;
        peer.expect("3").await;
    }
    let silent_since = Instant::now();
    assert_eq!(
        disconnected(&mut inbox).await,
        DisconnectReason::PingTimeout
    );
    let silence = silent_since.elapsed();
    assert!(silence > Duration::from_millis(150), "{silence:?}");
    assert!(silence < Duration::from_secs(2), "{silence:?}");
    peer.expect_drop().await;
    server.accept_connect(RESUME, REPLY).await;
}

#[tokio::test]
async fn a_stalled_connection_is_silent_until_its_ping_timeout() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server.accept_with(IMPATIENT).await;
    peer.expect("40").await;
    peer.send(REPLY).await;
    connected(&mut inbox).await;
    client.stall().await;
    peer.send("2").await;
    peer.send(r#"42["e","e.1.0"]"#).await;
    socket.emit("kept", "back").unwrap();
    peer.expect_silence().await;
    assert_eq!(
        disconnected(&mut inbox).await,
        DisconnectReason::PingTimeout
    );
    // Neither was the event read nor the emit written on the stalled connection.
    let mut peer = server.accept_connect(RESUME, REPLY).await;
    peer.expect(r#"42["kept","back"]"#).await;
}

#[tokio::test]
async fn an_abandoned_connection_stays_open_while_the_client_is_back() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut old = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    client.abandon().await;
    let mut new = server.accept_connect(RESUME, REPLY).await;
    assert_eq!(disconnected(&mut inbox).await, DisconnectReason::Cut);
    assert!(connected(&mut inbox).await.recovered);
    old.send(r#"42["nobody","reads this"]"#).await;
    old.expect_silence().await;
    socket.emit("on", "the new one").unwrap();
    new.expect(r#"42["on","the new one"]"#).await;
    expect_no_notice(&mut inbox).await;
    drop((client, socket, inbox));
    old.expect_drop().await;
}

#[tokio::test]
async fn a_cut_reports_what_was_sent_and_keeps_what_was_not() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    let sent = socket.request("sent", Args::new(), SECOND * 5).unwrap();
    peer.expect(r#"420["sent"]"#).await;
    client.cut().await;
    peer.expect_drop().await;
    let outcome = soon("the outcome", sent.wait()).await;
    assert_eq!(outcome, Err(AckError::UnknownOutcome));
    assert!(!AckError::UnknownOutcome.is_surely_not_sent());
    let kept = socket.request("kept", Args::new(), SECOND * 5).unwrap();
    socket.emit("kept", "too").unwrap();

    // It is still unsent after a connection that did not get as far as CONNECT.
    let mut peer = server.accept().await;
    peer.expect(RESUME).await;
    drop(peer);
    let mut peer = server.accept_connect(RESUME, REPLY).await;
    peer.expect(r#"421["kept"]"#).await;
    peer.expect(r#"42["kept","too"]"#).await;
    peer.send(r#"431["ok"]"#).await;
    assert_eq!(kept.wait().await.unwrap().values(), [json!("ok")]);
}

#[tokio::test]
async fn an_answer_does_not_go_to_another_connection() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    peer.send(r#"425["question"]"#).await;
    let ack = event(&mut inbox).await.ack.unwrap();
    client.cut().await;
    assert_eq!(ack.send("too late"), Err(EmitError::StaleAck));
    let mut peer = server.accept_connect(RESUME, REPLY).await;
    disconnected(&mut inbox).await;
    connected(&mut inbox).await;
    assert_eq!(ack.send("too late"), Err(EmitError::StaleAck));
    peer.expect_silence().await;
}

#[tokio::test]
async fn retry_after_is_respected_when_there_is_no_other_endpoint() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut stream = server.accept_tcp().await;
    let mut request = [0; 4096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    let refusal = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(refusal.as_bytes()).await.unwrap();
    let refused = Instant::now();
    server.accept_connect("40", REPLY).await;
    assert!(
        refused.elapsed() > Duration::from_millis(900),
        "{:?}",
        refused.elapsed()
    );
    assert!(client.last_error().unwrap().contains("503"));
    connected(&mut inbox).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let (silent, server) = (FakeServer::start().await, FakeServer::start().await);
    let options = roomcast_client::ClientOptions {
        connect_timeout: Duration::from_millis(100),
        ..hasty()
    };
    let client = Client::new([silent.url(), server.url()], options).unwrap();
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let _held = silent.accept_tcp().await;
    server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    assert!(client.last_error().unwrap().contains("timed out"));
}

#[tokio::test]
async fn what_the_protocol_forbids_ends_the_connection() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    for garbage in [
        "9",
        "4",
        "42{}",
        "42[",
        r#"42["connect"]"#,
        "5",
        r#"451-["a"]"#,
        "40",
    ] {
        let mut peer = server.accept().await;
        peer.answer_connect(REPLY).await;
        connected(&mut inbox).await;
        peer.send(garbage).await;
        // Of a packet with an attachment the next text is the mistake; after CONNECT a second
        // one is ignored, as it changes nothing.
        peer.send("4x").await;
        let reason = disconnected(&mut inbox).await;
        assert!(
            matches!(reason, DisconnectReason::ParseError(_)),
            "{garbage}: {reason}"
        );
        peer.expect_drop().await;
    }
}

#[tokio::test]
async fn a_socket_that_left_while_disconnected_needs_no_further_connection() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    drop(server.accept_connect("40", REPLY).await);
    connected(&mut inbox).await;
    disconnected(&mut inbox).await;
    socket.disconnect();
    // An attempt that was under way at that moment may still arrive, once.
    let url = server.url();
    drop(server);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = url.trim_start_matches("ws://");
    let server = FakeServer::start_at(address).await;
    server.expect_no_connection().await;
    socket.connect();
    server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
}

#[tokio::test]
async fn a_server_that_pings_and_does_not_read_gets_every_pong_when_it_does() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let large = SocketOptions {
        emit_bytes_buffered_max: 64 << 20,
        ..SocketOptions::default()
    };
    let (socket, mut inbox) = client.socket("/", large).unwrap();
    let mut peer = server.accept_connect("40", REPLY).await;
    connected(&mut inbox).await;
    // More than the network takes while nobody reads.
    let line = "x".repeat(90_000);
    for _ in 0..300 {
        socket.emit("line", line.as_str()).unwrap();
    }
    for _ in 0..200 {
        peer.send("2").await;
    }
    peer.send(r#"42["e","e.1.0"]"#).await;
    assert_eq!(peer.count_texts("3", 500).await, 200);
    assert_eq!(event(&mut inbox).await.offset.as_deref(), Some("e.1.0"));
}
