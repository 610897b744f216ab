//! `make bench`: the first figures, for one node and for three, as a table in Markdown. Server CPU
//! is user and system time of the node processes; the machine is shared: foreign load is shown.
//!
//! Environment: `RUNS` (3), `PERIOD_S` (10) per measurement, `SOCKETS` (1000) in the room,
//! `CONNECTS` (5000) idle connections, `ONLY` (some of
//! `publishers,restart,idle,fan_out,upgrade,durable`), `NATS_SERVER` (the peer's program),
//! `ROOMCAST_BIN`. Data goes to `TMPDIR`: a real disk, please.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::load::nats::{self, Nats, NatsClient, Sync};
use roomcast_cluster_tests::load::procfs::{busy_time, cpu_times, resident_bytes};
use roomcast_cluster_tests::load::publishers::{Publisher, Rate, measure};
use roomcast_cluster_tests::load::room::{ROOM, Tally, Way, connect, listen};
use roomcast_cluster_tests::load::socket::LeanSocket;
use roomcast_cluster_tests::load::speaker::{Pace, Speaker};
use roomcast_cluster_tests::process::NodeProcess;
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::stage::group_of;
use tokio::time::sleep;

/// The log that a restart reads.
const LOG_BYTES: u64 = 1 << 30;
/// Bytes of the events that it is filled with.
const LARGE_BYTES: usize = 64 * 1024;
/// Of them at once at saturation.
const IN_FLIGHT: usize = 8;
const PACED_PER_SECOND: u32 = 60;
/// Before each measurement.
const WARM_UP: Duration = Duration::from_secs(2);
/// Until allocators and logs have come to rest.
const REST: Duration = Duration::from_secs(3);

struct Settings {
    runs: usize,
    period: Duration,
    sockets: usize,
    connects: usize,
    only: Option<String>,
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str, default: usize| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(default)
        };
        Self {
            runs: number("RUNS", 3).max(1),
            period: Duration::from_secs(number("PERIOD_S", 10).max(1) as u64),
            sockets: number("SOCKETS", 1_000),
            connects: number("CONNECTS", 5_000),
            only: std::env::var("ONLY").ok(),
        }
    }

    fn measures(&self, part: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| only.split(',').any(|named| named == part))
    }
}

/// Values of all runs, by row and column.
#[derive(Default)]
struct Table {
    rows: Vec<String>,
    values: BTreeMap<(String, usize), Vec<f64>>,
}

impl Table {
    fn add(&mut self, row: &str, nodes: usize, value: f64) {
        if !self.rows.iter().any(|known| known == row) {
            self.rows.push(row.to_owned());
        }
        println!("  {nodes} node(s): {row}: {value:.2}");
        self.values
            .entry((row.to_owned(), nodes))
            .or_default()
            .push(value);
    }

    fn cell(&self, row: &str, nodes: usize) -> String {
        let Some(values) = self.values.get(&(row.to_owned(), nodes)) else {
            return "-".to_owned();
        };
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        let (median, least, most) = (
            values[values.len() / 2],
            values[0],
            values[values.len() - 1],
        );
        format!("{median:.2} ({least:.2}-{most:.2})")
    }

    fn print(&self) {
        println!("\n| measurement, median (range) | 1 node | 3 nodes |\n| --- | --- | --- |");
        for row in &self.rows {
            println!("| {row} | {} | {} |", self.cell(row, 1), self.cell(row, 3));
        }
    }
}

/// CPU of the nodes, of this program and of everybody, from a point in time on.
struct Meter {
    pids: Vec<u32>,
    started: Instant,
    nodes: Duration,
    own: Duration,
    all: Duration,
}

impl Meter {
    fn start(cluster: &Cluster) -> Self {
        Self::of(cluster.nodes.iter().filter_map(NodeProcess::pid).collect())
    }

    fn of(pids: Vec<u32>) -> Self {
        let (nodes, own) = (cpu_times(&pids), cpu_times(&[std::process::id()]));
        Self {
            pids,
            started: Instant::now(),
            nodes,
            own,
            all: busy_time(),
        }
    }

