//! The whole cluster stops and starts again within the resume window: sessions go on.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::publisher::PublishSpec;
use roomcast_cluster_tests::stage::Stage;
use tokio::time::sleep;

const LATER: Duration = Duration::from_secs(40);

/// Seats and publishers on every node, free to come back anywhere.
async fn busy_stage() -> Stage {
    let mut stage = Stage::three().await.unwrap();
    stage.seat_everywhere(&["lobby", "hall"]).await.unwrap();
    for seat in &stage.seats {
        seat.link.route(Route::RoundRobin);
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.publish_everywhere(&PublishSpec {
        seed: 50,
        ..PublishSpec::new("hall")
    });
    stage.wait_acked(60, LATER).await;
    stage
}

async fn goes_on(stage: Stage, title: &str) {
    for seat in &stage.seats {
        seat.wait_resumed(1, LATER).await;
    }
    stage.wait_acked(60, LATER).await;
    stage.finish(title).await;
}

#[tokio::test]
async fn sessions_resume_after_all_nodes_were_killed_at_once() {
    let mut stage = busy_stage().await;
    stage
        .cluster
        .kill_and_restart_all(Duration::from_secs(2))
        .await
        .unwrap();
    goes_on(stage, "all killed").await;
}

#[tokio::test]
async fn sessions_resume_after_all_nodes_were_drained() {
    let mut stage = busy_stage().await;
    for node in &stage.cluster.nodes {
        node.terminate().unwrap();
    }
    for node in &mut stage.cluster.nodes {
        let status = node
            .wait_exit(LATER)
            .await
            .unwrap()
            .expect("a drained node ends");
        assert!(status.success(), "drain ends with {status}");
    }
    sleep(Duration::from_secs(1)).await;
    for node in &mut stage.cluster.nodes {
        node.restart().unwrap();
    }
    stage.cluster.wait_all_ready().await.unwrap();
    goes_on(stage, "all drained").await;
}

#[tokio::test]
async fn sessions_survive_a_rolling_restart() {
    let mut stage = busy_stage().await;
    for node in 0..3 {
        stage.cluster.nodes[node].terminate().unwrap();
        let status = stage.cluster.nodes[node].wait_exit(LATER).await.unwrap();
        assert!(status.expect("a drained node ends").success());
        stage.cluster.restart(node).await.unwrap();
        stage.wait_acked(30, LATER).await;
    }
    goes_on(stage, "rolling restart").await;
}

#[tokio::test]
async fn sessions_of_a_single_node_resume_after_its_kill() {
    use roomcast_cluster_tests::cluster::ClusterSpec;
    let mut stage = Stage::open(&ClusterSpec::new(1)).await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(30, LATER).await;
    stage
        .cluster
        .kill_and_restart_all(Duration::from_millis(500))
        .await
        .unwrap();
    goes_on(stage, "one node killed").await;
}
