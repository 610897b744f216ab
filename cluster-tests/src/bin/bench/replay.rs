//! What a resume costs: by what was missed, or by what was published? And what memory the log and
//! the state take for what they keep.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::load::publishers::{Publisher, publish_each};
use roomcast_cluster_tests::load::socket::LeanSocket;
use serde_json::Value;
use tokio::time::timeout;

use crate::{Meter, REST, Table};

/// Events published while the sockets are away.
const EVENTS: u64 = 512_000;
/// Publishers, each with one outstanding.
const PUBLISHERS: u64 = 256;
/// Sockets that resume, one after the other, for each figure.
const RESUMES: u64 = 20;
/// Longest wait for one replay.
const LIMIT: Duration = Duration::from_secs(60);

/// A socket that has gone, with what it comes back with.
struct Away {
    auth: String,
    expected: u64,
}

/// Connects, joins and goes without a word.
async fn leave(addr: SocketAddr, room: &str, expected: u64) -> io::Result<Away> {
    let (mut socket, answer) = LeanSocket::connect_with(addr, "{}").await?;
    let answer: Value = serde_json::from_str(&answer)?;
    let pid = answer["pid"].as_str().unwrap_or_default().to_owned();
    socket.join(room).await?;
    Ok(Away {
        auth: format!("{{\"pid\":\"{pid}\"}}"),
        expected,
    })
}

impl Away {
    /// Comes back and reads all it missed; how many there were.
    async fn resume(&self, addr: SocketAddr) -> io::Result<u64> {
        let (mut socket, _) = LeanSocket::connect_with(addr, &self.auth).await?;
        let mut events = 0;
        while events < self.expected {
            let mut heed = |message: &[u8]| events += u64::from(message.starts_with(b"42[\"m\""));
            socket.read(&mut heed).await?;
        }
        Ok(events)
    }
}

/// Rooms that get one event in so many.
pub(crate) async fn replay(table: &mut Table) -> io::Result<()> {
    let spec = ClusterSpec::new(1)
        .flag("--retention-min", "10m")
        .flag("--resume-window", "10m");
    for share in [10, 1_000, 10_000] {
        let cluster = Cluster::start(&spec).await?;
        let addr = cluster.addrs[0].client;
        let mut away = Vec::new();
        for room in 0..RESUMES {
            let expected = EVENTS / share + u64::from(room % share < EVENTS % share);
            away.push(leave(addr, &format!("r{}", room % share), expected).await?);
        }
        let mut publishers = Vec::new();
        for number in 0..PUBLISHERS {
            let socket = LeanSocket::connect(addr).await?;
            publishers.push(Publisher::new(socket).over_rooms(share, number, PUBLISHERS));
        }
        tokio::time::sleep(REST).await;
        let before = Meter::start(&cluster).resident();
        publish_each(publishers, EVENTS / PUBLISHERS).await?;
        tokio::time::sleep(REST).await;
        let meter = Meter::start(&cluster);
        let row = |what: &str| format!("replay of one event in {share}: {what}");
        if share == 1_000 {
            memory(table, &cluster, meter.resident().saturating_sub(before)).await;
        }
        let started = Instant::now();
        let mut events = 0;
        for away in &away {
            let resumed = timeout(LIMIT, away.resume(addr)).await;
            events += resumed.map_err(io::Error::other)??;
        }
        let seconds = started.elapsed().as_secs_f64();
        let (cpu, foreign) = (meter.server(), meter.foreign());
        table.add(&row("missed each"), 1, events as f64 / RESUMES as f64);
        table.add(&row("ms each"), 1, seconds * 1e3 / RESUMES as f64);
        table.add(&row("events/s"), 1, events as f64 / seconds);
        table.add(
            &row("server CPU µs per event"),
            1,
            cpu * 1e6 / events as f64,
        );
        table.add(&row("foreign cores"), 1, foreign);
    }
    Ok(())
}

/// What is kept of a million small events.
async fn memory(table: &mut Table, cluster: &Cluster, grown: u64) {
    let millions = EVENTS as f64 / 1e6;
    let text = cluster.metrics(0).await;
    let log = metric(&text, "roomcast_log_memory_bytes", &[]);
    table.add(
        "MB of index and cache per M events",
        1,
        log / 1e6 / millions,
    );
    table.add("MB of RSS per M events", 1, grown as f64 / 1e6 / millions);
}
