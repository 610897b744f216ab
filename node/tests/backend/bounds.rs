//! Windows, deadlines, and what a hello may not be.

use std::time::Duration;

use roomcast_proto::api::Hello;

use crate::node::Node;
use crate::program::Program;
use crate::wire::Wire;

async fn joined(node: &Node, program: &mut Program) -> Wire {
    let mut client = node.client().await;
    client.send("40/a,").await;
    program.welcome("ann").await;
    client.connected("/a").await;
    client
}

#[tokio::test]
async fn a_full_window_holds_back_what_comes_and_then_refuses_it() {
    let node = Node::start().await;
    let hello = Hello {
        window: 1,
        ..Program::hello(&["/a"])
    };
    let mut program = Program::dial(node.server.api_addr(), hello).await;
    assert_eq!(program.welcome.window, 1);
    let mut one = joined(&node, &mut program).await;
    let mut other = joined(&node, &mut program).await;
    one.send(r#"42/a,1["e"]"#).await;
    let (call, _) = program.event().await;
    other.send(r#"42/a,2["e"]"#).await;
    program.is_silent().await;
    program.answer(call, "[1]").await;
    assert_eq!(one.text().await, "43/a,1[1]");
    let (held, _) = program.event().await;
    one.send(r#"42/a,3["e"]"#).await;
    let refused = one.text().await;
    assert!(
        refused.starts_with("43/a,3[") && refused.contains("overloaded"),
        "{refused}"
    );
    program.answer(held, "[2]").await;
    assert_eq!(other.text().await, "43/a,2[2]");
    node.end().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_over_for_its_client_and_the_next_one_comes() {
    let node = Node::configured(|config| {
        config.backends.call_timeout = Duration::from_millis(300);
    })
    .await;
    let mut program = node.program(&["/a"]).await;
    let mut client = joined(&node, &mut program).await;
    client.send(r#"42/a,1["slow"]"#).await;
    let (slow, _) = program.event().await;
    let refused = client.text().await;
    assert!(
        refused.starts_with("43/a,1[") && refused.contains(r#""timeout""#),
        "{refused}"
    );
    program.answer(slow, "[1]").await;
    client.send(r#"42/a,2["next"]"#).await;
    let (next, _) = program.event().await;
    program.answer(next, "[2]").await;
    assert_eq!(client.text().await, "43/a,2[2]");
    // A connect that nobody decides is put off: its client comes again.
    let mut client = node.client().await;
    client.send("40/a,").await;
    program.admit().await;
    assert_eq!(client.next().await, None);
    node.end().await;
}

#[tokio::test]
async fn a_hello_that_is_wrong_ends_the_stream_with_its_reason() {
    let node = Node::start().await;
    let refused = Program::try_dial(node.server.api_addr(), Program::hello(&["chat"])).await;
    let status = refused.err().expect("no slash");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("slash"), "{status}");
    node.end().await;
}
