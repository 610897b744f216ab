//! What a backend is asked, and what its answers do.

use roomcast::{Connect, ConnectNext, Namespace, Rejection, from_fn};
use roomcast_proto::api::operation::{Ask, What};
use roomcast_proto::api::{Operation, done, from_backend, result, to_backend};
use serde_json::json;

use crate::node::Node;
use crate::program::{Program, emit, event, join};

#[tokio::test]
async fn an_answer_leaves_after_the_operations_of_its_call() {
    let node = Node::start().await;
    let mut program = node.program(&["/chat"]).await;
    assert_eq!(program.welcome.node_id, 1);
    let mut client = node.client().await;
    client.send(r#"40/chat,{"token":"t"}"#).await;
    let (call, admit) = program.admit().await;
    assert_eq!(
        (admit.namespace.as_str(), admit.auth.as_str()),
        ("/chat", r#"{"token":"t"}"#)
    );
    assert!(admit.handshake.unwrap().remote.starts_with("127.0.0.1:"));
    program.accept(call, "ann").await;
    let id = client.connected("/chat").await;
    let (call, connected) = program.connected().await;
    let socket = connected.socket.unwrap();
    assert_eq!(socket.id, id);
    assert_eq!(socket.identity.as_deref(), Some("ann"));
    assert_eq!(socket.data, r#"{"hat":"red"}"#);
    assert!(!connected.known && !connected.recovered && socket.connected);
    program.operate(call, 0, join("lobby")).await;
    program.done(call, None).await;

    client.send(r#"42/chat,7["line",1,{"a":[2]}]"#).await;
    let (call, asked) = program.event().await;
    let asked_event = asked.event.unwrap();
    assert_eq!((asked.socket, asked.wants_answer), (id, true));
    assert_eq!(asked_event.name, "line");
    assert_eq!(asked_event.args, r#"[1,{"a":[2]}]"#);
    for number in 1..=3 {
        let args = format!("[{number}]");
        program
            .operate(call, number, emit(Some("lobby"), "said", &args))
            .await;
    }
    program.operate(call, 0, emit(None, "you", "")).await;
    program.answer(call, r#"["well"]"#).await;
    for expected in [
        r#"42/chat,["said",1"#,
        r#"["said",2"#,
        r#"["said",3"#,
        r#"42/chat,["you""#,
    ] {
        let text = client.text().await;
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(client.text().await, r#"43/chat,7["well"]"#);
    for number in 1..=3 {
        let result = program.result().await;
        assert_eq!(result.number, number);
        assert!(
            matches!(result.outcome, Some(result::Outcome::Done(done)) if !done.offset.is_empty())
        );
    }
    node.end().await;
}

#[tokio::test]
async fn two_events_of_one_socket_never_overlap() {
    let node = Node::start().await;
    let mut program = node.program(&["/*"]).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    program.welcome("ann").await;
    client.connected("/a").await;
    client.send(r#"42/a,1["first"]"#).await;
    client.send(r#"42/a,2["second"]"#).await;
    let (first, asked) = program.event().await;
    assert_eq!(asked.event.unwrap().name, "first");
    program.is_silent().await;
    program.answer(first, "[1]").await;
    let (second, asked) = program.event().await;
    assert_eq!(asked.event.unwrap().name, "second");
    let error = roomcast_proto::api::Error {
        code: "no_money".to_owned(),
        message: "none left".to_owned(),
    };
    program
        .done(second, Some(done::Outcome::Error(error)))
        .await;
    assert_eq!(client.text().await, "43/a,1[1]");
    let refused = r#"43/a,2[{"error":{"code":"no_money","message":"none left"},"ok":false}]"#;
    assert_eq!(client.text().await, refused);
    node.end().await;
}

#[tokio::test]
async fn a_rejected_connect_looks_as_that_of_a_middleware() {
    let own = Namespace::new().connect_layer(from_fn(|_: Connect, _: ConnectNext| async {
        Err(Rejection::new("go away").with_data(json!({ "why": [1] })))
    }));
    let node = Node::serving(|_| {}, Some(("/own", own))).await;
    let mut program = node.program(&["/own", "/theirs"]).await;
    let mut client = node.client().await;
    client.send("40/own,").await;
    let own = client.text().await;
    client.send("40/theirs,").await;
    let (call, _) = program.admit().await;
    program.reject(call, "go away", r#"{"why":[1]}"#).await;
    let theirs = client.text().await;
    assert_eq!(theirs, own.replace("/own", "/theirs"));
    assert!(theirs.starts_with("44/theirs,{"), "{theirs}");
    // The connection is as good as before.
    client.send("40/theirs,").await;
    program.welcome("ann").await;
    client.connected("/theirs").await;
    node.end().await;
}

#[tokio::test]
async fn questions_and_operations_of_the_server_are_answered_by_number() {
    let node = Node::start().await;
    let mut program = node.program(&["/a"]).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    let id = program.welcome("ann").await;
    client.connected("/a").await;
    client.send(r#"42/a,["go"]"#).await;
    let (call, _) = program.event().await;
    let ask = What::Ask(Ask {
        target: None,
        event: Some(event("how?", "")),
        timeout_ms: 10_000,
    });
    program.operate(call, 41, ask).await;
    // The question does not hold up what comes behind it.
    program.operate(call, 42, emit(None, "behind", "")).await;
    let question = client.text().await;
    let number = question
        .strip_prefix("42/a,")
        .unwrap()
        .split('[')
        .next()
        .unwrap();
    assert!(client.text().await.contains("behind"));
    assert_eq!(program.result().await.number, 42);
    client.send(&format!(r#"43/a,{number}["fine"]"#)).await;
    let result = program.result().await;
    assert_eq!(result.number, 41);
    let Some(result::Outcome::Answers(answers)) = result.outcome else {
        panic!("{result:?}");
    };
    assert_eq!(
        (answers.answers[0].socket.as_str(), answers.missing.len()),
        (id.as_str(), 0)
    );
    assert_eq!(answers.answers[0].args, r#"["fine"]"#);
    program.done(call, None).await;

    let server = Operation {
        call: 0,
        number: 43,
        namespace: "/a".to_owned(),
        what: Some(emit(Some(&id), "note", "[1]")),
    };
    program.say(from_backend::Message::Operation(server)).await;
    assert!(client.text().await.starts_with(r#"42/a,["note",1"#));
    assert_eq!(program.result().await.number, 43);
    // The call is over, and what is nothing is refused.
    program.operate(call, 44, join("late")).await;
    program.operate(0, 45, join("whose?")).await;
    for expected in [44, 45] {
        let result = program.result().await;
        assert_eq!(result.number, expected);
        assert!(
            matches!(result.outcome, Some(result::Outcome::Error(error)) if error.code == "invalid")
        );
    }
    node.end().await;
}

#[tokio::test]
async fn the_end_of_a_socket_is_told_after_its_events() {
    let node = Node::start().await;
    let mut hello = Program::hello(&["/a"]);
    hello.namespaces[0].disconnects = true;
    let mut program = Program::dial(node.server.api_addr(), hello).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    let id = program.welcome("ann").await;
    client.connected("/a").await;
    client.send(r#"42/a,["last"]"#).await;
    client.send("41/a,").await;
    let (call, asked) = program.event().await;
    assert_eq!(asked.event.unwrap().name, "last");
    program.is_silent().await;
    program.done(call, None).await;
    let Some((call, to_backend::Message::Disconnected(gone))) = program.next().await else {
        panic!("no end");
    };
    assert_eq!(
        (gone.socket, gone.reason.as_str()),
        (id, "client namespace disconnect")
    );
    program.done(call, None).await;
    node.end().await;
}

#[tokio::test]
async fn members_follow_the_presence_of_their_rooms_where_their_backend_allows_it() {
    let node = Node::start().await;
    let mut hello = Program::hello(&["/chat"]);
    hello.namespaces[0].presence = true;
    let mut program = Program::dial(node.server.api_addr(), hello).await;
    let mut client = node.client().await;
    client.send("40/chat,").await;
    program.welcome("ann").await;
    client.connected("/chat").await;
    client.send(r#"42/chat,1["presence","tea"]"#).await;
    let refused = client.text().await;
    assert!(refused.contains("forbidden"), "{refused}");
    client.send(r#"42/chat,2["enter"]"#).await;
    let (call, _) = program.event().await;
    program.operate(call, 0, join("tea")).await;
    program.answer(call, "[]").await;
    assert_eq!(client.text().await, "43/chat,2[]");
    // Nobody waits for the second join.
    client.send(r#"42/chat,["enter"]"#).await;
    client.send(r#"42/chat,4["presence","milk"]"#).await;
    let (call, _) = program.event().await;
    program.operate(call, 0, join("milk")).await;
    program.done(call, None).await;
    let told = client.text().await;
    assert!(told.contains(r#""ok":true"#), "{told}");
    client.send(r#"42/chat,3["presence","tea"]"#).await;
    let told = client.text().await;
    assert!(
        told.contains(r#""ok":true"#) && told.contains("ann"),
        "{told}"
    );
    program.is_silent().await;
    node.end().await;
}
