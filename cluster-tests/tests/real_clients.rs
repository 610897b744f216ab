//! Clients as their registries have them, each behind a balancer that sends every connection, and
//! of
//! polling clients every request, to the next node. They connect, join, get every event of three
//! publishers once and in one order, binary ones intact, and come back when their node is killed:
//! `socket.io-client` with its session, the others anew.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_cluster_tests::client::{Client, Signal};
use roomcast_cluster_tests::link::{Link, Route};
use roomcast_cluster_tests::offset::Offset;
use roomcast_cluster_tests::package::Package;
use roomcast_cluster_tests::payload::{Body, EVENT};
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::seat::Make;
use roomcast_cluster_tests::session::Session;
use roomcast_cluster_tests::stage::Stage;
use roomcast_cluster_tests::stock::{StockDriver, StockSpec};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

const LATER: Duration = Duration::from_secs(40);
/// A dead node shows at the next request or frame, and the clients come back within a second.
const BACK: Duration = Duration::from_secs(20);
/// What a client may be told to use.
type Transports = &'static [&'static str];
const POLLING: Transports = &["polling"];
const WEBSOCKET: Transports = &["websocket"];
const UPGRADE: Transports = &["polling", "websocket"];
/// Events of each publisher to clients that count.
const COUNTED: u64 = 60;

/// Two seats of one package over every list of transports, beside a raw one on each node.
async fn seated(package: Package, spec: &PublishSpec) -> Stage {
    let mut stage = Stage::three().await.unwrap();
    let driver = StockDriver::of(package).unwrap();
    for node in 0..3 {
        stage.seat(Make::Raw, node, &["lobby"]).await.unwrap();
    }
    for node in 0..2 {
        for transports in [POLLING, WEBSOCKET, UPGRADE] {
            let options = [("transports".to_owned(), json!(transports))];
            let make = Make::StockWith(Arc::clone(&driver), options.into_iter().collect());
            let index = stage.seat(make, node, &["lobby"]).await.unwrap();
            stage.seats[index].link.route(Route::RoundRobin);
        }
    }
    stage.publish_everywhere(spec);
    stage.wait_acked(60, LATER).await;
    stage
}

/// Texts and binary events.
fn mixed() -> PublishSpec {
    PublishSpec {
        bodies: vec![Body::Text(24), Body::Binary(1), Body::Binary(3_000)],
        ..PublishSpec::new("lobby")
    }
}

/// Kills each node in turn; whoever was there comes back, with a session or anew.
async fn kill_round(stage: &mut Stage) {
    for victim in 0..3 {
        stage.cluster.nodes[victim].kill9().unwrap();
        stage.wait_acked(60, LATER).await;
        stage.cluster.restart(victim).await.unwrap();
        for seat in &stage.seats {
            seat.wait_seated().await;
        }
        stage.wait_acked(30, LATER).await;
    }
    for seat in &stage.seats {
        let state = seat.client.state();
        assert!(
            state.connects > 1,
            "{} was never moved: {state:?}",
            seat.name
        );
        println!(
            "{}: {} connects, {} of them resumes; {:?}",
            seat.name, state.connects, state.recovered, state.disconnects
        );
    }
}

#[tokio::test]
async fn the_official_client_misses_nothing_on_any_transport() {
    let mut stage = seated(Package::SocketIoClient, &mixed()).await;
    kill_round(&mut stage).await;
    stage.finish("socket.io-client").await;
}

#[tokio::test]
async fn python_socketio_misses_nothing_while_connected_and_comes_back_anew() {
    let mut stage = seated(Package::PythonSocketio, &mixed()).await;
    kill_round(&mut stage).await;
    stage.finish("python-socketio").await;
}

/// Texts alone: of an event with an attachment this client drops all other arguments. Slowly: over
/// polling it takes each piece of an HTTP body for a whole payload, and long ones come in pieces.
#[tokio::test]
async fn rust_socketio_misses_nothing_while_connected_and_comes_back_anew() {
    let spec = PublishSpec {
        pace: Some(Duration::from_millis(80)),
        ..PublishSpec::new("lobby")
    };
    let mut stage = seated(Package::RustSocketio, &spec).await;
    kill_round(&mut stage).await;
    stage.finish("rust_socketio").await;
}

/// What a client heard of the events `name`, by its arguments.
type Heard = Arc<Mutex<Vec<Value>>>;

/// A client of `package` in `lobby` that declines recovery in `spec`, behind a balancer.
async fn plain_client(
    stage: &Stage,
    driver: &Arc<StockDriver>,
    transports: Transports,
    by_query: bool,
) -> (Link, Client, Heard) {
    let link = Link::start(stage.cluster.clients(), Route::RoundRobin)
        .await
        .unwrap();
    let mut options = Map::from_iter([("transports".to_owned(), json!(transports))]);
    let mut auth = Map::new();
    if by_query {
        options.insert("query".to_owned(), json!("?recovery=0"));
    } else {
        auth.insert("recovery".to_owned(), json!(false));
    }
    let heard = Heard::default();
    let ears = Arc::clone(&heard);
    let spec = StockSpec {
        auth,
        options,
        ..StockSpec::new(link.addr())
    };
    let tap = move |signal: &Signal| {
        if let Signal::Event(event) = signal {
            assert_eq!(event.offset, None, "{event:?}");
            ears.lock().push(json!([event.name, event.args]));
        }
    };
    let client = Client::Stock(driver.open(spec, Arc::new(tap)).await);
    client
        .wait_for("connected", BACK, |state| state.connected)
        .await;
    client.join("lobby", BACK).await.unwrap();
    (link, client, heard)
}

