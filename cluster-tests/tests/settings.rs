//! Apply depends on the log alone: two nodes started with different values of every cluster setting
//! end with equal state, and so does one that is restarted with other values.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use roomcast_cluster_tests::client::{CallError, Client};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use serde_json::{Map, json};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(7);
/// Comparisons of every group that must agree.
const COMPARISONS: u32 = 5;
const COMPARED_WITHIN: Duration = Duration::from_secs(30);

/// Every cluster setting with two values that make a difference within seconds.
const SETTINGS: [(&str, &str, &str); 13] = [
    ("--retention", "1s", "10m"),
    ("--retention-by-namespace", "/a=1s,/*=5m", "/b=1s"),
    ("--retention-min", "1s", "10m"),
    ("--retention-bytes", "64MB", "20kB"),
    ("--retention-count", "20", "100000"),
    ("--resume-window", "2m", "1s"),
    ("--key-window", "1s", "5m"),
    ("--keys-max", "100000", "5"),
    ("--event-bytes-max", "2kB", "1MB"),
    ("--rooms-per-socket-max", "100", "4"),
    ("--room-name-bytes-max", "32", "200"),
    ("--namespaces-max", "3", "10000"),
    ("--lease", "3s", "6s"),
];

fn client(cluster: &Cluster, node: usize, namespace: &str) -> Client {
    let spec = RawSpec {
        endpoints: cluster.clients_from(node),
        namespace: namespace.to_owned(),
        auth: Map::new(),
    };
    Client::Raw(RawClient::start(spec, Arc::new(|_| ())))
}

/// Comes near every limit that one of the two nodes was started with.
async fn exercise(cluster: &Cluster, namespace: &str, node: usize) {
    let client = client(cluster, node, namespace);
    client
        .wait_for("connected", SOON, |state| state.connected)
        .await;
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    let mut ask = async |event: &str, args| {
        let answer = match client.ask(event, args, SOON).await {
            Ok(_) => "ok".to_owned(),
            Err(error) => error
                .code()
                .map_or_else(|| error.to_string(), ToOwned::to_owned),
        };
        *answers.entry(format!("{event} {answer}")).or_default() += 1;
    };
    for room in 0..8 {
        ask("join", vec![json!(format!("room {room}"))]).await;
        ask("join", vec![json!("n".repeat(10 + 10 * room))]).await;
    }
    for number in 0..60 {
        let target = json!({ "rooms": ["room 1"], "key": format!("key {}", number % 20) });
        let body = "x".repeat(if number % 10 == 9 { 4_000 } else { 400 });
        ask(
            "publish",
            vec![target, json!("e"), json!(number % 20), json!(body)],
        )
        .await;
    }
    println!("{namespace} at node {}: {answers:?}", node + 1);
    client.cut().await;
    let gone: Result<_, CallError> = client.call("join", vec![json!("room 0")], SOON).await;
    drop(gone);
}

/// Compares the nodes' hashes whenever they have applied the same entry.
async fn assert_equal_states(cluster: &Cluster) {
    let mut agreed: BTreeMap<u32, u32> = BTreeMap::new();
    let deadline = Instant::now() + COMPARED_WITHIN;
    loop {
        let (one, two) = (cluster.status(0).await, cluster.status(1).await);
        let (one, two) = (one.expect("node 1 answers"), two.expect("node 2 answers"));
        for (left, right) in one.groups.iter().zip(&two.groups) {
            assert_eq!(left.group, right.group);
            let count = agreed.entry(left.group).or_default();
            if left.applied == right.applied {
                assert!(!left.hash.is_empty(), "no hash in the status");
                assert_eq!(
                    left.hash, right.hash,
                    "group {} at {}",
                    left.group, left.applied
                );
                *count += 1;
            }
        }
        if !agreed.is_empty() && agreed.values().all(|count| *count >= COMPARISONS) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the nodes never stood at the same entry: {agreed:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nodes_with_different_settings_end_with_equal_states() {
    let mut spec = ClusterSpec::new(2);
    for (name, one, two) in SETTINGS {
        spec = spec.node_flag(0, name, one).node_flag(1, name, two);
    }
    let mut cluster = Cluster::start(&spec).await.unwrap();
    let namespaces = ["/", "/a", "/b", "/c", "/d", "/e"];
    for (number, namespace) in namespaces.iter().enumerate() {
        exercise(&cluster, namespace, number % 2).await;
    }
    assert_equal_states(&cluster).await;
    for node in [0, 1] {
        cluster.nodes[node].kill9().unwrap();
        cluster.restart(node).await.unwrap();
        exercise(&cluster, "/", node).await;
        assert_equal_states(&cluster).await;
    }
}
