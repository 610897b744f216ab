//! The pubsub operations on literal wire.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;

use std::time::Duration;

use bytes::Bytes;
use fake::*;
use roomcast_client::{
    Args, Client, ErrorCode, HistoryQuery, MembersQuery, Publish, Pubsub, SocketOptions,
};
use serde_json::json;

/// A connected client and its server's end. The inbox is dropped.
async fn start() -> (Client, Peer, Pubsub) {
    let server = FakeServer::start().await;
    let client = client_of(&server);
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let peer = server
        .accept_connect("40", r#"40{"sid":"s","pid":"p"}"#)
        .await;
    connected(&mut inbox).await;
    (client, peer, socket.pubsub())
}

/// Runs an operation against one scripted exchange.
async fn exchange<T>(
    peer: &mut Peer,
    operation: impl Future<Output = T>,
    request: &str,
    answer: &str,
) -> T {
    let script = async {
        peer.expect(request).await;
        peer.send(answer).await;
    };
    tokio::join!(soon("the answer", operation), script).0
}

#[tokio::test]
async fn joins_leaves_and_acks_return_their_positions() {
    let (_client, mut peer, pubsub) = start().await;
    let answer = r#"430[{"ok":true,"offset":"e.1.0"}]"#;
    let joined = exchange(&mut peer, pubsub.join("r"), r#"420["join","r"]"#, answer).await;
    assert_eq!(joined.unwrap(), "e.1.0");
    let answer = r#"431[{"ok":true,"offset":"e.2.0"}]"#;
    let left = exchange(&mut peer, pubsub.leave("r"), r#"421["leave","r"]"#, answer).await;
    assert_eq!(left.unwrap(), "e.2.0");
    let answer = r#"432[{"ok":true}]"#;
    let acked = exchange(
        &mut peer,
        pubsub.ack("e.2.0"),
        r#"422["ack","e.2.0"]"#,
        answer,
    )
    .await;
    acked.unwrap();
}

#[tokio::test]
async fn publishes_carry_target_key_and_attachments() {
    let (_client, mut peer, pubsub) = start().await;
    let publish = pubsub.publish("r", "line", [json!("a"), json!(1)]);
    let request = r#"420["publish","r","line","a",1]"#;
    let answer = r#"430[{"ok":true,"offset":"e.1.0"}]"#;
    let published = exchange(&mut peer, publish, request, answer).await.unwrap();
    assert_eq!(published.offset.as_deref(), Some("e.1.0"));
    assert!(!published.is_duplicate);

    let target = Publish::to("r").key("k");
    let pending = pubsub
        .start_publish(target, "bin", Args::new().binary(&b"x"[..]))
        .unwrap();
    let request = r#"{"key":"k","rooms":["r"]},"bin",{"_placeholder":true,"num":0}"#;
    peer.expect(&format!(r#"451-1["publish",{request}]"#)).await;
    peer.expect_binary(b"x").await;
    peer.send(r#"431[{"ok":true,"offset":"e.1.0","duplicate":true}]"#)
        .await;
    assert!(pubsub.published(pending).await.unwrap().is_duplicate);
}

#[tokio::test]
async fn members_and_history_are_read_whole() {
    let (_client, mut peer, pubsub) = start().await;
    let query = MembersQuery {
        away: true,
        ..MembersQuery::default()
    };
    let answer = r#"430[{"ok":true,"offset":"e.1.0","count":2,"next":"b","members":[
        {"id":"a","state":"away","since":7,"identity":null,"data":{"x":1}}]}]"#;
    let request = r#"420["members","r",{"away":true}]"#;
    let members = exchange(&mut peer, pubsub.members("r", query), request, answer)
        .await
        .unwrap();
    assert_eq!((members.count, members.next.as_deref()), (2, Some("b")));
    assert_eq!(members.members[0].state, "away");
    assert_eq!(members.members[0].data, json!({"x": 1}));

    let answer = r#"461-1[{"ok":true,"offset":"e.2.0","complete":true,"more":false,"events":[
        {"offset":"e.1.0","event":"bin","args":[{"_placeholder":true,"num":0}],"at":9}]}]"#;
    let script = async {
        peer.expect(r#"421["history","r",{"last":1}]"#).await;
        peer.send(answer).await;
        peer.send_binary(b"x").await;
    };
    let (history, ()) = tokio::join!(pubsub.history("r", HistoryQuery::last(1)), script);
    let history = history.unwrap();
    assert!(history.complete && !history.more);
    assert_eq!(history.events[0].event, "bin");
    assert_eq!(history.attachments, [Bytes::from_static(b"x")]);
}

#[tokio::test]
async fn refusals_keep_the_code_and_unclear_ends_are_unknown_outcomes() {
    let (client, mut peer, pubsub) = start().await;
    for (id, (answer, code)) in [
        (
            r#"{"ok":false,"error":{"code":"forbidden","message":"m"}}"#,
            ErrorCode::Forbidden,
        ),
        (
            r#"{"ok":false,"error":{"code":"new","message":"m"}}"#,
            ErrorCode::Other("new".into()),
        ),
        (r#"{"ok":true}"#, ErrorCode::UnknownOutcome),
        (r#""what""#, ErrorCode::UnknownOutcome),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!(r#"42{id}["join","r"]"#);
        let answer = format!("43{id}[{answer}]");
        let refused = exchange(&mut peer, pubsub.join("r"), &request, &answer)
            .await
            .unwrap_err();
        assert_eq!(refused.code, code);
    }
    let too_large = pubsub
        .publish("r", "e", "x".repeat(100_000).as_str())
        .await
        .unwrap_err();
    assert_eq!(too_large.code, ErrorCode::TooLarge);

    let cut = async {
        peer.expect(r#"425["publish","r","e"]"#).await;
        client.cut().await;
    };
    let (unknown, ()) = tokio::join!(pubsub.publish("r", "e", Args::new()), cut);
    assert_eq!(unknown.unwrap_err().code, ErrorCode::UnknownOutcome);
    let hasty = pubsub.with_timeout(Duration::from_millis(20));
    let unavailable = hasty.join("r").await.unwrap_err();
    assert_eq!(unavailable.code, ErrorCode::Unavailable);
    assert!(unavailable.is_temporary());
}
