//! A TCP balancer without stickiness whose connections can be cut, frozen or made half-open. With
//! one upstream it is a link between a client and a node.
//!
//! It never looks at what it carries and never loses a byte of a connection that is not cut.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Bytes a direction holds at most while it is frozen, beside the kernel's buffers.
const BUFFER_BYTES: usize = 16 * 1024;
/// A node that does not even accept in this time counts as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where new connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the next upstream each time; one that refuses is skipped.
    RoundRobin,
    /// To this upstream alone.
    Only(usize),
    /// Nowhere: accepted and closed at once.
    Nowhere,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Bytes flow.
    Open,
    /// Both ends are open and nothing moves.
    Frozen,
    /// The client's end is gone, the node's end stays open and takes what it is sent.
    HalfOpen,
    /// Both ends are gone.
    Cut,
}

#[derive(Debug)]
struct Connection {
    upstream: usize,
    mode: watch::Sender<Mode>,
}

#[derive(Debug)]
struct Shared {
    upstreams: Vec<SocketAddr>,
    route: Mutex<Route>,
    /// Counts round-robin choices.
    turn: AtomicUsize,
    /// Those that are open at one end at least, oldest first.
    connections: Mutex<BTreeMap<u64, Connection>>,
    /// All there were.
    carried: AtomicUsize,
}

/// A running balancer; connections end when it is dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstreams: Vec<SocketAddr>, route: Route) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstreams,
            route: Mutex::new(route),
            turn: AtomicUsize::new(0),
            connections: Mutex::default(),
            carried: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            addr,
            shared,
            accepting,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Chooses where new connections go; open ones stay.
    pub fn route(&self, route: Route) {
        *self.shared.route.lock() = route;
    }

    /// Ends all connections, both ends, without a word of the protocol above.
    pub fn cut(&self) {
        self.set_all(Mode::Cut);
    }

    /// Nothing moves from now on, and neither end learns of it.
    pub fn freeze(&self) {
        self.set_all(Mode::Frozen);
    }

    /// What was frozen flows again, without loss.
    pub fn thaw(&self) {
        self.set_all(Mode::Open);
    }

    /// The client loses its connections, the nodes keep theirs.
    pub fn half_open(&self) {
        self.set_all(Mode::HalfOpen);
    }

    /// Upstream of the youngest connection whose two ends are there.
    #[must_use]
    pub fn upstream(&self) -> Option<usize> {
        let connections = self.shared.connections.lock();
        let whole = |c: &&Connection| matches!(*c.mode.borrow(), Mode::Open | Mode::Frozen);
        connections
            .values()
            .rev()
            .find(whole)
            .map(|connection| connection.upstream)
    }

    /// Connections that have reached an upstream so far.
    #[must_use]
    pub fn carried_count(&self) -> usize {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Node ends that are still open although their client is gone.
    #[must_use]
    pub fn half_open_count(&self) -> usize {
        let connections = self.shared.connections.lock();
        connections
            .values()
            .filter(|c| *c.mode.borrow() == Mode::HalfOpen)
            .count()
    }

    /// A connection that has lost its client never gets it back.
    fn set_all(&self, mode: Mode) {
        for connection in self.shared.connections.lock().values() {
            connection.mode.send_if_modified(|now| {
                let change = *now != mode
                    && (matches!(*now, Mode::Open | Mode::Frozen) || mode == Mode::Cut);
                if change {
                    *now = mode;
                }
                change
            });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set_all(Mode::Cut);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    for number in 0u64.. {
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(serve(number, client, Arc::clone(&shared)));
    }
}

async fn serve(number: u64, client: TcpStream, shared: Arc<Shared>) {
    let Some((upstream, server)) = connect(&shared).await else {
        return;
    };
    shared.carried.fetch_add(1, Ordering::Relaxed);
    let (mode, watched) = watch::channel(Mode::Open);
    shared
        .connections
        .lock()
        .insert(number, Connection { upstream, mode });
    // Small frames must not wait for each other; a socket that is gone already shows at the read.
    let _gone = client
        .set_nodelay(true)
        .and_then(|()| server.set_nodelay(true))
        .is_err();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let up = pump(client_read, server_write, watched.clone());
    let down = pump(server_read, client_write, watched.clone());
    let ((client_read, server_write), (mut server_read, client_write)) = tokio::join!(up, down);
    let last = *watched.borrow();
    if last == Mode::HalfOpen {
        drop((client_read, client_write));
        drain(&mut server_read, watched).await;
        drop(server_write);
    }
    shared.connections.lock().remove(&number);
}

/// The upstream to use now; `None` when there is none.
async fn connect(shared: &Shared) -> Option<(usize, TcpStream)> {
    let route = *shared.route.lock();
    let count = shared.upstreams.len();
    let candidates: Vec<usize> = match route {
        Route::Nowhere => Vec::new(),
        Route::Only(index) => vec![index],
        Route::RoundRobin => {
            let first = shared.turn.fetch_add(1, Ordering::Relaxed);
            (first..first + count).map(|turn| turn % count).collect()
        }
    };
    for index in candidates {
        let attempt = TcpStream::connect(shared.upstreams[index]);
        if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, attempt).await {
            return Some((index, stream));
        }
    }
    None
}

/// Carries one direction until it ends, and gives both halves back.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while open(&mut mode).await {
        let count = tokio::select! {
            biased;
            () = ended(&mut mode) => break,
            count = from.read(&mut buffer) => count.unwrap_or(0),
        };
        if count == 0 {
            // The end is news as well: a frozen link keeps it back.
            if open(&mut mode).await {
                let _already_gone = to.shutdown().await.is_err();
            }
            break;
        }
        if !open(&mut mode).await {
            break;
        }
        let written = tokio::select! {
            biased;
            () = ended(&mut mode) => false,
            written = to.write_all(&buffer[..count]) => written.is_ok(),
        };
        if !written {
            break;
        }
    }
    (from, to)
}

/// Waits while frozen; false when the connection is to end.
async fn open(mode: &mut watch::Receiver<Mode>) -> bool {
    let now = mode.wait_for(|mode| *mode != Mode::Frozen).await;
    now.is_ok_and(|mode| *mode == Mode::Open)
}

/// Resolves when the connection is to end.
async fn ended(mode: &mut watch::Receiver<Mode>) {
    let over = mode
        .wait_for(|mode| matches!(mode, Mode::Cut | Mode::HalfOpen))
        .await;
    drop(over);
}

/// Takes what the node still sends, as a dead client's network does, until the node closes.
async fn drain(from: &mut OwnedReadHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = tokio::select! {
            biased;
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => return,
            count = from.read(&mut buffer) => count,
        };
        if !matches!(count, Ok(1..)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
