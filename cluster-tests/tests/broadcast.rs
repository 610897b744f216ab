//! Events cross the cluster: every member on every node gets each of them once, with its arguments
//! intact, and all see one order.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::oracle::Target;
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::seat::Make;
use roomcast_cluster_tests::stage::Stage;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(6);
const LATER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn every_member_on_every_node_gets_every_event_once() {
    let mut stage = Stage::three().await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    let bodies = vec![
        Body::Text(0),
        Body::Text(24),
        Body::Text(20_000),
        Body::Binary(0),
        Body::Binary(3_000),
    ];
    stage.publish_everywhere(&PublishSpec {
        bodies,
        ..PublishSpec::new("lobby")
    });
    stage.wait_acked(150, LATER).await;
    stage.finish("broadcast").await;
}

#[tokio::test]
async fn all_nodes_see_one_order_under_concurrent_publishers() {
    let mut stage = Stage::three().await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    let spec = PublishSpec {
        pace: None,
        in_flight: 16,
        ..PublishSpec::new("lobby")
    };
    stage.publish_everywhere(&spec);
    stage.wait_acked(1500, LATER).await;
    let report = stage.finish("one order").await;
    assert_eq!(
        report.acknowledged, report.published,
        "nothing failed, so all are acknowledged"
    );
}

/// Stock clients publish too, to one room, to several and with excepted rooms, while members come
/// and go: each event reaches exactly the members at its position.
#[tokio::test]
async fn events_reach_exactly_the_members_at_their_position() {
    let mut stage = Stage::three().await.unwrap();
    for node in 0..3 {
        for rooms in [&["a"][..], &["b"], &["a", "b"], &["a", "quiet"]] {
            let make = if rooms.len() == 1 {
                stage.stock()
            } else {
                Make::Raw
            };
            stage.seat(make, node, rooms).await.unwrap();
        }
    }
    let room = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let targets = vec![
        Target::room("a"),
        Target::room("b"),
        Target {
            rooms: room(&["a", "b"]),
            except: Vec::new(),
        },
        Target {
            rooms: room(&["a"]),
            except: room(&["quiet"]),
        },
    ];
    let spec = PublishSpec {
        targets,
        ..PublishSpec::new("a")
    };
    stage.publish_everywhere(&spec);
    let stock = stage.stock();
    let speaker = stage.seat(stock, 1, &["b"]).await.unwrap();
    let client = stage.seats[speaker].client.clone();
    stage.publishers.push(Publisher::start(
        client,
        &stage.oracle,
        PublishSpec { seed: 9, ..spec },
    ));
    for round in 0..12 {
        for index in [0, 5, 6, 11] {
            let seat = &stage.seats[index];
            let room = ["a", "b", "quiet"][(round + index) % 3];
            if seat.rooms().iter().any(|have| have == room) {
                assert!(seat.leave(room).await, "{} cannot leave {room}", seat.name);
            } else {
                seat.join(room).await;
            }
        }
        // Events between the changes, however fast those are.
        stage.wait_acked(10, LATER).await;
    }
    let report = stage.finish("membership").await;
    assert!(report.acknowledged > 100, "{report}");
}

#[tokio::test]
async fn namespaces_do_not_hear_each_other() {
    let mut stage = Stage::three().await.unwrap();
    stage.namespace = "/one".to_owned();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    // Another namespace, same room: its events would be phantoms to the oracle.
    stage.namespace = "/two".to_owned();
    let stranger = stage.raw(0);
    stranger
        .wait_for("connected", SOON, |state| state.connected)
        .await;
    stranger.join("lobby", SOON).await.unwrap();
    for seq in 0..50 {
        let args = vec![
            json!("lobby"),
            json!("e"),
            json!(999),
            json!(seq),
            json!(1),
            json!("x"),
        ];
        stranger.ask("publish", args, SOON).await.unwrap();
    }
    stage.wait_acked(50, LATER).await;
    stage.finish("namespaces").await;
}

/// Two sockets of one node in the lobby.
async fn two_in_the_lobby(stage: &Stage) -> (Client, Client) {
    let (ann, bob) = (stage.raw(0), stage.raw(0));
    for client in [&ann, &bob] {
        client
            .wait_for("connected", SOON, |state| state.connected)
            .await;
        client.join("lobby", SOON).await.unwrap();
    }
    (ann, bob)
}

#[tokio::test]
async fn refusals_carry_the_codes_of_the_contract() {
    let stage = Stage::open(&ClusterSpec::new(1)).await.unwrap();
    let (ann, bob) = two_in_the_lobby(&stage).await;
    let keyed = json!({ "rooms": ["lobby"], "key": "k" });
    let first = vec![keyed.clone(), json!("hello"), json!(1)];
    ann.ask("publish", first, SOON).await.unwrap();
    let bob_id = bob.state().id;
    let refusals = [
        ("publish", json!([keyed, "other"]), "key_reused"),
        ("join", json!([bob_id]), "forbidden"),
        ("leave", json!([bob_id]), "forbidden"),
        ("join", json!([7]), "invalid"),
        ("publish", json!(["lobby", "disconnect"]), "invalid"),
        ("publish", json!(["lobby"]), "invalid"),
        ("no-such-event", json!([1]), "unknown_event"),
        ("history", json!(["lobby", { "limit": 501 }]), "invalid"),
    ];
    for (event, args, code) in refusals {
        let list = args.as_array().unwrap().clone();
        let refused = ann.ask(event, list, SOON).await.unwrap_err();
        assert_eq!(refused.code(), Some(code), "{event} {args}: {refused}");
    }
}

#[tokio::test]
async fn the_handler_answers_as_the_contract_says_on_one_node() {
    let stage = Stage::open(&ClusterSpec::new(1)).await.unwrap();
    let (ann, _bob) = two_in_the_lobby(&stage).await;
    let ask = async |event: &str, args: Value| {
        let Value::Array(args) = args else {
            panic!("arguments are an array")
        };
        ann.ask(event, args, SOON).await
    };
    let members = ask("members", json!(["lobby"])).await.unwrap().0;
    assert_eq!(
        (
            members["count"].as_u64(),
            members["members"].as_array().unwrap().len()
        ),
        (Some(2), 2)
    );
    assert_eq!(members["members"][0]["state"], "connected");
    let first = ask(
        "publish",
        json!([{ "rooms": ["lobby"], "key": "k" }, "hello", 1]),
    )
    .await
    .unwrap();
    let again = ask(
        "publish",
        json!([{ "rooms": ["lobby"], "key": "k" }, "hello", 1]),
    )
    .await
    .unwrap();
    assert_eq!(first.offset().unwrap(), again.offset().unwrap());
    assert_eq!(
        (first.0.get("duplicate"), &again.0["duplicate"]),
        (None, &json!(true))
    );
    let history = ask("history", json!(["lobby", {}])).await.unwrap().0;
    assert_eq!(
        (&history["complete"], &history["more"]),
        (&json!(true), &json!(false))
    );
    let events = history["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["event"], &events[0]["args"]),
        (&json!("hello"), &json!([1]))
    );
    assert_eq!(events[0]["offset"], first.0["offset"]);
    let left = ask("leave", json!(["lobby"])).await.unwrap();
    assert!(left.offset().unwrap() > first.offset().unwrap());
    let after = ask("members", json!(["lobby", { "limit": 0 }]))
        .await
        .unwrap()
        .0;
    assert_eq!(
        (
            after["count"].as_u64(),
            after["members"].as_array().map(Vec::len)
        ),
        (Some(1), Some(0))
    );
}
