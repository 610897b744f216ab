//! Many connections, each of which publishes and waits for its acknowledgement: how many durable
//! publishes a second, and how long each takes. The same for us and for a peer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::socket::LeanSocket;

/// Bytes of each payload.
pub const PAYLOAD_BYTES: usize = 128;

/// A connection that publishes.
pub trait Publishing: Send + 'static {
    /// Publishes one payload, and waits until it is acknowledged.
    fn publish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// What a period came to.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Acknowledged publishes a second.
    pub per_second: f64,
    /// Half of them took no longer, milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took no longer, milliseconds.
    pub p99_ms: f64,
}

/// What the connections share.
#[derive(Debug, Default)]
struct Shared {
    sampling: AtomicBool,
    stopped: AtomicBool,
    count: AtomicU64,
    ages_us: Mutex<Vec<u32>>,
}

/// Publishes on all connections at once: for a while without counting, then for `period`.
///
/// # Errors
/// When a connection ends, or a publish is refused.
pub async fn measure<P: Publishing>(
    connections: Vec<P>,
    warm_up: Duration,
    period: Duration,
) -> io::Result<Rate> {
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(publish_on(connection, Arc::clone(&shared)));
    }
    sleep(warm_up).await;
    shared.sampling.store(true, Ordering::Relaxed);
    let started = Instant::now();
    sleep(period).await;
    shared.sampling.store(false, Ordering::Relaxed);
    let elapsed = started.elapsed().as_secs_f64();
    shared.stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    let mut ages = std::mem::take(&mut *shared.ages_us.lock());
    ages.sort_unstable();
    let age = |share: usize| {
        let at = ages.len() * share / 100;
        ages.get(at).map_or(0.0, |us| f64::from(*us) / 1e3)
    };
    Ok(Rate {
        per_second: shared.count.load(Ordering::Relaxed) as f64 / elapsed,
        p50_ms: age(50),
        p99_ms: age(99),
    })
}

/// Publishes this many on each connection, all connections at once.
///
/// # Errors
/// When a connection ends, or a publish is refused.
pub async fn publish_each<P: Publishing>(connections: Vec<P>, count: u64) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            for _ in 0..count {
                connection.publish().await?;
            }
            Ok::<_, io::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn publish_on<P: Publishing>(mut connection: P, shared: Arc<Shared>) -> io::Result<()> {
    let mut ages_us = Vec::new();
    while !shared.stopped.load(Ordering::Relaxed) {
        let sent = Instant::now();
        connection.publish().await?;
        if shared.sampling.load(Ordering::Relaxed) {
            shared.count.fetch_add(1, Ordering::Relaxed);
            ages_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    shared.ages_us.lock().append(&mut ages_us);
    Ok(())
}

/// Which rooms events go to, by their number: `nobody`, or one of many in turn.
#[derive(Debug, Clone, Copy)]
struct Spread {
    /// The next event's number.
    next: u64,
    /// Added for each.
    step: u64,
    /// Number of rooms; 0: only the one without members.
    rooms: u64,
}

/// A socket of ours that publishes, to a room that nobody is in unless told otherwise.
#[derive(Debug)]
pub struct Publisher {
    socket: LeanSocket,
    body: String,
    seq: u64,
    spread: Spread,
}

impl Publisher {
    /// Over a connected socket, with payloads of [`PAYLOAD_BYTES`].
    #[must_use]
    pub fn new(socket: LeanSocket) -> Self {
        Self::with_bytes(socket, PAYLOAD_BYTES)
    }

    /// With payloads of another size.
    #[must_use]
    pub fn with_bytes(socket: LeanSocket, bytes: usize) -> Self {
        Self {
            socket,
            body: "x".repeat(bytes),
            seq: 0,
            spread: Spread {
                next: 0,
                step: 1,
                rooms: 0,
            },
        }
    }

    /// To the rooms `r0`, `r1`, … in turn: this is publisher `number` of `count`, whose events are
    /// numbered in turn too.
    #[must_use]
    pub fn over_rooms(mut self, rooms: u64, number: u64, count: u64) -> Self {
        self.spread = Spread {
            next: number,
            step: count,
            rooms,
        };
        self
    }

    fn room(&mut self) -> String {
        let Spread { next, step, rooms } = self.spread;
        self.spread.next += step;
        match next.checked_rem(rooms) {
            Some(room) => format!("r{room}"),
            None => "nobody".to_owned(),
        }
    }
}

impl Publishing for Publisher {
    async fn publish(&mut self) -> io::Result<()> {
        let seq = self.seq;
        self.seq += 1;
        let room = self.room();
        let text = format!("42{seq}[\"publish\",\"{room}\",\"m\",\"{}\"]", self.body);
        self.socket.send(text.as_bytes()).await?;
        let (mut acked, mut refused) = (false, None);
        while !acked {
            self.socket
                .read(|payload| {
                    if payload.starts_with(b"43") {
                        acked = true;
                        if !payload.windows(9).any(|bytes| bytes == b"\"ok\":true") {
                            refused = Some(String::from_utf8_lossy(payload).into_owned());
                        }
                    }
                })
                .await?;
        }
        refused.map_or(Ok(()), |answer| Err(io::Error::other(answer)))
    }
}
