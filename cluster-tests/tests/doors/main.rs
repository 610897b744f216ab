//! Every operation from every outer door against three nodes: sockets of one node observe what a
//! program asks of another.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

mod door;

use std::net::SocketAddr;
use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::session::Session;
use roomcast_proto::api::api_client::ApiClient;
use roomcast_proto::api::{self, followed::What};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use door::{Door, Published};

/// Longest wait for what should be there at once.
const SOON: Duration = Duration::from_secs(8);

/// Two sockets in a room, on different nodes.
struct Scene {
    ann: Session,
    bob: Session,
    room: String,
}

impl Scene {
    async fn set(cluster: &Cluster, room: &str) -> Self {
        let auth = |name: &str| json!({ "identity": name, "data": { "b": 1, "a": 2 } });
        let mut ann = Session::open(cluster.addrs[0].client, "", &auth("ann"))
            .await
            .unwrap();
        let mut bob = Session::open(cluster.addrs[1].client, "", &auth("bob"))
            .await
            .unwrap();
        ann.join(room).await.unwrap();
        bob.join(room).await.unwrap();
        Self {
            ann,
            bob,
            room: room.to_owned(),
        }
    }

    /// The next event of each that cannot have been dropped, without its offset.
    async fn heard(&mut self) -> [Value; 2] {
        let mut heard = [Value::Null, Value::Null];
        for (session, heard) in [&mut self.ann, &mut self.bob].into_iter().zip(&mut heard) {
            while heard.is_null() || heard[0] == "volatile" {
                session.wait_events(1, SOON).await.unwrap();
                *heard = session.events.remove(0);
            }
            heard.as_array_mut().unwrap().pop();
        }
        heard
    }
}

async fn every_operation(cluster: &Cluster, mut door: Door, room: &str) {
    let mut scene = Scene::set(cluster, room).await;
    publishing(&mut scene, &mut door).await;
    reading(&mut scene, &mut door).await;
    asking(&mut scene, &mut door).await;
    selecting(&mut scene, &mut door).await;
}

async fn publishing(scene: &mut Scene, door: &mut Door) {
    let room = scene.room.clone();
    // A key counts for everything that the server publishes to the namespace.
    let key = format!("key of {room}");
    let args = r#"["ann",{"b":1,"a":1.50}]"#;
    let first = door.publish(&room, "line", args, Some(&key)).await.unwrap();
    assert!(!first.duplicate && !first.offset.is_empty());
    let again = door.publish(&room, "line", args, Some(&key)).await.unwrap();
    let expected = Published {
        duplicate: true,
        ..first
    };
    assert_eq!(again, expected);
    let reused = door.publish(&room, "line", "[]", Some(&key)).await;
    assert_eq!(reused.unwrap_err(), "key_reused");
    let line = json!(["line", "ann", { "b": 1, "a": 1.5 }]);
    assert_eq!(scene.heard().await, [line.clone(), line]);

    // Three in order, one of them refused in its place.
    let outcomes = door.batch(&room, &["one", "disconnect", "two"]).await;
    assert_eq!(outcomes[1], Err("invalid".to_owned()));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok() && outcomes.len() == 3);
    for name in ["one", "two"] {
        assert_eq!(scene.heard().await, [json!([name]), json!([name])]);
    }
    for class in ["volatile", "transient"] {
        assert_eq!(door.unlogged(&room, class).await, "");
    }
    let transient = json!(["transient"]);
    assert_eq!(scene.heard().await, [transient.clone(), transient]);
}

