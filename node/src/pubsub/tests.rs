//! Requests and refusals in literal text, against a real one-node cluster.

use roomcast_proto::offset::Offset;
use serde_json::{Value, json};

use super::Pubsub;
use crate::limits;
use crate::socketio::Namespaces;
use crate::socketio::testing::{EVENT_BYTES_MAX, Node, Wire};

async fn node() -> Node {
    Node::start(Namespaces::closed().open("/", Pubsub::default())).await
}

/// What is refused, with which code, and a word of the message.
const REFUSALS: &[(&str, &str, &str)] = &[
    (r#"["join"]"#, "invalid", "the room is missing"),
    (r#"["join",null]"#, "invalid", "the room is missing"),
    (r#"["join",7]"#, "invalid", "the room: invalid type"),
    (r#"["join",""]"#, "invalid", "empty"),
    (r#"["leave"]"#, "invalid", "the room is missing"),
    (r#"["publish"]"#, "invalid", "the target is missing"),
    (r#"["publish",null,"e"]"#, "invalid", "the target is a room"),
    (r#"["publish",7,"e"]"#, "invalid", "the target is a room"),
    (
        r#"["publish","","e"]"#,
        "invalid",
        "a target room is missing or empty",
    ),
    (
        r#"["publish",{"rooms":[]},"e"]"#,
        "invalid",
        "a target room is missing or empty",
    ),
    (
        r#"["publish",{"rooms":["r",""]},"e"]"#,
        "invalid",
        "a target room is missing or empty",
    ),
    (
        r#"["publish",{"rooms":"r"},"e"]"#,
        "invalid",
        "the target is a room",
    ),
    (
        r#"["publish",{"rooms":["r"],"keys":"k"},"e"]"#,
        "invalid",
        "the target is a room",
    ),
    (
        r#"["publish",{"except":["r"]},"e"]"#,
        "invalid",
        "the target is a room",
    ),
    (
        r#"["publish","r"]"#,
        "invalid",
        "the event's name is missing",
    ),
    (
        r#"["publish","r",7]"#,
        "invalid",
        "the event's name: invalid type",
    ),
    (
        r#"["publish","r","connect"]"#,
        "invalid",
        "the event \"connect\"",
    ),
    (r#"["publish","r","disconnecting"]"#, "invalid", "reserved"),
    (r#"["ack"]"#, "invalid", "the offset is missing"),
    (r#"["ack","1.2"]"#, "invalid", "the offset \"1.2\""),
    (r#"["members"]"#, "invalid", "the room is missing"),
    (
        r#"["members","r",{"limit":1001}]"#,
        "invalid",
        "limit is at most 1000",
    ),
    (r#"["members","r",{"limit":-1}]"#, "invalid", "the options"),
    (
        r#"["members","r",{"after":"nobody"}]"#,
        "invalid",
        "after is no socket's id",
    ),
    (
        r#"["members","r",{"away":"yes"}]"#,
        "invalid",
        "the options",
    ),
    (
        r#"["members","r",{"all":true}]"#,
        "invalid",
        "unknown field `all`",
    ),
    (
        r#"["history","r",{"limit":0}]"#,
        "invalid",
        "limit is from 1 to 500",
    ),
    (
        r#"["history","r",{"limit":501}]"#,
        "invalid",
        "limit is from 1 to 500",
    ),
    (
        r#"["history","r",{"after":"x","last":1}]"#,
        "invalid",
        "exclude each other",
    ),
    (
        r#"["history","r",{"after":"Z.1.1"}]"#,
        "invalid",
        "the offset \"Z.1.1\"",
    ),
    (r#"["history","r",[1,2,3,4]]"#, "invalid", "the options"),
    (
        r#"["subscribe","r"]"#,
        "unknown_event",
        "there is no event \"subscribe\" here",
    ),
    (r#"[7]"#, "unknown_event", "there is no event \"7\" here"),
];

#[tokio::test]
async fn each_wrong_request_is_refused_with_its_code_and_a_reason() {
    let node = node().await;
    let mut wire = node.joined().await;
    for (request, code, word) in REFUSALS {
        let answer = wire.ask(request).await;
        assert_eq!(answer["ok"], false, "{request}: {answer}");
        assert_eq!(answer["error"]["code"], *code, "{request}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{request}: {message}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_room_of_a_socket_belongs_to_it() {
    let node = node().await;
    let mut wire = node.client().await;
    wire.send("40").await;
    let connect: Value = serde_json::from_str(&wire.next().await[2..]).unwrap();
    let own = connect["sid"].as_str().unwrap();
    for request in ["join", "leave"] {
        let answer = wire.ask(&format!(r#"["{request}","{own}"]"#)).await;
        assert_eq!(answer["error"]["code"], "forbidden", "{request}: {answer}");
    }
    wire.send(&format!(r#"42["publish","{own}","to me"]"#))
        .await;
    assert!(
        wire.next().await.starts_with(r#"42["to me","#),
        "a private message"
    );
    node.end().await;
}

#[tokio::test]
async fn an_event_over_the_limit_is_too_large_and_the_largest_is_not() {
    let node = node().await;
    let mut wire = node.joined().await;
    let filler = |bytes: usize| "x".repeat(bytes - r#"["e",""]"#.len());
    let fits = filler(EVENT_BYTES_MAX);
    let answer = wire.ask(&format!(r#"["publish","r","e","{fits}"]"#)).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let answer = wire.ask(&format!(r#"["publish","r","e","{fits}x"]"#)).await;
    assert_eq!(answer["error"]["code"], "too_large", "{answer}");
    node.end().await;
}

#[tokio::test]
async fn a_key_makes_a_retry_one_event_and_another_body_is_refused() {
    let node = node().await;
    let mut wire = node.joined().await;
    let publish = |n: u32| format!(r#"["publish",{{"rooms":["r"],"key":"k"}},"e",{n}]"#);
    let first = wire.ask(&publish(1)).await;
    assert_eq!((&first["ok"], first.get("duplicate")), (&json!(true), None));
    let again = wire.ask(&publish(1)).await;
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["offset"], first["offset"]);
    let other = wire.ask(&publish(2)).await;
    assert_eq!(other["error"]["code"], "key_reused");
    node.end().await;
}

#[tokio::test]
async fn joins_and_leaves_of_the_obvious_are_ok() {
    let node = node().await;
    let mut wire = node.joined().await;
    for request in [
        r#"["join","r"]"#,
        r#"["join","r"]"#,
        r#"["leave","r"]"#,
        r#"["leave","r"]"#,
    ] {
        let answer = wire.ask(request).await;
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        assert!(answer["offset"].is_string());
    }
    node.end().await;
}

async fn members(wire: &mut Wire, options: Value) -> Value {
    let answer = wire.ask(&format!(r#"["members","r",{options}]"#)).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer
}

#[tokio::test]
async fn members_are_paged_counted_and_away_ones_shown_when_asked_for() {
    let node = node().await;
    let mut wires = Vec::new();
    for n in 0..3 {
        let mut wire = node.client().await;
        wire.send(&format!(r#"40{{"identity":"i{n}","data":{{"n":{n}}}}}"#))
            .await;
        wire.next().await;
        wire.ask(r#"["join","r"]"#).await;
        wires.push(wire);
    }
    drop(wires.remove(2));
    node.until("two connected", |node| node.connected() == 2)
        .await;
    let wire = &mut wires[0];
    let all = members(wire, json!(null)).await;
    assert_eq!((&all["count"], &all["next"]), (&json!(2), &Value::Null));
    let ids: Vec<_> = all["members"].as_array().unwrap().clone();
    assert_eq!(ids.len(), 2);
    assert!(
        ids.iter()
            .all(|member| member["state"] == "connected" && member["since"].is_u64())
    );
    let zero = ids
        .iter()
        .find(|member| member["identity"] == "i0")
        .unwrap();
    assert_eq!(zero["data"], json!({ "n": 0 }));

    let count = members(wire, json!({ "limit": 0 })).await;
    assert_eq!(
        (&count["count"], &count["members"]),
        (&json!(2), &json!([]))
    );
    let first = members(wire, json!({ "limit": 1 })).await;
    assert_eq!(
        (&first["members"], &first["next"]),
        (&json!([ids[0]]), &ids[0]["id"])
    );
    let second = members(wire, json!({ "limit": 1, "after": first["next"] })).await;
    assert_eq!(
        (&second["members"], &second["next"]),
        (&json!([ids[1]]), &Value::Null)
    );

    let away = members(wire, json!({ "away": true })).await;
    assert_eq!(away["count"], 3);
    let states = away["members"].as_array().unwrap().iter();
    let away: Vec<_> = states.filter(|member| member["state"] == "away").collect();
    assert_eq!((away.len(), &away[0]["identity"]), (1, &json!("i2")));
    node.end().await;
}

#[tokio::test]
async fn history_comes_oldest_first_with_placeholders_numbered_through() {
    let node = node().await;
    let mut wire = node.joined().await;
    wire.ask(r#"["publish","r","plain",1]"#).await;
    for bytes in [b"one", b"two"] {
        wire.send(r#"451-["publish","r","bin",{"deep":[{"_placeholder":true,"num":0}]}]"#)
            .await;
        wire.send_binary(bytes).await;
    }
    let plain = wire.ask(r#"["publish","r","plain",2]"#).await;

    wire.send(r#"428["history","r"]"#).await;
    let text = wire.next().await;
    let array = text
        .strip_prefix("462-8")
        .unwrap_or_else(|| panic!("{text}"));
    let page: Value = serde_json::from_str(array).unwrap();
    let events = page[0]["events"].as_array().unwrap();
    let part = |name: &str, args: Value| (json!(name), args);
    let placeholder = |n: u32| json!([{ "deep": [{ "_placeholder": true, "num": n }] }]);
    let got: Vec<_> = events
        .iter()
        .map(|e| (e["event"].clone(), e["args"].clone()))
        .collect();
    let expected = [
        part("plain", json!([1])),
        part("bin", placeholder(0)),
        part("bin", placeholder(1)),
        part("plain", json!([2])),
    ];
    assert_eq!(got, expected);
    assert_eq!(
        [&wire.next_binary().await[..], &wire.next_binary().await],
        [b"one", b"two"]
    );
    assert_eq!(
        (&page[0]["complete"], &page[0]["more"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(events[3]["offset"], plain["offset"]);
    assert!(events.iter().all(|event| event["at"].is_u64()));

    let last = wire.ask(r#"["history","r",{"last":1}]"#).await;
    assert_eq!(last["events"], json!([events[3]]));
    let after = json!({ "after": events[2]["offset"] });
    let after = wire.ask(&format!(r#"["history","r",{after}]"#)).await;
    assert_eq!(after["events"], json!([events[3]]));
    let first = wire.ask(r#"["history","r",{"limit":1}]"#).await;
    assert_eq!(first["more"], true);
    assert_eq!(first["events"], json!([events[0]]));
    assert_eq!(
        first["offset"], events[0]["offset"],
        "where the next page starts"
    );
    let none = wire.ask(r#"["history","empty"]"#).await;
    assert_eq!(
        (&none["events"], &none["complete"]),
        (&json!([]), &json!(true))
    );
    node.end().await;
}

/// Its reader has seen that position at another node, which is ahead of this one.
#[tokio::test]
async fn history_waits_for_what_its_reader_has_seen_and_refuses_what_does_not_come() {
    let node = node().await;
    let mut wire = node.joined().await;
    let mut other = node.joined().await;
    let seen = wire.ask(r#"["publish","r","e",1]"#).await;
    let seen: Offset = seen["offset"].as_str().unwrap().parse().unwrap();
    let ahead = |by: u64| Offset {
        index: seen.index + by,
        ..seen
    };
    let began = tokio::time::Instant::now();
    let question = json!({ "after": ahead(1000).to_string() });
    let refused = wire.ask(&format!(r#"["history","r",{question}]"#)).await;
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
    assert!(began.elapsed() >= limits::READ_WAIT_DEADLINE);

    let question = json!({ "after": ahead(2).to_string() });
    wire.send(&format!(r#"421["history","r",{question}]"#))
        .await;
    let began = tokio::time::Instant::now();
    let mut last = seen;
    while last.index < ahead(2).index {
        let published = other.ask(r#"["publish","elsewhere","e",2]"#).await;
        last = published["offset"].as_str().unwrap().parse().unwrap();
    }
    let answer = wire.next().await;
    assert!(answer.contains(r#""ok":true"#), "{answer}");
    assert!(began.elapsed() < limits::READ_WAIT_DEADLINE);
    node.end().await;
}

#[tokio::test]
async fn auth_that_is_too_long_is_refused_by_name() {
    let node = node().await;
    for (key, bytes) in [
        ("identity", limits::IDENTITY_BYTES_MAX),
        ("data", limits::MEMBER_DATA_BYTES_MAX - 2),
    ] {
        let mut wire = node.client().await;
        wire.send(&format!(r#"40{{"{key}":"{}"}}"#, "x".repeat(bytes + 1)))
            .await;
        let refusal = format!(r#"44{{"message":"auth.{key} is too long"}}"#);
        assert_eq!(wire.next().await, refusal);
        wire.send(&format!(r#"40{{"{key}":"{}"}}"#, "x".repeat(bytes)))
            .await;
        assert!(wire.next().await.starts_with("40{"), "{key}");
    }
    node.end().await;
}
