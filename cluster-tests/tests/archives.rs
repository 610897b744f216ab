//! What is kept long of batches that hold much else is read from archives: exactly, by who was away
//! all the time too, and after a crash.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::session::Session;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(120);
const ROOM: &str = "r";
/// Bytes of what is not kept; files of the log are to fill.
const OTHER_BYTES: usize = 100_000;
const OTHERS: usize = 8;

async fn value(cluster: &Cluster, name: &str) -> f64 {
    metric(&cluster.metrics(0).await, name, &[])
}

fn numbers<'a>(events: impl IntoIterator<Item = &'a Value>, at: &str) -> Vec<u64> {
    let number = |event: &Value| event.pointer(at).and_then(Value::as_u64).unwrap();
    events.into_iter().map(number).collect()
}

async fn history(session: &mut Session) -> Vec<u64> {
    let (mut found, mut options) = (Vec::new(), json!({}));
    loop {
        let page = session.ask("history", &[json!(ROOM), options]).await;
        let page = page.unwrap();
        let ok = page["ok"] == json!(true) && page["complete"] == json!(true);
        assert!(ok, "{page}");
        found.extend(numbers(page["events"].as_array().unwrap(), "/args/0"));
        if page["more"] != json!(true) {
            return found;
        }
        options = json!({ "after": page["offset"] });
    }
}

/// Publishes much that is kept for a second, until told to stop.
async fn fill(client: Client, stopped: Arc<AtomicBool>) {
    client
        .wait_for("connected", SOON, |state| state.connected)
        .await;
    let body = json!("x".repeat(OTHER_BYTES));
    while !stopped.load(Ordering::Relaxed) {
        let args = vec![json!(ROOM), json!("m"), body.clone()];
        client.ask("publish", args, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_kept_of_mixed_batches_is_read_exactly_from_archives() {
    let spec = ClusterSpec::new(1)
        .flag("--groups", "1")
        .flag("--snapshot-every-entries", "100")
        .flag("--retention-by-namespace", "/=1d/1d,/other=1s/1s");
    let mut cluster = Cluster::start(&spec).await.unwrap();
    let mail = json!({ "subscriber": "mail", "ack": "manual" });
    let mut away = Session::open(cluster.addrs[0].client, "", &mail)
        .await
        .unwrap();
    away.join(ROOM).await.unwrap();
    drop(away);

    let stopped = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for _ in 0..OTHERS {
        let spec = RawSpec {
            endpoints: cluster.clients(),
            namespace: "/other".to_owned(),
            auth: Map::new(),
        };
        let client = Client::Raw(RawClient::start(spec, Arc::new(|_| ())));
        others.spawn(fill(client, Arc::clone(&stopped)));
    }
    let mut speaker = Session::open(cluster.addrs[0].client, "", &json!({}))
        .await
        .unwrap();
    let deadline = Instant::now() + LATER;
    let mut count = 0;
    while value(&cluster, "roomcast_log_copied_bytes_total").await == 0.0 {
        assert!(
            Instant::now() < deadline,
            "nothing was copied to an archive"
        );
        for _ in 0..20 {
            let args = [json!(count)];
            speaker.publish(json!(ROOM), "e", &args).await.unwrap();
            count += 1;
        }
    }
    stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }
    let copied = value(&cluster, "roomcast_log_copied_bytes_total").await;
    let gone = value(&cluster, "roomcast_log_reclaimed_bytes_total").await;
    println!("{count} events kept, {copied} bytes in archives of {gone} that are gone");
    // What stands beside them in their batches was not copied.
    assert!(copied * 10.0 < gone, "{copied} of {gone}");

    let all: Vec<u64> = (0..count).collect();
    for _ in 0..2 {
        let mut reader = Session::open(cluster.addrs[0].client, "", &json!({}))
            .await
            .unwrap();
        assert_eq!(history(&mut reader).await, all);
        let mut back = Session::open(cluster.addrs[0].client, "", &mail)
            .await
            .unwrap();
        assert_eq!(back.connected.data["resume"]["ok"], json!(true));
        back.wait_events(all.len(), LATER).await.unwrap();
        assert_eq!(
            numbers(&back.events, "/1"),
            all,
            "it has acknowledged nothing"
        );
        cluster.nodes[0].kill9().unwrap();
        cluster.restart(0).await.unwrap();
    }
}
