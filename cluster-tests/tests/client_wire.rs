//! The client's side of the wire, frame by frame: who is offered recovery, what stands before what
//! after a resume, what a CONNECT carries, and what came in one breath with it. The table of all
//! rules and their tests is in this crate's README.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::offset::Offset;
use roomcast_cluster_tests::polling::Polling;
use roomcast_cluster_tests::session::{Session, offset_of};
use roomcast_cluster_tests::wire::{Packet, Wire, event};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(6);
/// Sockets that speak in one breath with their CONNECT, on each transport.
const BREATHS: usize = 200;
/// Of these, so many at a time.
const STREAMS: usize = 8;

async fn three() -> Cluster {
    Cluster::start(&ClusterSpec::new(3)).await.unwrap()
}

async fn open(cluster: &Cluster, node: usize, auth: &Value) -> Session {
    let addr = cluster.addrs[node % 3].client;
    Session::open(addr, "", auth).await.unwrap()
}

fn keys(connected: &Packet) -> Vec<&String> {
    connected.data.as_object().unwrap().keys().collect()
}

/// Publishes 0, 1, 2, … to `lobby` as event `n`, one after the other, until it is stopped.
struct Counter {
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Counter {
    async fn start(cluster: &Cluster, node: usize) -> Self {
        let mut writer = open(cluster, node, &json!({})).await;
        let acked = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&acked), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let args = [json!(number)];
                writer.publish(json!("lobby"), "n", &args).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { acked, stop, task }
    }

