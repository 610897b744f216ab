//! What the log takes on the disk for what it retains, with one namespace that is kept long and one
//! that is kept for seconds in the same batches; and what reading the long one costs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::load::socket::LeanSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Meter, REST, Settings, Table};

/// The namespaces, and the flag that says how long their events are kept.
const RETENTION: &str = "/audit=7d/7d,/chat=10s/1s";
/// One event in so many goes to the namespace that is kept long.
const SHARE: u64 = 25;
/// Bytes of each.
const EVENT_BYTES: usize = 4 * 1024;
/// Connections, each with one outstanding.
const PUBLISHERS: u64 = 64;
/// How often disk and what is retained are compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before the first comparison: an empty log has a file too.
const FILLING: Duration = Duration::from_secs(20);
/// Until a node that nobody writes to has given back what it can.
const RESTING: Duration = Duration::from_secs(150);
/// Events of one page of a history.
const PAGE: u64 = 100;

/// Files of the log, and what is retained, in MB.
async fn sizes(cluster: &Cluster) -> (f64, f64) {
    let text = cluster.metrics(0).await;
    let sum = |name| metric(&text, name, &[]) / 1e6;
    (
        sum("roomcast_log_disk_bytes"),
        sum("roomcast_events_kept_bytes"),
    )
}

/// Publishes to one namespace or the other, until told to stop.
async fn publish(mut socket: LeanSocket, number: u64, stopped: Arc<AtomicBool>) -> io::Result<()> {
    for namespace in ["/audit", "/chat"] {
        socket.enter(namespace).await?;
    }
    let body = "x".repeat(EVENT_BYTES);
    for event in number.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let namespace = if event % SHARE == 0 {
            "/audit"
        } else {
            "/chat"
        };
        let text = format!("42{namespace},{event}[\"publish\",\"r\",\"m\",\"{body}\"]");
        socket.send(text.as_bytes()).await?;
        let answer = format!("43{namespace},{event}[{{\"ok\":true");
        let mut answered = false;
        while !answered {
            let heed = |message: &[u8]| answered |= message.starts_with(answer.as_bytes());
            socket.read(heed).await?;
        }
    }
    Ok(())
}

/// Reads all that is kept of the room of `/audit`, page by page; how many events.
async fn read_all(cluster: &Cluster) -> io::Result<u64> {
    let mut socket = LeanSocket::connect(cluster.addrs[0].client).await?;
    socket.enter("/audit").await?;
    let (mut count, mut after, mut more) = (0, String::new(), true);
    while more {
        let from = match after.as_str() {
            "" => String::new(),
            after => format!("\"after\":\"{after}\","),
        };
        let question = format!("42/audit,1[\"history\",\"r\",{{{from}\"limit\":{PAGE}}}]");
        socket.send(question.as_bytes()).await?;
        let mut page = None;
        while page.is_none() {
            let heed = |message: &[u8]| {
                if let Some(json) = message.strip_prefix(b"43/audit,1") {
                    page = serde_json::from_slice::<serde_json::Value>(json).ok();
                }
            };
            socket.read(heed).await?;
        }
        let page = &page.unwrap_or_default()[0];
        count += page["events"].as_array().map_or(0, Vec::len) as u64;
        more = page["more"] == true;
        if page["ok"] != true {
            return Err(io::Error::other(page.to_string()));
        }
        after = page["offset"].as_str().unwrap_or_default().to_owned();
    }
    Ok(count)
}

/// See the module's text.
pub(crate) async fn kept(settings: &Settings, table: &mut Table) -> io::Result<()> {
    let spec = ClusterSpec::new(1)
        .flag("--groups", "1")
        .flag("--retention-by-namespace", RETENTION)
        .flag("--retention-bytes", "64GiB");
    let cluster = Cluster::start(&spec).await?;
    let stopped = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        let socket = LeanSocket::connect(cluster.addrs[0].client).await?;
        publishers.spawn(publish(socket, number, Arc::clone(&stopped)));
    }
    sleep(FILLING).await;
    let mut worst = (0.0, 0.0, 0.0);
    let mut looks = Vec::new();
    let started = Instant::now();
    while started.elapsed() < settings.period {
        sleep(LOOK_EVERY).await;
        let (disk, kept) = sizes(&cluster).await;
        looks.push(disk / kept);
        if disk / kept > worst.0 {
            worst = (disk / kept, disk, kept);
        }
    }
    stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = publishers.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    looks.sort_by(f64::total_cmp);
    let row = |what: &str| format!("one event in {SHARE} kept, {what}");
    table.add(&row("writing: worst disk / retained"), 1, worst.0);
    table.add(&row("writing: median"), 1, looks[looks.len() / 2]);
    table.add(&row("writing: MB of disk at worst"), 1, worst.1);
    table.add(&row("writing: MB retained at worst"), 1, worst.2);
    let resting = Instant::now();
    while resting.elapsed() < RESTING {
        sleep(REST).await;
        let (disk, kept) = sizes(&cluster).await;
        println!("  {:?}: {disk:.0} MB for {kept:.0}", resting.elapsed());
    }
    let (disk, kept) = sizes(&cluster).await;
    table.add(&row("at rest: disk / retained"), 1, disk / kept);
    table.add(&row("at rest: MB of disk"), 1, disk);
    table.add(&row("at rest: MB retained"), 1, kept);
    let (meter, started) = (Meter::start(&cluster), Instant::now());
    let events = read_all(&cluster).await? as f64;
    let seconds = started.elapsed().as_secs_f64();
    let known = metric(&cluster.metrics(0).await, "roomcast_events_kept", &[]);
    table.add(&row("history: events missing"), 1, known - events);
    table.add(&row("history: events/s"), 1, events / seconds);
    table.add(
        &row("history: server CPU µs per event"),
        1,
        meter.server() * 1e6 / events,
    );
    Ok(())
}
