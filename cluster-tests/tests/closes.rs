//! How the server ends a connection whose trouble passes by itself: never by `41` or `44`, which
//! no stock client survives, but by closing the transport, with a code and a word on WebSocket,
//! with
//! a close packet alone in its payload on polling, and by 503 before there is a session.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::polling::Polling;
use roomcast_cluster_tests::session::Session;
use roomcast_cluster_tests::wire::{Frame, Packet, Wire, WireError, event};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(6);
/// A lease is 5 s, and its holder lets go before it is over.
const LEASE_GONE: Duration = Duration::from_secs(8);
/// A CONNECT that nobody can commit is held for 5 s at most; the rest is the machine's.
const HELD_WITHIN: Duration = Duration::from_millis(6_500);
/// Nothing is waited for; the rest is the machine's.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn three() -> Cluster {
    Cluster::start(&ClusterSpec::new(3)).await.unwrap()
}

async fn open(cluster: &Cluster, node: usize) -> Session {
    let addr = cluster.addrs[node].client;
    Session::open(addr, "", &json!({})).await.unwrap()
}

/// A polling session in `lobby` and its pid; its requests go to all nodes, its first to `node`.
async fn polling_in_lobby(cluster: &Cluster, node: usize) -> (Polling, String) {
    let mut polling = Polling::connect(cluster.clients_from(node), "")
        .await
        .unwrap();
    let (connected, _) = polling.connect_namespace("/", &json!({})).await.unwrap();
    assert_eq!(connected.kind, '0', "{connected:?}");
    let join = event("/", Some(1), "join", &[json!("lobby")]).0;
    polling.post(&[join]).await.unwrap();
    let answer = polling.get(SOON).await.unwrap();
    assert!(answer[0].starts_with("431["), "{answer:?}");
    (polling, connected.text("/pid").unwrap().to_owned())
}

/// Takes payloads to the end: 0 to `count` in order, each once, and then a close packet alone.
async fn take_the_rest(polling: &mut Polling, count: u64) {
    let mut numbers = Vec::new();
    loop {
        let payload = polling.get(SOON).await.unwrap();
        if payload.iter().any(|packet| packet == "1") {
            assert_eq!(payload, ["1"], "a close packet stands alone");
            break;
        }
        for text in payload {
            let packet = Packet::parse(&text).unwrap();
            assert_eq!(packet.kind, '2', "{text}: neither 41 nor 44");
            numbers.push(packet.data[1].as_u64().unwrap());
        }
    }
    assert_eq!(numbers, (0..count).collect::<Vec<u64>>());
    let after = polling.get(SOON).await;
    assert!(
        matches!(after, Err(WireError::Status { status: 400, .. })),
        "{after:?}"
    );
}

async fn publish(writer: &mut Session, count: u64) {
    for number in 0..count {
        let args = [json!(number)];
        writer.publish(json!("lobby"), "n", &args).await.unwrap();
    }
}

#[tokio::test]
async fn on_polling_a_close_stands_alone_behind_the_last_events() {
    let cluster = three().await;
    for node in 0..3 {
        let mut writer = open(&cluster, (node + 1) % 3).await;
        let (mut polling, pid) = polling_in_lobby(&cluster, node).await;
        publish(&mut writer, 30).await;
        // Nobody polls: the events wait at their owner when a newer socket fences them off.
        let newer = json!({ "pid": pid });
        let addr = cluster.addrs[(node + 2) % 3].client;
        let newer = Session::open(addr, "", &newer).await.unwrap();
        assert_eq!(newer.connected.data["resume"]["ok"], json!(true));
        take_the_rest(&mut polling, 30).await;
    }
}

#[tokio::test]
async fn a_drain_closes_transports_and_says_so() {
    let mut cluster = three().await;
    let mut writer = open(&cluster, 1).await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = open(&cluster, 0).await;
        socket.join("lobby").await.unwrap();
        sockets.push(socket);
    }
    let (mut polling, _) = polling_in_lobby(&cluster, 0).await;
    publish(&mut writer, 20).await;
    // What a node has not applied yet when it drains is for the resume.
    for socket in &mut sockets {
        socket.wait_events(20, SOON).await.unwrap();
    }
    cluster.nodes[0].terminate().unwrap();
    // It takes no new connections; a balancer sends the next request to another node.
    polling.only(cluster.addrs[1].client);
    for socket in &mut sockets {
        let closed = socket.wait_closed(SOON).await.unwrap();
        assert_eq!(closed, (Some(4001), "draining".to_owned()));
        assert_eq!(socket.events.len(), 20, "{:?}", socket.events);
    }
    take_the_rest_of_a_drain(&mut polling, 20).await;
    let status = cluster.nodes[0]
        .wait_exit(Duration::from_secs(30))
        .await
        .unwrap();
    assert!(status.unwrap().success());
}

