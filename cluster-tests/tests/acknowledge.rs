//! Events go early once every client has them for sure, by its PONGs or by its own word; what a
//! client may still need stays, and a resume is exact before and after.

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
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::wire::Wire;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(6);
/// The minimum, the next look of all namespaces and the next look of the metric, and as much again.
const DROPPED_WITHIN: Duration = Duration::from_secs(25);
/// A look at the namespaces and one of the metric must have passed.
const LOOKED_AFTER: Duration = Duration::from_secs(12);

/// A client in room `lobby`, and the numbers that it received there.
struct Member {
    client: Client,
    got: Arc<Mutex<Vec<u64>>>,
}

impl Member {
    async fn join(cluster: &Cluster, node: usize) -> Self {
        let got = Arc::<Mutex<Vec<u64>>>::default();
        let heard = Arc::clone(&got);
        let tap = move |signal: &Signal| {
            if let Signal::Event(event) = signal {
                heard.lock().push(event.args[0].as_u64().unwrap());
            }
        };
        let spec = RawSpec::new(cluster.clients_from(node));
        let client = Client::Raw(RawClient::start(spec, Arc::new(tap)));
        client.wait_for("connected", SOON, |s| s.connected).await;
        client.join("lobby", SOON).await.unwrap();
        Self { client, got }
    }

    async fn publish(&self, number: u64) {
        let args = vec![json!("lobby"), json!("said"), json!(number)];
        self.client.ask("publish", args, SOON).await.unwrap();
    }

    async fn has(&self, last: u64) {
        let deadline = Instant::now() + SOON;
        while self.got.lock().last() != Some(&last) {
            assert!(Instant::now() < deadline, "{:?}", self.got.lock());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sums of a metric, node by node.
async fn sums(cluster: &Cluster, name: &str) -> Vec<f64> {
    let mut sums = Vec::new();
    for node in 0..cluster.nodes.len() {
        sums.push(metric(&cluster.metrics(node).await, name, &[]));
    }
    sums
}

async fn kept(cluster: &Cluster) -> Vec<f64> {
    sums(cluster, "roomcast_events_kept").await
}

async fn nothing_is_kept(cluster: &Cluster) {
    let deadline = Instant::now() + DROPPED_WITHIN;
    loop {
        let kept = kept(cluster).await;
        if kept.iter().all(|count| *count == 0.0) {
            return;
        }
        assert!(Instant::now() < deadline, "kept: {kept:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A connection in room `lobby`, with its pid.
async fn connect(cluster: &Cluster, node: usize) -> (Wire, String) {
    let mut wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
    let answer = wire.connect_namespace("/", &json!({})).await.unwrap();
    let pid = answer.text("/pid").unwrap().to_owned();
    let joined = wire.ask("join", &[json!("lobby")], SOON).await.unwrap();
    assert_eq!(joined["ok"], json!(true), "{joined}");
    (wire, pid)
}

#[tokio::test]
async fn what_pongs_prove_is_dropped_early_and_resumes_stay_exact() {
    let spec = ClusterSpec::new(3)
        .flag("--ping-interval-ms", "300")
        .flag("--retention-min", "1s");
    let cluster = Cluster::start(&spec).await.unwrap();
    let mut members = Vec::new();
    for node in 0..3 {
        members.push(Member::join(&cluster, node).await);
    }
    for number in 1..=20 {
        members[number as usize % 3].publish(number).await;
    }
    for member in &members {
        member.has(20).await;
    }
    nothing_is_kept(&cluster).await;

    // Nothing moves any more, so nothing is written.
    sleep(SOON).await;
    let said = sums(&cluster, "roomcast_acknowledge_reports_total").await;
    assert!(said.iter().all(|count| *count > 0.0), "{said:?}");
    sleep(Duration::from_secs(3)).await;
    let again = sums(&cluster, "roomcast_acknowledge_reports_total").await;
    assert_eq!(said, again);

    // Who is away is owed what follows, however often the others have acknowledged it.
    let (mut wire, pid) = connect(&cluster, 1).await;
    members[0].publish(21).await;
    let offset = loop {
        let packet = wire.packet(SOON).await.unwrap();
        if packet.kind == '2' {
            break packet.data[2].as_str().unwrap().to_owned();
        }
    };
    drop(wire);
    for number in 22..=25 {
        members[0].publish(number).await;
    }
    sleep(LOOKED_AFTER).await;
    let kept = kept(&cluster).await;
    assert!(
        kept.iter().all(|count| (4.0..=5.0).contains(count)),
        "{kept:?}"
    );
    let lag = sums(&cluster, "roomcast_acknowledge_lag_seconds").await;
    assert!(lag.iter().all(|seconds| *seconds > 1.0), "{lag:?}");

    let mut wire = Wire::connect(cluster.addrs[2].client, "").await.unwrap();
    let auth = json!({ "pid": pid, "offset": offset });
    let answer = wire.connect_namespace("/", &auth).await.unwrap();
    assert_eq!(answer.data["resume"]["ok"], json!(true), "{answer:?}");
    for number in 22..=25 {
        let packet = wire.packet(SOON).await.unwrap();
        assert_eq!(packet.data[1], json!(number), "{packet:?}");
    }
    let reading = tokio::spawn(async move { while wire.packet(DROPPED_WITHIN).await.is_ok() {} });
    nothing_is_kept(&cluster).await;
    reading.abort();

    // A resume after all that goes on where it was, and hears every number once.
    members[1].client.cut().await;
    let recovered = |state: &roomcast_cluster_tests::client::State| state.recovered == 1;
    members[1]
        .client
        .wait_for("recovered", SOON, recovered)
        .await;
    members[2].publish(26).await;
    for member in &members {
        member.has(26).await;
        assert_eq!(*member.got.lock(), (1..=26).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_every_client_says_that_it_has_is_dropped_before_any_ping() {
    let spec = ClusterSpec::new(3).flag("--retention-min", "1s");
    let cluster = Cluster::start(&spec).await.unwrap();
    let (mut ann, _) = connect(&cluster, 0).await;
    let (mut bob, _) = connect(&cluster, 1).await;
    let mut last = Value::Null;
    for number in 0..3 {
        let args = [json!("lobby"), json!("said"), json!(number)];
        last = ann.ask("publish", &args, SOON).await.unwrap()["offset"].clone();
    }
    let answer = ann
        .ask("ack", std::slice::from_ref(&last), SOON)
        .await
        .unwrap();
    assert_eq!(answer["ok"], json!(true), "{answer}");
    sleep(LOOKED_AFTER).await;
    assert_eq!(kept(&cluster).await, [3.0; 3], "bob has not said so");
    let answer = bob.ask("ack", &[last], SOON).await.unwrap();
    assert_eq!(answer["ok"], json!(true), "{answer}");
    nothing_is_kept(&cluster).await;
    // A later offset than there is says nothing.
    let later = json!("zzzzzzzzzz.zzzz.0");
    let answer = bob.ask("ack", &[later], SOON).await.unwrap();
    assert_eq!(answer["error"]["code"], json!("invalid"), "{answer}");
}
