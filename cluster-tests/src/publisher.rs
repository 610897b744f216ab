//! A publisher under the oracle's eyes: paced, with a bounded number of publishes in flight, each
//! with an idempotency key that is sent again until the outcome is known.
//!
//! A key counts per session in development mode, so an unknown outcome stays unknown when the
//! session is not the one that sent it first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{AskError, Client};
use crate::oracle::{EventId, Oracle, Outcome, Target};
use crate::payload::{Body, EVENT, arguments};
use crate::seat::is_passing;

/// One attempt: the server itself answers within 5 s.
const ASK_WAIT: Duration = Duration::from_secs(7);
/// Pause before an event is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// After a stop, what is in flight may take this long.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);

/// What one publisher sends.
#[derive(Debug, Clone)]
pub struct PublishSpec {
    /// Chosen from at random.
    pub targets: Vec<Target>,
    /// Chosen from at random.
    pub bodies: Vec<Body>,
    /// Time between two sends; with nothing, as fast as the acknowledgements allow.
    pub pace: Option<Duration>,
    /// Publishes without an answer at most.
    pub in_flight: usize,
    /// For the choices.
    pub seed: u64,
}

impl PublishSpec {
    /// Short texts to one room, one at a time every 20 ms.
    #[must_use]
    pub fn new(room: &str) -> Self {
        Self {
            targets: vec![Target::room(room)],
            bodies: vec![Body::Text(24)],
            pace: Some(Duration::from_millis(20)),
            in_flight: 4,
            seed: 1,
        }
    }
}

/// Refusals of any kind, by code, of all publishes together.
pub type Refusals = Arc<Mutex<BTreeMap<String, u64>>>;

/// A running publisher.
#[derive(Debug)]
pub struct Publisher {
    /// The client, for its state.
    pub client: Client,
    /// What the server refused, by code.
    pub refusals: Refusals,
    /// How many were acknowledged.
    pub acked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts to publish as soon as the client is connected.
    #[must_use]
    pub fn start(client: Client, oracle: &Oracle, spec: PublishSpec) -> Self {
        let refusals = Refusals::default();
        let acked = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            client: client.clone(),
            oracle: oracle.clone(),
            number: oracle.publisher(),
            refusals: Arc::clone(&refusals),
            acked: Arc::clone(&acked),
            stop: Arc::clone(&stop),
        };
        let task = tokio::spawn(run(Arc::new(desk), spec));
        Self {
            client,
            refusals,
            acked,
            stop,
            task,
        }
    }

    /// Sends nothing new, and waits until the outcome of everything sent is known or given up.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = timeout(SETTLE_WITHIN, self.task).await;
        assert!(
            ended.is_ok(),
            "a publish is never answered: {:?}",
            self.client.state()
        );
    }
}

struct Desk {
    client: Client,
    oracle: Oracle,
    number: u32,
    refusals: Refusals,
    acked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

async fn run(desk: Arc<Desk>, spec: PublishSpec) {
    let mut rng: StdRng = rand::SeedableRng::seed_from_u64(spec.seed);
    let places = Arc::new(Semaphore::new(spec.in_flight));
    let mut flights = JoinSet::new();
    let mut pace = spec.pace.map(interval);
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut watch = desk.client.watch();
    for seq in 0u32.. {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        if watch
            .wait_for(|state| state.connected || state.gave_up.is_some())
            .await
            .is_err()
        {
            break;
        }
        if desk.stop.load(Ordering::Relaxed) {
            break;
        }
        let id = EventId {
            publisher: desk.number,
            seq,
        };
        let target = spec.targets[rng.random_range(0..spec.targets.len())].clone();
        let body = spec.bodies[rng.random_range(0..spec.bodies.len())];
        desk.oracle.sent(id, target.clone());
        let desk = Arc::clone(&desk);
        flights.spawn(async move {
            let outcome = publish(&desk, id, &target, body).await;
            if matches!(outcome, Outcome::Acked(_)) {
                desk.acked.fetch_add(1, Ordering::Relaxed);
            }
            desk.oracle.settled(id, outcome);
            drop(place);
        });
        while flights.try_join_next().is_some() {}
    }
    while flights.join_next().await.is_some() {}
}

/// Sends one event until its outcome is known, or cannot become known any more.
async fn publish(desk: &Desk, id: EventId, target: &Target, body: Body) -> Outcome {
    let mut args = vec![
        target_json(target, &format!("k{}-{}", id.publisher, id.seq)),
        json!(EVENT),
    ];
    args.extend(arguments(id, body));
    let session = desk.client.state().fresh;
    let deadline = Instant::now() + SETTLE_WITHIN;
    let mut perhaps_written = false;
    while Instant::now() < deadline {
        match desk.client.ask("publish", args.clone(), ASK_WAIT).await {
            Ok(reply) => match reply.offset() {
                Ok(offset) => return Outcome::Acked(offset),
                Err(error) => note(desk, &error),
            },
            Err(AskError::Call(error)) => {
                perhaps_written |= error != crate::client::CallError::NotConnected;
            }
            Err(error) => {
                note(desk, &error);
                let code = error.code().unwrap_or_default();
                perhaps_written |= matches!(code, "unknown_outcome" | "timeout");
                if !is_passing(code) {
                    return if perhaps_written {
                        Outcome::Unknown
                    } else {
                        Outcome::Refused
                    };
                }
            }
        }
        sleep(RETRY_PAUSE).await;
        let returned = async {
            let mut watch = desk.client.watch();
            watch
                .wait_for(|state| state.connected || state.gave_up.is_some())
                .await
                .is_ok()
        };
        let _late = timeout(ASK_WAIT, returned).await.is_err();
        if desk.client.state().fresh != session {
            return if perhaps_written {
                Outcome::Unknown
            } else {
                Outcome::Refused
            };
        }
    }
    if perhaps_written {
        Outcome::Unknown
    } else {
        Outcome::Refused
    }
}

fn note(desk: &Desk, error: &AskError) {
    let name = error
        .code()
        .map_or_else(|| error.to_string(), ToOwned::to_owned);
    *desk.refusals.lock().entry(name).or_default() += 1;
}

fn target_json(target: &Target, key: &str) -> Value {
    json!({ "rooms": target.rooms, "except": target.except, "key": key })
}
