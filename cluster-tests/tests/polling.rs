//! Long-polling without stickiness: each request of a session lands on any node, and the clients
//! still get every event once and in order, also when the node that owned their session is killed.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::PublishSpec;
use roomcast_cluster_tests::stage::Stage;
use tokio::task::JoinSet;
use tokio::time::sleep;

const LATER: Duration = Duration::from_secs(60);
/// What stock clients try by themselves.
const BOTH: &[&str] = &["polling", "websocket"];
/// Variable with another number of rounds, in each of which every node is killed once.
const ROUNDS: &str = "ROUNDS";
/// A stock client whose WebSocket is lost between `3probe` and `5` neither polls nor writes any
/// more, until no PING came for both of these: a fault of engine.io-client, also beside the
/// reference server. The defaults would take longer than these tests wait.
const HEARTBEAT_MS: &str = "4000";
/// Time that a client has to open, to upgrade and to be busy before it is cut again.
const CUT_EVERY: Duration = Duration::from_millis(1500);

/// `each` polling clients and as many that try to upgrade for each node, behind balancers that send
/// every connection, here every request, to the next node.
async fn polling_stage(each: usize, spec: &PublishSpec) -> Stage {
    let cluster = ClusterSpec::new(3)
        .flag("--ping-interval-ms", HEARTBEAT_MS)
        .flag("--ping-timeout-ms", HEARTBEAT_MS);
    let mut stage = Stage::open(&cluster).await.unwrap();
    for number in 0..3 * each {
        for transports in [&["polling"][..], BOTH] {
            let make = stage.stock_over(transports);
            let index = stage.seat(make, number % 3, &["lobby"]).await.unwrap();
            stage.seats[index].link.route(Route::RoundRobin);
        }
    }
    stage.publish_everywhere(spec);
    stage.wait_acked(60, LATER).await;
    stage
}

#[tokio::test]
async fn any_node_takes_any_request_of_a_polling_session() {
    let stage = polling_stage(1, &PublishSpec::new("lobby")).await;
    stage.wait_acked(200, LATER).await;
    stage.finish("polling").await;
}

/// Cuts clients again and again, so that at any moment some of them are opening or upgrading.
async fn keep_cutting(clients: Vec<Client>) {
    for turn in 0.. {
        sleep(CUT_EVERY / 3).await;
        for client in clients.iter().skip(turn % 3).step_by(3) {
            client.cut().await;
        }
    }
}

#[tokio::test]
async fn polling_sessions_outlive_their_owners_under_load() {
    let rounds = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let spec = PublishSpec {
        pace: Some(Duration::from_millis(8)),
        bodies: vec![Body::Text(24), Body::Text(1_000), Body::Binary(200)],
        ..PublishSpec::new("lobby")
    };
    let mut stage = polling_stage(2, &spec).await;
    let is_upgrading = |name: &str| name.contains("websocket");
    let upgrading = stage.seats.iter().filter(|seat| is_upgrading(&seat.name));
    let clients = upgrading.map(|seat| seat.client.clone()).collect();
    let mut cutting = JoinSet::new();
    cutting.spawn(keep_cutting(clients));
    for _ in 0..rounds {
        for victim in 0..3 {
            stage.wait_acked(150, LATER).await;
            stage.cluster.nodes[victim].kill9().unwrap();
            stage.wait_acked(300, LATER).await;
            stage.cluster.restart(victim).await.unwrap();
        }
    }
    cutting.shutdown().await;
    let resumes = |seat: &roomcast_cluster_tests::seat::Seat| seat.client.state().recovered;
    println!(
        "resumes: {:?}",
        stage.seats.iter().map(resumes).collect::<Vec<_>>()
    );
    for seat in stage.seats.iter().filter(|seat| is_upgrading(&seat.name)) {
        assert!(resumes(seat) > 1, "{} was not cut", seat.name);
    }
    stage.finish("polling, owners killed under load").await;
}
