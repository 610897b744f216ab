//! The balancer over loopback, in front of fake nodes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A fake node: greets with its name, then echoes, then says `bye` at the client's end of stream.
async fn node(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                to.write_all(name.as_bytes()).await.unwrap();
                copy(&mut from, &mut to).await.unwrap();
                to.write_all(b"bye").await.unwrap();
            });
        }
    });
    address
}

/// An address where nobody listens.
async fn dead() -> SocketAddr {
    TcpListener::bind(any_port())
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A node whose backlog is full: connecting to it hangs. The streams keep it so.
async fn stuck() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(any_port()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(200);
    while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 16, "the backlog has a bound");
    }
    (address, listener, waiting)
}

struct Fixture {
    address: SocketAddr,
    backends: Arc<[Backend]>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn balancer(nodes: &[(SocketAddr, bool)]) -> Fixture {
    let backends: Arc<[Backend]> = nodes
        .iter()
        .map(|(address, ready)| {
            let backend = Backend::new(*address);
            backend.set_ready(*ready);
            backend
        })
        .collect();
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let balancer = Balancer::new(Arc::clone(&backends));
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { balancer.run(listener, stop).await }
    });
    Fixture {
        address,
        backends,
        stop,
        task,
    }
}

/// Connects and reads the name of the node behind.
async fn visit(address: SocketAddr) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut name = [0];
    timeout(PATIENCE, stream.read_exact(&mut name))
        .await
        .unwrap()
        .unwrap();
    (char::from(name[0]).to_string(), stream)
}

async fn visits(address: SocketAddr, count: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        *counts.entry(visit(address).await.0).or_default() += 1;
    }
    counts
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

#[tokio::test]
async fn each_connection_goes_to_the_next_node() {
    let nodes = [
        (node("a").await, true),
        (node("b").await, true),
        (node("c").await, true),
    ];
    let fixture = balancer(&nodes).await;
    assert_eq!(
        visits(fixture.address, 9).await,
        counts([("a", 3), ("b", 3), ("c", 3)])
    );
}

#[tokio::test]
async fn a_dead_node_is_passed_over_without_an_error() {
    let nodes = [
        (node("a").await, true),
        (dead().await, true),
        (node("c").await, true),
    ];
    let fixture = balancer(&nodes).await;
    let seen = visits(fixture.address, 9).await;
    assert_eq!(seen.values().sum::<usize>(), 9);
    assert!(seen["a"] >= 3 && seen["c"] >= 3, "{seen:?}");
}

#[tokio::test]
async fn a_node_that_is_not_ready_gets_nothing_while_another_is() {
    let nodes = [
        (node("a").await, true),
        (node("b").await, false),
        (node("c").await, true),
    ];
    let fixture = balancer(&nodes).await;
    assert_eq!(
        visits(fixture.address, 8).await,
        counts([("a", 4), ("c", 4)])
    );
    fixture.backends[1].set_ready(true);
    assert!(visits(fixture.address, 6).await.contains_key("b"));
    for backend in fixture.backends.iter() {
        backend.set_ready(false);
    }
    assert_eq!(
        visits(fixture.address, 6).await,
        counts([("a", 2), ("b", 2), ("c", 2)])
    );
}

#[tokio::test]
async fn a_node_that_takes_no_connections_delays_only_its_own_turn() {
    let (address, _listener, _waiting) = stuck().await;
    let fixture = balancer(&[(address, true), (node("b").await, true)]).await;
    let first = tokio::spawn(visit(fixture.address));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    assert_eq!(visit(fixture.address).await.0, "b");
    assert!(
        started.elapsed() < CONNECT_TIMEOUT / 2,
        "held up by another's turn"
    );
    assert_eq!(timeout(PATIENCE, first).await.unwrap().unwrap().0, "b");
}

#[tokio::test]
async fn an_end_of_stream_closes_one_direction_only() {
    let fixture = balancer(&[(node("a").await, true)]).await;
    let (_, mut stream) = visit(fixture.address).await;
    let body = vec![7; 1 << 20];
    let (mut from, mut to) = stream.split();
    let write = async {
        to.write_all(&body).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let both = async { tokio::join!(write, from.read_to_end(&mut answer)) };
    timeout(PATIENCE, both).await.unwrap().1.unwrap();
    assert_eq!(
        answer.len(),
        body.len() + 3,
        "everything came back after our end"
    );
    assert!(answer.ends_with(b"bye"));
}

#[tokio::test]
async fn without_any_node_the_connection_is_closed() {
    let fixture = balancer(&[(dead().await, true), (dead().await, false)]).await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let ended = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn stopping_ends_open_connections() {
    let fixture = balancer(&[(node("a").await, true)]).await;
    let (_, mut stream) = visit(fixture.address).await;
    fixture.stop.cancel();
    timeout(PATIENCE, fixture.task).await.unwrap().unwrap();
    let ended = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}