    /// Server CPU in seconds.
    fn server(&self) -> f64 {
        cpu_times(&self.pids)
            .saturating_sub(self.nodes)
            .as_secs_f64()
    }

    /// Cores that others used.
    fn foreign(&self) -> f64 {
        let own = cpu_times(&[std::process::id()])
            .saturating_sub(self.own)
            .as_secs_f64();
        let all = busy_time().saturating_sub(self.all).as_secs_f64();
        (all - own - self.server()).max(0.0) / self.started.elapsed().as_secs_f64()
    }

    fn resident(&self) -> u64 {
        self.pids.iter().map(|pid| resident_bytes(*pid)).sum()
    }
}

/// CPU per connect and memory per idle connection.
async fn idle(settings: &Settings, cluster: &Cluster, table: &mut Table) -> io::Result<()> {
    let nodes = cluster.nodes.len();
    let warm = connect(&cluster.clients(), Way::WebSocket, 200, "warm").await?;
    sleep(REST).await;
    let meter = Meter::start(cluster);
    let resident = meter.resident();
    let started = Instant::now();
    let sockets = connect(&cluster.clients(), Way::WebSocket, settings.connects, ROOM).await?;
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), meter.server());
    let count = settings.connects as f64;
    table.add(
        "connects/s (upgrade, CONNECT, join with ack)",
        nodes,
        count / elapsed,
    );
    table.add("server CPU µs per connect", nodes, cpu * 1e6 / count);
    table.add("foreign cores while connecting", nodes, meter.foreign());
    sleep(REST).await;
    let growth = meter.resident().saturating_sub(resident) as f64;
    table.add(
        "RSS KB per idle connection, all nodes",
        nodes,
        growth / 1024.0 / count,
    );
    drop((warm, sockets));
    Ok(())
}

/// Server CPU per delivery to one large room.
async fn fan_out(
    settings: &Settings,
    cluster: &Cluster,
    way: Way,
    table: &mut Table,
) -> io::Result<()> {
    let nodes = cluster.nodes.len();
    let sockets = connect(&cluster.clients(), way, settings.sockets, ROOM).await?;
    let tally = Tally::new(settings.sockets, IN_FLIGHT);
    let listeners = listen(sockets, &tally);
    let mut speaker = Speaker::new(LeanSocket::connect(cluster.addrs[0].client).await?);
    let paces = [
        (
            format!("{PACED_PER_SECOND} publishes/s"),
            Pace::PerSecond(PACED_PER_SECOND),
        ),
        (format!("{IN_FLIGHT} in flight"), Pace::Places),
    ];
    for (name, pace) in paces {
        speaker.speak(pace, &tally, WARM_UP).await?;
        let before = tally.deliveries.load(Ordering::Relaxed);
        tally.sampling.store(true, Ordering::Relaxed);
        let meter = Meter::start(cluster);
        let spoken = speaker.speak(pace, &tally, settings.period).await?;
        let (cpu, foreign) = (meter.server(), meter.foreign());
        tally.sampling.store(false, Ordering::Relaxed);
        let deliveries = (tally.deliveries.load(Ordering::Relaxed) - before) as f64;
        let ages = tally.take_ages_us();
        let age = |share: usize| {
            ages.get(ages.len() * share / 100)
                .map_or(0.0, |us| f64::from(*us) / 1e3)
        };
        let by = match way {
            Way::WebSocket => "",
            Way::Polling => " by polling and upgrade elsewhere",
        };
        let row = |what: &str| format!("{} sockets{by}, {name}: {what}", settings.sockets);
        table.add(
            &row("server CPU s per M deliveries"),
            nodes,
            cpu / deliveries * 1e6,
        );
        table.add(
            &row("k deliveries/s"),
            nodes,
            deliveries / spoken.elapsed.as_secs_f64() / 1e3,
        );
        table.add(&row("p50 ms"), nodes, age(50));
        table.add(&row("p99 ms"), nodes, age(99));
        table.add(&row("foreign cores"), nodes, foreign);
        sleep(Duration::from_millis(500)).await;
    }
    let faults = tally.faults.load(Ordering::Relaxed);
    table.add("sockets lost or out of order", nodes, faults as f64);
    if way == Way::Polling {
        for result in ["moved", "carried"] {
            let count = upgrades(cluster, result).await;
            table.add(&format!("upgrades elsewhere: {result}"), nodes, count);
        }
    }
    drop(listeners);
    Ok(())
}

