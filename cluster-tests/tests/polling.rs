//! Long-polling without stickiness: each request of a session lands on any node, and the clients
//! still get every event once and in order, also when the node that owned their session is killed.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::publisher::PublishSpec;
use roomcast_cluster_tests::stage::Stage;

const LATER: Duration = Duration::from_secs(40);
/// What stock clients try by themselves.
const BOTH: &[&str] = &["polling", "websocket"];

/// Clients behind balancers that send every connection, here every request, to the next node.
async fn polling_stage() -> Stage {
    let mut stage = Stage::three().await.unwrap();
    for node in 0..3 {
        for transports in [&["polling"][..], BOTH] {
            let make = stage.stock_over(transports);
            let index = stage.seat(make, node, &["lobby"]).await.unwrap();
            stage.seats[index].link.route(Route::RoundRobin);
        }
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(60, LATER).await;
    stage
}

#[tokio::test]
async fn any_node_takes_any_request_of_a_polling_session() {
    let stage = polling_stage().await;
    stage.wait_acked(200, LATER).await;
    stage.finish("polling").await;
}

#[tokio::test]
async fn a_polling_session_outlives_its_owner() {
    let mut stage = polling_stage().await;
    for victim in 0..3 {
        stage.cluster.nodes[victim].kill9().unwrap();
        stage.wait_acked(60, LATER).await;
        stage.cluster.restart(victim).await.unwrap();
        stage.wait_acked(30, LATER).await;
    }
    stage.finish("polling, owners killed").await;
}
