//! Upgrades whose WebSocket lands on another node than the session that began on polling: the
//! session moves there, and nothing of it needs its old owner any more.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::publisher::PublishSpec;
use roomcast_cluster_tests::stage::Stage;
use tokio::time::{Instant, sleep};

const LATER: Duration = Duration::from_secs(40);
/// What stock clients try by themselves.
const BOTH: &[&str] = &["polling", "websocket"];
const UPGRADES: &str = "roomcast_forwarded_upgrades_total";
const CLIENTS: usize = 6;

/// Clients whose every connection goes to the next node, hence nearly every upgrade elsewhere.
async fn upgrading_stage() -> Stage {
    let mut stage = Stage::three().await.unwrap();
    for client in 0..CLIENTS {
        let make = stage.stock_over(BOTH);
        let index = stage.seat(make, client % 3, &["lobby"]).await.unwrap();
        stage.seats[index].link.route(Route::RoundRobin);
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(30, LATER).await;
    stage
}

/// Sum over all nodes.
async fn total(stage: &Stage, name: &str, labels: &[&str]) -> f64 {
    let mut total = 0.0;
    for node in 0..stage.cluster.nodes.len() {
        total += metric(&stage.cluster.metrics(node).await, name, labels);
    }
    total
}

/// Cuts every client and waits until each has resumed.
async fn cut_all(stage: &Stage) {
    for seat in &stage.seats {
        let before = seat.client.state().connects;
        seat.client.cut().await;
        let back = |state: &roomcast_cluster_tests::client::State| state.connects > before;
        seat.client.wait_for("back", LATER, back).await;
    }
}

/// Waits until every client has its WebSocket.
async fn wait_upgraded(stage: &Stage, at_least: f64) {
    let deadline = Instant::now() + LATER;
    while total(stage, UPGRADES, &["result=\"moved\""]).await < at_least {
        assert!(Instant::now() < deadline, "sessions do not move");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sessions_move_with_their_upgrade_and_miss_nothing() {
    let stage = upgrading_stage().await;
    for round in 1..=8_u32 {
        cut_all(&stage).await;
        wait_upgraded(&stage, f64::from(round)).await;
    }
    stage.wait_acked(60, LATER).await;
    let moved = total(&stage, UPGRADES, &["result=\"moved\""]).await;
    let carried = total(&stage, UPGRADES, &["result=\"carried\""]).await;
    println!("moved {moved}, carried {carried}");
    assert!(moved >= 16.0, "most upgrades land elsewhere");
    assert!(
        carried <= moved / 4.0,
        "a busy session may be carried, most are not"
    );
    stage.finish("moved sessions").await;
}

#[tokio::test]
async fn a_moved_session_does_not_need_its_old_owner() {
    let mut stage = upgrading_stage().await;
    cut_all(&stage).await;
    wait_upgraded(&stage, 4.0).await;
    // The last of them may still be under way.
    sleep(Duration::from_secs(1)).await;
    let victim = 1;
    let before: Vec<_> = stage
        .seats
        .iter()
        .map(|seat| (seat.link.upstream(), seat.client.state().connects))
        .collect();
    stage.cluster.nodes[victim].kill9().unwrap();
    stage.wait_acked(60, LATER).await;
    for (seat, (node, connects)) in stage.seats.iter().zip(before) {
        let more = seat.client.state().connects - connects;
        let there = node == Some(victim);
        assert_eq!(
            more > 0,
            there,
            "{}: at {node:?}, {more} connects",
            seat.name
        );
    }
    stage.cluster.restart(victim).await.unwrap();
    stage.wait_acked(30, LATER).await;
    stage.finish("old owners killed").await;
}
