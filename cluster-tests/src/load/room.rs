//! Many sockets in one room that count what they receive, shared with the one that speaks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::socket::LeanSocket;

/// The room's name, and the beginning of each event in it.
pub const ROOM: &str = "bench";
const EVENT_PREFIX: &[u8] = b"42[\"m\",";
/// Connects in flight.
const CONNECTING: usize = 64;
/// One in so many sockets measures how old events are when they arrive.
const SAMPLED: usize = 50;
/// Events on their way at most, a power of two.
const RING: usize = 4096;

/// Whether an event counts among those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It took one of the places.
    Held,
    /// It took none, so none comes back.
    None,
}

/// What the sockets of a room and its speaker share.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    /// Events received by all sockets together.
    pub deliveries: AtomicU64,
    /// Sockets whose connection ended, or that received events out of order.
    pub faults: AtomicU64,
    /// Free places for events that not all sockets have received.
    pub places: Semaphore,
    /// Sockets that have still to receive the event of this slot.
    missing: Vec<AtomicU32>,
    /// When it was sent, in microseconds since `started`.
    sent_us: Vec<AtomicU64>,
    /// Ages in microseconds.
    ages_us: Mutex<Vec<u32>>,
    /// Whether ages are taken.
    pub sampling: AtomicBool,
    sockets: u32,
}

impl Tally {
    /// For this many sockets, and at most `places` events in flight.
    #[must_use]
    pub fn new(sockets: usize, places: usize) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            deliveries: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            places: Semaphore::new(places),
            missing: (0..RING).map(|_| AtomicU32::new(0)).collect(),
            sent_us: (0..RING).map(|_| AtomicU64::new(0)).collect(),
            ages_us: Mutex::default(),
            sampling: AtomicBool::new(false),
            sockets: u32::try_from(sockets).unwrap_or(u32::MAX),
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// An event is about to be sent; its place, if it holds one, is free when all have received it.
    pub fn sent(&self, seq: u64, place: Place) {
        let slot = slot(seq);
        let missing = match place {
            Place::Held => self.sockets,
            Place::None => u32::MAX,
        };
        self.missing[slot].store(missing, Ordering::Relaxed);
        self.sent_us[slot].store(self.now_us(), Ordering::Relaxed);
    }

    fn received(&self, seq: u64, sampled: bool) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let slot = slot(seq);
        if sampled && self.sampling.load(Ordering::Relaxed) {
            let age = self
                .now_us()
                .saturating_sub(self.sent_us[slot].load(Ordering::Relaxed));
            self.ages_us
                .lock()
                .push(u32::try_from(age).unwrap_or(u32::MAX));
        }
        if self.missing[slot].fetch_sub(1, Ordering::Relaxed) == 1 {
            self.places.add_permits(1);
        }
    }

    /// Takes the ages so far, sorted.
    #[must_use]
    pub fn take_ages_us(&self) -> Vec<u32> {
        let mut ages = std::mem::take(&mut *self.ages_us.lock());
        ages.sort_unstable();
        ages
    }
}

fn slot(seq: u64) -> usize {
    usize::try_from(seq % RING as u64).unwrap_or(0)
}

/// How a socket comes to its WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At once.
    WebSocket,
    /// At once, over a connection that takes in little of what is not read.
    Narrow,
    /// By polling at one node and an upgrade at the next.
    Polling,
}

/// Connects `count` sockets over the nodes in turn, each in `room`.
///
/// # Errors
/// When one is refused.
pub async fn connect(
    nodes: &[SocketAddr],
    way: Way,
    count: usize,
    room: &str,
) -> io::Result<Vec<LeanSocket>> {
    let attempts = (0..count).map(|number| async move {
        let node = |number: usize| nodes[number % nodes.len()];
        let mut socket = match way {
            Way::WebSocket => LeanSocket::connect(node(number)).await?,
            Way::Narrow => LeanSocket::connect_narrow(node(number)).await?,
            Way::Polling => LeanSocket::connect_by_polling(node(number), node(number + 1)).await?,
        };
        socket.join(room).await?;
        Ok(socket)
    });
    let sockets: Vec<io::Result<LeanSocket>> = stream::iter(attempts)
        .buffer_unordered(CONNECTING)
        .collect()
        .await;
    sockets.into_iter().collect()
}

/// Lets the sockets receive until the set is dropped.
#[must_use]
pub fn listen(sockets: Vec<LeanSocket>, tally: &Arc<Tally>) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        listeners.spawn(receive(socket, Arc::clone(tally), number % SAMPLED == 0));
    }
    listeners
}

/// Lets the sockets read a byte each second until the set is dropped.
#[must_use]
pub fn sip(sockets: Vec<LeanSocket>, tally: &Arc<Tally>) -> JoinSet<()> {
    let mut sipping = JoinSet::new();
    for mut socket in sockets {
        let tally = Arc::clone(tally);
        sipping.spawn(async move {
            while socket.sip().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tally.faults.fetch_add(1, Ordering::Relaxed);
        });
    }
    sipping
}

async fn receive(mut socket: LeanSocket, tally: Arc<Tally>, sampled: bool) {
    let mut next = None;
    loop {
        let read = socket.read(|payload| {
            let Some(seq) = seq_of(payload) else { return };
            if next.is_some_and(|next| next != seq) {
                tally.faults.fetch_add(1, Ordering::Relaxed);
            }
            next = Some(seq + 1);
            tally.received(seq, sampled);
        });
        if read.await.is_err() {
            tally.faults.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// The number right after the event's name.
fn seq_of(payload: &[u8]) -> Option<u64> {
    let digits = payload
        .strip_prefix(EVENT_PREFIX)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_when_all_sockets_have_received() {
        assert_eq!(seq_of(b"42[\"m\",120,\"xx\",\"a.b.c\"]"), Some(120));
        assert_eq!(seq_of(b"430[{}]"), None);
        let tally = Tally::new(2, 1);
        tally.places.acquire().await.unwrap().forget();
        tally.sent(120, Place::Held);
        tally.received(120, true);
        assert_eq!(tally.places.available_permits(), 0);
        tally.received(120, true);
        assert_eq!(tally.places.available_permits(), 1);
        tally.sent(121, Place::None);
        tally.received(121, true);
        tally.received(121, true);
        assert_eq!(tally.places.available_permits(), 1);
        assert_eq!(tally.deliveries.load(Ordering::Relaxed), 4);
    }
}