    /// Waits for `count` more.
    async fn wait(&self, count: u64) {
        let goal = self.acked.load(Ordering::Relaxed) + count;
        let waited = timeout(Duration::from_secs(60), async {
            while self.acked.load(Ordering::Relaxed) < goal {
                sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap();
    }

    /// How many were published.
    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.acked.load(Ordering::Relaxed)
    }
}

/// Zero lost, doubled and swapped: the numbers are 0, 1, 2, …, and the offsets only rise.
fn assert_counted(events: &[Value], count: u64) {
    let numbers: Vec<u64> = events.iter().map(|e| e[1].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..count).collect();
    assert_eq!(numbers, expected);
    let offsets: Vec<Offset> = events.iter().map(|e| offset_of(e).unwrap()).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
}

#[tokio::test]
async fn who_declines_recovery_gets_no_pid_and_no_offset() {
    let cluster = three().await;
    let declined = [
        ("&recovery=0", json!({})),
        ("", json!({ "recovery": false })),
    ];
    for (node, (query, auth)) in declined.into_iter().enumerate() {
        let addr = cluster.addrs[node].client;
        let mut plain = Session::open(addr, query, &auth).await.unwrap();
        assert_eq!(keys(&plain.connected), ["sid"], "{query} {auth}");
        plain.join("lobby").await.unwrap();
        let mut other = open(&cluster, node + 1, &json!({})).await;
        other.join("lobby").await.unwrap();
        let volatile = json!({ "rooms": ["lobby"], "volatile": true });
        let own = json!(plain.sid());
        let args = [json!(1), json!("text")];
        for (count, target) in (1..).zip([json!("lobby"), own]) {
            other.publish(target, "said", &args).await.unwrap();
            plain.wait_events(count, SOON).await.unwrap();
        }
        // Dropped where the transport is not writable: that is no fault.
        for _ in 0..10 {
            let said = other.publish(volatile.clone(), "said", &args).await;
            said.unwrap();
            if plain.wait_events(3, SOON / 10).await.is_ok() {
                break;
            }
        }
        assert_eq!(plain.events, vec![json!(["said", 1, "text"]); 3]);
        // The same events, as the others get them.
        assert!(other.pid().is_some());
        assert!(offset_of(&other.events[0]).is_some(), "{:?}", other.events);

        let mut polling = Polling::connect(cluster.clients_from(node), query)
            .await
            .unwrap();
        let (connected, _) = polling.connect_namespace("/", &auth).await.unwrap();
        assert_eq!(keys(&connected), ["sid"], "polling, {query} {auth}");
    }
}

#[tokio::test]
async fn connect_comes_first_then_the_replay_then_live_events() {
    let cluster = three().await;
    let mut seat = open(&cluster, 0, &json!({})).await;
    seat.join("lobby").await.unwrap();
    let counter = Counter::start(&cluster, 1).await;
    seat.wait_events(20, SOON).await.unwrap();
    for node in 1..=4 {
        let auth = seat.auth();
        let Session { mut events, .. } = seat;
        counter.wait(60).await;
        let missed = usize::try_from(counter.acked.load(Ordering::Relaxed)).unwrap();
        // `open` demands that the first packet is CONNECT.
        seat = open(&cluster, node, &auth).await;
        assert_eq!(seat.pid(), auth["pid"].as_str(), "{:?}", seat.connected);
        events.append(&mut seat.events);
        seat.events = events;
        // The replay, and then what is published while it runs and after it.
        seat.wait_events(missed + 30, SOON).await.unwrap();
        assert_counted(&seat.events, seat.events.len() as u64);
    }
    let count = counter.finish().await;
    let total = usize::try_from(count).unwrap();
    seat.wait_events(total, SOON).await.unwrap();
    assert_counted(&seat.events, count);
}

#[tokio::test]
async fn the_same_order_holds_on_polling() {
    let cluster = three().await;
    let mut seat = open(&cluster, 0, &json!({})).await;
    seat.join("lobby").await.unwrap();
    let counter = Counter::start(&cluster, 1).await;
    seat.wait_events(20, SOON).await.unwrap();
    let pid = seat.pid().unwrap().to_owned();
    let mut auth = seat.auth();
    let Session { mut events, .. } = seat;
    for node in 1..=4 {
        counter.wait(60).await;
        let missed = usize::try_from(counter.acked.load(Ordering::Relaxed)).unwrap();
        let mut polling = Polling::connect(cluster.clients_from(node), "")
            .await
            .unwrap();
        let (connected, rest) = polling.connect_namespace("/", &auth).await.unwrap();
        assert_eq!(connected.kind, '0', "{connected:?} came before CONNECT");
        assert_eq!(connected.text("/pid"), Some(pid.as_str()), "{connected:?}");
        let mut payload = rest;
        while events.len() < missed + 30 {
            for text in &payload {
                let packet = Packet::parse(text).unwrap();
                assert_eq!(packet.kind, '2', "{text}");
                events.push(packet.data);
            }
            payload = polling.get(SOON).await.unwrap();
        }
        // The last payload is dropped: it was not handled, so it must come again.
        assert_counted(&events, events.len() as u64);
        auth["offset"] = events
            .last()
            .unwrap()
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
    }
    counter.finish().await;
}

#[tokio::test]
async fn id_and_pid_stay_over_three_resumes_and_connect_tells_the_verdict() {
    let cluster = three().await;
    let mut writer = open(&cluster, 0, &json!({})).await;
    let mut seat = open(&cluster, 0, &json!({})).await;
    assert_eq!(
        seat.connected.data.get("resume"),
        None,
        "it resumed nothing"
    );
    seat.join("lobby").await.unwrap();
    let (sid, pid) = (seat.sid().to_owned(), seat.pid().unwrap().to_owned());
    for round in 0..4 {
        writer
            .publish(json!("lobby"), "n", &[json!(0)])
            .await
            .unwrap();
        writer.publish(json!(sid), "n", &[json!(1)]).await.unwrap();
        seat.wait_events(2, SOON).await.unwrap();
        let numbers: Vec<&Value> = seat.events.iter().map(|event| &event[1]).collect();
        assert_eq!(numbers, [&json!(0), &json!(1)], "round {round}");
        let auth = seat.auth();
        drop(seat);
        seat = open(&cluster, round + 1, &auth).await;
        assert_eq!(seat.sid(), sid);
        assert_eq!(seat.pid(), Some(pid.as_str()));
        let verdict = &seat.connected.data["resume"];
        assert_eq!(verdict["ok"], json!(true), "{verdict}");
        assert_eq!(verdict["from"], auth["offset"], "{verdict}");
    }
}

/// The old transport is healthy and reads: what is published after the newer one has its CONNECT
/// does not reach it, and it is told why it ends.
#[tokio::test]
async fn after_a_takeover_the_older_socket_gets_nothing() {
    let cluster = three().await;
    for (old_node, new_node) in [(0, 1), (1, 1), (2, 0)] {
        let mut writer = open(&cluster, 2, &json!({})).await;
        let mut old = open(&cluster, old_node, &json!({})).await;
        old.join("lobby").await.unwrap();
        for _ in 0..20 {
            writer
                .publish(json!("lobby"), "n", &[json!("before")])
                .await
                .unwrap();
        }
        let mut new = open(&cluster, new_node, &old.auth()).await;
        assert_eq!(new.sid(), old.sid());
        for _ in 0..20 {
            writer
                .publish(json!("lobby"), "n", &[json!("after")])
                .await
                .unwrap();
        }
        new.wait_events(40, SOON).await.unwrap();
        let closed = old.wait_closed(Duration::from_secs(1)).await.unwrap();
        assert_eq!(closed, (Some(4003), "fenced".to_owned()));
        let late = |event: &&Value| event[1] == json!("after");
        assert_eq!(old.events.iter().filter(late).count(), 0);
        let numbers: Vec<&Value> = new.events.iter().map(|event| &event[1]).collect();
        let (before, after) = (json!("before"), json!("after"));
        assert_eq!(numbers, [vec![&before; 20], vec![&after; 20]].concat());
        let answer = new.publish(json!("lobby"), "n", &[json!("end")]).await;
        answer.unwrap();
    }
}

/// CONNECT, and questions that change nothing but what the same socket gets, in a room of its own.
fn breath(number: usize) -> Vec<String> {
    let room = json!(format!("breath {number}"));
    let ask = |id, name, args: &[Value]| event("/", Some(id), name, args).0;
    let publish = [room.clone(), json!("n"), json!(number)];
    vec![
        "40".to_owned(),
        ask(1, "join", std::slice::from_ref(&room)),
        ask(2, "publish", &publish),
        ask(3, "leave", &[room]),
    ]
}

/// CONNECT first, then each answer and the event, all of them once.
fn assert_breath(packets: &[Packet], number: usize) {
    let mut kinds: Vec<char> = packets.iter().map(|packet| packet.kind).collect();
    assert_eq!(kinds[0], '0', "breath {number}: {packets:?}");
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ['0', '2', '3', '3', '3'],
        "breath {number}: {packets:?}"
    );
    for packet in packets.iter().filter(|packet| packet.kind == '3') {
        assert_eq!(
            packet.data[0]["ok"],
            json!(true),
            "breath {number}: {packet:?}"
        );
    }
}

/// Draws `BREATHS` breaths, a few at a time, so that one write to the disk serves several.
async fn draw_breaths(breathe: impl AsyncFn(usize)) {
    let breathe = &breathe;
    let streams = (0..STREAMS).map(|stream| async move {
        for number in (stream..BREATHS).step_by(STREAMS) {
            breathe(number).await;
        }
    });
    join_all(streams).await;
}

#[tokio::test]
async fn an_event_in_one_segment_with_connect_is_never_lost() {
    let cluster = three().await;
    draw_breaths(async |number| {
        let addr = cluster.addrs[number % 3].client;
        let mut wire = Wire::connect(addr, "").await.unwrap();
        assert!(wire.send_together(&breath(number)).await);
        let mut packets = Vec::new();
        while packets.len() < 5 {
            packets.push(wire.packet(SOON).await.unwrap());
        }
        let more = wire.packet(Duration::from_millis(5)).await;
        assert!(more.is_err(), "breath {number}: {more:?}");
        assert_breath(&packets, number);
    })
    .await;
}

#[tokio::test]
async fn an_event_in_one_payload_with_connect_is_never_lost() {
    let cluster = three().await;
    draw_breaths(async |number| {
        let addrs = cluster.clients_from(number);
        let mut polling = Polling::connect(addrs, "").await.unwrap();
        polling.post(&breath(number)).await.unwrap();
        let mut packets = Vec::new();
        while packets.len() < 5 {
            let payload = polling.get(SOON).await.unwrap();
            packets.extend(payload.iter().map(|text| Packet::parse(text).unwrap()));
        }
        assert_breath(&packets, number);
    })
    .await;
}
