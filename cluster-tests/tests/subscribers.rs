//! Durable subscribers in a cluster: a client process dies with everything it knew, nodes die too,
//! and whoever comes back under the name gets what it is owed, or a clear reason.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_cluster_tests::client::{Client, Signal};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::stock::{StockDriver, StockSpec};
use roomcast_cluster_tests::wire::{Packet, Wire};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(6);
/// After a kill a new leader is needed first.
const AFTER_KILL: Duration = Duration::from_secs(20);
/// Longer than the resume window and the retention of these clusters.
const LONG_AWAY: Duration = Duration::from_secs(6);

/// What is kept for everybody: five events, two seconds. Nobody but a subscriber comes back.
fn small() -> ClusterSpec {
    ClusterSpec::new(3)
        .flag("--retention", "2s")
        .flag("--retention-min", "1s")
        .flag("--retention-count", "5")
        .flag("--resume-window", "2s")
        .flag("--ping-interval-ms", "500")
}

async fn connect(cluster: &Cluster, node: usize, auth: &Value) -> (Wire, Packet) {
    let mut wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
    let answer = wire.connect_namespace("/", auth).await.unwrap();
    (wire, answer)
}

async fn publish(cluster: &Cluster, node: usize, numbers: std::ops::RangeInclusive<u64>) {
    let (mut wire, _) = connect(cluster, node, &json!({})).await;
    for number in numbers {
        for room in ["lobby", "other"] {
            let args = [json!(room), json!("said"), json!(number)];
            let answer = wire.ask("publish", &args, SOON).await.unwrap();
            assert_eq!(answer["ok"], json!(true), "{answer}");
        }
    }
}

/// Reads the numbers, once each and in order; the offset of each.
async fn read(wire: &mut Wire, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let mut offsets = Vec::new();
    for number in numbers {
        let packet = wire.packet(SOON).await.unwrap();
        assert_eq!(packet.data[1], json!(number), "{packet:?}");
        offsets.push(packet.data[2].as_str().unwrap().to_owned());
    }
    offsets
}

async fn sum(cluster: &Cluster, node: usize, name: &str) -> f64 {
    metric(&cluster.metrics(node).await, name, &[])
}

