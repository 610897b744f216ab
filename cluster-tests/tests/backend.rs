//! Sockets on all nodes, served by backends that dial one: shared, taken over, never lost.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roomcast_client::{Args, Client, ClientOptions, Notice, Socket, SocketOptions};
use roomcast_cluster_tests::backend::{KEEP, NAMESPACE, TAKE, TestBackend};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(30);
/// An event is answered within a backend's death and its successor's coming.
const ANSWER: Duration = Duration::from_secs(25);
/// Clients of each node.
const CLIENTS: usize = 4;
/// Events that each client has acknowledged before something breaks, and after.
const ROUNDS: usize = 20;

/// A client that sends numbers, one after the other's answer.
struct Sender {
    client: Client,
    seen: Arc<Seen>,
    sending: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Numbers whose answer came.
    acknowledged: Mutex<BTreeSet<u64>>,
    /// Answers that were refusals, by code.
    refused: Mutex<Vec<String>>,
    /// Times that its socket was lost.
    disconnects: AtomicU64,
    connected: AtomicBool,
}

impl Sender {
    /// Sends numbers from `first` on.
    fn start(addr: SocketAddr, first: u64) -> Self {
        let url = format!("ws://{addr}");
        let client = Client::new([url], ClientOptions::default()).unwrap();
        let (socket, mut inbox) = client.socket(NAMESPACE, SocketOptions::default()).unwrap();
        let seen = Arc::new(Seen::default());
        let hearing = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(notice) = inbox.recv().await {
                match notice {
                    Notice::Connected(_) => hearing.connected.store(true, Ordering::Release),
                    Notice::Disconnected { .. } => {
                        hearing.disconnects.fetch_add(1, Ordering::AcqRel);
                    }
                    _ => {}
                }
            }
        });
        let sending = tokio::spawn(send(socket, Arc::clone(&seen), first));
        Self {
            client,
            seen,
            sending,
        }
    }

    fn count(&self) -> usize {
        self.seen.acknowledged.lock().len()
    }

    async fn end(&self) {
        self.sending.abort();
        self.client.close().await;
    }
}

