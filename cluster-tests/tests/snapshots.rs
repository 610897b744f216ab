//! A node that was away for longer than the others' logs last: it gets a snapshot, serves what it
//! never received, and soon has it itself.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::{Duration, Instant};

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::session::Session;
use serde_json::{Value, json};
use tokio::time::sleep;

const LATER: Duration = Duration::from_secs(60);
const ROOM: &str = "lobby";
const FIRST: &str = "roomcast_log_first_index";
const HOLES: &str = "roomcast_history_holes";
const BACKFILLED: &str = "roomcast_backfilled_bytes_total";

async fn value(cluster: &Cluster, node: usize, name: &str) -> f64 {
    metric(&cluster.metrics(node).await, name, &[])
}

/// The number that each event carries.
fn numbers(events: &[Value], at: &str) -> Vec<u64> {
    let number = |event: &Value| event.pointer(at).and_then(Value::as_u64).unwrap();
    events.iter().map(number).collect()
}

/// The whole history of the room, page by page.
async fn history(session: &mut Session) -> Vec<u64> {
    let mut found = Vec::new();
    let mut options = json!({ "limit": 100 });
    loop {
        let page = session.ask("history", &[json!(ROOM), options]).await;
        let page = page.unwrap();
        assert_eq!(
            (&page["ok"], &page["complete"]),
            (&json!(true), &json!(true)),
            "{page}"
        );
        found.extend(numbers(page["events"].as_array().unwrap(), "/args/0"));
        if page["more"] != json!(true) {
            return found;
        }
        options = json!({ "limit": 100, "after": page["offset"] });
    }
}

async fn publish(session: &mut Session, number: u64) {
    let arguments = [json!(number)];
    let published = session.publish(json!(ROOM), "e", &arguments);
    published.await.unwrap();
}

#[tokio::test]
async fn a_node_behind_a_snapshot_replays_exactly_and_soon_by_itself() {
    let spec = ClusterSpec::new(3)
        .flag("--groups", "1")
        .flag("--snapshot-every-entries", "100");
    let mut cluster = Cluster::start(&spec).await.unwrap();
    let leader = cluster.leader(0).await.unwrap();
    let (away, third) = ((leader + 1) % 3, (leader + 2) % 3);

    let mut publisher = Session::open(cluster.addrs[leader].client, "", &json!({}))
        .await
        .unwrap();
    let mut viewer = Session::open(cluster.addrs[away].client, "", &json!({}))
        .await
        .unwrap();
    viewer.join(ROOM).await.unwrap();
    publish(&mut publisher, 0).await;
    viewer.wait_events(1, LATER).await.unwrap();
    let auth = viewer.auth();
    cluster.nodes[away].kill9().unwrap();

    let known = cluster.applied(leader).await[&0];
    let deadline = Instant::now() + LATER;
    let mut count = 1;
    loop {
        for _ in 0..20 {
            publish(&mut publisher, count).await;
            count += 1;
        }
        let mut begins = f64::MAX;
        for node in [leader, third] {
            begins = begins.min(value(&cluster, node, FIRST).await);
        }
        if begins > known as f64 + 50.0 {
            break;
        }
        assert!(Instant::now() < deadline, "the others keep their logs");
        sleep(Duration::from_millis(200)).await;
    }

    cluster.restart(away).await.unwrap();
    let all: Vec<u64> = (0..count).collect();
    let mut viewer = Session::open(cluster.addrs[away].client, "", &auth)
        .await
        .unwrap();
    viewer.wait_events(all.len() - 1, LATER).await.unwrap();
    assert_eq!(numbers(&viewer.events, "/1"), all[1..], "resumed exactly");
    assert_eq!(history(&mut viewer).await, all);

    while value(&cluster, away, FIRST).await < known as f64 + 50.0 {
        assert!(Instant::now() < deadline + LATER, "it got no snapshot");
        sleep(Duration::from_millis(100)).await;
    }
    while value(&cluster, away, HOLES).await > 0.0 || value(&cluster, away, BACKFILLED).await == 0.0
    {
        assert!(Instant::now() < deadline + LATER, "holes remain");
        sleep(Duration::from_millis(100)).await;
    }
    // One goes: the other two are a quorum. Both go: nobody is left to ask.
    cluster.nodes[third].kill9().unwrap();
    publish(&mut publisher, count).await;
    let all: Vec<u64> = (0..=count).collect();
    viewer.wait_events(all.len() - 1, LATER).await.unwrap();
    assert_eq!(numbers(&viewer.events, "/1"), all[1..]);
    cluster.nodes[leader].kill9().unwrap();
    assert_eq!(history(&mut viewer).await, all, "it has them itself");
}