/// Three publishers at once, each of whose events is `make` of its number; all of them in log
/// order.
async fn published(stage: &Stage, make: fn(u64) -> Vec<Value>) -> Vec<Value> {
    let publish = |node: u64| {
        let index = usize::try_from(node).unwrap();
        let addr = stage.cluster.addrs[index].client;
        async move {
            let mut writer = Session::open(addr, "", &json!({})).await.unwrap();
            let mut log = BTreeMap::<Offset, Value>::new();
            for number in 0..COUNTED {
                let args = make(node * COUNTED + number);
                let sent = writer.publish(json!("lobby"), "counted", &args).await;
                log.insert(sent.unwrap(), json!(["counted", args]));
            }
            log
        }
    };
    let (mut log, second, third) = tokio::join!(publish(0), publish(1), publish(2));
    log.extend(second);
    log.extend(third);
    log.into_values().collect()
}

/// Zero lost, doubled and swapped, and no argument too many.
async fn assert_heard(heard: &Heard, expected: &[Value], who: &str) {
    let deadline = Instant::now() + BACK;
    while heard.lock().len() < expected.len() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(200)).await;
    let heard = heard.lock();
    let differ = heard
        .iter()
        .zip(expected)
        .position(|(got, want)| got != want);
    let differ = differ.map(|at| (at, &heard[at], &expected[at]));
    assert_eq!((heard.len(), differ), (expected.len(), None), "{who}");
}

/// The Python handler of `counted` has two parameters: an offset behind them is a `TypeError`.
#[tokio::test]
async fn handlers_that_count_their_arguments_get_no_more_without_recovery() {
    let stage = Stage::three().await.unwrap();
    let driver = StockDriver::of(Package::PythonSocketio).unwrap();
    let mut clients = Vec::new();
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        for by_query in [false, true] {
            clients.push(plain_client(&stage, &driver, transports, by_query).await);
        }
    }
    let expected = published(&stage, |number| vec![json!(number), json!("text")]).await;
    for (_, _, heard) in &clients {
        assert_heard(heard, &expected, "python-socketio").await;
    }
}

/// With an offset behind it, this client would take the event for another. It also ends an
/// attachment at the byte 1e, which separates packets on polling: decimal digits have none.
#[tokio::test]
async fn rust_socketio_gets_binary_events_intact_without_recovery() {
    let stage = Stage::three().await.unwrap();
    let driver = StockDriver::of(Package::RustSocketio).unwrap();
    let mut clients = Vec::new();
    for by_query in [false, true] {
        clients.push(plain_client(&stage, &driver, WEBSOCKET, by_query).await);
    }
    let binary = |number: u64| vec![json!({ "$binary": format!("{number:08}00ff7f80") })];
    let expected = published(&stage, binary).await;
    for (_, _, heard) in &clients {
        assert_heard(heard, &expected, "rust_socketio").await;
    }
}

/// Every event of a room, page by page: publisher and number, and how often.
async fn written(stage: &Stage, room: &str) -> BTreeMap<(u64, u64), usize> {
    let addr = stage.cluster.addrs[0].client;
    let mut reader = Session::open(addr, "", &json!({})).await.unwrap();
    let mut counts = BTreeMap::new();
    let mut page = json!({ "limit": 500 });
    loop {
        let answer = reader
            .ask("history", &[json!(room), page.clone()])
            .await
            .unwrap();
        for event in answer["events"].as_array().unwrap() {
            assert_eq!(event["event"], json!(EVENT));
            let number = |at: usize| event["args"][at].as_u64().unwrap();
            *counts.entry((number(0), number(1))).or_default() += 1;
        }
        if answer["more"] != json!(true) {
            assert_eq!(answer["complete"], json!(true));
            return counts;
        }
        page["after"] = answer["offset"].clone();
    }
}

/// The client's own `retries`: a new acknowledgement id for each try and nothing that tells the
/// tries
/// apart from new events, so only the idempotency key keeps them one.
#[tokio::test]
async fn publishes_that_the_official_client_retries_are_in_the_log_once() {
    let mut stage = Stage::three().await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    let mut links = Vec::new();
    for (seed, transports) in (1..).zip([POLLING, WEBSOCKET, UPGRADE]) {
        let link = Link::start(stage.cluster.clients(), Route::RoundRobin)
            .await
            .unwrap();
        let options = json!({ "transports": transports, "retries": 20, "ackTimeout": 300 });
        let spec = StockSpec {
            options: options.as_object().unwrap().clone(),
            ..StockSpec::new(link.addr())
        };
        let client = Client::Stock(stage.driver.open(spec, Arc::new(|_| ())).await);
        let spec = PublishSpec {
            seed,
            ..PublishSpec::new("lobby")
        };
        links.push(link);
        stage
            .publishers
            .push(Publisher::start(client, &stage.oracle, spec));
    }
    stage.wait_acked(60, LATER).await;
    for victim in 0..3 {
        // An acknowledgement on its way is lost, and then a node.
        for link in &links {
            link.cut();
        }
        stage.cluster.nodes[victim].kill9().unwrap();
        stage.wait_acked(60, LATER).await;
        stage.cluster.restart(victim).await.unwrap();
    }
    stage.calm().await.assert_clean("retries");
    let written = written(&stage, "lobby").await;
    let twice = written.values().filter(|count| **count > 1).count();
    assert_eq!(twice, 0, "in the log more than once: {written:?}");
    let report = stage.finish("retries").await;
    assert!(
        written.len() as u64 >= report.acknowledged,
        "lost from the log"
    );
}