/// As [`take_the_rest`], but the node may be gone for the request after the close.
async fn take_the_rest_of_a_drain(polling: &mut Polling, count: usize) {
    let mut taken = 0;
    loop {
        let payload = polling.get(SOON).await.unwrap();
        if payload.iter().any(|packet| packet == "1") {
            assert_eq!(payload, ["1"], "a close packet stands alone");
            break;
        }
        assert!(
            payload.iter().all(|text| text.starts_with("42")),
            "{payload:?}"
        );
        taken += payload.len();
    }
    assert_eq!(taken, count);
}

#[tokio::test]
async fn without_a_quorum_transports_are_closed_and_newcomers_get_503() {
    let mut cluster = three().await;
    let mut old = open(&cluster, 0).await;
    old.join("lobby").await.unwrap();
    let (mut polling, _) = polling_in_lobby(&cluster, 0).await;
    for node in [1, 2] {
        cluster.nodes[node].kill9().unwrap();
    }
    // While the lease lasts, a CONNECT is held, and then its transport is closed.
    let mut late = Wire::connect(cluster.addrs[0].client, "").await.unwrap();
    let asked = Instant::now();
    assert!(late.send("40".to_owned()).await);
    let (held, closed) = (late.next(LEASE_GONE), old.wait_closed(LEASE_GONE));
    let (held, closed) = tokio::join!(held, closed);
    let waited = asked.elapsed();
    let no_quorum = (Some(4004), "no quorum".to_owned());
    assert_eq!(closed.unwrap(), no_quorum);
    let (code, word) = no_quorum;
    assert_eq!(held.unwrap(), Frame::Closed { code, word });
    assert!(waited < HELD_WITHIN, "held for {waited:?}");
    take_the_close(&cluster, &mut polling).await;

    let addr = cluster.addrs[0].client;
    wait_refused(async || Wire::connect(addr, "").await.map(|_| ())).await;
    wait_refused(async || Polling::connect(vec![addr], "").await.map(|_| ())).await;
    for node in [1, 2] {
        cluster.restart(node).await.unwrap();
    }
    cluster.wait_ready(0).await.unwrap();
    let mut back = open(&cluster, 0).await;
    let answer = back.ask("join", &[json!("lobby")]).await.unwrap();
    assert_eq!(answer.get("ok"), Some(&Value::Bool(true)), "{answer}");
}

/// The owner is in the sid, so no node has to ask around for who is gone.
#[tokio::test]
async fn a_dead_owners_session_is_unknown_at_once() {
    let mut cluster = three().await;
    let (mut polling, _) = polling_in_lobby(&cluster, 0).await;
    polling.only(cluster.addrs[1].client);
    let waiting = async { (polling.get(SOON).await, Instant::now()) };
    let killing = async {
        sleep(Duration::from_millis(300)).await;
        cluster.nodes[0].kill9().unwrap();
        Instant::now()
    };
    let ((waited, told), killed) = tokio::join!(waiting, killing);
    assert_unknown(waited);
    assert!(told - killed < AT_ONCE, "{:?}", told - killed);
    for node in [1, 2] {
        polling.only(cluster.addrs[node].client);
        let asked = Instant::now();
        assert_unknown(polling.get(SOON).await);
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
}

fn assert_unknown(answer: Result<Vec<String>, WireError>) {
    let Err(WireError::Status { status, body, .. }) = answer else {
        panic!("{answer:?}")
    };
    let body: Value = serde_json::from_str(&body).unwrap();
    let unknown = json!({ "code": 1, "message": "Session ID unknown" });
    assert_eq!((status, body), (400, unknown));
}

/// 503 with `Retry-After`, as soon as the lease of the last group is gone as well.
async fn wait_refused(handshake: impl AsyncFn() -> Result<(), WireError>) {
    let deadline = Instant::now() + SOON;
    let refused = loop {
        match handshake().await {
            Ok(()) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            outcome => break outcome,
        }
    };
    let Err(WireError::Status {
        status,
        retry_after,
        ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(status, 503);
    let seconds: u64 = retry_after.unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// The node is alone: requests of the session that reach others get no answer.
async fn take_the_close(cluster: &Cluster, polling: &mut Polling) {
    polling.only(cluster.addrs[0].client);
    let payload = polling.get(LEASE_GONE).await.unwrap();
    assert_eq!(payload, ["1"]);
}
