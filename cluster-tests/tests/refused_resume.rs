//! A resume that cannot be exact is refused with a reason: the client gets a fresh session, never a
//! partial replay, and a counter moves.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::offset::Offset;
use roomcast_cluster_tests::wire::{Packet, Wire};
use serde_json::{Value, json};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(6);
/// Member of `auth` that names a client in development mode.
const IDENTITY: &str = "identity";

/// What a client knows of its session in room `lobby`, where it has received one event.
#[derive(Clone)]
struct Known {
    sid: String,
    pid: String,
    offset: String,
}

async fn publish(wire: &mut Wire) -> Value {
    wire.ask("publish", &[json!("lobby"), json!("said"), json!(1)], SOON)
        .await
        .unwrap()
}

async fn session(cluster: &Cluster, node: usize, auth: &Value) -> (Wire, Known) {
    let mut wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
    let connected = wire.connect_namespace("/", auth).await.unwrap();
    assert_eq!(connected.kind, '0', "{connected:?}");
    let [sid, pid] = ["/sid", "/pid"].map(|key| connected.text(key).unwrap().to_owned());
    assert!(
        wire.ask("join", &[json!("lobby")], SOON).await.unwrap()["ok"]
            .as_bool()
            .unwrap()
    );
    let answer = publish(&mut wire).await;
    let offset = answer["offset"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned();
    (wire, Known { sid, pid, offset })
}

async fn resume(cluster: &Cluster, node: usize, auth: Value) -> (Wire, Packet) {
    let mut wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
    let answer = wire.connect_namespace("/", &auth).await.unwrap();
    (wire, answer)
}

fn assert_fresh(answer: &Packet, old: &Known, reasons: &[&str]) {
    assert_eq!(answer.kind, '0', "a refused resume is no error: {answer:?}");
    assert_ne!(answer.text("/sid"), Some(old.sid.as_str()), "{answer:?}");
    assert_ne!(answer.text("/pid"), Some(old.pid.as_str()), "{answer:?}");
    assert_eq!(
        answer.data.pointer("/resume/ok"),
        Some(&json!(false)),
        "{answer:?}"
    );
    let reason = answer.text("/resume/reason").unwrap_or_default();
    assert!(
        reasons.contains(&reason),
        "{reason:?} is not one of {reasons:?}"
    );
}

fn assert_recovered(answer: &Packet, old: &Known) {
    let got = (answer.kind, answer.text("/sid"), answer.text("/pid"));
    assert_eq!(
        got,
        ('0', Some(old.sid.as_str()), Some(old.pid.as_str())),
        "{answer:?}"
    );
    assert_eq!(
        answer.data.pointer("/resume/ok"),
        Some(&json!(true)),
        "{answer:?}"
    );
}

async fn counted(cluster: &Cluster, reason: &str) -> f64 {
    let mut sum = 0.0;
    for node in 0..cluster.nodes.len() {
        let text = cluster.metrics(node).await;
        sum += metric(&text, "roomcast_resumes_total", &[&format!("\"{reason}\"")]);
    }
    sum
}

#[tokio::test]
async fn resumes_that_cannot_be_exact_are_refused_with_their_reason() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let later = |offset: &str| {
        let offset = Offset::parse(offset).unwrap();
        Offset {
            index: offset.index + 1_000_000,
            ..offset
        }
        .to_string()
    };
    // What is sent instead of the pid and the offset, and the reasons that fit.
    type Change<'a> = (&'a str, &'a dyn Fn(&Known) -> Value, &'a [&'a str]);
    let cases: [Change<'_>; 5] = [
        (
            "an unknown pid",
            &|old| json!({ "pid": "AAAAAAAAAAAAAAAAAAAAAA", "offset": old.offset }),
            &["unknown"],
        ),
        (
            "no pid at all",
            &|old| json!({ "pid": "nonsense", "offset": old.offset }),
            &["unknown", "invalid"],
        ),
        (
            "a later offset",
            &|old| json!({ "pid": old.pid, "offset": later(&old.offset) }),
            &["invalid"],
        ),
        (
            "an unreadable offset",
            &|old| json!({ "pid": old.pid, "offset": "hello" }),
            &["invalid"],
        ),
        (
            "an offset that is no text",
            &|old| json!({ "pid": old.pid, "offset": 7 }),
            &["invalid"],
        ),
    ];
    for (node, (what, auth, reasons)) in cases.iter().enumerate() {
        let (_old_wire, old) = session(&cluster, node % 3, &json!({})).await;
        let before = counted(&cluster, reasons[0]).await;
        let (_wire, answer) = resume(&cluster, (node + 1) % 3, auth(&old)).await;
        println!("{what}: {}", answer.data);
        assert_fresh(&answer, &old, reasons);
        if reasons.len() == 1 {
            assert!(
                counted(&cluster, reasons[0]).await > before,
                "{what}: the counter stands still"
            );
        }
    }
}

#[tokio::test]
async fn a_stolen_pid_under_another_identity_is_refused() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let (_old_wire, old) = session(&cluster, 0, &json!({ IDENTITY: "ann" })).await;
    let auth = json!({ IDENTITY: "eve", "pid": old.pid, "offset": old.offset });
    let (_wire, answer) = resume(&cluster, 1, auth).await;
    assert_fresh(&answer, &old, &["other_identity"]);
    let auth = json!({ IDENTITY: "ann", "pid": old.pid, "offset": old.offset });
    let (_wire, answer) = resume(&cluster, 2, auth).await;
    assert_recovered(&answer, &old);
}

