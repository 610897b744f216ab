//! Clients that come and go while others stay: each connects, joins some rooms, leaves some, comes
//! back from a cut perhaps, and ends its session or lets it expire. What it does goes to the judge
//! of the lifecycle; what it hears does not matter.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::link::{Link, Route};
use crate::oracle::lifecycle::{Change, Lifecycle};
use crate::seat::Make;

/// Who is not connected by then goes without a visit.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);
/// One attempt at a join or leave; there is no second.
const ASK_WAIT: Duration = Duration::from_secs(4);
/// A node has this long to read a farewell.
const FAREWELL: Duration = Duration::from_millis(300);
/// The last visit is over within this.
const OVER_WITHIN: Duration = Duration::from_secs(60);
/// Rooms that one visitor joins at most.
const ROOMS_MAX: usize = 3;

/// How visitors behave.
#[derive(Debug, Clone)]
pub struct VisitorSpec {
    /// Which client each of them is.
    pub make: Make,
    /// With its leading slash.
    pub namespace: String,
    /// Rooms to choose from.
    pub rooms: Vec<String>,
    /// Nodes.
    pub upstreams: Vec<SocketAddr>,
    /// Of all choices.
    pub seed: u64,
}

/// Visitors, one after the other.
#[derive(Debug)]
pub struct Visitors {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Visitors {
    /// Lets the first one in.
    #[must_use]
    pub fn start(spec: VisitorSpec, lifecycle: &Lifecycle) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, lifecycle) = (Arc::clone(&stop), lifecycle.clone());
        let task = tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(spec.seed);
            while !stopped.load(Ordering::Relaxed) {
                visit(&spec, &lifecycle, &mut rng).await;
            }
        });
        Self { stop, task }
    }

    /// Lets nobody in any more, and waits until the last one has gone.
    ///
    /// # Panics
    /// When it does not go.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let over = timeout(OVER_WITHIN, self.task).await;
        assert!(
            matches!(over, Ok(Ok(()))),
            "a visitor does not go: {over:?}"
        );
    }
}

async fn visit(spec: &VisitorSpec, lifecycle: &Lifecycle, rng: &mut StdRng) {
    let link = Link::start(spec.upstreams.clone(), Route::RoundRobin).await;
    let link = link.expect("a link can listen");
    let number = lifecycle.client(&format!("visitor of {}", spec.namespace));
    let auth = Map::from_iter([("identity".to_owned(), json!("visitor"))]);
    let seen = (spec.namespace.as_str(), auth);
    let client = spec
        .make
        .clone()
        .open(link.addr(), seen, lifecycle.tap(number))
        .await;
    let mut watch = client.watch();
    let connected = watch.wait_for(|state| state.connected);
    let is_here = matches!(timeout(CONNECTED_WITHIN, connected).await, Ok(Ok(_)));
    lifecycle.unanswered(link.carried_count().saturating_sub(usize::from(is_here)));
    if is_here {
        let visitor = Visitor {
            client: &client,
            lifecycle,
            number,
        };
        visitor.walk(spec, rng).await;
    }
    lifecycle.closing(number);
    let vanishes = rng.random_bool(0.3);
    if vanishes {
        link.route(Route::Nowhere);
        link.cut();
    }
    client.close().await;
    sleep(FAREWELL).await;
}

/// One that is connected.
struct Visitor<'a> {
    client: &'a Client,
    lifecycle: &'a Lifecycle,
    number: usize,
}

impl Visitor<'_> {
    async fn walk(&self, spec: &VisitorSpec, rng: &mut StdRng) {
        let count = rng.random_range(0..=ROOMS_MAX);
        for room in spec.rooms.choose_multiple(rng, count) {
            self.change(Change::Join, room).await;
            match rng.random_range(0..4) {
                0 => self.change(Change::Leave, room).await,
                1 => self.client.cut().await,
                2 => {
                    self.change(Change::Leave, room).await;
                    self.change(Change::Join, room).await;
                }
                _ => {}
            }
            sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
        }
    }

    async fn change(&self, change: Change, room: &str) {
        let session = self.client.state().fresh;
        let name = match change {
            Change::Join => "join",
            Change::Leave => "leave",
        };
        self.lifecycle.asking(self.number, change, room);
        let answer = self.client.ask(name, vec![json!(room)], ASK_WAIT).await;
        if let Ok(offset) = answer.and_then(|reply| reply.offset()) {
            let session = (self.number, session);
            self.lifecycle.answered(session, change, room, offset);
        }
    }
}
