//! What the server does to sockets of other nodes: three nodes in this process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use roomcast::config::Sources;
use roomcast::{Io, Namespace, OperationError, Reply, ServeConfig, Server, Socket};
use roomcast_client::Notice;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::node::{LIMIT, Person, named};

/// Three nodes, a client on each; all are in `r`, the last one is in `quiet` too.
struct Cluster {
    servers: Vec<Server>,
    people: Vec<Person>,
    /// Who has gone and why, on any node.
    gone: Arc<Mutex<Vec<String>>>,
    _dirs: Vec<TempDir>,
}

impl Cluster {
    async fn start() -> Self {
        let mut peers = Vec::new();
        for _ in 0..3 {
            let bound = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            peers.push(bound.expect("a free port"));
        }
        let address = |peer: &tokio::net::TcpListener| peer.local_addr().expect("bound");
        let list: Vec<_> = (1..)
            .zip(&peers)
            .map(|(id, p)| format!("{id}={}", address(p)))
            .collect();
        let list = list.join(",");
        let gone: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut dirs = Vec::new();
        let mut starting = Vec::new();
        for (id, peer) in (1_u64..).zip(peers) {
            let dir = tempfile::tempdir().expect("a directory");
            let config = config(id, &dir, &list, address(&peer).to_string());
            let building = Server::builder(config).peer_listener(peer);
            let building = building.namespace("/app", application(&gone));
            starting.push(building.start());
            dirs.push(dir);
        }
        let started = timeout(LIMIT, join_all(starting))
            .await
            .expect("they found a cluster");
        let servers: Vec<Server> = started.into_iter().map(|s| s.expect("it starts")).collect();
        for server in &servers {
            timeout(LIMIT, server.ready()).await.expect("it is ready");
        }
        let mut people = Vec::new();
        for (server, name) in servers.iter().zip(["ann", "ben", "eve"]) {
            people.push(Person::join(server, name).await);
        }
        people[2].ask("join", "quiet").await;
        let cluster = Self {
            servers,
            people,
            gone,
            _dirs: dirs,
        };
        cluster
            .until("three are seen", |io| io.to("r").fetch_sockets().len() == 3)
            .await;
        cluster
    }

    /// The application's namespace, as the first node sees it.
    fn io(&self) -> Io {
        self.servers[0].io().of("/app")
    }

    /// Waits until something is so on every node's replica.
    async fn until(&self, what: &str, is: impl Fn(&Io) -> bool) {
        let looking = async {
            while !self
                .servers
                .iter()
                .all(|server| is(&server.io().of("/app")))
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LIMIT, looking).await.is_ok(), "not so: {what}");
    }

    async fn end(self) {
        let ending = join_all(self.servers.into_iter().map(Server::shutdown));
        timeout(LIMIT, ending).await.expect("they end");
    }
}

fn config(id: u64, dir: &TempDir, list: &str, peer: String) -> ServeConfig {
    let free = || "127.0.0.1:0".to_owned();
    let flags = [
        ("node-id", id.to_string()),
        ("data-dir", dir.path().display().to_string()),
        ("client-addr", free()),
        ("api-addr", free()),
        ("peer-addr", peer),
        ("initial-cluster", list.to_owned()),
        ("groups", "1".to_owned()),
        ("disk-reserve-bytes", "0".to_owned()),
    ];
    ServeConfig::check(Sources::collect(&flags, &|_| None)).expect("it is right")
}

fn application(gone: &Arc<Mutex<Vec<String>>>) -> Namespace {
    let gone = Arc::clone(gone);
    let namespace = Namespace::new()
        .on_connect(|socket: Socket| socket.join("r"))
        .on("join", |socket: Socket, room: String| socket.join(room))
        .on_server("add", |io: Io, (a, b): (u32, u32)| async move {
            Reply((io.namespace().to_owned(), a + b))
        })
        .on_server("tell", |io: Io, text: String| io.emit("told", text))
        .on_server("wait", |_: Io, ()| std::future::pending::<()>())
        .on_server("fail", |_: Io, text: String| async move {
            assert!(text.is_empty(), "as the test wants");
        })
        .on_disconnect(move |socket: Socket, reason: String| {
            let name = socket.identity().unwrap_or("?").to_owned();
            gone.lock().push(format!("{name}: {reason}"));
            async {}
        });
    named(namespace)
}

#[tokio::test]
async fn sockets_of_all_nodes_join_and_leave_at_one_position() {
    let mut cluster = Cluster::start().await;
    let io = cluster.io();
    io.to("r")
        .except("quiet")
        .sockets_join(["s", "t"])
        .await
        .expect("they join");
    // Emitted at once, on the node that knows: those of the other nodes cannot miss it.
    io.to("s").emit("e", 1).await.expect("written");
    io.to("t")
        .except("quiet")
        .sockets_leave(["s", "never"])
        .await
        .expect("they leave");
    io.to("s").emit("e", 2).await.expect("written");
    io.to("t").emit("e", 3).await.expect("written");
    io.emit("e", 4).await.expect("written");
    for (person, expected) in cluster
        .people
        .iter_mut()
        .zip([&[1, 3, 4][..], &[1, 3, 4], &[4]])
    {
        for number in expected {
            assert_eq!(person.heard().await, json!(["e", number]));
        }
    }
    let own = io.to("quiet").fetch_sockets().remove(0).id;
    let refused = io.sockets_leave(own).await;
    assert_eq!(refused, Err(OperationError::Invalid), "a socket's own room");
    cluster.end().await;
}