async fn send(socket: Socket, seen: Arc<Seen>, first: u64) {
    while !seen.connected.load(Ordering::Acquire) {
        sleep(Duration::from_millis(10)).await;
    }
    for number in first.. {
        let args = Args::new().json(Value::from(number));
        if let Ok(answer) = socket.emit_with_ack(TAKE, args, ANSWER).await {
            let answer = answer.values().first().cloned().unwrap_or_default();
            if answer == number {
                seen.acknowledged.lock().insert(number);
            } else {
                let code = answer["error"]["code"].as_str().unwrap_or("?").to_owned();
                seen.refused.lock().push(code);
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Three nodes whose clients wait for backends.
async fn cluster() -> Cluster {
    Cluster::start(&spec()).await.unwrap()
}

fn spec() -> ClusterSpec {
    ClusterSpec::new(3).flag("--backend-policies", "/app=wait")
}

fn senders(cluster: &Cluster, nodes: &[usize]) -> Vec<Sender> {
    let clients = cluster.clients();
    let seats = nodes.iter().flat_map(|node| [clients[*node]; CLIENTS]);
    let firsts = (0..).map(|turn| turn * 1_000_000);
    let senders = seats
        .zip(firsts)
        .map(|(addr, first)| Sender::start(addr, first));
    senders.collect()
}

fn apis(cluster: &Cluster, first: usize) -> Vec<SocketAddr> {
    let mut apis: Vec<_> = cluster.addrs.iter().map(|addrs| addrs.api).collect();
    apis.rotate_left(first);
    apis
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < deadline, "not so: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Every client gets so many more answers.
async fn all_go_on(senders: &[Sender]) {
    let before: Vec<usize> = senders.iter().map(Sender::count).collect();
    until("every client is answered", || {
        let mut counts = senders.iter().zip(&before);
        counts.all(|(sender, before)| sender.count() >= before + ROUNDS)
    })
    .await;
}

/// What was acknowledged was taken, and refusals are of codes that leave a doubt.
fn nothing_is_lost(senders: &[Sender], backends: &[&TestBackend]) {
    let taken: BTreeSet<u64> = backends
        .iter()
        .flat_map(|backend| backend.with(|record| record.taken.clone()))
        .collect();
    for sender in senders {
        let acknowledged = sender.seen.acknowledged.lock().clone();
        let lost: Vec<_> = acknowledged.difference(&taken).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let refused = sender.seen.refused.lock().clone();
        assert!(
            refused.iter().all(|code| code == "unknown_outcome"),
            "{refused:?}"
        );
        assert!(refused.len() <= 1, "one may be under way: {refused:?}");
        assert_eq!(
            sender.seen.disconnects.load(Ordering::Acquire),
            0,
            "a socket was lost"
        );
    }
}

async fn end(senders: Vec<Sender>) {
    for sender in senders {
        timeout(LIMIT, sender.end()).await.unwrap();
    }
}

#[tokio::test]
async fn a_backend_at_one_node_serves_the_sockets_of_all() {
    let cluster = cluster().await;
    let backend = TestBackend::start(apis(&cluster, 0));
    let senders = senders(&cluster, &[0, 1, 2]);
    all_go_on(&senders).await;
    nothing_is_lost(&senders, &[&backend]);
    backend.with(|record| {
        let sockets: BTreeSet<_> = record.connected.iter().map(|(id, _)| id).collect();
        assert_eq!(sockets.len(), senders.len());
        assert!(record.connected.iter().all(|(_, known)| !known));
        let offsets: BTreeSet<_> = record.offsets.iter().collect();
        assert_eq!(offsets.len(), senders.len(), "each join has its offset");
    });
    end(senders).await;
}

#[tokio::test]
async fn two_backends_share_the_sockets_and_one_takes_over_when_the_other_is_killed() {
    let cluster = cluster().await;
    let first = TestBackend::start(apis(&cluster, 0));
    let second = TestBackend::start(apis(&cluster, 1));
    until("both are welcome", || {
        let welcome = |backend: &TestBackend| backend.with(|record| !record.welcomes.is_empty());
        welcome(&first) && welcome(&second)
    })
    .await;
    let senders = senders(&cluster, &[0, 1, 2]);
    all_go_on(&senders).await;
    let shares = [&first, &second].map(|backend| backend.with(|record| record.connected.clone()));
    assert_eq!(
        shares[0].len() + shares[1].len(),
        senders.len(),
        "{shares:?}"
    );
    assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
    first.kill();
    until("the other has all of them", || {
        second.with(|record| record.connected.len() == senders.len())
    })
    .await;
    all_go_on(&senders).await;
    nothing_is_lost(&senders, &[&first, &second]);
    let known: BTreeSet<String> = second.with(|record| {
        let known = record.connected.iter().filter(|(_, known)| *known);
        known.map(|(id, _)| id.clone()).collect()
    });
    let had: BTreeSet<String> = shares[0].iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(known, had, "told as known, once each");
    end(senders).await;
}

#[tokio::test]
async fn the_sockets_of_the_others_go_on_when_the_backends_node_is_killed() {
    let mut cluster = cluster().await;
    let backend = TestBackend::start(apis(&cluster, 0));
    let senders = senders(&cluster, &[1, 2]);
    all_go_on(&senders).await;
    cluster.nodes[0].kill9().unwrap();
    until("it is welcome elsewhere", || {
        backend.with(|record| record.welcomes.len() > 1)
    })
    .await;
    all_go_on(&senders).await;
    nothing_is_lost(&senders, &[&backend]);
    backend.with(|record| {
        let known = record.connected.iter().filter(|(_, known)| *known);
        let known: BTreeSet<_> = known.map(|(id, _)| id).collect();
        assert_eq!(known.len(), senders.len(), "each is bound anew");
    });
    end(senders).await;
}

#[tokio::test]
async fn nothing_is_in_doubt_when_the_backends_node_is_drained() {
    let cluster = cluster().await;
    let backend = TestBackend::start(apis(&cluster, 0));
    let senders = senders(&cluster, &[1, 2]);
    all_go_on(&senders).await;
    cluster.nodes[0].terminate().unwrap();
    until("it is welcome elsewhere", || {
        backend.with(|record| record.welcomes.len() > 1)
    })
    .await;
    all_go_on(&senders).await;
    nothing_is_lost(&senders, &[&backend]);
    for sender in &senders {
        let refused = sender.seen.refused.lock().clone();
        assert!(refused.is_empty(), "open calls are waited for: {refused:?}");
    }
    end(senders).await;
}

#[tokio::test]
async fn a_call_from_another_node_that_is_given_up_frees_its_place() {
    let spec = spec().flag("--backend-call-timeout", "1s");
    let cluster = Cluster::start(&spec).await.unwrap();
    let backend = TestBackend::with_window(apis(&cluster, 0), 1);
    let url = format!("ws://{}", cluster.clients()[1]);
    let client = Client::new([url], ClientOptions::default()).unwrap();
    let (socket, mut inbox) = client.socket(NAMESPACE, SocketOptions::default()).unwrap();
    let connected = timeout(LIMIT, inbox.recv()).await.unwrap();
    assert!(matches!(connected, Some(Notice::Connected(_))));
    for number in 0..3_u64 {
        let kept = socket
            .emit_with_ack(KEEP, Args::new(), ANSWER)
            .await
            .unwrap();
        assert_eq!(kept.values()[0]["error"]["code"], "timeout");
        let args = Args::new().json(Value::from(number));
        let taken = socket.emit_with_ack(TAKE, args, ANSWER).await.unwrap();
        assert_eq!(taken.values()[0], number);
    }
    backend.with(|record| assert_eq!(record.taken.len(), 3));
    client.close().await;
}
