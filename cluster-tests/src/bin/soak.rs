//! `make soak MINUTES=n`: a cluster of three under random trouble with clients of every make,
//! judged by the oracle. Prints its seed first, its totals and `N passed, N failed` last.
//!
//! Environment: `MINUTES` (5), `SEED` (random).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use roomcast_cluster_tests::chaos::Chaos;
use roomcast_cluster_tests::client::{Client, State};
use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::follower::{Follower, FollowerSpec};
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::oracle::lifecycle::Lifecycle;
use roomcast_cluster_tests::oracle::{Oracle, Report, Target};
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::seat::{Make, Seat, SeatSpec};
use roomcast_cluster_tests::stage::{Stage, calm, lifecycle_calm};
use roomcast_cluster_tests::visitor::{VisitorSpec, Visitors};
use tokio::time::{Instant, interval};

const NODES: usize = 3;
const ROOMS: usize = 6;
/// Of each make, in the first namespace.
const SEATS_PER_MAKE: usize = 6;
const SECOND_NAMESPACE: &str = "/second";
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// Long enough for every client that comes back, short enough to see the end of those that do not.
const RESUME_WINDOW: Duration = Duration::from_secs(60);
/// Beside the resume window, for the log and the follower to come so far.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// A follower goes to the next node after this, if nothing has driven it there.
const FOLLOWER_STAY: Duration = Duration::from_secs(5);
/// Before there is any trouble.
const CONNECTED_WITHIN: Duration = Duration::from_secs(20);

/// Who plays beside the seats and the publishers of the stage.
#[derive(Default)]
struct Cast {
    /// Of the second namespace.
    publishers: Vec<Publisher>,
    /// Clients that only publish, by their numbers.
    speakers: Vec<(Lifecycle, usize)>,
    visitors: Vec<Visitors>,
}

/// One thing that was checked at the end.
struct Check {
    what: String,
    passed: bool,
}

fn room(number: usize) -> String {
    format!("room {number}")
}

/// Single rooms, pairs, and one with an exception.
fn targets(rng: &mut StdRng) -> Vec<Target> {
    let mut targets: Vec<Target> = (0..ROOMS)
        .map(|number| Target::room(&room(number)))
        .collect();
    for _ in 0..3 {
        let mut pick = || room(rng.random_range(0..ROOMS));
        targets.push(Target {
            rooms: vec![pick(), pick()],
            except: Vec::new(),
        });
        targets.push(Target {
            rooms: vec![pick()],
            except: vec![pick()],
        });
    }
    targets
}

fn publish_spec(rng: &mut StdRng) -> PublishSpec {
    PublishSpec {
        targets: targets(rng),
        bodies: vec![
            Body::Text(20),
            Body::Text(200),
            Body::Text(6_000),
            Body::Binary(700),
        ],
        pace: Some(Duration::from_millis(rng.random_range(15..60))),
        in_flight: rng.random_range(1..12),
        seed: rng.random(),
    }
}

async fn seat(
    stage: &Stage,
    rng: &mut StdRng,
    number: usize,
    make: Make,
    oracle: &Oracle,
    namespace: &str,
) -> Seat {
    let rooms: Vec<String> = (0..ROOMS).map(room).collect();
    let spec = SeatSpec {
        name: format!("subscriber {number} of {namespace}"),
        make,
        namespace: namespace.to_owned(),
        rooms: rooms.choose_multiple(rng, 3).cloned().collect(),
        auth: serde_json::Map::new(),
        upstreams: stage.cluster.clients(),
        route: Route::Only(number % NODES),
        witness: None,
    };
    Seat::take(spec, oracle).await.expect("a link can listen")
}

