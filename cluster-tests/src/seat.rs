//! A subscriber under the oracle's eyes: a client of any make behind a link of its own, that joins
//! its rooms whenever its session is not the one it had, as an application would.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::{AskError, Client, Event, Signal, State, Tap};
use crate::link::{Link, Route};
use crate::offset::Offset;
use crate::oracle::Oracle;
use crate::payload::{self, EVENT};
use crate::raw::{RawClient, RawSpec};
use crate::sdk::SdkSocket;
use crate::stock::{StockDriver, StockSpec};

/// One attempt at a join or leave.
const ASK_WAIT: Duration = Duration::from_secs(6);
/// Pause after a failed attempt.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Joining all rooms may take this long in a test that breaks nodes meanwhile.
const SEATED_WITHIN: Duration = Duration::from_secs(30);

/// Which client sits there.
#[derive(Debug, Clone)]
pub enum Make {
    /// A client from a registry, over WebSocket.
    Stock(Arc<StockDriver>),
    /// The same with these options of its manager, over those of the driver.
    StockWith(Arc<StockDriver>, Map<String, Value>),
    /// Our Rust client.
    Sdk,
    /// The suite's own.
    Raw,
}

/// What a seat is made with.
#[derive(Clone)]
pub struct SeatSpec {
    /// Shown in faults.
    pub name: String,
    /// Which client.
    pub make: Make,
    /// With its leading slash.
    pub namespace: String,
    /// Joined at first and after every session that was not resumed.
    pub rooms: Vec<String>,
    /// CONNECT's payload.
    pub auth: Map<String, Value>,
    /// Nodes.
    pub upstreams: Vec<SocketAddr>,
    /// The node for the first connection.
    pub route: Route,
    /// Sees all signals too, before the oracle does.
    pub witness: Option<Tap>,
}

impl std::fmt::Debug for SeatSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeatSpec")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A subscriber; its client ends when this is dropped.
#[derive(Debug)]
pub struct Seat {
    /// Shown in faults.
    pub name: String,
    /// Between the client and the nodes.
    pub link: Link,
    /// The client.
    pub client: Client,
    /// Its number in the oracle.
    pub number: usize,
    /// Whether its client brings back its session when it returns.
    pub resumes: bool,
    oracle: Oracle,
    wanted: Arc<Mutex<BTreeSet<String>>>,
    /// Session whose rooms are all joined.
    seated: watch::Receiver<u64>,
    keeper: JoinHandle<()>,
}

impl Make {
    /// Whether it brings back its session when it returns.
    #[must_use]
    pub fn resumes(&self) -> bool {
        match self {
            Self::Stock(driver) | Self::StockWith(driver, _) => driver.package().resumes(),
            Self::Sdk | Self::Raw => true,
        }
    }

    /// A new client of a namespace, with CONNECT's payload.
    pub async fn open(
        self,
        addr: SocketAddr,
        (namespace, auth): (&str, Map<String, Value>),
        tap: Tap,
    ) -> Client {
        let namespace = namespace.to_owned();
        let stock = |options| StockSpec {
            addr,
            namespace: namespace.clone(),
            auth: auth.clone(),
            options,
        };
        match self {
            Self::Stock(driver) => Client::Stock(driver.open(stock(Map::new()), tap).await),
            Self::StockWith(driver, options) => {
                Client::Stock(driver.open(stock(options), tap).await)
            }
            Self::Sdk => Client::Sdk(SdkSocket::start(addr, &namespace, auth, tap)),
            Self::Raw => Client::Raw(RawClient::start(
                RawSpec {
                    endpoints: vec![addr],
                    namespace,
                    auth,
                },
                tap,
            )),
        }
    }
}

impl Seat {
    /// Connects and joins, and waits for both.
    ///
    /// # Errors
    /// When the link cannot listen.
    ///
    /// # Panics
    /// When it is not seated in time.
    pub async fn take(spec: SeatSpec, oracle: &Oracle) -> io::Result<Self> {
        let seat = Self::start(spec, oracle).await?;
        seat.wait_seated().await;
        Ok(seat)
    }

