//! What becomes of clients while no backend serves them.

use std::time::Duration;

use roomcast::config::{ApiTokens, Mode, Policy};
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

/// What happens after all nodes of a cluster were started anew.
#[tokio::test]
async fn a_node_that_has_just_started_waits_for_backends_that_it_has_never_seen() {
    let token = "a-token-of-thirty-two-characters";
    let node = Node::configured(|config| {
        config.mode = Mode::Production;
        config.backends.policies = Vec::new();
        config.backends.wait = Duration::from_secs(20);
        config.api_tokens = Some(ApiTokens::parse(token).expect("a token"));
    })
    .await;
    let mut client = node.client().await;
    client.send("40/chat,").await;
    client.is_silent().await;
    let (api, hello) = (node.server.api_addr(), Program::hello(&["/chat"]));
    let program = Program::try_dial_with(api, hello, Some(token)).await;
    program.expect("it is welcome").welcome("ann").await;
    client.connected("/chat").await;
    node.end().await;
}

/// A client of `/club` waits for a doorkeeper, though another program serves it.
async fn lets_in_by_decision_alone(node: Node, mut barkeeper: Program) {
    let mut client = node.client().await;
    client.send("40/club,").await;
    client.is_silent().await;
    barkeeper.is_silent().await;
    let mut doorkeeper = node.program(&["/club"]).await;
    let (call, _) = doorkeeper.admit().await;
    doorkeeper.reject(call, "full", "").await;
    assert_eq!(client.text().await, r#"44/club,{"message":"full"}"#);
    node.end().await;
}

#[tokio::test]
async fn nobody_gets_past_a_doorkeeper_that_is_away() {
    let node = Node::with_policies(Mode::Development, &[], Duration::from_secs(20)).await;
    let doorkeeper = node.program(&["/club"]).await;
    let hello = Hello {
        name: "barkeeper".to_owned(),
        namespaces: vec![Registration {
            namespace: "/club".to_owned(),
            ..Registration::default()
        }],
        window: 0,
    };
    let barkeeper = Program::dial(node.server.api_addr(), hello).await;
    drop(doorkeeper);
    lets_in_by_decision_alone(node, barkeeper).await;
}

#[tokio::test]
async fn a_guarded_namespace_is_shut_before_its_doorkeeper_was_ever_seen() {
    let policies = [("/club", Policy::Builtin)];
    let node = Node::with_policies(Mode::Development, &policies, Duration::from_secs(20)).await;
    let mut hello = Program::hello(&["/club"]);
    (hello.namespaces[0].admits, hello.namespaces[0].guarded) = (false, true);
    let barkeeper = Program::dial(node.server.api_addr(), hello).await;
    lets_in_by_decision_alone(node, barkeeper).await;
}

#[tokio::test]
async fn in_production_the_built_in_handler_believes_nobody() {
    let node = Node::with_policies(Mode::Production, &POLICIES, Duration::from_millis(300)).await;
    let mut client = node.client().await;
    client
        .send(r#"40/lab-1,{"identity":"root","data":{"admin":true}}"#)
        .await;
    client.connected("/lab-1").await;
    client.send(r#"42/lab-1,1["join","r"]"#).await;
    client.text().await;
    client.send(r#"42/lab-1,2["members","r"]"#).await;
    let members = client.text().await;
    assert!(members.contains("\"members\":[{"), "{members}");
    assert!(
        !members.contains("root") && !members.contains("admin"),
        "{members}"
    );
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
