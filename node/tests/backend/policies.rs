//! What becomes of clients while no backend serves them.

use std::time::Duration;

use roomcast::config::{Mode, Policy};
use roomcast_proto::api::{Hello, Registration};

use crate::node::Node;
use crate::program::Program;

const POLICIES: [(&str, Policy); 4] = [
    ("/other", Policy::Wait),
    ("/wait", Policy::Wait),
    ("/refuse", Policy::Refuse),
    ("/lab-*", Policy::Builtin),
];

#[tokio::test]
async fn without_a_backend_the_policy_decides() {
    let node = Node::with_policies(Mode::Production, &POLICIES, Duration::from_millis(300)).await;
    let mut client = node.client().await;
    client.send("40/nobody,").await;
    assert!(client.text().await.contains("Invalid namespace"));
    client.send("40/refuse,").await;
    let refused = client.text().await;
    assert!(
        refused.starts_with("44/refuse,") && refused.contains("unavailable"),
        "{refused}"
    );
    client.send("40/lab-1,").await;
    client.connected("/lab-1").await;
    client.send(r#"42/lab-1,1["join","r"]"#).await;
    assert!(client.text().await.starts_with(r#"43/lab-1,1[{"ok":true"#));
    client.send("40/wait,").await;
    assert_eq!(client.next().await, None, "it comes again");
    node.end().await;
}

#[tokio::test]
async fn whoever_waits_is_served_by_the_backend_that_comes() {
    let node = Node::with_policies(Mode::Development, &POLICIES, Duration::from_secs(20)).await;
    let mut client = node.client().await;
    client.send("40/wait,").await;
    client.is_silent().await;
    let mut program = node.program(&["/wait"]).await;
    program.welcome("ann").await;
    client.connected("/wait").await;
    drop(program);
    client.send(r#"42/wait,1["e"]"#).await;
    client.is_silent().await;
    let mut program = node.program(&["/wait"]).await;
    let (call, connected) = program.connected().await;
    assert!(
        !connected.known,
        "the first was told, and gone before it had heard"
    );
    program.done(call, None).await;
    let (call, _) = program.event().await;
    program.answer(call, "[1]").await;
    assert_eq!(client.text().await, "43/wait,1[1]");
    node.end().await;
}

#[tokio::test]
async fn events_that_no_backend_wants_are_the_built_in_handlers_or_unknown() {
    let node = Node::with_policies(Mode::Development, &POLICIES, Duration::from_millis(300)).await;
    let registration = |name: &str| Registration {
        namespace: name.to_owned(),
        events: vec!["mine".to_owned()],
        ..Registration::default()
    };
    let hello = Hello {
        name: "picky".to_owned(),
        namespaces: vec![registration("/lab-1"), registration("/other")],
        window: 0,
    };
    let mut program = Program::dial(node.server.api_addr(), hello).await;
    let mut client = node.client().await;
    for (namespace, expected) in [("/lab-1", r#"{"ok":true"#), ("/other", "unknown_event")] {
        client.send(&format!("40{namespace},")).await;
        client.connected(namespace).await;
        let (call, _) = program.connected().await;
        program.done(call, None).await;
        client
            .send(&format!(r#"42{namespace},1["join","r"]"#))
            .await;
        let answer = client.text().await;
        assert!(answer.contains(expected), "{answer}");
        client.send(&format!(r#"42{namespace},2["mine"]"#)).await;
        let (call, _) = program.event().await;
        program.answer(call, "[]").await;
        assert_eq!(client.text().await, format!("43{namespace},2[]"));
    }
    node.end().await;
}