    /// As [`Seat::take`], without waiting.
    ///
    /// # Errors
    /// When the link cannot listen.
    pub async fn start(spec: SeatSpec, oracle: &Oracle) -> io::Result<Self> {
        let link = Link::start(spec.upstreams, spec.route).await?;
        let number = oracle.subscriber(&spec.name);
        let tap = tap(oracle.clone(), number, spec.witness);
        let resumes = spec.make.resumes();
        let seen = (spec.namespace.as_str(), spec.auth);
        let client = spec.make.open(link.addr(), seen, tap).await;
        let mut seat = Self::keep(spec.name, spec.rooms, link, client, number, oracle);
        seat.resumes = resumes;
        Ok(seat)
    }

    /// A seat for another namespace on the connection of a stock client's seat; its own link
    /// carries nothing.
    ///
    /// # Errors
    /// When the link cannot listen.
    ///
    /// # Panics
    /// When `other` is no stock client, or it is not seated in time.
    pub async fn take_beside(
        other: &Self,
        driver: &Arc<StockDriver>,
        namespace: &str,
        rooms: Vec<String>,
        oracle: &Oracle,
    ) -> io::Result<Self> {
        let Client::Stock(socket) = &other.client else {
            panic!("{} is no stock client", other.name)
        };
        let name = format!("{} in {namespace}", other.name);
        let number = oracle.subscriber(&name);
        let tap = tap(oracle.clone(), number, None);
        let client = Client::Stock(driver.open_beside(socket, namespace, tap).await);
        let link = Link::start(Vec::new(), Route::Nowhere).await?;
        let seat = Self::keep(name, rooms, link, client, number, oracle);
        seat.wait_seated().await;
        Ok(seat)
    }

    fn keep(
        name: String,
        rooms: Vec<String>,
        link: Link,
        client: Client,
        number: usize,
        oracle: &Oracle,
    ) -> Self {
        let wanted = Arc::new(Mutex::new(BTreeSet::from_iter(rooms)));
        let (report, seated) = watch::channel(0);
        let keeper = Keeper {
            client: client.clone(),
            number,
            oracle: oracle.clone(),
            wanted: Arc::clone(&wanted),
            report,
        };
        let keeper = tokio::spawn(keeper.run());
        Self {
            name,
            link,
            client,
            number,
            resumes: true,
            oracle: oracle.clone(),
            wanted,
            seated,
            keeper,
        }
    }