/// Upgrades that landed on another node than their session, with this result, at all nodes.
async fn upgrades(cluster: &Cluster, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    let mut total = 0.0;
    for node in 0..cluster.nodes.len() {
        let text = cluster.metrics(node).await;
        total += metric(&text, "roomcast_forwarded_upgrades_total", &[&label]);
    }
    total
}

/// Durable publishes a second by many publishers that each wait for their acknowledgement, ours
/// and JetStream's with three replicas: with a sync before each acknowledgement, and without.
async fn publishers(settings: &Settings, table: &mut Table) -> io::Result<()> {
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
async fn restart(settings: &Settings, table: &mut Table) -> io::Result<()> {
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

/// Durable publishes a second through one WebSocket, at the leader and elsewhere.
async fn durable(settings: &Settings, cluster: &Cluster, table: &mut Table) -> io::Result<()> {
    let nodes = cluster.nodes.len();
    let client = Client::Raw(RawClient::start(
        RawSpec::new(cluster.clients()),
        Arc::new(|_| ()),
    ));
    let leader = cluster.leader(group_of(cluster, &client).await?).await?;
    let mut places = vec![(leader, "at the leader")];
    if nodes > 1 {
        places.push(((leader + 1) % nodes, "at a follower"));
    }
    for (node, place) in places {
        for outstanding in [1, 64] {
            let socket = LeanSocket::connect(cluster.addrs[node].client).await?;
            let mut speaker = Speaker::to_room(socket, "nobody");
            let tally = Tally::new(0, 0);
            let pace = Pace::Outstanding(outstanding);
            speaker.speak(pace, &tally, WARM_UP).await?;
            let meter = Meter::start(cluster);
            let spoken = speaker.speak(pace, &tally, settings.period).await?;
            let row = |what: &str| {
                format!("durable publishes {place}, {outstanding} outstanding: {what}")
            };
            let rate = spoken.acked as f64 / spoken.elapsed.as_secs_f64();
            table.add(&row("acknowledged/s"), nodes, rate);
            table.add(
                &row("server CPU µs each"),
                nodes,
                meter.server() * 1e6 / spoken.acked as f64,
            );
            if spoken.refused > 0 {
                table.add(&row("REFUSED"), nodes, spoken.refused as f64);
            }
        }
    }
    Ok(())
}

async fn run(settings: &Settings, table: &mut Table) -> io::Result<()> {
    for run in 1..=settings.runs {
        if settings.measures("publishers") {
            println!("run {run} of {}, publishers", settings.runs);
            publishers(settings, table).await?;
        }
        if settings.measures("restart") {
            restart(settings, table).await?;
        }
        for nodes in [1, 3] {
            println!("run {run} of {}, {nodes} node(s)", settings.runs);
            let spec = ClusterSpec::new(nodes);
            // A fresh cluster for each, so that none inherits memory or log from another.
            if settings.measures("idle") {
                idle(settings, &Cluster::start(&spec).await?, table).await?;
            }
            for (way, name) in [(Way::WebSocket, "fan_out"), (Way::Polling, "upgrade")] {
                if settings.measures(name) && (way == Way::WebSocket || nodes > 1) {
                    fan_out(settings, &Cluster::start(&spec).await?, way, table).await?;
                }
            }
            if settings.measures("durable") {
                durable(settings, &Cluster::start(&spec).await?, table).await?;
            }
        }
    }
    Ok(())
}

/// One thread, as one core is the server's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let settings = Settings::read();
    let mut table = Table::default();
    let ended = run(&settings, &mut table).await;
    table.print();
    ended
}
