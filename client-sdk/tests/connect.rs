//! CONNECT and its refusals, events and binary both ways, acknowledgements, leaving: on literal
//! wire against a scripted server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;

use std::time::Duration;

use bytes::Bytes;
use fake::*;
use roomcast_client::{
    AckError, Args, Client, ClientError, ClientOptions, DisconnectReason, EmitError, Notice,
    SocketOptions,
};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn namespaces_share_one_connection_and_bring_their_auth() {
    let server = FakeServer::start().await;
    let options = ClientOptions {
        query: vec![("recovery".to_owned(), "1".to_owned())],
        ..hasty()
    };
    let client = Client::new([server.url()], options).unwrap();
    let auth = SocketOptions {
        auth: json!({"token": "t"}),
        subscriber: Some("s".to_owned()),
        recovery: false,
        ..SocketOptions::default()
    };
    let (root, mut root_inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let (chat, mut chat_inbox) = client.socket("/chat", auth).unwrap();

    let mut peer = server.accept().await;
    assert_eq!(peer.uri, "/socket.io/?EIO=4&transport=websocket&recovery=1");
    peer.expect("40").await;
    peer.expect(r#"40/chat,{"recovery":false,"subscriber":"s","token":"t"}"#)
        .await;
    peer.send(r#"40/chat,{"sid":"c"}"#).await;
    peer.send(r#"40{"sid":"r","pid":"p"}"#).await;
    assert_eq!(connected(&mut root_inbox).await.id, "r");
    let now = connected(&mut chat_inbox).await;
    assert_eq!(
        (now.id.as_str(), now.recovered, now.resume),
        ("c", false, None)
    );
    assert_eq!(now.endpoint, format!("{}/socket.io/", server.url()));
    assert_eq!((root.id(), chat.id()), (Some("r".into()), Some("c".into())));
    assert_eq!(chat.resume_token(), None);

    peer.send(r#"42/chat,["for","chat"]"#).await;
    peer.send(r#"42["for","root"]"#).await;
    assert_eq!(event(&mut chat_inbox).await.args, [json!("chat")]);
    let for_root = event(&mut root_inbox).await;
    assert_eq!(for_root.args, [] as [serde_json::Value; 0]);
    assert_eq!(for_root.offset.as_deref(), Some("root"));
}

#[tokio::test]
async fn wrong_namespaces_endpoints_and_auth_are_refused_at_once() {
    let none: [&str; 0] = [];
    let refused = Client::new(none, ClientOptions::default()).unwrap_err();
    assert_eq!(refused, ClientError::NoEndpoint);
    let client = Client::new(["ws://127.0.0.1:1"], ClientOptions::default()).unwrap();
    for namespace in ["chat", "/a,b", "/a?b", ""] {
        let refused = client
            .socket(namespace, SocketOptions::default())
            .unwrap_err();
        assert_eq!(refused, ClientError::Namespace(namespace.to_owned()));
    }
    let list = SocketOptions {
        auth: json!([]),
        ..SocketOptions::default()
    };
    assert_eq!(
        client.socket("/", list).unwrap_err(),
        ClientError::AuthNotObject
    );
    let first = client.socket("/", SocketOptions::default()).unwrap();
    let second = client.socket("/", SocketOptions::default()).unwrap_err();
    assert_eq!(second, ClientError::NamespaceInUse("/".to_owned()));
    drop(first);
}

#[tokio::test]
async fn events_and_binary_go_both_ways() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/n", SocketOptions::default()).unwrap();
    socket.emit("early", "bird").unwrap();
    let mut peer = server
        .accept_connect("40/n,", r#"40/n,{"sid":"s","pid":"p"}"#)
        .await;
    peer.expect(r#"42/n,["early","bird"]"#).await;
    connected(&mut inbox).await;

    let args = Args::new()
        .json(json!({"a": 1}))
        .binary(&b"\x01\x02"[..])
        .binary(&b""[..]);
    socket.emit("bin", args).unwrap();
    socket.emit("next", Args::new()).unwrap();
    let placeholders = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    peer.expect(&format!(r#"452-/n,["bin",{{"a":1}},{placeholders}]"#))
        .await;
    peer.expect_binary(b"\x01\x02").await;
    peer.expect_binary(b"").await;
    peer.expect(r#"42/n,["next"]"#).await;

    peer.send(r#"451-/n,["bin",{"x":{"_placeholder":true,"num":0}},"1.2.3"]"#)
        .await;
    peer.send_binary(b"\x03").await;
    let event = event(&mut inbox).await;
    assert_eq!(event.name, "bin");
    assert_eq!(event.args, [json!({"x": {"_placeholder": true, "num": 0}})]);
    assert_eq!(event.attachments, [Bytes::from_static(b"\x03")]);
    assert_eq!(event.offset.as_deref(), Some("1.2.3"));
}

#[tokio::test]
async fn acks_go_both_ways_and_an_event_with_ack_has_no_offset() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server
        .accept_connect("40", r#"40{"sid":"s","pid":"p"}"#)
        .await;
    connected(&mut inbox).await;

    let first = socket.request("a", "x", SECOND).unwrap();
    let second = socket.request("b", Args::new(), SECOND).unwrap();
    peer.expect(r#"420["a","x"]"#).await;
    peer.expect(r#"421["b"]"#).await;
    peer.send(r#"461-1[{"_placeholder":true,"num":0}]"#).await;
    peer.send_binary(b"z").await;
    peer.send(r#"430["ok",1]"#).await;
    peer.send(r#"430["again"]"#).await;
    assert_eq!(
        first.wait().await.unwrap().values(),
        [json!("ok"), json!(1)]
    );
    assert_eq!(
        second.wait().await.unwrap().attachments(),
        [Bytes::from_static(b"z")]
    );

    peer.send(r#"4217["question","not an offset"]"#).await;
    let question = event(&mut inbox).await;
    assert_eq!(
        (question.args, question.offset),
        (vec![json!("not an offset")], None)
    );
    question
        .ack
        .unwrap()
        .send(Args::new().json(42).binary(&b"!"[..]))
        .unwrap();
    peer.expect(r#"461-17[42,{"_placeholder":true,"num":0}]"#)
        .await;
    peer.expect_binary(b"!").await;
}

#[tokio::test]
async fn a_deadline_tells_sent_from_not_sent() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server.accept().await;
    let short = Duration::from_millis(30);
    let unsent = socket.emit_with_ack("never", "sent", short).await;
    assert_eq!(unsent, Err(AckError::NotSent(short)));
    peer.expect("40").await;
    peer.send(r#"40{"sid":"s"}"#).await;
    connected(&mut inbox).await;
    let unanswered = socket.emit_with_ack("never", "answered", short).await;
    assert_eq!(unanswered, Err(AckError::Timeout(short)));
    peer.expect(r#"421["never","answered"]"#).await;
    peer.send(r#"431["late"]"#).await;
    expect_no_notice(&mut inbox).await;
}

#[tokio::test]
async fn emits_that_cannot_be_sent_are_refused() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let options = SocketOptions {
        emits_buffered_max: 2,
        ..SocketOptions::default()
    };
    let (socket, mut inbox) = client.socket("/", options).unwrap();
    socket.emit("one", Args::new()).unwrap();
    socket.emit("two", "x".repeat(100_000).as_str()).unwrap();
    let full = socket.emit("three", Args::new());
    assert!(
        matches!(full, Err(EmitError::BufferFull { count: 2, .. })),
        "{full:?}"
    );
    let reserved = socket.emit("connect", Args::new());
    assert_eq!(reserved, Err(EmitError::ReservedName("connect".to_owned())));

    let mut peer = server.accept_connect("40", r#"40{"sid":"s"}"#).await;
    connected(&mut inbox).await;
    peer.expect(r#"42["one"]"#).await;
    // The second is larger than the server's maxPayload, which was not known when it was queued.
    peer.expect_silence().await;
    let too_large = socket.emit("four", "x".repeat(100_000).as_str());
    assert!(
        matches!(too_large, Err(EmitError::TooLarge { max: 100_000, .. })),
        "{too_large:?}"
    );
    socket.emit("five", Args::new()).unwrap();
    peer.expect(r#"42["five"]"#).await;
}

#[tokio::test]
async fn a_refused_connect_is_not_tried_again_before_the_application_asks() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_root, mut root_inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let (socket, mut inbox) = client.socket("/n", SocketOptions::default()).unwrap();
    let mut peer = server.accept_connect("40", r#"40{"sid":"r"}"#).await;
    connected(&mut root_inbox).await;
    peer.expect("40/n,").await;
    peer.send(r#"44/n,{"message":"no token","data":7}"#).await;
    match inbox.recv().await.unwrap() {
        Notice::ConnectError { data } => {
            assert_eq!(data, json!({"message": "no token", "data": 7}))
        }
        other => panic!("{other:?}"),
    }
    peer.expect_silence().await;
    assert_eq!(socket.emit("e", Args::new()), Err(EmitError::Disconnected));
    drop(peer);
    disconnected(&mut root_inbox).await;
    let mut peer = server.accept_connect("40", r#"40{"sid":"r"}"#).await;
    peer.expect_silence().await;
    socket.set_auth(json!({"token": "t"})).unwrap();
    socket.connect();
    peer.expect(r#"40/n,{"token":"t"}"#).await;
    peer.send(r#"40/n,{"sid":"s"}"#).await;
    assert_eq!(connected(&mut inbox).await.id, "s");
}

#[tokio::test]
async fn after_a_servers_disconnect_there_is_no_reconnection_and_nothing_to_resume() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server
        .accept_connect("40", r#"40{"sid":"s","pid":"p"}"#)
        .await;
    connected(&mut inbox).await;
    let pending = socket.request("e", Args::new(), SECOND).unwrap();
    peer.expect(r#"420["e"]"#).await;
    peer.send("41").await;
    assert_eq!(
        disconnected(&mut inbox).await,
        DisconnectReason::ServerDisconnect
    );
    assert_eq!(pending.wait().await, Err(AckError::UnknownOutcome));
    // The last namespace is gone, and with it the need for a connection.
    peer.expect_close().await;
    server.expect_no_connection().await;
    socket.connect();
    server
        .accept_connect("40", r#"40{"sid":"t","pid":"q"}"#)
        .await;
    assert!(!connected(&mut inbox).await.recovered);
}

#[tokio::test]
async fn disconnect_sends_what_is_queued_and_then_leaves_one_namespace() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (_root, mut root_inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let (socket, mut inbox) = client.socket("/n", SocketOptions::default()).unwrap();
    let mut peer = server.accept_connect("40", r#"40{"sid":"r"}"#).await;
    peer.expect("40/n,").await;
    peer.send(r#"40/n,{"sid":"s","pid":"p"}"#).await;
    connected(&mut root_inbox).await;
    connected(&mut inbox).await;
    socket.emit("last", "words").unwrap();
    socket.disconnect();
    assert_eq!(socket.emit("more", "words"), Err(EmitError::Disconnected));
    socket.connect();
    peer.expect(r#"42/n,["last","words"]"#).await;
    peer.expect("41/n,").await;
    peer.expect("40/n,").await;
    // Sent by the server before it heard of the leave.
    peer.send(r#"42/n,["late"]"#).await;
    peer.send(r#"40/n,{"sid":"t","pid":"q"}"#).await;
    assert_eq!(
        disconnected(&mut inbox).await,
        DisconnectReason::ClientDisconnect
    );
    assert_eq!(connected(&mut inbox).await.id, "t");
    peer.send(r#"42["still","here"]"#).await;
    assert_eq!(event(&mut root_inbox).await.name, "still");
}

#[tokio::test]
async fn close_sends_what_is_queued_leaves_and_ends_the_inboxes() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server
        .accept_connect("40", r#"40{"sid":"s","pid":"p"}"#)
        .await;
    connected(&mut inbox).await;
    for number in 0..100 {
        socket.emit("n", json!(number)).unwrap();
    }
    let script = async {
        for number in 0..100 {
            peer.expect(&format!(r#"42["n",{number}]"#)).await;
        }
        peer.expect("41").await;
        peer.expect_close().await;
    };
    tokio::join!(soon("close", client.close()), script);
    assert_eq!(
        disconnected(&mut inbox).await,
        DisconnectReason::ClientDisconnect
    );
    assert!(inbox.recv().await.is_none());
    assert_eq!(socket.resume_token(), None);
    let closed = client.socket("/n", SocketOptions::default()).unwrap_err();
    assert_eq!(closed, ClientError::Closed);
    server.expect_no_connection().await;
}

#[tokio::test]
async fn dropping_everything_sends_what_is_queued_and_leaves_the_session_alone() {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let mut peer = server
        .accept_connect("40", r#"40{"sid":"s","pid":"p"}"#)
        .await;
    connected(&mut inbox).await;
    socket.emit("last", "words").unwrap();
    drop((client, socket, inbox));
    peer.expect(r#"42["last","words"]"#).await;
    peer.expect_close().await;
}
