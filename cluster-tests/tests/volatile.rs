//! Volatile events beside a long replay. A stock client takes the last text of any event for its
//! new offset, so one that came in the middle of a replay with the wrong position would cut a hole
//! into what is replayed after the next cut, or let some of it come twice.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roomcast_cluster_tests::client::{Client, Signal, Tap};
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::offset::Offset;
use roomcast_cluster_tests::payload::{Body, EVENT};
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::seat::{Make, Seat};
use roomcast_cluster_tests::stage::Stage;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Published while the subscribers are away; all of them are replayed.
const MISSED: usize = 10_000;
/// All of it, in a debug build on a busy machine.
const LATER: Duration = Duration::from_secs(120);
/// Name of the volatile events.
const VOLATILE: &str = "v";
/// Cuts of each subscriber.
const CUTS: usize = 5;
/// A client that was cut has resumed by then, or has not noticed.
const UNNOTICED: Duration = Duration::from_secs(5);

/// What one subscriber saw of the order between logged and volatile events.
#[derive(Debug, Default)]
struct Seen {
    /// Logged events so far.
    logged: usize,
    /// Volatile events after the replay.
    volatile: usize,
    /// Volatile events after the absence began and before all that was missed had come: none.
    early: usize,
    /// Logged events at or before the position of a volatile event that came before them: none.
    overtaken: usize,
    /// Volatile events without a position, or whose position is before that of an event that has
    /// come: none.
    unplaced: usize,
    /// The last position of any event.
    position: Option<Offset>,
}

/// Shared by a subscriber's tap and the test.
type Witnessed = Arc<Mutex<Seen>>;

/// Notes the order in which events come; `away` is set before anybody is cut off.
fn witness(seen: &Witnessed, away: &Arc<AtomicBool>, goal: &Arc<AtomicU64>) -> Tap {
    let (seen, away, goal) = (Arc::clone(seen), Arc::clone(away), Arc::clone(goal));
    Arc::new(move |signal: &Signal| {
        let Signal::Event(event) = signal else { return };
        let offset = event.offset.as_deref().and_then(Offset::parse);
        let mut seen = seen.lock();
        if event.name == EVENT {
            seen.logged += 1;
            seen.overtaken += usize::from(offset <= seen.position);
            seen.position = offset;
        } else if event.name == VOLATILE {
            let replayed = seen.logged as u64 >= goal.load(Ordering::Relaxed);
            seen.early += usize::from(away.load(Ordering::Relaxed) && !replayed);
            seen.volatile += usize::from(replayed);
            seen.unplaced += usize::from(offset.is_none() || offset < seen.position);
            seen.position = offset.max(seen.position);
        }
    })
}

/// One volatile event every millisecond, until it is dropped. Its last argument is a text.
struct Rain(JoinHandle<()>);

impl Rain {
    fn start(client: Client) -> Self {
        Self(tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let target = json!({ "rooms": ["lobby"], "volatile": true });
            for number in 0u64.. {
                pace.tick().await;
                let args = [
                    target.clone(),
                    json!(VOLATILE),
                    json!(number),
                    json!("drop"),
                ];
                client.emit("publish", args.to_vec()).await;
            }
        }))
    }
}

impl Drop for Rain {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes what the seats miss, as fast as it goes.
async fn publish_missed(stage: &Stage) {
    let spec = PublishSpec {
        pace: None,
        in_flight: 100,
        bodies: vec![Body::Text(40)],
        ..PublishSpec::new("lobby")
    };
    let start = |node| Publisher::start(stage.raw(node), &stage.oracle, spec.clone());
    let publishers: Vec<Publisher> = (0..3).map(start).collect();
    let acked = || -> usize {
        let count = |publisher: &Publisher| publisher.acked.load(Ordering::Relaxed);
        publishers.iter().map(count).sum()
    };
    while acked() < MISSED {
        sleep(Duration::from_millis(20)).await;
    }
    for publisher in publishers {
        publisher.finish().await;
    }
}

/// Waits until a seat has resumed so often. A cut between two requests of a polling client breaks
/// nothing: it is made again.
async fn wait_resumed(seat: &Seat, count: u64) {
    let deadline = Instant::now() + LATER;
    let mut cut = Instant::now();
    while seat.client.state().recovered < count {
        assert!(Instant::now() < deadline, "{} does not resume", seat.name);
        if count > 1 && cut.elapsed() > UNNOTICED {
            cut = Instant::now();
            seat.link.cut();
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Cuts a seat at random moments, whenever it has come back: amid its replay, and when it is live
/// again. How often it had received a part of what it had missed by then.
async fn cut_at_random(stage: &Stage, index: usize, owed: usize, mut rng: StdRng) -> usize {
    let seat = &stage.seats[index];
    let mut amid = 0;
    for cut in 1..=CUTS {
        wait_resumed(seat, cut as u64).await;
        let before = stage.oracle.received_count(seat.number);
        sleep(Duration::from_millis(rng.random_range(1..60))).await;
        let received = stage.oracle.received_count(seat.number);
        amid += usize::from(before < received && received < owed);
        seat.link.route(Route::Only((index + cut) % 3));
        seat.link.cut();
    }
    amid
}

#[tokio::test]
async fn volatile_events_never_touch_a_replay_that_is_cut_at_random() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::three().await.unwrap();
    let (away, goal) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let mut all_seen = Vec::new();
    let makes = [stage.stock(), Make::Raw, stage.stock_over(&["polling"])];
    for (node, make) in makes.into_iter().enumerate() {
        let seen = Witnessed::default();
        let tap = witness(&seen, &away, &goal);
        stage
            .seat_seen(make, node, &["lobby"], Some(tap))
            .await
            .unwrap();
        all_seen.push(seen);
    }
    for seat in &stage.seats {
        seat.link.route(Route::Nowhere);
        seat.link.cut();
    }
    publish_missed(&stage).await;
    // No seat has had an event before it went: what was written is what each is owed.
    let owed = stage.oracle.acked_count();
    goal.store(owed as u64, Ordering::Relaxed);
    away.store(true, Ordering::Relaxed);
    let _rain = Rain::start(stage.raw(1));
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    for seat in &stage.seats {
        seat.link.route(Route::RoundRobin);
    }
    let cuts = (0..3).map(|index| {
        let rng = StdRng::seed_from_u64(rng.random());
        cut_at_random(&stage, index, owed, rng)
    });
    let cuts: Vec<usize> = join_all(cuts.collect::<Vec<_>>()).await;
    // On polling one payload may hold all that was missed.
    assert!(
        cuts.iter().any(|amid| *amid > 0),
        "nobody was cut amid a replay"
    );
    for (seat, seen) in stage.seats.iter().zip(&all_seen) {
        seat.wait_received(owed, LATER).await;
        let dry = || seen.lock().volatile < 100;
        for _ in 0..500 {
            if dry() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        let (seen, state) = (seen.lock(), seat.client.state());
        println!("{}: {seen:?}, {} resumes", seat.name, state.recovered);
        let wrong = (seen.early, seen.overtaken, seen.unplaced);
        assert_eq!(wrong, (0, 0, 0), "{}, seed {seed}", seat.name);
        // How many depends on how busy the machine is: on polling most find no GET that waits.
        assert!(seen.volatile > 0, "{}: no volatile event came", seat.name);
    }
    stage.finish(&format!("volatile, seed {seed}")).await;
}