    /// Waits until all rooms of the present session are joined.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_seated(&self) {
        // Both may change: a session that is seated can lose its connection and come back.
        let seated = async {
            loop {
                let state = self.client.state();
                if state.connected && state.fresh == *self.seated.borrow() {
                    return;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(SEATED_WITHIN, seated).await;
        assert!(
            waited.is_ok(),
            "{} is not seated: {:?}",
            self.name,
            self.client.state()
        );
    }

    /// Waits until the client has come back `resumes` times with its session.
    ///
    /// # Panics
    /// When it does not in time, or comes back with another session.
    pub async fn wait_resumed(&self, resumes: u64, within: Duration) -> State {
        let what = format!("{} resumed {resumes} times", self.name);
        let test =
            |state: &State| state.connected && (state.recovered >= resumes || state.fresh > 1);
        let state = self.client.wait_for(&what, within, test).await;
        assert!(
            state.fresh == 1,
            "{}: a resume was refused: {state:?}",
            self.name
        );
        state
    }

    /// Waits until at least `count` events have arrived.
    ///
    /// # Panics
    /// When they do not in time.
    pub async fn wait_received(&self, count: usize, within: Duration) {
        let waited = tokio::time::timeout(within, async {
            while self.oracle.received_count(self.number) < count {
                sleep(Duration::from_millis(10)).await;
            }
        });
        let arrived = waited.await.is_ok();
        let have = self.oracle.received_count(self.number);
        assert!(
            arrived,
            "{} has {have} of {count} events: {:?}",
            self.name,
            self.client.state()
        );
    }

    /// Joins one more room, for good.
    pub async fn join(&self, room: &str) {
        self.wanted.lock().insert(room.to_owned());
        join(&self.client, &self.oracle, self.number, room).await;
    }

    /// Leaves a room, for good; false when the answer did not come or the session changed.
    pub async fn leave(&self, room: &str) -> bool {
        self.wanted.lock().remove(room);
        let session = self.client.state().fresh;
        self.oracle.leaving(self.number, room);
        let reply = self.client.ask("leave", vec![json!(room)], ASK_WAIT).await;
        let Ok(offset) = reply.and_then(|reply| reply.offset()) else {
            return false;
        };
        self.oracle.left(self.number, session, room, offset);
        true
    }

    /// Ends the session for good; the link is needed until the node has read that.
    pub async fn close(&self) {
        self.oracle.closing(self.number);
        self.client.close().await;
    }

    /// Goes without a word and never comes back.
    pub async fn vanish(&self) {
        self.link.route(Route::Nowhere);
        self.link.cut();
        self.close().await;
    }

    /// Rooms it is to be in.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        self.wanted.lock().iter().cloned().collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Tells the oracle what arrives, in the order it arrives.
fn tap(oracle: Oracle, number: usize, witness: Option<Tap>) -> Tap {
    Arc::new(move |signal: &Signal| {
        if let Some(witness) = &witness {
            witness(signal);
        }
        match signal {
            Signal::Connected {
                id,
                recovered: false,
                ..
            } => {
                oracle.fresh(number, id);
            }
            Signal::Event(event) if event.name == EVENT => hear(&oracle, number, event),
            _ => {}
        }
    })
}

fn hear(oracle: &Oracle, number: usize, event: &Event) {
    let offset = event.offset.as_deref().and_then(Offset::parse);
    match (payload::check(&event.args), offset) {
        (Some(id), Some(offset)) => oracle.received(number, id, offset),
        _ => oracle.corrupted(number),
    }
}

/// Joins the rooms of every session that is not a resumed one.
struct Keeper {
    client: Client,
    number: usize,
    oracle: Oracle,
    wanted: Arc<Mutex<BTreeSet<String>>>,
    report: watch::Sender<u64>,
}

impl Keeper {
    async fn run(self) {
        let mut watch = self.client.watch();
        let mut done = 0;
        loop {
            let waited = watch
                .wait_for(|state| state.connected && state.fresh != done)
                .await;
            let Ok(session) = waited.map(|state| state.fresh) else {
                return;
            };
            let rooms: Vec<String> = self.wanted.lock().iter().cloned().collect();
            for room in rooms {
                join(&self.client, &self.oracle, self.number, &room).await;
            }
            if self.client.state().fresh == session {
                done = session;
                self.report.send_replace(done);
            }
        }
    }
}

/// Joins a room, trying again until the session in which it tried is the one that joined.
async fn join(client: &Client, oracle: &Oracle, number: usize, room: &str) {
    loop {
        let session = client.state().fresh;
        oracle.joining(number, room);
        match client.join(room, ASK_WAIT).await {
            Ok(offset) if client.state().fresh == session => {
                oracle.joined(number, session, room, offset);
                return;
            }
            Ok(_) | Err(AskError::Call(_)) => {}
            Err(AskError::Refused(code)) if is_passing(&code) => {}
            Err(error) => {
                eprintln!("subscriber {number} cannot join {room}: {error}");
            }
        }
        sleep(ASK_PAUSE).await;
    }
}

/// Refusals that pass by themselves: the same call may succeed later.
#[must_use]
pub fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "unavailable" | "overloaded" | "rate_limited" | "unknown_outcome" | "timeout"
    )
}
