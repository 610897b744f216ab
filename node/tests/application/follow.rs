//! Followers at three nodes: everything once, in one order, from any offset, at any node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use roomcast::config::Sources;
use roomcast::ids::SocketId;
use roomcast::state::{LifecycleKind, LifecycleRecord};
use roomcast::{
    ExpiredSession, Follow, FollowOptions, Followed, Io, Namespace, OperationError, ServeConfig,
    Server, Socket, What,
};
use roomcast_proto::offset::Offset;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::node::{LIMIT, Person, named};

/// The ids of sessions whose expiry some node was told of.
type Expired = Arc<Mutex<Vec<String>>>;

/// Three nodes that can be stopped and started again.
struct Nodes {
    servers: Vec<Option<Server>>,
    configs: Vec<ServeConfig>,
    expired: Expired,
    _dirs: Vec<TempDir>,
}

impl Nodes {
    async fn start(settings: &[(&'static str, &str)]) -> Self {
        let mut bound = Vec::new();
        for _ in 0..3 {
            let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            bound.push(peer.expect("a free port"));
        }
        let addresses = bound.iter().map(|peer| peer.local_addr().expect("bound"));
        let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
        let list = (1..)
            .zip(&addresses)
            .map(|(id, address)| format!("{id}={address}"));
        let list = list.collect::<Vec<_>>().join(",");
        let dirs = (0..3).map(|_| tempfile::tempdir().expect("a directory"));
        let dirs: Vec<TempDir> = dirs.collect();
        let configs: Vec<ServeConfig> = (1..)
            .zip(addresses.iter().zip(&dirs))
            .map(|(id, (address, dir))| {
                let mut flags = vec![
                    ("node-id", format!("{id}")),
                    ("data-dir", dir.path().display().to_string()),
                    ("client-addr", "127.0.0.1:0".to_owned()),
                    ("api-addr", "127.0.0.1:0".to_owned()),
                    ("peer-addr", address.clone()),
                    ("initial-cluster", list.clone()),
                    ("groups", "1".to_owned()),
                    ("disk-reserve-bytes", "0".to_owned()),
                ];
                let more = settings
                    .iter()
                    .map(|(key, value)| (*key, (*value).to_owned()));
                flags.extend(more);
                ServeConfig::check(Sources::collect(&flags, &|_| None)).expect("it is right")
            })
            .collect();
        let expired = Expired::default();
        let starting = configs.iter().zip(bound).map(|(config, peer)| {
            let building = Server::builder(config.clone()).peer_listener(peer);
            building.namespace("/app", application(&expired)).start()
        });
        let started = timeout(LIMIT, join_all(starting))
            .await
            .expect("they found a cluster");
        let servers = started
            .into_iter()
            .map(|server| Some(server.expect("it starts")));
        let nodes = Self {
            servers: servers.collect(),
            configs,
            expired,
            _dirs: dirs,
        };
        for number in 0..3 {
            timeout(LIMIT, nodes.server(number).ready())
                .await
                .expect("it is ready");
        }
        nodes
    }

    fn server(&self, number: usize) -> &Server {
        self.servers[number].as_ref().expect("it runs")
    }

    fn io(&self, number: usize) -> Io {
        self.server(number).io().of("/app")
    }

    fn follow(&self, number: usize, options: &FollowOptions) -> Follow {
        self.io(number)
            .follow(options.clone())
            .expect("there is a place")
    }

    async fn stop(&mut self, number: usize) {
        let server = self.servers[number].take().expect("it runs");
        timeout(LIMIT, server.shutdown()).await.expect("it ends");
    }

    async fn start_again(&mut self, number: usize) {
        let building = Server::builder(self.configs[number].clone());
        let starting = building
            .namespace("/app", application(&self.expired))
            .start();
        let server = timeout(LIMIT, starting).await.expect("it comes back");
        let server = server.expect("it starts");
        timeout(LIMIT, server.ready()).await.expect("it is ready");
        self.servers[number] = Some(server);
    }

    async fn end(self) {
        let running = self.servers.into_iter().flatten();
        let ending = join_all(running.map(Server::shutdown));
        timeout(LIMIT, ending).await.expect("they end");
    }
}

fn application(expired: &Expired) -> Namespace {
    let expired = Arc::clone(expired);
    let namespace = Namespace::new()
        .on_expire(move |io: Io, session: ExpiredSession| {
            assert_eq!(io.namespace(), session.namespace);
            assert_eq!(session.data, Some(json!({ "hat": "red" })));
            expired.lock().push(session.id);
            async {}
        })
        .on("join", |socket: Socket, room: String| socket.join(room))
        .on("leave", |socket: Socket, room: String| socket.leave(room));
    named(namespace)
}

/// The next thing that is no mark.
async fn next(follow: &mut Follow) -> Followed {
    loop {
        let followed = timeout(LIMIT, follow.next()).await.expect("nothing comes");
        let followed = followed.expect("it can be read");
        match followed.what {
            What::Mark => assert!(followed.last),
            _ => return followed,
        }
    }
}

/// Everything up to the event `end`.
async fn told(follow: &mut Follow) -> Vec<Followed> {
    let mut all = Vec::new();
    loop {
        let followed = next(follow).await;
        let is_end = text(&followed) == r#"event ["end"]"#;
        all.push(followed);
        if is_end {
            return all;
        }
    }
}

fn text(followed: &Followed) -> String {
    match &followed.what {
        What::Event(event) => format!("event {}", String::from_utf8_lossy(&event.event)),
        What::Lifecycle(record) => {
            let who = record.identity.as_deref().unwrap_or("?");
            match &record.kind {
                LifecycleKind::Joined { room } => format!("{who} joined {room}"),
                LifecycleKind::Left { room } => format!("{who} left {room}"),
                LifecycleKind::Disconnected { reason } => format!("{who} ended: {reason}"),
                other => format!("{who} {other:?}").to_lowercase(),
            }
        }
        What::Gap => "gap".to_owned(),
        What::Mark => "mark".to_owned(),
    }
}

fn texts(all: &[Followed]) -> Vec<String> {
    all.iter().map(text).collect()
}

/// Each with its offset, and whether it is the last one there.
fn exactly(all: &[Followed]) -> Vec<(String, bool, String)> {
    let exactly = |one: &Followed| (one.offset.to_string(), one.last, text(one));
    all.iter().map(exactly).collect()
}

async fn mark(follow: &mut Follow) -> Offset {
    let first = timeout(LIMIT, follow.next()).await.expect("at once");
    let first = first.expect("it is there");
    assert!(matches!(first.what, What::Mark), "{first:?}");
    first.offset
}

/// What two people do at three nodes; the last thing is the event `end`.
async fn ann_and_ben_come_and_go(nodes: &Nodes) {
    let ann = Person::join(nodes.server(0), "ann").await;
    let ben = Person::join(nodes.server(1), "ben").await;
    let io = nodes.io(2);
    for person in [&ann, &ben] {
        person.ask("join", "a").await;
    }
    let id = |name: &str| {
        let all = nodes.io(1).fetch_sockets().into_iter();
        let found = all.filter(|socket| socket.identity.as_deref() == Some(name));
        found.map(|socket| socket.id).next().expect("it is there")
    };
    let (ann_id, ben_id) = (id("ann"), id("ben"));
    io.to("a").emit("e", 1).await.expect("written");
    io.emit("everyone", ()).await.expect("written");
    ben.ask("leave", "a").await;
    let socket = SocketId::parse(&ann_id).expect("an id");
    io.set_data(socket, json!({ "hat": "blue" }))
        .await
        .expect("written");
    io.to("a").sockets_join("b").await.expect("written");
    drop(ben);
    loop {
        let sockets = nodes.io(1).to(&*ben_id).fetch_sockets();
        if sockets.iter().all(|socket| !socket.connected) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    io.to(&*ben_id)
        .disconnect_sockets(false)
        .await
        .expect("written");
    io.to(&*ann_id)
        .disconnect_sockets(false)
        .await
        .expect("written");
    io.emit("end", ()).await.expect("written");
}

async fn rooms_are_told_what_concerns_them(nodes: &Nodes, start: Offset) {
    let only = |rooms: &[&str], events: bool| FollowOptions {
        rooms: rooms.iter().map(ToString::to_string).collect(),
        events,
        lifecycle: !events,
        after: Some(start),
    };
    for (options, expected) in [
        (only(&["b"], false), &["ann joined b", "ann left b"][..]),
        (only(&["a"], true), &["event [\"e\",1]"]),
    ] {
        let mut follow = nodes.follow(2, &options);
        for expected in expected {
            assert_eq!(text(&next(&mut follow).await), *expected);
        }
    }
}

#[tokio::test]
async fn every_node_tells_its_followers_the_same_once_and_goes_on_from_any_offset() {
    let nodes = Nodes::start(&[]).await;
    let everything = FollowOptions::default();
    let mut follow = nodes.follow(0, &everything);
    let start = mark(&mut follow).await;

    ann_and_ben_come_and_go(&nodes).await;
    let kicked = "ended: server namespace disconnect";
    let all = told(&mut follow).await;
    assert_eq!(
        texts(&all),
        [
            "ann connected",
            "ben connected",
            "ann joined a",
            "ben joined a",
            "event [\"e\",1]",
            "event [\"everyone\"]",
            "ben left a",
            "ann updated",
            "ann joined b",
            "ben away",
            &format!("ben {kicked}"),
            "ann left a",
            "ann left b",
            &format!("ann {kicked}"),
            "event [\"end\"]",
        ]
    );
    let ends: Vec<bool> = all.iter().map(|followed| followed.last).collect();
    assert_eq!(
        ends.iter().filter(|last| !**last).count(),
        2,
        "what ends ann comes together"
    );
    for number in 0..3 {
        let mut from_start = nodes.follow(number, &after(&everything, start));
        assert_eq!(mark(&mut from_start).await, start);
        assert_eq!(exactly(&told(&mut from_start).await), exactly(&all));
        for (done, followed) in (1..all.len()).zip(&all).filter(|(_, one)| one.last) {
            let mut rest = nodes.follow(number, &after(&everything, followed.offset));
            assert_eq!(exactly(&told(&mut rest).await), exactly(&all[done..]));
        }
    }
    rooms_are_told_what_concerns_them(&nodes, start).await;
    nodes.end().await;
}

fn after(options: &FollowOptions, offset: Offset) -> FollowOptions {
    FollowOptions {
        after: Some(offset),
        ..options.clone()
    }
}

/// Checks that records tell of each session and membership exactly once, in order; how many of
/// either have begun and ended.
fn audit<'a>(records: impl Iterator<Item = &'a LifecycleRecord>) -> (usize, usize) {
    /// Its rooms, whether it is away, whether it has ended.
    #[derive(Default)]
    struct Seen(Vec<String>, bool, bool);
    let mut seen: BTreeMap<SocketId, Seen> = BTreeMap::new();
    for record in records {
        let known = seen.contains_key(&record.socket);
        assert_eq!(known, record.kind != LifecycleKind::Connected, "{record:?}");
        let Seen(rooms, away, ended) = seen.entry(record.socket).or_default();
        assert!(!*ended, "{record:?}");
        match &record.kind {
            LifecycleKind::Joined { room } => {
                assert!(!rooms.contains(&room.to_string()), "{record:?}");
                rooms.push(room.to_string());
            }
            LifecycleKind::Left { room } => {
                let count = rooms.len();
                rooms.retain(|known| **known != **room);
                assert_eq!(rooms.len() + 1, count, "{record:?}");
            }
            LifecycleKind::Away => assert!(!std::mem::replace(away, true), "{record:?}"),
            LifecycleKind::Back => assert!(std::mem::replace(away, false), "{record:?}"),
            LifecycleKind::Disconnected { .. } | LifecycleKind::Expired => {
                assert!(rooms.is_empty(), "{record:?}");
                *ended = true;
            }
            LifecycleKind::Connected | LifecycleKind::Updated => {}
        }
    }
    let ended = seen.values().filter(|Seen(_, _, ended)| *ended).count();
    (seen.len(), ended)
}

fn records(all: &[Followed]) -> impl Iterator<Item = &LifecycleRecord> {
    all.iter().filter_map(|followed| match &followed.what {
        What::Lifecycle(record) => Some(&**record),
        _ => None,
    })
}

#[tokio::test]
async fn nothing_is_missed_and_nothing_told_twice_while_nodes_come_and_go() {
    let mut nodes = Nodes::start(&[("resume-window", "1s"), ("lease", "2s")]).await;
    let everything = FollowOptions::default();
    let mut follow = nodes.follow(0, &everything);
    let start = mark(&mut follow).await;
    let mut people = Vec::new();
    for round in 0..2 {
        for number in 0..9 {
            let person = Person::join(nodes.server(number % 3), &format!("p{number}")).await;
            person.ask("join", format!("r{}", number % 2)).await;
            people.push(person);
        }
        // Its sockets go away, and expire.
        nodes.stop(2 - round).await;
        nodes
            .io(0)
            .to("r0")
            .emit("e", round as u32)
            .await
            .expect("written");
        nodes.start_again(2 - round).await;
        let left = 6 + 3 * round;
        while nodes.io(0).fetch_sockets().len() != left {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    nodes.io(1).emit("end", ()).await.expect("written");
    let all = told(&mut follow).await;
    // A connect that is made again while a node goes leaves a session of its own, which expires.
    let (connected, ended) = audit(records(&all));
    assert!(
        connected >= 18 && connected - ended == 9,
        "{connected} {ended}"
    );
    let expired = records(&all).filter(|record| record.kind == LifecycleKind::Expired);
    let expired: BTreeSet<String> = expired.map(|record| record.socket.to_string()).collect();
    // Handlers run behind the log; one whose node goes, or loses its lease, just then is lost.
    for _ in 0..100 {
        if nodes.expired.lock().len() == expired.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let heard = nodes.expired.lock().clone();
    let once: BTreeSet<String> = heard.iter().cloned().collect();
    assert_eq!(once.len(), heard.len(), "each is told at most once");
    assert!(once.is_subset(&expired) && once.len() + 1 >= expired.len());
    let events = all.iter().filter(|one| matches!(one.what, What::Event(_)));
    assert_eq!(events.count(), 3);
    for number in 0..3 {
        let mut again = nodes.follow(number, &after(&everything, start));
        assert_eq!(mark(&mut again).await, start);
        assert_eq!(exactly(&told(&mut again).await), exactly(&all));
    }
    nodes.end().await;
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_a_gap_and_places_are_bounded() {
    let nodes = Nodes::start(&[("lifecycle-records", "8")]).await;
    let everything = FollowOptions::default();
    let start = mark(&mut nodes.follow(0, &everything)).await;
    let ann = Person::join(nodes.server(0), "ann").await;
    for _ in 0..6 {
        ann.ask("join", "a").await;
        ann.ask("leave", "a").await;
    }
    nodes.io(0).emit("end", ()).await.expect("written");
    let lifecycle = FollowOptions {
        events: false,
        ..everything.clone()
    };
    let mut follow = nodes.follow(1, &after(&lifecycle, start));
    let gap = next(&mut follow).await;
    assert!(matches!(gap.what, What::Gap) && gap.last);
    for expected in ["ann joined a", "ann left a"].repeat(4) {
        assert_eq!(text(&next(&mut follow).await), expected);
    }
    // Only what it asks for can be missing; and where the gap ended, it can go on.
    let events = FollowOptions {
        lifecycle: false,
        ..everything.clone()
    };
    let mut follow = nodes.follow(1, &after(&events, start));
    assert_eq!(text(&next(&mut follow).await), "event [\"end\"]");
    let mut follow = nodes.follow(2, &after(&everything, gap.offset));
    assert_eq!(told(&mut follow).await.len(), 9);
    let mut other_log = after(&everything, gap.offset);
    other_log.after.as_mut().expect("set").epoch ^= 1;
    let mut follow = nodes.follow(2, &other_log);
    assert!(matches!(next(&mut follow).await.what, What::Gap));
    let mut ahead = after(&everything, gap.offset);
    ahead.after.as_mut().expect("set").index += 1000;
    let refused = nodes.follow(2, &ahead).next().await;
    assert_eq!(refused.err(), Some(OperationError::Unavailable));

    let mut all = Vec::new();
    let refused = loop {
        match nodes.io(2).follow(everything.clone()) {
            Ok(follow) => all.push(follow),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, OperationError::Overloaded);
    // Some of the followers above are still there.
    let free = roomcast::limits::FOLLOWERS_MAX - all.len();
    assert!((1..5).contains(&free), "{free}");
    all.pop();
    mark(&mut nodes.follow(2, &everything)).await;
    let many = FollowOptions {
        rooms: vec!["r".to_owned(); roomcast::limits::FOLLOW_ROOMS_MAX + 1],
        ..everything
    };
    assert_eq!(
        nodes.io(2).follow(many).err(),
        Some(OperationError::Invalid)
    );
    nodes.end().await;
}