#[tokio::test]
async fn the_kicked_are_told_wherever_they_are_and_nobody_else() {
    let mut cluster = Cluster::start().await;
    let io = cluster.io();
    let asking = io
        .to("r")
        .timeout(Duration::from_secs(1))
        .emit_with_ack("there?", ());
    let (answers, ()) = tokio::join!(asking, async {
        for person in &mut cluster.people[1..] {
            person
                .event()
                .await
                .ack
                .expect("it asks")
                .send("yes")
                .expect("connected");
        }
    });
    let answers = answers.expect("written");
    assert_eq!((answers.expected_count(), answers.missing.len()), (3, 1));

    io.to("r")
        .except("quiet")
        .disconnect_sockets(false)
        .await
        .expect("written");
    for person in &mut cluster.people[..2] {
        loop {
            match person.notice().await {
                Notice::Disconnected { reason } if reason.is_final() => break,
                Notice::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    cluster
        .until("one is left", |io| io.fetch_sockets().len() == 1)
        .await;
    io.emit("still", ()).await.expect("written");
    assert_eq!(cluster.people[2].heard().await, json!(["still"]));
    let gone = cluster.gone.lock().clone();
    let expected = ["ann", "ben"].map(|name| format!("{name}: server namespace disconnect"));
    assert_eq!(
        (gone.len(), gone.contains(&expected[0])),
        (2, gone.contains(&expected[1]))
    );
    assert!(gone.contains(&expected[0]), "{gone:?}");

    // They may come again, as new ones. With `close` the connection goes as well.
    cluster.people[0].socket.connect();
    assert!(!cluster.people[0].connected().await.recovered);
    let back = io
        .fetch_sockets()
        .into_iter()
        .find(|s| s.identity.as_deref() == Some("ann"));
    io.to(back.expect("ann is back").id)
        .disconnect_sockets(true)
        .await
        .expect("written");
    let last = cluster.people[0].notice().await;
    assert!(matches!(last, Notice::Disconnected { .. }), "{last:?}");
    cluster.end().await;
}

#[tokio::test]
async fn the_away_are_meant_too_and_data_is_everywhere() {
    let mut cluster = Cluster::start().await;
    let io = cluster.io();
    let eve = io.to("quiet").fetch_sockets().remove(0);
    let id = roomcast::ids::SocketId::parse(&eve.id).expect("an id");
    io.set_data(id, json!({ "hat": "blue" }))
        .await
        .expect("written");
    let blue = Some(json!({ "hat": "blue" }));
    cluster
        .until("a blue hat", |io| {
            io.to("quiet").fetch_sockets()[0].data == blue
        })
        .await;
    let long = io.set_data(id, "x".repeat(5_000)).await;
    assert_eq!(long, Err(OperationError::Invalid));

    drop(cluster.people.remove(2));
    let is_away = |io: &Io| io.to("quiet").fetch_sockets().iter().all(|s| !s.connected);
    cluster.until("eve is away", is_away).await;
    io.to("quiet").sockets_join("later").await.expect("written");
    let joined = |io: &Io| io.to("later").fetch_sockets().len() == 1;
    cluster.until("she is in a room more", joined).await;
    io.to("later")
        .disconnect_sockets(false)
        .await
        .expect("written");
    cluster
        .until("she is gone", |io| io.fetch_sockets().len() == 2)
        .await;
    let gone = io.set_data(id, ()).await;
    assert_eq!(gone, Err(OperationError::Gone));
    cluster.end().await;
}

#[tokio::test]
async fn the_application_on_other_nodes_hears_and_answers() {
    let mut cluster = Cluster::start().await;
    let io = cluster.io();
    let wait = Duration::from_secs(10);
    let asking = io.server_side_emit_with_ack("add", (1, 2), wait);
    let answers = asking.await.expect("it is small");
    let texts: Vec<_> = answers
        .answers
        .iter()
        .map(|(n, text)| (*n, &text[..]))
        .collect();
    let sum = &br#"["/app",3]"#[..];
    assert_eq!(
        (texts, answers.missing.len()),
        (vec![(2, sum), (3, sum)], 0)
    );

    for (event, code) in [("fail", "internal"), ("nothing", "unknown_event")] {
        let asking = io.server_side_emit_with_ack(event, "text", wait);
        let answers = asking.await.expect("it is small").answers;
        let text = String::from_utf8_lossy(&answers[&2]).into_owned();
        assert!(answers.len() == 2 && text.contains(code), "{event}: {text}");
    }
    io.server_side_emit("tell", "all").expect("it is small");
    for person in &mut cluster.people {
        for _ in 0..2 {
            assert_eq!(
                person.heard().await,
                json!(["told", "all"]),
                "from each other node"
            );
        }
    }
    let reserved = io.server_side_emit("connect", ());
    assert_eq!(reserved, Err(OperationError::EventName));
    let wait = Duration::from_millis(100);
    let none = io.server_side_emit_with_ack("wait", (), wait).await;
    assert_eq!(none.expect("it is small").missing, [2, 3]);
    cluster.end().await;
}
