//! Nodes that speak msgpack, with the official client and the official parser: every promise holds,
//! and a room does not show which of its members speaks how.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::seat::Make;
use roomcast_cluster_tests::stage::Stage;
use serde_json::json;

const LATER: Duration = Duration::from_secs(40);

fn msgpack(stage: &Stage, transports: &[&str]) -> Make {
    stage.stock_with([
        ("parser", json!("msgpack")),
        ("transports", json!(transports)),
    ])
}

/// Publishes texts and binary from a client that sits there.
fn publish_from(stage: &mut Stage, seat: usize) {
    let spec = PublishSpec {
        bodies: vec![Body::Text(24), Body::Text(300), Body::Binary(200)],
        seed: seat as u64,
        ..PublishSpec::new("lobby")
    };
    let client = stage.seats[seat].client.clone();
    let publisher = Publisher::start(client, &stage.oracle, spec);
    stage.publishers.push(publisher);
}

#[tokio::test]
async fn msgpack_clients_lose_nothing_when_nodes_are_killed() {
    let spec = ClusterSpec::new(3).flag("--parser", "msgpack");
    let mut stage = Stage::open(&spec).await.unwrap();
    for node in 0..3 {
        for transports in [&["websocket"][..], &["polling"], &["polling", "websocket"]] {
            let make = msgpack(&stage, transports);
            let index = stage.seat(make, node, &["lobby"]).await.unwrap();
            stage.seats[index].link.route(Route::RoundRobin);
            if index % 2 == 0 {
                publish_from(&mut stage, index);
            }
        }
    }
    stage.wait_acked(60, LATER).await;
    for victim in 0..3 {
        stage.cluster.nodes[victim].kill9().unwrap();
        stage.wait_acked(60, LATER).await;
        stage.cluster.restart(victim).await.unwrap();
        stage.wait_acked(30, LATER).await;
    }
    let resumed: u64 = stage
        .seats
        .iter()
        .map(|seat| seat.client.state().recovered)
        .sum();
    assert!(resumed > 0, "nobody's node was killed");
    let report = stage.finish("msgpack, nodes killed").await;
    assert!(report.acknowledged > 300, "{report}");
}

#[tokio::test]
async fn a_room_is_shared_by_nodes_of_either_parser() {
    let spec = ClusterSpec::new(3).node_flag(1, "--parser", "msgpack");
    let mut stage = Stage::open(&spec).await.unwrap();
    for transports in [&["websocket"][..], &["polling"]] {
        let json = stage.stock_with([("transports", json!(transports))]);
        let json = stage.seat(json, 0, &["lobby"]).await.unwrap();
        let make = msgpack(&stage, transports);
        let msgpack = stage.seat(make, 1, &["lobby"]).await.unwrap();
        publish_from(&mut stage, json);
        publish_from(&mut stage, msgpack);
    }
    for _ in 0..4 {
        stage.wait_acked(60, LATER).await;
        for seat in &stage.seats {
            seat.client.cut().await;
        }
    }
    stage.wait_acked(60, LATER).await;
    for seat in &stage.seats {
        assert!(seat.client.state().recovered > 0, "{}", seat.name);
    }
    let report = stage.finish("both parsers").await;
    assert!(report.acknowledged > 200, "{report}");
}