/// A stock client keeps the offset of an earlier session: it counts as the start of this one.
#[tokio::test]
async fn an_offset_of_another_log_or_an_earlier_session_replays_from_the_start() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let (_earlier_wire, earlier) = session(&cluster, 0, &json!({})).await;
    let foreign = {
        let offset = Offset::parse(&earlier.offset).unwrap();
        Offset {
            epoch: offset.epoch ^ 1,
            ..offset
        }
        .to_string()
    };
    for (node, offset) in [(1, foreign), (2, earlier.offset.clone())] {
        let (_old_wire, old) = session(&cluster, node, &json!({})).await;
        let auth = json!({ "pid": old.pid, "offset": offset });
        let (mut wire, answer) = resume(&cluster, 0, auth).await;
        assert_recovered(&answer, &old);
        let replayed = wire.packet(SOON).await.unwrap();
        assert_eq!(
            replayed.data,
            json!(["said", 1, old.offset]),
            "its only event"
        );
    }
}

#[tokio::test]
async fn dropped_events_and_expired_sessions_are_refused() {
    let spec = ClusterSpec::new(3)
        .flag("--retention", "2s")
        .flag("--resume-window", "6s");
    let cluster = Cluster::start(&spec).await.unwrap();
    let (mut writer, _) = session(&cluster, 0, &json!({})).await;
    let (_quiet_wire, quiet) = session(&cluster, 2, &json!({})).await;
    let (old_wire, old) = session(&cluster, 1, &json!({})).await;
    drop(old_wire);
    publish(&mut writer).await;
    let last = publish(&mut writer).await["offset"]
        .as_str()
        .unwrap()
        .to_owned();
    sleep(Duration::from_millis(3_500)).await;
    // `quiet` brings an offset after them all: nothing that it is owed has been dropped.
    let auth = json!({ "pid": quiet.pid, "offset": last });
    let (_wire, answer) = resume(&cluster, 0, auth).await;
    assert_recovered(&answer, &quiet);
    let auth = json!({ "pid": old.pid, "offset": old.offset });
    let (_wire, answer) = resume(&cluster, 2, auth).await;
    assert_fresh(&answer, &old, &["dropped"]);

    let (expiring_wire, expiring) = session(&cluster, 0, &json!({})).await;
    drop(expiring_wire);
    sleep(Duration::from_secs(9)).await;
    let auth = json!({ "pid": expiring.pid, "offset": expiring.offset });
    let (_wire, answer) = resume(&cluster, 1, auth).await;
    assert_fresh(&answer, &expiring, &["expired"]);
}

#[tokio::test]
async fn a_session_that_said_goodbye_cannot_be_resumed() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let (mut old_wire, old) = session(&cluster, 0, &json!({})).await;
    assert!(old_wire.send("41".to_owned()).await);
    sleep(Duration::from_millis(500)).await;
    let auth = json!({ "pid": old.pid, "offset": old.offset });
    let (_wire, answer) = resume(&cluster, 1, auth).await;
    assert_fresh(&answer, &old, &["unknown", "expired"]);
}

/// The older of two live sockets of one session is fenced, and told so.
#[tokio::test]
async fn the_older_owner_of_a_session_is_closed() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let (mut old_wire, old) = session(&cluster, 0, &json!({})).await;
    let auth = json!({ "pid": old.pid, "offset": old.offset });
    let (mut wire, answer) = resume(&cluster, 1, auth).await;
    assert_recovered(&answer, &old);
    let closed = old_wire.next(SOON).await;
    let fenced = format!("{closed:?}");
    assert!(fenced.contains("4003"), "the old owner saw {fenced}");
    let answer = publish(&mut wire).await;
    assert_eq!(answer["ok"], json!(true), "the new owner speaks: {answer}");
}