/// Seats of all makes in the first namespace, some in the second; visitors in both; publishers on
/// every node.
async fn populate(stage: &mut Stage, second: &Oracle, rng: &mut StdRng) -> Cast {
    let makes = [stage.stock(), Make::Sdk, Make::Raw];
    let mut cast = Cast::default();
    for number in 0..SEATS_PER_MAKE * makes.len() {
        let make = makes[number % makes.len()].clone();
        let seat = seat(stage, rng, number, make, &stage.oracle, "/").await;
        stage.seats.push(seat);
    }
    for (number, make) in makes.into_iter().enumerate() {
        let seat = seat(stage, rng, number, make.clone(), second, SECOND_NAMESPACE).await;
        stage.seats.push(seat);
        let visitors = [("/", &stage.oracle), (SECOND_NAMESPACE, second)];
        for (namespace, oracle) in visitors {
            let spec = VisitorSpec {
                make: make.clone(),
                namespace: namespace.to_owned(),
                rooms: (0..ROOMS).map(room).collect(),
                upstreams: stage.cluster.clients(),
                seed: rng.random(),
            };
            cast.visitors.push(Visitors::start(spec, &oracle.lifecycle));
        }
    }
    for node in 0..NODES {
        let client = speaker(stage, &mut cast, node, "/", &stage.oracle).await;
        stage
            .publishers
            .push(Publisher::start(client, &stage.oracle, publish_spec(rng)));
        let client = speaker(stage, &mut cast, node, SECOND_NAMESPACE, second).await;
        cast.publishers
            .push(Publisher::start(client, second, publish_spec(rng)));
    }
    // A subscriber of each make speaks as well.
    for seat in stage.seats.iter().take(3) {
        let publisher = Publisher::start(seat.client.clone(), &stage.oracle, publish_spec(rng));
        stage.publishers.push(publisher);
    }
    cast
}

/// A client in no room, at first on one node.
async fn speaker(
    stage: &Stage,
    cast: &mut Cast,
    node: usize,
    namespace: &str,
    oracle: &Oracle,
) -> Client {
    let number = oracle.lifecycle.client(&format!("speaker of {namespace}"));
    cast.speakers.push((oracle.lifecycle.clone(), number));
    let spec = RawSpec {
        namespace: namespace.to_owned(),
        ..RawSpec::new(stage.cluster.clients_from(node))
    };
    let client = Client::Raw(RawClient::start(spec, oracle.lifecycle.tap(number)));
    client
        .wait_for("connected", CONNECTED_WITHIN, |state| state.connected)
        .await;
    client
}

async fn follow(stage: &Stage, namespace: &str, lifecycle: &Lifecycle) -> Follower {
    let spec = FollowerSpec {
        nodes: stage.cluster.apis(),
        namespace: namespace.to_owned(),
        stay: FOLLOWER_STAY,
    };
    Follower::start(spec, lifecycle).await
}

/// Trouble until the end, with a line of progress now and then.
async fn make_trouble(
    stage: &mut Stage,
    second: &Oracle,
    seed: u64,
    period: Duration,
) -> io::Result<()> {
    let started = Instant::now();
    let mut chaos = Chaos::new(seed, NODES, (0..ROOMS).map(room).collect());
    let (oracle, mut ticks) = (stage.oracle.clone(), interval(PROGRESS_EVERY));
    let progress = async {
        loop {
            ticks.tick().await;
            let acked = oracle.acked_count() + second.acked_count();
            println!(
                "soak: {:>4} s, {acked} acknowledged",
                started.elapsed().as_secs()
            );
        }
    };
    let ended = tokio::select! {
        ended = chaos.run(&mut stage.cluster, &stage.seats, started + period) => ended,
        () = progress => unreachable!("progress is endless"),
    };
    println!("soak: trouble {:?}", chaos.counts);
    ended
}

fn check_report(namespace: &str, report: &Report, checks: &mut Vec<Check>) {
    println!("soak: namespace {namespace}: {report}");
    for example in &report.examples {
        println!("  {example}");
    }
    for (fault, count) in report.faults() {
        let what = format!("{count} {fault} in {namespace}");
        checks.push(Check {
            what,
            passed: count == 0,
        });
    }
    let passed = report.acknowledged > 0 && report.deliveries > 0;
    checks.push(Check {
        what: format!("traffic in {namespace}"),
        passed,
    });
}

