//! Clients that stop reading, beside others that read: nobody is harmed, nothing is lost, and only
//! who is owed what was dropped is closed. (DESIGN, P11 and section 4, "Live and catching up".)

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use roomcast_cluster_tests::client::{Client, Signal};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::wire::{Frame, Packet, Wire};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(20);
/// Clients that stop reading, and as many that do not.
const SLOW: usize = 50;
/// Bytes of an event: the kernel keeps megabytes of what a client does not read.
const EVENT_BYTES: usize = 60_000;
/// Events until every slow client's outbox must be full.
const FILL_MAX: usize = 400;
/// Events of each phase after that: more than an outbox takes.
const PHASE: usize = 12;

/// One node with outboxes of a few events, whose clients need not answer PINGs for a while.
fn spec() -> ClusterSpec {
    ClusterSpec::new(1)
        .flag("--outbox-bytes-max", "128KiB")
        .flag("--ping-interval-ms", "60000")
}

/// What a client has received, in order: numbers of events, names of answers.
type Heard = Arc<Mutex<Vec<String>>>;

/// A client that reads, in both rooms.
async fn fast(cluster: &Cluster) -> (Client, Heard) {
    let heard = Heard::default();
    let ears = Arc::clone(&heard);
    let tap = Arc::new(move |signal: &Signal| {
        if let Signal::Event(event) = signal {
            ears.lock().push(event.args[0].to_string());
        }
    });
    let client = Client::Raw(RawClient::start(RawSpec::new(cluster.clients()), tap));
    client
        .wait_for("connected", SOON, |state| state.connected)
        .await;
    for room in ["lobby", "side"] {
        client.join(room, SOON).await.unwrap();
    }
    (client, heard)
}

/// A client in both rooms that has stopped reading.
async fn slow(cluster: &Cluster) -> Wire {
    let addr = cluster.addrs[0].client;
    let mut wire = Wire::connect_narrow(addr, "").await.unwrap();
    wire.connect_namespace("/", &json!({})).await.unwrap();
    for (id, room) in ["lobby", "side"].into_iter().enumerate() {
        wire.send(format!("42{id}[\"join\",\"{room}\"]")).await;
        let answer = wire.packet(SOON).await.unwrap();
        assert_eq!((answer.kind, answer.id), ('3', Some(id as u64)));
    }
    wire
}

/// Who publishes numbered events.
struct Publisher {
    client: Client,
    next: usize,
    filler: String,
}

impl Publisher {
    fn new(cluster: &Cluster) -> Self {
        let spec = RawSpec::new(cluster.clients());
        Self {
            client: Client::Raw(RawClient::start(spec, Arc::new(|_| ()))),
            next: 0,
            filler: "x".repeat(EVENT_BYTES),
        }
    }

    /// Publishes one event; its number.
    async fn publish(&mut self, room: &str) -> String {
        let args = vec![
            json!(room),
            json!("e"),
            json!(self.next),
            json!(self.filler),
        ];
        self.client.ask("publish", args, SOON).await.unwrap();
        self.next += 1;
        (self.next - 1).to_string()
    }

    async fn phase(&mut self, room: &str) -> Vec<String> {
        let mut published = Vec::new();
        for _ in 0..PHASE {
            published.push(self.publish(room).await);
        }
        published
    }

