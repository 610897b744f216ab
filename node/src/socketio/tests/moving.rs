//! A client that is given up by one session and goes on with another; here both are on one node.

use bytes::Bytes;

use super::super::testing::handshake;
use super::*;
use crate::adapter::testing::{session, texts};
use crate::engine::moving::Departed;
use crate::engine::{Message, SessionHandle};

/// Frames of an outbox that nobody writes.
const FRAMES: usize = 1000;

type Client = Box<dyn crate::engine::Handler>;

async fn say(client: &mut Client, text: &'static str) {
    let text = Message::Text(Bytes::from_static(text.as_bytes()));
    client.on_message(text).await.unwrap();
}

/// The next texts of a session, at least one.
async fn hear(node: &Node, session: &SessionHandle) -> Vec<String> {
    node.until("a frame", |_| session.outbox_depth().0 > 0)
        .await;
    let depth = session.outbox_depth();
    let texts = texts(session);
    session.outbox().written(crate::engine::outbox::Written {
        frames: depth.0,
        bytes: depth.1,
    });
    texts
}

/// A client in the main namespace, and its session.
async fn joined(node: &Node) -> (Client, SessionHandle) {
    let session = session(FRAMES);
    let mut client = node.acceptor().open(handshake(), session.clone());
    say(&mut client, "0").await;
    assert!(hear(node, &session).await[0].starts_with("40{"));
    (client, session)
}

async fn depart(client: &mut Client) -> Departed {
    timeout(Duration::from_secs(5), client.depart())
        .await
        .expect("nothing is under way")
        .expect("it can move")
}

#[tokio::test]
async fn a_client_goes_on_where_it_was_taken_to() {
    let script = Script::new();
    let node = script.node().await;
    let (mut client, old) = joined(&node).await;
    let id = script.socket.lock().clone().unwrap().id().to_owned();
    // Half of a packet; and a question that it has not answered.
    say(&mut client, r#"51-7["bin",{"_placeholder":true,"num":0}]"#).await;
    let socket = script.socket.lock().clone().unwrap();
    let asking = tokio::spawn(async move {
        let question = Bytes::from_static(br#"["q"]"#);
        let asked = socket
            .own()
            .timeout(Duration::from_secs(10))
            .emit_with_ack_raw(question, Vec::new());
        asked.await.unwrap()
    });
    let question = hear(&node, &old).await.remove(0);
    let number = question
        .strip_prefix("42")
        .unwrap()
        .strip_suffix(r#"["q"]"#)
        .unwrap();

    let Departed { state, left } = depart(&mut client).await;
    drop(client);
    let new = session(FRAMES);
    let adopted = node.acceptor().adopt(state, new.clone()).unwrap();
    assert!(adopted.in_place.await);
    left.taken();
    let mut client = adopted.handler;
    client
        .on_message(Message::Binary(Bytes::from_static(b"\x01")))
        .await
        .unwrap();
    assert_eq!(
        hear(&node, &new).await,
        [r#"461-7["done"]"#],
        "no CONNECT: the client has it"
    );
    let answer = format!(r#"3{number}["yes"]"#);
    client
        .on_message(Message::Text(answer.into()))
        .await
        .unwrap();
    let answers = asking.await.unwrap();
    assert_eq!((answers.missing.len(), answers.answers.len()), (0, 1));
    let socket = script.socket.lock().clone().unwrap();
    assert_eq!((socket.id(), socket.recovered()), (id.as_str(), true));
    let event = Bytes::from_static(br#"["e"]"#);
    socket.own().emit_raw(event, Vec::new()).await.unwrap();
    assert!(hear(&node, &new).await[0].starts_with(r#"42["e","#));
    assert_eq!(node.connected(), 1);
    assert_eq!(texts(&old), [""; 0]);
    let mut seen = script.seen();
    seen.sort();
    assert_eq!(
        seen,
        [
            r#"bin [{"_placeholder":true,"num":0}]"#,
            "connected",
            "connected",
            "connecting",
            "connecting",
            "gone: transport moved"
        ]
    );
    node.end().await;
}

#[tokio::test]
async fn what_is_under_way_is_waited_for() {
    let script = Script::new();
    let node = script.node().await;
    let (mut client, old) = joined(&node).await;
    say(&mut client, r#"27["slow"]"#).await;
    let early = timeout(Duration::from_millis(100), client.depart()).await;
    assert!(early.is_err(), "a handler is at work");
    script.gate.add_permits(1);
    assert_eq!(
        hear(&node, &old).await,
        [r#"437["done"]"#],
        "and not disturbed"
    );
    depart(&mut client).await;
    node.end().await;
}

#[tokio::test]
async fn a_session_that_nobody_takes_goes_away() {
    let script = Script::new();
    let node = script.node().await;
    let (mut client, _old) = joined(&node).await;
    let departed = depart(&mut client).await;
    assert_eq!(node.connected(), 1);
    drop(departed);
    node.until("an end", |node| node.connected() == 0).await;
    node.end().await;
}

#[tokio::test]
async fn an_unreadable_client_is_not_adopted() {
    let script = Script::new();
    let node = script.node().await;
    for state in [&b""[..], b"\xff"] {
        let state = Bytes::from_static(state);
        assert!(node.acceptor().adopt(state, session(FRAMES)).is_none());
    }
    node.end().await;
}