async fn reading(scene: &mut Scene, door: &mut Door) {
    let room = scene.room.clone();
    let (ann, bob) = (scene.ann.sid().to_owned(), scene.bob.sid().to_owned());
    let mut both = vec![ann.clone(), bob];
    both.sort_unstable();
    assert_eq!(door.history(&room).await, ["line", "one", "two"]);
    assert_eq!(door.rooms().await, [(room.clone(), 2)]);
    let (count, mut members) = door.members(&room).await;
    members.sort_unstable();
    assert_eq!((count, &members), (2, &both));

    door.set_data(&ann, r#"{"mood":"calm"}"#).await.unwrap();
    assert_eq!(
        door.set_data(&"A".repeat(22), "1").await.unwrap_err(),
        "not_found"
    );
    // Two pages of one each, and no third.
    let mut found = Vec::new();
    let mut after = String::new();
    for _ in 0..2 {
        let (page, next) = door.sockets(&room, &after).await;
        assert_eq!(page.len(), 1);
        found.extend(page);
        after = next;
    }
    assert_eq!(after, "");
    let data = |id: &str| {
        found
            .iter()
            .find(|(found, _)| found == id)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(data(&ann), json!({ "mood": "calm" }));
    assert_eq!(data(scene.bob.sid()), json!({ "a": 2, "b": 1 }));
    assert_eq!(door.status_node().await, 3, "the node that was asked");
}

async fn asking(scene: &mut Scene, door: &mut Door) {
    let (ann, bob) = (scene.ann.sid().to_owned(), scene.bob.sid().to_owned());
    let room = scene.room.clone();
    let answering = async {
        let question = scene.ann.wire.packet(SOON).await.unwrap();
        assert_eq!(question.data[0], "vote");
        let answer = format!("43{}[\"yes\",1.50]", question.id.unwrap());
        assert!(scene.ann.wire.send(answer).await);
    };
    let (answers, ()) = tokio::join!(door.emit_with_ack(&room, "vote", 1_500), answering);
    let (answers, missing) = answers;
    assert_eq!(answers, [(ann, r#"["yes",1.50]"#.to_owned())]);
    assert_eq!(missing, [bob]);
    // The question that was not answered.
    scene.bob.wait_events(1, SOON).await.unwrap();
    scene.bob.events.clear();
    // The demo handles no events of servers: the other nodes say so.
    let (nodes, missing) = door.server_side_emit("hello").await;
    assert_eq!((nodes, missing), (vec![1, 2], 0));
}

async fn selecting(scene: &mut Scene, door: &mut Door) {
    let room = scene.room.clone();
    let other = format!("{room}-2");
    door.sockets_join(&room, &other).await;
    assert_eq!(door.members(&other).await.0, 2);
    let bob = scene.bob.sid().to_owned();
    door.sockets_leave(&bob, &other).await;
    let left = door.members(&other).await;
    assert_eq!(left, (1, vec![scene.ann.sid().to_owned()]));
    door.disconnect(&room).await;
    for session in [&mut scene.ann, &mut scene.bob] {
        let goodbye = session.wire.packet(SOON).await.unwrap();
        assert_eq!(goodbye.kind, '1', "{goodbye:?}");
    }
    assert_eq!(door.members(&room).await.0, 0);
}

#[tokio::test]
async fn every_operation_works_from_each_door() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let api = cluster.addrs[2].api;
    every_operation(&cluster, Door::http(api), "by-http").await;
    every_operation(&cluster, Door::grpc(api).await, "by-grpc").await;
    let metrics = cluster.metrics(2).await;
    for line in [
        r#"roomcast_http_requests_total{route="/v1/publish",status="409"} 1"#,
        r#"roomcast_grpc_calls_total{method="Publish",code="FailedPrecondition"} 1"#,
        r#"roomcast_grpc_calls_total{method="PublishBatch",code="Ok"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

/// A program that gets `unavailable` may go to another node: surely nothing was written.
#[tokio::test]
async fn a_node_without_a_quorum_says_so_at_each_door() {
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    for node in [0, 1] {
        cluster.nodes[node].kill9().unwrap();
    }
    let api = cluster.addrs[2].api;
    for mut door in [Door::http(api), Door::grpc(api).await] {
        let mut said = String::new();
        for _ in 0..20 {
            match door.publish("r", "e", "[]", None).await {
                Ok(published) => panic!("published without a quorum: {published:?}"),
                Err(code) => said = code,
            }
            if said == "unavailable" {
                break;
            }
        }
        assert_eq!(said, "unavailable");
    }
}

/// What was told of a namespace, in words.
fn told(followed: &api::Followed) -> Option<String> {
    match followed.what.as_ref().unwrap() {
        What::Event(logged) => Some(logged.event.as_ref().unwrap().name.clone()),
        What::Lifecycle(record) => Some(format!("{:?} {}", record.kind(), record.room)),
        What::Gap(_) => Some("gap".to_owned()),
        What::Mark(_) => None,
    }
}

/// Follows over gRPC until so much was told; also the last offset.
async fn follow(api: SocketAddr, after: &str, count: usize) -> (Vec<String>, String) {
    let mut client = ApiClient::connect(format!("http://{api}")).await.unwrap();
    let request = api::FollowRequest {
        after: after.to_owned(),
        events: true,
        lifecycle: true,
        ..api::FollowRequest::default()
    };
    let mut stream = client.follow(request).await.unwrap().into_inner();
    let (mut all, mut last) = (Vec::new(), String::new());
    while all.len() < count {
        let next = timeout(SOON, stream.message())
            .await
            .expect("nothing is told");
        let followed = next.unwrap().expect("the stream has ended");
        all.extend(told(&followed));
        last = followed.offset;
    }
    (all, last)
}

/// The same over HTTP: the names and the kinds of the events.
async fn follow_http(api: SocketAddr, last: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let head = format!("GET /v1/follow HTTP/1.1\r\nHost: {api}\r\nLast-Event-ID: {last}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains(until) {
        let mut chunk = vec![0; 4096];
        let read = timeout(SOON, stream.read(&mut chunk)).await;
        let count = read.expect("nothing is told").unwrap();
        assert!(count > 0, "it has ended: {text}");
        text.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_follower_at_each_door_is_told_everything_and_goes_on_where_it_was() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let api = cluster.addrs[2].api;
    let mut door = Door::grpc(cluster.addrs[1].api).await;
    let start = door
        .publish("lobby", "start", "[]", None)
        .await
        .unwrap()
        .offset;
    let mut ann = Session::open(cluster.addrs[0].client, "", &json!({}))
        .await
        .unwrap();
    ann.join("lobby").await.unwrap();
    door.publish("lobby", "line", "[1]", None).await.unwrap();

    let (first, offset) = follow(api, &start, 2).await;
    assert_eq!(first, ["Connected ", "Joined lobby"]);
    let (rest, _) = follow(api, &offset, 1).await;
    assert_eq!(rest, ["line"]);
    let text = follow_http(api, &start, r#""event":"line""#).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    let kinds = [
        "\"kind\":\"connected\"",
        "\"kind\":\"joined\"",
        "event: event",
    ];
    let places: Vec<_> = kinds
        .iter()
        .map(|kind| text.find(kind).expect(kind))
        .collect();
    assert!(places.is_sorted(), "{text}");
    let resumed = follow_http(api, &offset, r#""event":"line""#).await;
    assert!(!resumed.contains("joined"), "{resumed}");
}