    /// Waits until a room has so many members.
    async fn wait_members(&self, room: &str, count: usize) {
        let deadline = Instant::now() + SOON;
        loop {
            let args = vec![json!(room), json!({ "limit": 0 })];
            let members = self.client.ask("members", args, SOON).await.unwrap().0;
            if members["count"] == json!(count) {
                return;
            }
            assert!(Instant::now() < deadline, "{members} instead of {count}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Publishes until as many sockets catch up as there are slow ones: what was published.
    async fn fill(&mut self, cluster: &Cluster, slow: usize) -> Vec<String> {
        let mut published = Vec::new();
        while catching_up(cluster).await < slow {
            assert!(published.len() < FILL_MAX, "the outboxes never fill");
            published.push(self.publish("lobby").await);
        }
        published
    }
}

/// What the fast clients hear, and what the slow ones are owed.
#[derive(Default)]
struct Streams {
    all: Vec<String>,
    owed: Vec<String>,
}

impl Streams {
    fn both(&mut self, published: Vec<String>) {
        self.all.extend(published.iter().cloned());
        self.owed.extend(published);
    }
}

async fn say(wires: &mut [Wire], packet: &str) {
    for wire in wires {
        assert!(wire.send(packet.to_owned()).await);
    }
}

async fn value(cluster: &Cluster, name: &str, labels: &[&str]) -> usize {
    metric(&cluster.metrics(0).await, name, labels) as usize
}

async fn catching_up(cluster: &Cluster) -> usize {
    value(cluster, "roomcast_catching_up_sockets", &[]).await
}

/// Sockets that were closed as slow consumers.
async fn closed(cluster: &Cluster) -> usize {
    let label = "reason=\"slow_consumer\"";
    value(cluster, "roomcast_session_closes_total", &[label]).await
}

/// Waits until none is left behind.
async fn wait_live(cluster: &Cluster) {
    let deadline = Instant::now() + SOON;
    while catching_up(cluster).await > 0 {
        assert!(Instant::now() < deadline, "some never turn live");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The next of what a slow client is told: the number of an event, or which answer it is.
async fn told(wire: &mut Wire) -> Result<String, Frame> {
    match wire.next(SOON).await.unwrap() {
        Frame::Text(text) => {
            let packet = Packet::parse(&text).unwrap();
            Ok(match packet.id {
                Some(id) => format!("answer {id}: {}", packet.data[0]["ok"]),
                None => packet.data.get(1).map(Value::to_string).unwrap_or_default(),
            })
        }
        end => Err(end),
    }
}

async fn read(mut wire: Wire, expected: &[String]) -> Wire {
    for (count, expected) in expected.iter().enumerate() {
        let told = told(&mut wire).await;
        assert_eq!(told.as_ref(), Ok(expected), "after {count}");
    }
    wire
}

async fn wait_heard(heard: &Heard, expected: &[String]) {
    let deadline = Instant::now() + SOON;
    while heard.lock().len() < expected.len() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*heard.lock(), expected);
}

#[tokio::test]
async fn clients_that_stop_reading_miss_nothing_and_harm_nobody() {
    let cluster = Cluster::start(&spec()).await.unwrap();
    let fasts = join_all((0..SLOW).map(|_| fast(&cluster))).await;
    let mut slows = join_all((0..SLOW).map(|_| slow(&cluster))).await;
    let mut publisher = Publisher::new(&cluster);
    let mut streams = Streams::default();

    streams.both(publisher.fill(&cluster, SLOW).await);
    println!("{} events fill {SLOW} outboxes", streams.all.len());
    streams.both(publisher.phase("side").await);
    // They speak though they do not read: each step has its place among the events.
    say(&mut slows, r#"428["leave","side"]"#).await;
    publisher.wait_members("side", SLOW).await;
    streams.owed.push("answer 8: true".to_owned());
    streams.all.extend(publisher.phase("side").await);
    streams.both(publisher.phase("lobby").await);
    say(&mut slows, r#"429["join","side"]"#).await;
    publisher.wait_members("side", 2 * SLOW).await;
    streams.owed.push("answer 9: true".to_owned());
    streams.both(publisher.phase("side").await);
    let Streams { mut all, owed } = streams;

    for (_, heard) in &fasts {
        wait_heard(heard, &all).await;
    }
    assert_eq!(catching_up(&cluster).await, SLOW, "none came back unread");
    assert_eq!(closed(&cluster).await, 0);
    // They read again while the log goes on.
    let reading = join_all(slows.into_iter().map(|wire| read(wire, &owed)));
    let (slows, more) = tokio::join!(reading, publisher.phase("lobby"));
    all.extend(more.iter().cloned());
    let slows = join_all(slows.into_iter().map(|wire| read(wire, &more))).await;

    wait_live(&cluster).await;
    let last = [publisher.publish("lobby").await];
    join_all(slows.into_iter().map(|wire| read(wire, &last))).await;
    all.extend(last);
    for (client, heard) in &fasts {
        wait_heard(heard, &all).await;
        assert_eq!(client.state().disconnects, Vec::<String>::new());
    }
    let turns = value(&cluster, "roomcast_sockets_fell_behind_total", &[]).await;
    assert!(turns >= SLOW, "{turns} turns of {SLOW} clients");
    assert_eq!(closed(&cluster).await, 0);
}

#[tokio::test]
async fn a_slow_client_is_closed_when_what_it_is_owed_is_dropped() {
    let spec = spec().flag("--retention-count", "20");
    let cluster = Cluster::start(&spec).await.unwrap();
    let mut wire = slow(&cluster).await;
    let mut publisher = Publisher::new(&cluster);
    let mut published = publisher.fill(&cluster, 1).await;
    for _ in 0..5 {
        published.extend(publisher.phase("lobby").await);
    }
    assert_eq!(closed(&cluster).await, 0, "it may still read what was sent");
    let mut heard = Vec::new();
    let end = loop {
        match told(&mut wire).await {
            Ok(told) => heard.push(told),
            Err(end) => break end,
        }
    };
    let Frame::Closed { code, word } = end else {
        panic!("{end:?}");
    };
    assert_eq!((code, word.as_str()), (Some(4002), "slow consumer"));
    assert!(heard.len() < published.len(), "something was dropped");
    assert_eq!(heard, published[..heard.len()], "no hole before the end");
    drop(wire);
    let deadline = Instant::now() + SOON;
    while closed(&cluster).await == 0 {
        assert!(Instant::now() < deadline, "the close is not counted");
        sleep(Duration::from_millis(20)).await;
    }
}