/// Gauges are set every few seconds.
async fn wait_spared(cluster: &Cluster, node: usize, holds: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + AFTER_KILL;
    loop {
        let spared = sum(cluster, node, "roomcast_events_spared").await;
        if holds(spared) {
            return;
        }
        assert!(Instant::now() < deadline, "node {node} spares {spared}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_lost_everything_but_its_name_gets_all_it_is_owed() {
    let mut cluster = Cluster::start(&small()).await.unwrap();
    let mail = json!({ "subscriber": "mail", "ack": "manual" });
    let (mut wire, first) = connect(&cluster, 0, &mail).await;
    assert_eq!(first.text("/resume/reason"), Some("unknown"), "{first:?}");
    let joined = wire.ask("join", &[json!("lobby")], SOON).await.unwrap();
    assert_eq!(joined["ok"], json!(true), "{joined}");
    publish(&cluster, 1, 1..=4).await;
    let offsets = read(&mut wire, 1..=4).await;
    let answer = wire.ask("ack", &[json!(offsets[1])], SOON).await.unwrap();
    assert_eq!(answer["ok"], json!(true), "{answer}");
    drop(wire);

    // Forty events in its room and forty in another, in batches, over thrice the retention.
    for batch in 0..4 {
        publish(&cluster, 1, 5 + 10 * batch..=14 + 10 * batch).await;
        sleep(LONG_AWAY / 4).await;
    }
    sleep(LONG_AWAY).await;
    cluster.nodes[0].kill9().unwrap();

    // At least once, from what it has acknowledged.
    let (mut wire, again) = connect(&cluster, 2, &mail).await;
    assert_eq!(again.data["resume"]["ok"], json!(true), "{again:?}");
    assert_eq!(again.text("/resume/from"), Some(offsets[1].as_str()));
    assert_eq!(again.text("/sid"), first.text("/sid"));
    let offsets = [offsets[..2].to_vec(), read(&mut wire, 3..=44).await].concat();
    // The gateway that it is on now dies as well: a majority comes back first.
    cluster.restart(0).await.unwrap();
    cluster.nodes[2].kill9().unwrap();
    // Exactly, from where it says.
    let from = json!({ "subscriber": "mail", "ack": "manual", "offset": offsets[29] });
    let (mut wire, exact) = connect(&cluster, 1, &from).await;
    assert_eq!(exact.text("/resume/from"), Some(offsets[29].as_str()));
    assert_eq!(exact.text("/sid"), first.text("/sid"));
    read(&mut wire, 31..=44).await;
    // Live again, its room too.
    publish(&cluster, 0, 45..=45).await;
    let last = read(&mut wire, 45..=45).await;

    // What it acknowledges goes, everywhere.
    wait_spared(&cluster, 0, |spared| spared >= 30.0).await;
    let answer = wire.ask("ack", &[json!(last[0])], SOON).await.unwrap();
    assert_eq!(answer["ok"], json!(true), "{answer}");
    wait_spared(&cluster, 1, |spared| spared == 0.0).await;
    assert_eq!(sum(&cluster, 1, "roomcast_subscribers").await, 1.0);
}

#[tokio::test]
async fn a_subscriber_past_a_limit_is_told_so_by_any_node() {
    let spec = small()
        .flag("--subscriber-events", "10")
        .flag("--subscriber-window", "4s");
    let cluster = Cluster::start(&spec).await.unwrap();
    for (name, count) in [("many", 30), ("old", 1)] {
        let auth = json!({ "subscriber": name });
        let (mut wire, first) = connect(&cluster, 0, &auth).await;
        wire.ask("join", &[json!("lobby")], SOON).await.unwrap();
        drop(wire);
        publish(&cluster, 1, 1..=count).await;
        if count == 1 {
            sleep(LONG_AWAY).await;
        }
        let (_wire, anew) = connect(&cluster, 2, &auth).await;
        assert_eq!(
            anew.text("/resume/reason"),
            Some("limit"),
            "{name}: {anew:?}"
        );
        assert_eq!(anew.data["resume"]["ok"], json!(false));
        assert_ne!(anew.text("/sid"), first.text("/sid"));
    }
    let text = cluster.metrics(1).await;
    let ended = |limit| metric(&text, "roomcast_subscribers_ended_total", &[limit]);
    assert_eq!(ended("\"events\""), 1.0);
    assert!(
        ended("\"window\"") >= 1.0,
        "the one that began anew is away again"
    );
}

/// A stock client under a name, and the numbers that it heard.
async fn stock(cluster: &Cluster, node: usize) -> (Arc<StockDriver>, Client, Arc<Mutex<Vec<u64>>>) {
    let driver = StockDriver::start().unwrap();
    let heard = Arc::<Mutex<Vec<u64>>>::default();
    let numbers = Arc::clone(&heard);
    let tap = move |signal: &Signal| {
        if let Signal::Event(event) = signal {
            numbers.lock().push(event.args[0].as_u64().unwrap());
        }
    };
    let mut spec = StockSpec::new(cluster.addrs[node].client);
    spec.auth.insert("subscriber".to_owned(), json!("stock"));
    let client = Client::Stock(driver.open(spec, Arc::new(tap)).await);
    client.wait_for("connected", SOON, |s| s.connected).await;
    (driver, client, heard)
}

#[tokio::test]
async fn a_stock_client_in_a_new_process_goes_on_under_its_name() {
    let cluster = Cluster::start(&small()).await.unwrap();
    let (driver, client, heard) = stock(&cluster, 0).await;
    client.join("lobby", SOON).await.unwrap();
    publish(&cluster, 1, 1..=3).await;
    // The PONG behind them has moved its cursor.
    let deadline = Instant::now() + SOON;
    while heard.lock().len() < 3 {
        assert!(Instant::now() < deadline, "{:?}", heard.lock());
        sleep(Duration::from_millis(20)).await;
    }
    sleep(LONG_AWAY).await;
    drop((client, driver));
    publish(&cluster, 1, 4..=20).await;
    sleep(LONG_AWAY).await;
    publish(&cluster, 0, 21..=30).await;

    let (_driver, client, heard) = stock(&cluster, 2).await;
    let deadline = Instant::now() + SOON;
    while heard.lock().last() != Some(&30) {
        assert!(Instant::now() < deadline, "{:?}", heard.lock());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*heard.lock(), (4..=30).collect::<Vec<_>>());
    // Within its process it comes back by itself, by pid and offset, and hears nothing twice.
    client.cut().await;
    client
        .wait_for("recovered", SOON, |state| state.recovered == 1)
        .await;
    publish(&cluster, 0, 31..=31).await;
    let deadline = Instant::now() + SOON;
    while heard.lock().last() != Some(&31) {
        assert!(Instant::now() < deadline, "{:?}", heard.lock());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*heard.lock(), (4..=31).collect::<Vec<_>>());
}
