//! Nobody is shown connected who is not: clients that leave while their CONNECT is still on its way
//! to the log. (DESIGN, P8: at once after a close.)

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::wire::Wire;
use tokio::time::{Instant, sleep};

const ATTEMPTS: u64 = 60;
/// An entry takes a few milliseconds: the leavers are spread over that time.
const STEP: Duration = Duration::from_micros(150);
const SOON: Duration = Duration::from_secs(4);

async fn connected(cluster: &Cluster) -> u64 {
    let status = cluster.status(0).await.unwrap();
    status.groups.iter().map(|group| group.connected).sum()
}

async fn expect_nobody(cluster: &Cluster) {
    let deadline = Instant::now() + SOON;
    while connected(cluster).await > 0 {
        assert!(
            Instant::now() < deadline,
            "{} clients that left are shown connected",
            connected(cluster).await
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sends CONNECT; the answer is not waited for.
async fn half_connected(cluster: &Cluster, turn: u64) -> Wire {
    let mut wire = Wire::connect(cluster.clients()[0], "").await.unwrap();
    assert!(wire.send("40".to_owned()).await);
    sleep(STEP * u32::try_from(turn).unwrap()).await;
    wire
}

#[tokio::test]
async fn a_transport_that_closes_during_connect_leaves_no_ghost() {
    let cluster = Cluster::start(&ClusterSpec::new(1)).await.unwrap();
    for turn in 0..ATTEMPTS {
        let mut wire = half_connected(&cluster, turn % 30).await;
        assert!(wire.send("1".to_owned()).await);
        // Open for a while: the server waits for the client's end of stream.
        tokio::spawn(async move {
            sleep(Duration::from_millis(500)).await;
            drop(wire)
        });
    }
    sleep(Duration::from_secs(1)).await;
    expect_nobody(&cluster).await;
}

#[tokio::test]
async fn a_socket_that_disconnects_during_connect_leaves_no_ghost() {
    let cluster = Cluster::start(&ClusterSpec::new(1)).await.unwrap();
    let mut wires = Vec::new();
    for turn in 0..ATTEMPTS {
        let mut wire = half_connected(&cluster, turn % 30).await;
        assert!(wire.send("41".to_owned()).await);
        wires.push(wire);
    }
    sleep(Duration::from_secs(1)).await;
    expect_nobody(&cluster).await;
    drop(wires);
}
