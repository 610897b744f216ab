//! The largest allowed event goes through three nodes and a restart; one byte more is `too_large`
//! to its sender, who keeps the connection.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_cluster_tests::client::{Client, Signal};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::link::{Link, Route};
use roomcast_cluster_tests::payload::{BINARY, hex};
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::stock::{StockDriver, StockSpec};
use roomcast_cluster_tests::wire::{Frame, Wire};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(15);
/// Default of `event_bytes_max`: name, arguments and attachments.
const EVENT_BYTES_MAX: usize = 1_000_000;

/// Arguments of which the event `e` has exactly `bytes` bytes, as JSON text and attachments.
fn text_args(bytes: usize) -> Value {
    json!("x".repeat(bytes - r#"["e",""]"#.len()))
}

fn binary_args(bytes: usize) -> Value {
    let overhead = r#"["e",{"_placeholder":true,"num":0}]"#.len();
    json!({ BINARY: hex(&vec![0xa5; bytes - overhead]) })
}

/// A member of `lobby` and the arguments it has received.
struct Listener {
    client: Client,
    link: Link,
    heard: Arc<Mutex<Vec<Value>>>,
}

async fn listen(cluster: &Cluster, driver: Option<&Arc<StockDriver>>, node: usize) -> Listener {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let tap = Arc::new(move |signal: &Signal| {
        if let Signal::Event(event) = signal {
            ears.lock().extend(event.args.first().cloned());
        }
    });
    let link = Link::start(cluster.clients(), Route::Only(node))
        .await
        .unwrap();
    let client = match driver {
        Some(driver) => Client::Stock(driver.open(StockSpec::new(link.addr()), tap).await),
        None => Client::Raw(RawClient::start(RawSpec::new(vec![link.addr()]), tap)),
    };
    client
        .wait_for("connected", SOON, |state| state.connected)
        .await;
    client.join("lobby", SOON).await.unwrap();
    Listener {
        client,
        link,
        heard,
    }
}

async fn expect(listener: &Listener, expected: &[Value]) {
    let heard = timeout(SOON, async {
        while listener.heard.lock().len() < expected.len() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let _late = heard.await.is_err();
    let lengths = |values: &[Value]| {
        values
            .iter()
            .map(|v| v.to_string().len())
            .collect::<Vec<_>>()
    };
    let heard = listener.heard.lock();
    assert!(
        *heard == expected,
        "heard {:?} instead of {:?}",
        lengths(&heard),
        lengths(expected)
    );
}

#[tokio::test]
async fn the_largest_event_passes_everywhere_and_one_byte_more_nowhere() {
    let driver = StockDriver::start().unwrap();
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let mut listeners = Vec::new();
    for node in 0..3 {
        listeners.push(listen(&cluster, None, node).await);
        listeners.push(listen(&cluster, Some(&driver), node).await);
    }
    // This one is away and gets everything after the restart.
    let absent = listen(&cluster, Some(&driver), 2).await;
    absent.link.route(Route::Nowhere);
    absent.link.cut();

    let speaker = listen(&cluster, None, 0).await;
    let say = async |arg: Value| {
        let args = vec![json!("lobby"), json!("e"), arg];
        speaker.client.ask("publish", args, SOON).await
    };
    let mut expected = Vec::new();
    for make in [text_args, binary_args] {
        say(make(EVENT_BYTES_MAX)).await.unwrap();
        expected.push(make(EVENT_BYTES_MAX));
        let refused = say(make(EVENT_BYTES_MAX + 1)).await.unwrap_err();
        assert_eq!(refused.code(), Some("too_large"));
    }
    say(json!("small")).await.unwrap();
    expected.push(json!("small"));
    assert_eq!(
        speaker.client.state().disconnects,
        Vec::<String>::new(),
        "the sender stays connected"
    );
    for listener in &listeners {
        expect(listener, &expected).await;
    }

    cluster
        .kill_and_restart_all(Duration::from_millis(500))
        .await
        .unwrap();
    absent.link.route(Route::RoundRobin);
    absent
        .client
        .wait_for("resumed", SOON, |state| state.recovered == 1)
        .await;
    expect(&absent, &expected).await;
    speaker
        .client
        .wait_for("back", SOON, |state| state.connected)
        .await;
    let history = async |options: Value| {
        let args = vec![json!("lobby"), options];
        let page = speaker.client.ask("history", args, SOON).await;
        page.unwrap().0
    };
    let page = history(json!({ "last": 2 })).await;
    assert_eq!(
        page["events"][0]["args"][0], expected[1],
        "the largest binary event, from disk"
    );
    assert_eq!(page["more"], json!(true), "its bytes fill a page");
    let rest = history(json!({ "after": page["offset"] })).await;
    assert_eq!(rest["events"][0]["args"], json!(["small"]));
    assert_eq!(rest["more"], json!(false));
    for listener in &listeners {
        expect(listener, &expected).await;
    }
}

#[tokio::test]
async fn the_limit_is_a_cluster_setting() {
    let spec = ClusterSpec::new(3).flag("--event-bytes-max", "5000");
    let cluster = Cluster::start(&spec).await.unwrap();
    for node in 0..3 {
        let speaker = listen(&cluster, None, node).await;
        for (bytes, code) in [(5_000, None), (5_001, Some("too_large"))] {
            let args = vec![json!("lobby"), json!("e"), text_args(bytes)];
            let answer = speaker.client.ask("publish", args, SOON).await;
            assert_eq!(
                answer.err().as_ref().and_then(|error| error.code()),
                code,
                "{bytes} at node {node}"
            );
        }
    }
}

#[tokio::test]
async fn a_message_beyond_the_payload_limit_closes_the_transport() {
    let cluster = Cluster::start(&ClusterSpec::new(1)).await.unwrap();
    let mut wire = Wire::connect(cluster.addrs[0].client, "").await.unwrap();
    wire.connect_namespace("/", &json!({})).await.unwrap();
    let max = usize::try_from(wire.open["maxPayload"].as_u64().unwrap()).unwrap();
    assert!(
        max >= EVENT_BYTES_MAX,
        "the largest event fits into a message: {max}"
    );
    wire.send(format!("42[\"{}\"]", "x".repeat(max))).await;
    let end = wire.next(SOON).await.unwrap();
    assert!(
        matches!(
            end,
            Frame::Closed {
                code: None | Some(1009),
                ..
            }
        ),
        "{end:?}"
    );
}