/// All ends have come: who went without a word has expired.
async fn check_lifecycle(namespace: &str, lifecycle: &Lifecycle, checks: &mut Vec<Check>) {
    let report = lifecycle_calm(lifecycle, RESUME_WINDOW + TOLD_WITHIN).await;
    println!("soak: lifecycle of {namespace}: {report}");
    for example in &report.examples {
        println!("  {example}");
    }
    for (fault, count) in report.faults() {
        checks.push(Check {
            what: format!("{count} {fault} in the lifecycle of {namespace}"),
            passed: count == 0,
        });
    }
    checks.push(Check {
        what: format!("coming and going in {namespace}"),
        passed: report.has_traffic(),
    });
}

fn check_clients(seats: &[Seat], checks: &mut Vec<Check>) {
    let states: Vec<State> = seats.iter().map(|seat| seat.client.state()).collect();
    let sum = |of: fn(&State) -> u64| states.iter().map(of).sum::<u64>();
    let refused = sum(|state| state.fresh.saturating_sub(1));
    let stuck = states
        .iter()
        .filter(|state| state.gave_up.is_some())
        .count();
    println!(
        "soak: {} connects, {} resumed, {refused} resumes refused, {} failed attempts",
        sum(|state| state.connects),
        sum(|state| state.recovered),
        sum(|state| state.connect_errors.len() as u64),
    );
    checks.push(Check {
        what: format!("{refused} resumes refused"),
        passed: refused == 0,
    });
    checks.push(Check {
        what: format!("{stuck} clients gave up"),
        passed: stuck == 0,
    });
}

async fn soak(seed: u64, period: Duration) -> io::Result<Vec<Check>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let window = format!("{}s", RESUME_WINDOW.as_secs());
    let spec = ClusterSpec::new(NODES).flag("--resume-window", &window);
    let mut stage = Stage::open(&spec).await?;
    let second = Oracle::new();
    let lifecycles = [
        ("/", stage.oracle.lifecycle.clone()),
        (SECOND_NAMESPACE, second.lifecycle.clone()),
    ];
    let mut followers = Vec::new();
    for (namespace, lifecycle) in &lifecycles {
        followers.push(follow(&stage, namespace, lifecycle).await);
    }
    let cast = populate(&mut stage, &second, &mut rng).await;
    let ended = make_trouble(&mut stage, &second, seed, period).await;
    let passed = ended.is_ok();
    let what = ended
        .err()
        .map_or("every node came back".to_owned(), |error| error.to_string());
    let mut checks = vec![Check { what, passed }];
    for visitors in cast.visitors {
        visitors.finish().await;
    }
    for publisher in cast.publishers {
        publisher.finish().await;
    }
    check_report("/", &stage.calm().await, &mut checks);
    check_report(SECOND_NAMESPACE, &calm(&second).await, &mut checks);
    // Their publishers have ended, and they with them.
    for (lifecycle, number) in cast.speakers {
        lifecycle.closing(number);
    }
    for (namespace, lifecycle) in &lifecycles {
        check_lifecycle(namespace, lifecycle, &mut checks).await;
    }
    check_clients(&stage.seats, &mut checks);
    Ok(checks)
}

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok()?.parse::<f64>().ok();
    let seed = number("SEED").map_or_else(
        || u64::from(rand::rng().random::<u32>()),
        |seed| seed as u64,
    );
    let minutes = number("MINUTES").unwrap_or(5.0);
    println!("soak: seed {seed}, {minutes} min, {NODES} nodes");
    let checks = soak(seed, Duration::from_secs_f64(minutes * 60.0))
        .await
        .unwrap_or_else(|error| {
            vec![Check {
                what: format!("cannot start: {error}"),
                passed: false,
            }]
        });
    for check in checks.iter().filter(|check| !check.passed) {
        println!("soak: FAILED: {}", check.what);
    }
    let passed = checks.iter().filter(|check| check.passed).count();
    let failed = checks.len() - passed;
    println!("soak: seed {seed}\n{passed} passed, {failed} failed");
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
