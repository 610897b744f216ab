//! Backends that go, in good order or not: no socket does.

use roomcast_proto::api::to_backend;

use crate::node::Node;
use crate::program::Program;

#[tokio::test]
async fn a_backend_that_says_goodbye_finishes_its_call_and_another_takes_over() {
    let node = Node::start().await;
    let mut first = node.program(&["/a"]).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    let id = first.welcome("ann").await;
    client.connected("/a").await;
    client.send(r#"42/a,1["one"]"#).await;
    let (call, _) = first.event().await;
    let mut second = node.program(&["/a"]).await;
    first.goodbye().await;
    client.send(r#"42/a,2["two"]"#).await;
    second.is_silent().await;
    first.answer(call, "[1]").await;
    assert_eq!(client.text().await, "43/a,1[1]");
    assert!(first.next().await.is_none(), "its stream ends");
    let (call, connected) = second.connected().await;
    assert!(connected.known, "told before anything else");
    assert_eq!(connected.socket.unwrap().id, id);
    second.done(call, None).await;
    let (call, asked) = second.event().await;
    assert_eq!(asked.event.unwrap().name, "two");
    second.answer(call, "[2]").await;
    assert_eq!(client.text().await, "43/a,2[2]");
    node.end().await;
}

#[tokio::test]
async fn a_backend_that_dies_leaves_doubt_only_where_it_may_have_acted() {
    let node = Node::start().await;
    let mut first = node.program(&["/a"]).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    let id = first.welcome("ann").await;
    client.connected("/a").await;
    let mut applicant = node.client().await;
    applicant.send("40/a,").await;
    first.admit().await;
    client.send(r#"42/a,1["one"]"#).await;
    first.event().await;
    let mut second = node.program(&["/a"]).await;
    drop(first);
    let refused = client.text().await;
    assert!(refused.contains("unknown_outcome"), "{refused}");
    let mut seen = Vec::new();
    for _ in 0..3 {
        match second.next().await.expect("the stream is there") {
            (call, to_backend::Message::Admit(_)) => {
                second.accept(call, "bob").await;
                seen.push("admit".to_owned());
            }
            (call, to_backend::Message::Connected(connected)) => {
                second.done(call, None).await;
                let own = connected.socket.unwrap().id == id;
                seen.push(format!("{own} {}", connected.known));
            }
            other => panic!("{other:?}"),
        }
    }
    applicant.connected("/a").await;
    seen.sort_unstable();
    assert_eq!(seen, ["admit", "false false", "true true"]);
    client.send(r#"42/a,2["two"]"#).await;
    let (call, _) = second.event().await;
    second.answer(call, "[2]").await;
    assert_eq!(client.text().await, "43/a,2[2]");
    node.end().await;
}

#[tokio::test]
async fn a_node_that_ends_ends_the_stream_after_its_calls() {
    let node = Node::start().await;
    let mut program = node.program(&["/a"]).await;
    let mut client = node.client().await;
    client.send("40/a,").await;
    program.welcome("ann").await;
    client.connected("/a").await;
    client.send(r#"42/a,1["last"]"#).await;
    let (call, _) = program.event().await;
    let api = node.server.api_addr();
    let ending = tokio::spawn(node.end());
    // Its client has gone, its call is open: the stream stays.
    while client.next().await.is_some() {}
    program.is_silent().await;
    let refused = Program::try_dial(api, Program::hello(&["/a"])).await;
    assert!(refused.is_err(), "no backend is taken in");
    program.answer(call, "[1]").await;
    assert!(program.next().await.is_none());
    ending.await.unwrap();
}
