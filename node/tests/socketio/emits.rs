//! The classes of emit on three nodes: who gets what, in which order, and who has answered.

use std::time::Duration;

use bytes::Bytes;
use roomcast::socketio::{OperationError, Target};
use roomcast_proto::socketio::args::RESERVED_EVENT_NAMES;
use serde_json::json;

use crate::cluster::{Options, end, one_node, three_nodes};

/// An event with a number.
pub(crate) fn numbered(name: &str, number: usize) -> Bytes {
    json!([name, number]).to_string().into()
}

/// The members of a room.
pub(crate) fn room(name: &str) -> Target {
    Target {
        rooms: vec![name.to_owned()],
        ..Target::default()
    }
}

#[tokio::test]
async fn transient_events_keep_their_origins_order_on_every_node() {
    const COUNT: usize = 300;
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].connect(r#"{"name":"ann"}"#).await;
    let (mut ben, _) = nodes[1].connect(r#"{"name":"ben"}"#).await;
    let (origin, other) = (nodes[0].socket("ann").await, nodes[1].socket("ben").await);
    origin.join("r").await.unwrap();
    other.join("r").await.unwrap();
    for number in 0..COUNT {
        let emitted = origin.publish(room("r"));
        emitted
            .transient()
            .emit_raw(numbered("t", number), Vec::new())
            .unwrap();
    }
    let mut offsets = Vec::new();
    for wire in [&mut ann, &mut ben] {
        for number in 0..COUNT {
            let (event, offset) = wire.event().await;
            assert_eq!(event, [json!("t"), json!(number)]);
            offsets.push(offset);
        }
    }
    // What each socket has is its own connect, not the origin's position.
    let (ann, ben) = offsets.split_at(COUNT);
    assert!(ann.iter().all(|offset| *offset == ann[0]));
    assert!(ben.iter().all(|offset| *offset == ben[0]));
    assert_ne!(ann[0], ben[0]);
    end(nodes).await;
}

#[tokio::test]
async fn a_transient_event_is_not_replayed_and_its_stamp_loses_nothing() {
    let nodes = three_nodes().await;
    let (mut ann, connect) = nodes[0].connect(r#"{"name":"ann"}"#).await;
    let (_ben, _) = nodes[1].connect(r#"{"name":"ben"}"#).await;
    let origin = nodes[1].socket("ben").await;
    nodes[0].socket("ann").await.join("r").await.unwrap();
    let logged = |number| {
        origin
            .publish(room("r"))
            .emit_raw(numbered("e", number), Vec::new())
    };
    let transient = |number| {
        let emitted = origin.publish(room("r"));
        emitted
            .transient()
            .emit_raw(numbered("t", number), Vec::new())
            .unwrap();
    };
    logged(1).await.unwrap();
    let (_, first) = ann.event().await;
    transient(2);
    let (event, stamp) = ann.event().await;
    assert_eq!((event[0].clone(), &stamp), (json!("t"), &first), "up to 1");
    drop(ann);
    logged(3).await.unwrap();
    transient(4);
    logged(5).await.unwrap();
    let pid = connect["pid"].as_str().unwrap();
    let auth = json!({ "name": "ann", "pid": pid, "offset": stamp });
    let (mut ann, connect) = nodes[2].connect(&auth.to_string()).await;
    assert_eq!(connect["pid"], pid, "recovered");
    for number in [3, 5] {
        assert_eq!(ann.event().await.0, [json!("e"), json!(number)]);
    }
    transient(6);
    assert_eq!(ann.event().await.0, [json!("t"), json!(6)], "live again");
    end(nodes).await;
}

#[tokio::test]
async fn a_local_event_stays_on_its_node() {
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].connect(r#"{"name":"ann"}"#).await;
    let (mut ben, _) = nodes[1].connect(r#"{"name":"ben"}"#).await;
    let origin = nodes[0].socket("ann").await;
    nodes[1].socket("ben").await;
    let everybody = || origin.publish(Target::default());
    everybody()
        .local()
        .emit_raw(numbered("l", 1), Vec::new())
        .unwrap();
    assert_eq!(ann.event().await.0, [json!("l"), json!(1)]);
    everybody()
        .transient()
        .emit_raw(numbered("t", 2), Vec::new())
        .unwrap();
    for wire in [&mut ann, &mut ben] {
        assert_eq!(wire.event().await.0, [json!("t"), json!(2)]);
    }
    end(nodes).await;
}

#[tokio::test]
async fn who_has_not_answered_is_exact_when_a_node_has_died() {
    let nodes = three_nodes().await;
    let mut wires = Vec::new();
    for (node, name) in nodes.iter().zip(["ann", "ben", "eve"]) {
        let (wire, _) = node.connect(&json!({ "name": name }).to_string()).await;
        node.socket(name).await.join("r").await.unwrap();
        wires.push(wire);
    }
    let (asker, ben) = (nodes[0].socket("ann").await, nodes[1].socket("ben").await);
    let eve = nodes[2].socket("eve").await;
    nodes[2].die().await;
    let asking = asker.publish(room("r"));
    let wait = Duration::from_secs(4);
    let asking = asking
        .timeout(wait)
        .emit_with_ack_raw(numbered("q", 1), Vec::new());
    let answering = async {
        let number = wires[1].question().await;
        wires[1].send(&format!(r#"43{number}["here"]"#)).await;
    };
    let (answers, ()) = tokio::join!(asking, answering);
    let answers = answers.unwrap();
    let answered: Vec<_> = answers.answers.keys().map(ToString::to_string).collect();
    assert_eq!(answered, [ben.id()]);
    let mut silent = [asker.id(), eve.id()];
    silent.sort_unstable();
    let mut missing: Vec<_> = answers.missing.iter().map(ToString::to_string).collect();
    missing.sort_unstable();
    assert_eq!(missing, silent);
    end(nodes).await;
}

#[tokio::test]
async fn one_socket_answers_in_binary_or_not_at_all() {
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].connect(r#"{"name":"ann"}"#).await;
    let socket = nodes[0].socket("ann").await;
    let wait = Duration::from_secs(20);
    let asking = socket
        .timeout(wait)
        .emit_with_ack_raw(numbered("q", 1), Vec::new());
    let answering = async {
        let number = ann.question().await;
        let holder = r#"{"_placeholder":true,"num":0}"#;
        ann.send(&format!("461-{number}[{holder},7]")).await;
        ann.send_binary(b"\x00\xff").await;
        // Only the first counts, and the connection goes on.
        ann.send(&format!("43{number}[]")).await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    let answer = answer.unwrap();
    assert_eq!(&answer.data[..], br#"[{"_placeholder":true,"num":0},7]"#);
    assert_eq!(answer.attachments, [Bytes::from_static(b"\x00\xff")]);
    let short = Duration::from_millis(100);
    let silent = socket
        .timeout(short)
        .emit_with_ack_raw(numbered("q", 2), Vec::new());
    assert_eq!(silent.await, Err(OperationError::Unanswered));
    end(nodes).await;
}

#[tokio::test]
async fn a_reserved_name_is_emitted_in_no_class() {
    let node = one_node(Options::default()).await;
    let (mut ann, _) = node.connect(r#"{"name":"ann"}"#).await;
    let socket = node.socket("ann").await;
    let named = |name: &str| format!(r#"["{name}",1]"#);
    let mut refused = RESERVED_EVENT_NAMES.map(named).to_vec();
    refused.extend(["[]", "{}", "[null]", r#""e""#].map(str::to_owned));
    for event in refused {
        let bytes = || Bytes::from(event.clone());
        let no = Some(OperationError::EventName);
        let wait = Duration::from_secs(1);
        let own = || socket.own();
        assert_eq!(
            own().emit_raw(bytes(), Vec::new()).await.err(),
            no,
            "{event}"
        );
        assert_eq!(own().transient().emit_raw(bytes(), Vec::new()).err(), no);
        assert_eq!(own().volatile().emit_raw(bytes(), Vec::new()).err(), no);
        assert_eq!(own().local().emit_raw(bytes(), Vec::new()).err(), no);
        let asked = own().timeout(wait).emit_with_ack_raw(bytes(), Vec::new());
        assert_eq!(asked.await.err(), no);
    }
    socket
        .own()
        .emit_raw(numbered("e", 1), Vec::new())
        .await
        .unwrap();
    assert_eq!(
        ann.event().await.0,
        [json!("e"), json!(1)],
        "and nothing else"
    );
    node.die().await;
}
