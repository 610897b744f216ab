//! The grammar of packets: what is taken, and what closes the connection.

use crate::cluster::{Node, Options, one_node};
use crate::wire::poll;

/// With what a broken protocol is closed.
const VIOLATION: (u16, &str) = (1002, "protocol violation");

#[tokio::test]
async fn every_form_of_an_event_is_taken() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.join("40/custom,", "40/custom,").await;
    for (sent, answer) in [
        (r#"420["e"]"#, "430[]"),
        (
            r#"42456["e",1,"2",{"3":[true]},null]"#,
            r#"43456[1,"2",{"3":[true]},null]"#,
        ),
        (r#"42/custom,7["e","x"]"#, r#"43/custom,7["x"]"#),
        (r#"421["e", 1 , [ ] ]"#, "431[1,[ ]]"),
        // A name may be a number, and one that only the server's own API reserves.
        (r#"421[1,"n"]"#, r#"431["n"]"#),
        (r#"421["connection"]"#, "431[]"),
        (r#"421["é\u0000"]"#, "431[]"),
    ] {
        wire.send(sent).await;
        assert_eq!(wire.text().await, answer, "{sent}");
    }
    // No answer is due for an event without a number, nor for an answer that nobody asked for.
    for sent in [r#"42["e"]"#, "430[]", "43/custom,9007199254740991[]"] {
        wire.send(sent).await;
    }
    wire.send(r#"423["after"]"#).await;
    assert_eq!(wire.text().await, "433[]");
    node.die().await;
}

#[tokio::test]
async fn attachments_are_put_back_in_both_directions() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    wire.join("40/off,", "40/off,").await;
    let (zero, one) = (
        r#"{"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":1}"#,
    );
    for (sent, answer) in [
        (
            format!(r#"452-/off,7["e",{zero},{{"in":[{one}]}}]"#),
            format!(r#"462-/off,7[{zero},{{"in":[{one}]}}]"#),
        ),
        (
            format!(r#"452-/off,["back","name",{zero},{one}]"#),
            format!(r#"452-/off,["name",{zero},{one}]"#),
        ),
    ] {
        wire.send(&sent).await;
        wire.send_binary(b"\x01\x02").await;
        wire.send_binary(b"").await;
        assert_eq!(wire.text().await, answer);
        assert_eq!(wire.binary().await[..], b"\x01\x02"[..]);
        assert_eq!(wire.binary().await[..], b""[..]);
    }
    node.die().await;
}

/// Each of these, after `40`, closes the connection.
const MALFORMED: [&str; 31] = [
    "4",
    "4x",
    "49",
    r#"49["e"]"#,
    // Payloads of the wrong kind.
    "42",
    "42{}",
    r#"42"e""#,
    "42[]",
    "42[null]",
    "42[{}]",
    "42[[]]",
    "42[true]",
    r#"42["e""#,
    r#"42["e"]]"#,
    r#"42["e"]x"#,
    "430",
    "430{}",
    r#"430"x""#,
    // Names that only the protocol uses.
    r#"42["connect"]"#,
    r#"42["connect_error"]"#,
    r#"42["disconnect"]"#,
    r#"421["disconnecting"]"#,
    r#"42["newListener"]"#,
    r#"42["removeListener"]"#,
    // Attachments: no count, too many, one that is none of them.
    r#"45["e"]"#,
    r#"45-["e"]"#,
    r#"4511-["e"]"#,
    r#"451-["disconnect",{"_placeholder":true,"num":0}]"#,
    "461-{}",
    // What only servers send, and a goodbye that says more.
    r#"44{"message":"no"}"#,
    "41{}",
];

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let node = one_node(Options::default()).await;
    for bad in MALFORMED {
        let mut wire = node.wire().await;
        wire.join("40", "40").await;
        wire.send(bad).await;
        let (code, word) = wire.closed().await;
        assert_eq!((code, word.as_str()), VIOLATION, "{bad}");
    }
    let seen = node.seen(MALFORMED.len()).await;
    assert!(
        seen.iter().all(|note| note == "/ gone: forced close"),
        "{seen:?}"
    );
    node.die().await;
}

#[tokio::test]
async fn a_connect_with_anything_but_an_object_closes_the_connection() {
    let node = one_node(Options::default()).await;
    for bad in ["40[]", r#"40"a""#, "40null", "40{", "40/custom,[]", "40,{}"] {
        let mut wire = node.wire().await;
        wire.send(bad).await;
        let (code, word) = wire.closed().await;
        assert_eq!((code, word.as_str()), VIOLATION, "{bad}");
    }
    node.die().await;
}

#[tokio::test]
async fn text_amid_attachments_and_bytes_without_an_event_close_the_connection() {
    let node = one_node(Options::default()).await;
    let event = r#"451-["e",{"_placeholder":true,"num":0}]"#;
    for amid in [r#"42["e"]"#, "41", event] {
        let mut wire = node.wire().await;
        wire.join("40", "40").await;
        wire.send(event).await;
        wire.send(amid).await;
        let (code, word) = wire.closed().await;
        assert_eq!((code, word.as_str()), VIOLATION, "{amid}");
    }
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.send_binary(b"\x01").await;
    assert_eq!(wire.closed().await.0, VIOLATION.0);
    let mut wire = node.wire().await;
    wire.join("40", "40").await;
    wire.send(r#"451-["e",{"_placeholder":true,"num":5}]"#)
        .await;
    wire.send_binary(b"\x01").await;
    assert_eq!(wire.closed().await.0, VIOLATION.0, "there is no sixth");
    node.die().await;
}

#[tokio::test]
async fn a_packet_that_has_no_business_there_closes_the_connection() {
    let node = one_node(Options::default()).await;
    for texts in [
        &[r#"42["before connect"]"#][..],
        &["430[]"],
        &["41"],
        &["40", "40"],
        &["40", r#"42/custom,["e"]"#],
        &["40", "43/custom,0[]"],
        &["40", "41/custom,"],
        &["40", "41", "41"],
        &["40", "41", r#"42["e"]"#],
        &["40/custom", "40/custom,{}"],
    ] {
        let mut wire = node.wire().await;
        for text in texts {
            wire.send(text).await;
        }
        let (code, word) = wire.closed().await;
        assert_eq!((code, word.as_str()), VIOLATION, "{texts:?}");
    }
    node.die().await;
}

/// The session id of a new session on polling, as a query.
async fn polling(node: &Node) -> String {
    let (status, open) = poll(node.port.local_addr(), "GET", "", "").await;
    assert_eq!(status, 200);
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    format!("&sid={}", open["sid"].as_str().unwrap())
}

#[tokio::test]
async fn two_connects_in_one_payload_are_one_too_many() {
    let node = one_node(Options::default()).await;
    let address = node.port.local_addr();
    for payload in ["40\x1e40", "40/custom,\x1e40\x1e40/custom,"] {
        let sid = polling(&node).await;
        let (status, body) = poll(address, "POST", &sid, payload).await;
        assert_eq!((status, body.as_str()), (200, "ok"));
        let (status, body) = poll(address, "GET", &sid, "").await;
        let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
        assert_eq!((status, body.as_str()), (400, unknown), "{payload:?}");
    }
    // An event in the same payload as its CONNECT is kept.
    let sid = polling(&node).await;
    poll(
        address,
        "POST",
        &sid,
        "40/off,\x1e42/off,1[\"e\",\"early\"]",
    )
    .await;
    let mut packets = Vec::new();
    while packets.len() < 2 {
        let (_, payload) = poll(address, "GET", &sid, "").await;
        packets.extend(payload.split('\x1e').map(str::to_owned));
    }
    assert!(packets[0].starts_with(r#"40/off,{"sid":"#), "{packets:?}");
    assert_eq!(packets[1..], [r#"43/off,1["early"]"#]);
    node.die().await;
}
