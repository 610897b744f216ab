//! What passes by itself never makes a stock client give up: it lives through seconds without a
//! leader, at connect and after, and never sees `44` or `41`.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::publisher::PublishSpec;
use roomcast_cluster_tests::seat::{Seat, SeatSpec};
use roomcast_cluster_tests::stage::Stage;
use tokio::time::sleep;

/// Without a leader.
const GAP: Duration = Duration::from_secs(4);

/// How two of three nodes are taken away and given back.
#[derive(Clone, Copy)]
enum Away {
    Killed,
    Paused,
}

async fn take(stage: &mut Stage, away: Away) {
    for node in [1, 2] {
        match away {
            Away::Killed => stage.cluster.nodes[node].kill9().unwrap(),
            Away::Paused => stage.cluster.nodes[node].pause().unwrap(),
        }
    }
}

async fn give_back(stage: &mut Stage, away: Away) {
    for node in [1, 2] {
        match away {
            Away::Killed => stage.cluster.nodes[node].restart().unwrap(),
            Away::Paused => stage.cluster.nodes[node].wake().unwrap(),
        }
    }
    stage.cluster.wait_all_ready().await.unwrap();
}

async fn connected_clients_survive(away: Away, title: &str) {
    let mut stage = Stage::three().await.unwrap();
    for node in 0..3 {
        let stock = stage.stock();
        let index = stage.seat(stock, node, &["lobby"]).await.unwrap();
        stage.seats[index].link.route(Route::RoundRobin);
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(30, Duration::from_secs(30)).await;
    take(&mut stage, away).await;
    sleep(GAP).await;
    give_back(&mut stage, away).await;
    stage.wait_acked(30, Duration::from_secs(40)).await;
    stage.finish(title).await;
}

#[tokio::test]
async fn connected_stock_clients_survive_two_killed_nodes() {
    connected_clients_survive(Away::Killed, "two killed").await;
}

#[tokio::test]
async fn connected_stock_clients_survive_two_paused_nodes() {
    connected_clients_survive(Away::Paused, "two paused").await;
}

#[tokio::test]
async fn a_stock_client_that_connects_without_a_leader_gets_in_later() {
    let mut stage = Stage::three().await.unwrap();
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(10, Duration::from_secs(30)).await;
    for away in [Away::Killed, Away::Paused] {
        take(&mut stage, away).await;
        let spec = SeatSpec {
            name: "newcomer".to_owned(),
            make: stage.stock(),
            namespace: "/".to_owned(),
            rooms: vec!["lobby".to_owned()],
            auth: serde_json::Map::new(),
            upstreams: stage.cluster.clients(),
            route: Route::Only(0),
            witness: None,
        };
        let seat = Seat::start(spec, &stage.oracle).await.unwrap();
        sleep(GAP).await;
        let state = seat.client.state();
        assert_eq!(
            state.gave_up, None,
            "it gave up while nobody led: {state:?}"
        );
        assert_eq!(
            state.connects, 0,
            "there was no quorum to commit its session: {state:?}"
        );
        give_back(&mut stage, away).await;
        seat.wait_seated().await;
        stage.seats.push(seat);
    }
    stage.wait_acked(30, Duration::from_secs(40)).await;
    stage.finish("connect without a leader").await;
}
