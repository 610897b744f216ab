//! Presence on three nodes: whoever applies the chain has the members, when a node is killed, when
//! more has changed than one diff may name, and when a watcher does not read.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

mod watcher;

use std::net::SocketAddr;

use futures_util::future::join_all;
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::{self, metric};
use roomcast_cluster_tests::load::socket::LeanSocket;
use roomcast_cluster_tests::session::Session;
use roomcast_cluster_tests::wire::Wire;
use serde_json::{Value, json};

use watcher::{ROOM, Watcher};

/// Sockets of the node that is killed: more than two diffs may name, and than a page lists.
const CROWD: usize = 1_200;
/// Connects of the crowd at once.
const AT_ONCE: usize = 100;
/// Rooms beside the watched one, whose diffs help to fill an outbox.
const FURTHER_ROOMS: usize = 12;
/// Members of all of them.
const WRITERS: usize = 16;
/// Rounds of new data until a watcher that does not read must have missed a diff.
const ROUNDS_MAX: usize = 300;
/// Rounds after the first diff that is dropped: those of all rooms are, by then.
const ROUNDS_MISSED: usize = 4;
/// Bytes of each member's data.
const DATA_BYTES: usize = 4_000;

/// A node's death is noticed and its sessions end soon.
fn spec(resume_window: &str) -> ClusterSpec {
    ClusterSpec::new(3)
        .flag("--lease", "4s")
        .flag("--resume-window", resume_window)
}

/// A socket of this name at a node, in the room.
async fn member(addr: SocketAddr, name: &str) -> Session {
    let auth = json!({ "identity": name, "data": { "mood": "new" } });
    let mut session = Session::open(addr, "", &auth).await.unwrap();
    session.join(ROOM).await.unwrap();
    session
}

async fn set_data(api: SocketAddr, socket: &str, data: &Value) {
    let body = json!({ "socket": socket, "data": data }).to_string();
    let answer = http::post(api, "/v1/set-data", &body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn members_of_a_killed_node_are_away_and_back_elsewhere_or_leave() {
    let mut cluster = Cluster::start(&spec("8s")).await.unwrap();
    let clients = cluster.clients();
    let mut watchers = [
        Watcher::start(&cluster, 1).await,
        Watcher::start(&cluster, 2).await,
    ];
    let ann = member(clients[0], "ann").await;
    let ben = member(clients[0], "ben").await;
    let eve = member(clients[1], "eve").await;
    for watcher in &mut watchers {
        watcher.until("all join", |of| of.members.len() == 3).await;
    }
    set_data(cluster.addrs[2].api, eve.sid(), &json!({ "mood": "calm" })).await;
    for watcher in &mut watchers {
        let is_calm = |of: &Watcher| of.members[eve.sid()].data["mood"] == "calm";
        watcher.until("an update", is_calm).await;
    }
    cluster.nodes[0].kill9().unwrap();
    for watcher in &mut watchers {
        watcher
            .until("both are away", |of| of.count(true) == 2)
            .await;
    }
    let mut auth = ben.auth();
    auth["identity"] = json!("ben");
    let back = Session::open(clients[2], "", &auth).await.unwrap();
    assert_eq!(
        (back.sid(), back.pid()),
        (ben.sid(), ben.pid()),
        "it has resumed"
    );
    for watcher in &mut watchers {
        watcher
            .until("one leaves", |of| of.members.len() == 2)
            .await;
        let told = |socket: &Session| watcher.told[socket.sid()].clone();
        assert_eq!(told(&ann), ["join", "away", "leave"]);
        assert_eq!(told(&ben), ["join", "away", "back"]);
        assert_eq!(told(&eve), ["join", "update"]);
        watcher.agrees().await;
        assert_eq!((watcher.count(false), watcher.more), (2, 0));
    }
}

/// Sockets at a node, all in the room.
async fn crowd(addr: SocketAddr) -> Vec<LeanSocket> {
    let mut crowd = Vec::new();
    while crowd.len() < CROWD {
        let comers = (0..AT_ONCE).map(|_| async {
            let mut socket = LeanSocket::connect(addr).await?;
            socket.join(ROOM).await?;
            std::io::Result::Ok(socket)
        });
        crowd.extend(join_all(comers).await.into_iter().map(Result::unwrap));
    }
    crowd
}

#[tokio::test]
async fn a_storm_comes_as_few_bounded_diffs_and_lists_in_pages() {
    let mut cluster = Cluster::start(&spec("2s")).await.unwrap();
    let mut early = Watcher::start(&cluster, 1).await;
    let (crowd, ()) = tokio::join!(crowd(cluster.clients()[0]), async {
        early
            .until("all have come", |of| of.members.len() == CROWD)
            .await;
    });
    let mut late = Watcher::start(&cluster, 2).await;
    assert!(late.pages > 1, "the first page has all of {CROWD}");
    assert_eq!(late.members, early.members);
    cluster.nodes[0].kill9().unwrap();
    drop(crowd);
    for watcher in [&mut early, &mut late] {
        let none_is_here = |of: &Watcher| of.count(false) == 0;
        watcher.until("all are away or gone", none_is_here).await;
        watcher.until("all leave", |of| of.members.is_empty()).await;
        watcher.agrees().await;
        assert!(watcher.more > 0 && watcher.anew > 0, "it was told in lists");
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_learns_that_it_has_missed_something() {
    let spec = ClusterSpec::new(3).flag("--outbox-bytes-max", "128KiB");
    let cluster = Cluster::start(&spec).await.unwrap();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let node = number % cluster.nodes.len();
        let mut writer = member(cluster.clients()[node], "writer").await;
        for room in 0..FURTHER_ROOMS {
            writer.join(&format!("further {room}")).await.unwrap();
        }
        writers.push(writer);
    }
    let narrow = Wire::connect_narrow(cluster.clients()[1], "")
        .await
        .unwrap();
    let mut slow = Watcher::over(narrow, &cluster, 1).await;
    for room in 0..FURTHER_ROOMS {
        slow.ask(&format!("further {room}"), &json!({}), false)
            .await;
    }
    let mut reading = Watcher::start(&cluster, 1).await;
    let (mut rounds, mut missed) = (0, 0);
    while missed < ROUNDS_MISSED {
        assert!(rounds < ROUNDS_MAX, "it takes everything in");
        rounds += 1;
        let data = json!({ "round": rounds, "text": "x".repeat(DATA_BYTES) });
        let writes = writers.iter().zip(cluster.addrs.iter().cycle());
        join_all(writes.map(|(of, node)| set_data(node.api, of.sid(), &data))).await;
        reading.agrees().await;
        missed += usize::from(drops(&cluster).await);
    }
    drop(writers.pop());
    slow.until("a hole is told", |of| of.more > 0).await;
    slow.agrees().await;
    reading.agrees().await;
    assert_eq!(slow.members, reading.members);
    assert_eq!(reading.more, 0, "who reads is not harmed");
}

/// Whether the second node drops diffs.
async fn drops(cluster: &Cluster) -> bool {
    let text = cluster.metrics(1).await;
    metric(&text, "roomcast_transient_dropped_total", &[]) > 0.0
}
