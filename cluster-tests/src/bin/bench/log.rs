//! The log: durable publishes beside NATS JetStream, and a restart over a long log.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::load::nats::{self, Nats, NatsClient, Sync};
use roomcast_cluster_tests::load::publishers::{Publisher, Rate, measure};
use roomcast_cluster_tests::load::socket::LeanSocket;
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::stage::group_of;

use crate::{Meter, Settings, Table, WARM_UP};

/// The log that a restart reads.
const LOG_BYTES: u64 = 1 << 30;
/// Bytes of the events that it is filled with.
const LARGE_BYTES: usize = 64 * 1024;

/// Durable publishes a second by many publishers that each wait for their acknowledgement, ours
/// and JetStream's with three replicas: with a sync before each acknowledgement, and without.
pub(crate) async fn publishers(settings: &Settings, table: &mut Table) -> io::Result<()> {
    for count in [1, 64, 1_024] {
        let cluster = Cluster::start(&ClusterSpec::new(3)).await?;
        let client = RawClient::start(RawSpec::new(cluster.clients()), Arc::new(|_| ()));
        let leader = group_of(&cluster, &Client::Raw(client)).await?;
        let leader = cluster.leader(leader).await?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let addr = cluster.addrs[(leader + number) % 3].client;
            connections.push(Publisher::new(LeanSocket::connect(addr).await?));
        }
        let meter = Meter::start(&cluster);
        let rate = measure(connections, WARM_UP, settings.period).await?;
        add_rate(table, "Roomcast", count, rate, meter.foreign());
        drop(cluster);
        let Some(binary) = nats::binary() else {
            println!("  NATS_SERVER names no program: no peer");
            continue;
        };
        for (sync, name) in [
            (Sync::Always, "JetStream R3, sync always"),
            (Sync::Default, "JetStream R3, sync by default"),
        ] {
            let nats = Nats::start(&binary, sync).await?;
            let leader = nats.leader().await?;
            let mut connections = Vec::with_capacity(count);
            for number in 0..count {
                let addr = nats.clients[(leader + number) % nats.clients.len()];
                connections.push(NatsClient::connect(addr).await?);
            }
            let meter = Meter::of(nats.pids());
            let rate = measure(connections, WARM_UP, settings.period).await?;
            add_rate(table, name, count, rate, meter.foreign());
        }
    }
    Ok(())
}

/// How long a node with a long log takes from `kill -9` to being ready, and what the log takes.
pub(crate) async fn restart(settings: &Settings, table: &mut Table) -> io::Result<()> {
    let spec = ClusterSpec::new(1).flag("--retention-bytes", &(4 * LOG_BYTES).to_string());
    let mut cluster = Cluster::start(&spec).await?;
    let written = "roomcast_log_written_bytes_total";
    let started = Instant::now();
    while metric(&cluster.metrics(0).await, written, &[]) < LOG_BYTES as f64 {
        let mut connections = Vec::new();
        for _ in 0..16 {
            let socket = LeanSocket::connect(cluster.addrs[0].client).await?;
            connections.push(Publisher::with_bytes(socket, LARGE_BYTES));
        }
        measure(connections, Duration::ZERO, settings.period).await?;
    }
    let rate = LOG_BYTES as f64 / started.elapsed().as_secs_f64() / 1e6;
    table.add("MB/s of large events written", 1, rate);
    cluster.nodes[0].kill9()?;
    let killed = Instant::now();
    cluster.restart(0).await?;
    let seconds = killed.elapsed().as_secs_f64();
    table.add("s from kill -9 to ready, 1 GiB of log", 1, seconds);
    Ok(())
}

fn add_rate(table: &mut Table, who: &str, count: usize, rate: Rate, foreign: f64) {
    let row = |what: &str| format!("{who}, {count} publisher(s): {what}");
    table.add(&row("acknowledged/s"), 3, rate.per_second);
    table.add(&row("p50 ms"), 3, rate.p50_ms);
    table.add(&row("p99 ms"), 3, rate.p99_ms);
    table.add(&row("foreign cores"), 3, foreign);
}
