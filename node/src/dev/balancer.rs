//! A round-robin TCP balancer without stickiness: each connection goes to the next ready node; one
//! that cannot be reached is passed over, and the client does not notice while another one lives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; at the bound, accepting waits and the kernel's backlog holds the rest.
const CONNECTIONS_MAX: usize = 10_000;
/// How long one node has to take a connection before the next one is asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one direction may go on after the other has ended.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);
/// Pause after a failed accept: out of files or memory, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A node behind the balancer.
#[derive(Debug)]
pub struct Backend {
    /// Its client port.
    pub address: SocketAddr,
    /// What `/readyz` said last. Nodes that are not ready are asked last, not never: when none is
    /// ready, a node's own 503 tells a client more than a broken connection.
    ready: AtomicBool,
}

impl Backend {
    /// A node of which nothing is known yet.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            ready: AtomicBool::new(false),
        }
    }

    /// What its `/readyz` said last.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Notes its readiness; answers whether that changed.
    pub fn set_ready(&self, ready: bool) -> bool {
        self.ready.swap(ready, Ordering::Relaxed) != ready
    }
}

/// The balancer; [`Balancer::run`] serves.
#[derive(Debug, Clone)]
pub struct Balancer {
    backends: Arc<[Backend]>,
    /// Counts connections; the next ready node is this number modulo the ready ones.
    turn: Arc<AtomicUsize>,
}

impl Balancer {
    /// A balancer over some nodes.
    #[must_use]
    pub fn new(backends: Arc<[Backend]>) -> Self {
        Self {
            backends,
            turn: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Serves until `stop`, then drops what is open.
    pub async fn run(&self, listener: TcpListener, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = TaskTracker::new();
        let accepting = async {
            loop {
                let permit = Arc::clone(&permits).acquire_owned().await;
                let permit = permit.expect("the semaphore is never closed");
                let client = match listener.accept().await {
                    Ok((client, _)) => client,
                    Err(error) => {
                        tracing::warn!(%error, "the balancer cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let (balancer, stop) = (self.clone(), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = balancer.carry(client) => {}
                    }
                    drop(permit);
                });
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = accepting => {}
        }
        connections.close();
        connections.wait().await;
    }

    /// Carries one client's connection to its end.
    async fn carry(&self, client: TcpStream) {
        let Some(node) = self.connect().await else {
            tracing::warn!("no node takes connections");
            return;
        };
        for stream in [&client, &node] {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused");
            }
        }
        if let Err(error) = exchange(client, node).await {
            tracing::debug!(%error, "a connection broke");
        }
    }

    async fn connect(&self) -> Option<TcpStream> {
        for backend in self.order() {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(backend.address)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => tracing::debug!(%error, node = %backend.address, "passed over"),
                Err(_) => tracing::debug!(node = %backend.address, "passed over: too slow"),
            }
        }
        None
    }

    /// Ready nodes from the next one on, then the others.
    fn order(&self) -> Vec<&Backend> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut ready, mut others): (Vec<_>, Vec<_>) =
            self.backends.iter().partition(|backend| backend.is_ready());
        for list in [&mut ready, &mut others] {
            let count = list.len().max(1);
            list.rotate_left(turn % count);
        }
        ready.append(&mut others);
        ready
    }
}

/// Copies both ways. An end of stream is passed on as one, and the other direction goes on for a
/// bounded time; a failure of either ends both.
async fn exchange(client: TcpStream, node: TcpStream) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_node, to_node) = node.into_split();
    let up = pump(from_client, to_node);
    let down = pump(from_node, to_client);
    tokio::pin!(up, down);
    let rest = tokio::select! {
        biased;
        ended = &mut down => { ended?; tokio::time::timeout(HALF_CLOSED_MAX, up).await }
        ended = &mut up => { ended?; tokio::time::timeout(HALF_CLOSED_MAX, down).await }
    };
    rest.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests;
