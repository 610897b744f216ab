//! `make bench`: the first figures, for one node and for three, as a table in Markdown. Server CPU
//! is user and system time of the node processes; the machine is shared: foreign load is shown.
//!
//! Environment: `RUNS` (3), `PERIOD_S` (10) per measurement, `SOCKETS` (1000) in the room,
//! `CONNECTS` (5000) idle connections, `ONLY` (some of
//! `publishers,doors,restart,replay,kept,idle,fan_out,upgrade,durable,slow`), `NATS_SERVER` (the
//! peer's program), `ROOMCAST_BIN`. Data goes to `TMPDIR`: a real disk, please.

mod doors;
mod kept;
mod log;
mod replay;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roomcast_cluster_tests::client::Client;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::load::procfs::{busy_time, cpu_times, resident_bytes};
use roomcast_cluster_tests::load::room::{ROOM, Tally, Way, connect, listen, sip};
use roomcast_cluster_tests::load::socket::LeanSocket;
use roomcast_cluster_tests::load::speaker::{Pace, Speaker};
use roomcast_cluster_tests::process::NodeProcess;
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::stage::group_of;
use tokio::time::sleep;

/// Of them at once at saturation.
const IN_FLIGHT: usize = 8;
const PACED_PER_SECOND: u32 = 60;
/// Events beside slow sockets: they are to fill outboxes within the warm-up.
const BESIDE_SLOW_PER_SECOND: u32 = 30;
const BESIDE_SLOW_BYTES: usize = 8 * 1024;
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
            Way::WebSocket | Way::Narrow => "",
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

/// Deliveries to one room, alone and then beside as many sockets that read one byte a second.
async fn slow(settings: &Settings, cluster: &Cluster, table: &mut Table) -> io::Result<()> {
    let (nodes, count) = (cluster.nodes.len(), settings.sockets);
    let sockets = connect(&cluster.clients(), Way::WebSocket, count, ROOM).await?;
    let tally = Tally::new(count, 0);
    let listeners = listen(sockets, &tally);
    let socket = LeanSocket::connect(cluster.addrs[0].client).await?;
    let mut speaker = Speaker::new(socket).with_body(BESIDE_SLOW_BYTES);
    let pace = Pace::PerSecond(BESIDE_SLOW_PER_SECOND);
    let mut sipping = None;
    for beside in [0, count] {
        if beside > 0 {
            let sockets = connect(&cluster.clients(), Way::Narrow, beside, ROOM).await?;
            sipping = Some(sip(sockets, &tally));
        }
        let row = |what: &str| format!("{count} sockets beside {beside} slow: {what}");
        speaker.speak(pace, &tally, WARM_UP).await?;
        let meter = Meter::start(cluster);
        table.add(&row("RSS MB before"), nodes, meter.resident() as f64 / 1e6);
        let before = tally.deliveries.load(Ordering::Relaxed);
        tally.sampling.store(true, Ordering::Relaxed);
        let spoken = speaker.speak(pace, &tally, settings.period).await?;
        let (cpu, foreign) = (meter.server(), meter.foreign());
        sleep(Duration::from_millis(500)).await;
        tally.sampling.store(false, Ordering::Relaxed);
        let deliveries = tally.deliveries.load(Ordering::Relaxed) - before;
        let missing = (spoken.acked * count as u64).saturating_sub(deliveries);
        let ages = tally.take_ages_us();
        let age = |share: usize| {
            ages.get(ages.len() * share / 100)
                .map_or(0.0, |us| f64::from(*us) / 1e3)
        };
        table.add(&row("RSS MB after"), nodes, meter.resident() as f64 / 1e6);
        let cores = cpu / spoken.elapsed.as_secs_f64();
        table.add(&row("server cores"), nodes, cores);
        table.add(&row("foreign cores"), nodes, foreign);
        table.add(&row("p50 ms"), nodes, age(50));
        table.add(&row("p99 ms"), nodes, age(99));
        table.add(&row("deliveries missing"), nodes, missing as f64);
        let text = cluster.metrics(0).await;
        let catching_up = metric(&text, "roomcast_catching_up_sockets", &[]);
        table.add(&row("catching up"), nodes, catching_up);
        let faults = tally.faults.load(Ordering::Relaxed);
        table.add(&row("lost or out of order"), nodes, faults as f64);
    }
    drop((listeners, sipping));
    Ok(())
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
            log::publishers(settings, table).await?;
        }
        if settings.measures("doors") {
            doors::doors(settings, table).await?;
        }
        if settings.measures("restart") {
            log::restart(settings, table).await?;
        }
        if settings.measures("replay") {
            replay::replay(table).await?;
        }
        if settings.measures("kept") {
            kept::kept(settings, table).await?;
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
            if settings.measures("slow") && nodes == 1 {
                slow(settings, &Cluster::start(&spec).await?, table).await?;
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
