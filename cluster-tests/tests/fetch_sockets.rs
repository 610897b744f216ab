//! Who is there, asked while a node is dead: always answered by the others, at once and with the
//! whole list, and the dead node's sockets are shown connected no longer than P8 says.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_client::{Args, Client, ClientOptions, Inbox, Notice, Socket, SocketOptions};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);
const SOCKETS_PER_NODE: usize = 8;
/// Lease and failover (P8), and what a busy machine adds.
const GHOSTS_MAX: Duration = Duration::from_secs(5 + 2 + 3);

/// A member of the room `r`, through one node only.
async fn member(cluster: &Cluster, node: usize) -> (Client, Socket, Inbox) {
    let url = format!("ws://{}", cluster.addrs[node].client);
    let client = Client::new([&url], ClientOptions::default()).unwrap();
    let (socket, mut inbox) = client.socket("/", SocketOptions::default()).unwrap();
    let connected = timeout(LIMIT, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(connected, Notice::Connected(_)), "{connected:?}");
    let joined = socket.emit_with_ack("join", Args::new().json("r"), LIMIT);
    assert_eq!(joined.await.unwrap().values()[0]["ok"], true);
    (client, socket, inbox)
}

/// How many sockets are listed, and how many of them as connected.
async fn listed(cluster: &Cluster, node: usize) -> (usize, usize) {
    let path = "/v1/sockets?namespace=/&room=r";
    let answer = http::get(cluster.addrs[node].api, path).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    let sockets = list["sockets"].as_array().unwrap();
    let connected = sockets.iter().filter(|socket| socket["connected"] == true);
    (sockets.len(), connected.count())
}

#[tokio::test]
async fn a_dead_node_costs_no_answer_and_leaves_no_ghosts() {
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let mut members = Vec::new();
    for number in 0..3 * SOCKETS_PER_NODE {
        members.push(member(&cluster, number % 3).await);
    }
    let all = members.len();
    for node in 0..3 {
        let until = Instant::now() + LIMIT;
        while listed(&cluster, node).await != (all, all) {
            assert!(Instant::now() < until, "{:?}", listed(&cluster, node).await);
            sleep(Duration::from_millis(20)).await;
        }
    }
    cluster.nodes[0].kill9().unwrap();
    let killed = Instant::now();
    let mut seen = [all, all];
    while seen != [all - SOCKETS_PER_NODE; 2] {
        assert!(
            killed.elapsed() < GHOSTS_MAX,
            "still shown connected: {seen:?}"
        );
        for (node, seen) in [1, 2].into_iter().zip(&mut seen) {
            let (count, connected) = listed(&cluster, node).await;
            assert_eq!(count, all, "the away are listed, too");
            assert!(
                connected <= *seen,
                "nobody came back: {connected} after {seen}"
            );
            *seen = connected;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
