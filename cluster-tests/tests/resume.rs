//! A client that comes back, to any node and after any kind of break, gets exactly what it missed:
//! one test for each way to lose a connection, with publishers on all nodes running all the time.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::oracle::{Oracle, Target};
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::raw::{RawClient, RawSpec};
use roomcast_cluster_tests::seat::{Make, Seat};
use roomcast_cluster_tests::stage::{Stage, calm};
use tokio::time::sleep;

/// Stock clients wait up to 0.9 s between attempts; the rest is the machine's.
const BACK: Duration = Duration::from_secs(10);
/// After a kill a new leader is needed first.
const BACK_AFTER_KILL: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(40);

/// A stock and a raw client on each node, publishers on each node.
async fn busy_stage(spec: PublishSpec, rooms: &[&str]) -> Stage {
    let mut stage = Stage::three().await.unwrap();
    stage.seat_everywhere(rooms).await.unwrap();
    stage.publish_everywhere(&spec);
    stage.wait_acked(30, LATER).await;
    stage
}

/// All seats lose their connection by `cut` and come back to the next node, `rounds` times.
async fn go_round(stage: &Stage, rounds: u64, cut: impl AsyncFn(&Seat)) {
    let before: Vec<u64> = stage
        .seats
        .iter()
        .map(|seat| seat.client.state().recovered)
        .collect();
    for round in 1..=rounds {
        for (index, seat) in (0..).zip(&stage.seats) {
            seat.link.route(Route::Only(
                (index / 2 + usize::try_from(round).unwrap()) % 3,
            ));
            cut(seat).await;
        }
        for (seat, before) in stage.seats.iter().zip(&before) {
            seat.wait_resumed(before + round, BACK).await;
        }
        stage.wait_acked(20, LATER).await;
    }
}

#[tokio::test]
async fn a_dropped_connection_resumes_on_another_node() {
    let stage = busy_stage(PublishSpec::new("lobby"), &["lobby"]).await;
    go_round(&stage, 5, async |seat| seat.link.cut()).await;
    stage.finish("dropped").await;
}

#[tokio::test]
async fn a_transport_closed_by_the_client_resumes_on_another_node() {
    let stage = busy_stage(PublishSpec::new("lobby"), &["lobby"]).await;
    go_round(&stage, 5, async |seat| seat.client.cut().await).await;
    stage.finish("closed by the client").await;
}

#[tokio::test]
async fn a_half_open_connection_is_taken_over_at_once() {
    let stage = busy_stage(PublishSpec::new("lobby"), &["lobby"]).await;
    go_round(&stage, 3, async |seat| seat.link.half_open()).await;
    sleep(Duration::from_secs(1)).await;
    for seat in &stage.seats {
        // Pings would take 45 s to find out.
        assert_eq!(
            seat.link.half_open_count(),
            0,
            "{}: the old transport is still open",
            seat.name
        );
    }
    stage.finish("half open").await;
}

/// Kills one node while all clients are on another, or on the same one.
async fn kill_case(title: &str, victim_leads: bool, clients_on_victim: bool) {
    let mut stage = Stage::three().await.unwrap();
    let group = stage.group_of_namespace().await.unwrap();
    let leader = stage.cluster.leader(group).await.unwrap();
    let victim = if victim_leads {
        leader
    } else {
        (leader + 1) % 3
    };
    let gateway = if clients_on_victim {
        victim
    } else {
        (0..3).find(|n| *n != victim && *n != leader).unwrap()
    };
    for _ in 0..2 {
        let stock = stage.stock();
        for make in [stock, Make::Raw] {
            let index = stage.seat(make, gateway, &["lobby"]).await.unwrap();
            stage.seats[index].link.route(Route::RoundRobin);
        }
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(30, LATER).await;
    stage.cluster.nodes[victim].kill9().unwrap();
    for seat in &stage.seats {
        let resumes = u64::from(clients_on_victim);
        seat.wait_resumed(resumes, BACK_AFTER_KILL).await;
    }
    stage.wait_acked(60, LATER).await;
    stage.cluster.restart(victim).await.unwrap();
    stage.wait_acked(30, LATER).await;
    stage.finish(title).await;
}

#[tokio::test]
async fn a_session_outlives_its_gateway() {
    kill_case("gateway killed", false, true).await;
}

#[tokio::test]
async fn a_session_outlives_its_leader() {
    kill_case("leader killed", true, false).await;
}

#[tokio::test]
async fn a_session_outlives_gateway_and_leader_in_one() {
    kill_case("gateway and leader killed", true, true).await;
}

/// While the seats are away, `spec` is published for a while; then they come back.
async fn missed_while_away(stage: &Stage, spec: PublishSpec, rooms: &[&str]) {
    for seat in &stage.seats {
        seat.link.route(Route::Nowhere);
        seat.link.cut();
    }
    for (node, room) in rooms.iter().enumerate() {
        let spec = PublishSpec {
            targets: vec![Target::room(room)],
            ..spec.clone()
        };
        let publisher = Publisher::start(stage.raw(node), &stage.oracle, spec);
        while publisher.acked.load(std::sync::atomic::Ordering::Relaxed) < 30 {
            sleep(Duration::from_millis(20)).await;
        }
        publisher.finish().await;
    }
    for seat in &stage.seats {
        seat.link.route(Route::RoundRobin);
    }
}

#[tokio::test]
async fn a_client_that_has_received_nothing_yet_resumes() {
    let mut stage = busy_stage(PublishSpec::new("lobby"), &["lobby"]).await;
    let stock = stage.stock();
    for make in [stock, Make::Raw] {
        let index = stage.seat(make, 0, &["quiet"]).await.unwrap();
        assert_eq!(stage.oracle.received_count(stage.seats[index].number), 0);
    }
    missed_while_away(&stage, PublishSpec::new("quiet"), &["quiet"]).await;
    for seat in &stage.seats {
        seat.wait_resumed(1, BACK).await;
    }
    for seat in &stage.seats[6..] {
        seat.wait_received(30, BACK).await;
    }
    stage.finish("nothing received yet").await;
}

#[tokio::test]
async fn a_session_in_several_rooms_resumes_with_all_of_them() {
    let rooms = ["a", "b", "c"];
    let several = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let mut targets: Vec<Target> = rooms.iter().map(|room| Target::room(room)).collect();
    targets.push(Target {
        rooms: several(&["a", "c"]),
        except: Vec::new(),
    });
    targets.push(Target {
        rooms: several(&["b"]),
        except: several(&["c"]),
    });
    let spec = PublishSpec {
        targets,
        ..PublishSpec::new("a")
    };
    let mut stage = busy_stage(spec.clone(), &rooms).await;
    stage.seat(Make::Raw, 1, &["b"]).await.unwrap();
    missed_while_away(&stage, spec, &rooms).await;
    for seat in &stage.seats {
        seat.wait_resumed(1, BACK).await;
    }
    go_round(&stage, 3, async |seat| seat.link.cut()).await;
    stage.finish("several rooms").await;
}

#[tokio::test]
async fn two_namespaces_on_one_connection_resume_both() {
    let mut stage = Stage::three().await.unwrap();
    stage.namespace = "/one".to_owned();
    let other = Oracle::new();
    let mut beside = Vec::new();
    for node in 0..3 {
        let stock = stage.stock();
        let index = stage.seat(stock, node, &["lobby"]).await.unwrap();
        let rooms = vec!["lobby".to_owned()];
        let seat = Seat::take_beside(&stage.seats[index], &stage.driver, "/two", rooms, &other);
        beside.push(seat.await.unwrap());
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    let namespace = "/two".to_owned();
    let spec = RawSpec {
        namespace,
        ..RawSpec::new(stage.cluster.clients())
    };
    let client = roomcast_cluster_tests::client::Client::Raw(RawClient::start(
        spec,
        std::sync::Arc::new(|_| ()),
    ));
    let publisher = Publisher::start(client, &other, PublishSpec::new("lobby"));
    for round in 1..=4 {
        stage.wait_acked(20, LATER).await;
        for (index, seat) in stage.seats.iter().enumerate() {
            seat.link.route(Route::Only((index + round) % 3));
            seat.link.cut();
        }
        for seat in stage.seats.iter().chain(&beside) {
            seat.wait_resumed(round as u64, BACK).await;
        }
    }
    publisher.finish().await;
    calm(&other)
        .await
        .assert_clean("two namespaces, the second");
    stage.finish("two namespaces, the first").await;
}

#[tokio::test]
async fn missed_binary_events_are_replayed_intact() {
    let bodies = vec![
        Body::Binary(0),
        Body::Binary(1),
        Body::Binary(5_000),
        Body::Text(10),
    ];
    let spec = PublishSpec {
        bodies,
        ..PublishSpec::new("lobby")
    };
    let stage = busy_stage(spec.clone(), &["lobby"]).await;
    missed_while_away(&stage, spec, &["lobby"]).await;
    for seat in &stage.seats {
        seat.wait_resumed(1, BACK).await;
    }
    go_round(&stage, 2, async |seat| seat.link.cut()).await;
    stage.finish("binary").await;
}

#[tokio::test]
async fn a_client_that_was_away_for_seconds_gets_everything_it_missed() {
    let spec = PublishSpec {
        pace: Some(Duration::from_millis(4)),
        ..PublishSpec::new("lobby")
    };
    let stage = busy_stage(spec, &["lobby"]).await;
    let before: Vec<usize> = stage
        .seats
        .iter()
        .map(|seat| stage.oracle.received_count(seat.number))
        .collect();
    for seat in &stage.seats {
        seat.link.route(Route::Nowhere);
        seat.link.cut();
    }
    sleep(Duration::from_secs(4)).await;
    for seat in &stage.seats {
        seat.link.route(Route::RoundRobin);
    }
    for (seat, before) in stage.seats.iter().zip(before) {
        seat.wait_resumed(1, BACK).await;
        seat.wait_received(before + 200, BACK).await;
    }
    stage.finish("away for seconds").await;
}

/// Cuts come faster than clients can resume.
#[tokio::test]
async fn cuts_amid_reconnecting_lose_nothing() {
    let stage = busy_stage(PublishSpec::new("lobby"), &["lobby", "hall"]).await;
    for round in 0..8 {
        for (index, seat) in stage.seats.iter().enumerate() {
            seat.link.route(Route::Only((index / 2 + round) % 3));
            seat.link.cut();
        }
        stage.wait_acked(20, LATER).await;
    }
    stage.finish("cuts amid reconnecting").await;
}

/// Cuts come while the replay of the one before still runs.
#[tokio::test]
async fn a_replay_that_is_cut_goes_on_where_it_was() {
    let bodies = vec![Body::Text(8_000)];
    let spec = PublishSpec {
        bodies,
        pace: Some(Duration::from_millis(8)),
        ..PublishSpec::new("lobby")
    };
    let stage = busy_stage(spec, &["lobby"]).await;
    for round in 0..8 {
        for (index, seat) in stage.seats.iter().enumerate() {
            seat.link.route(Route::Only((index + round) % 3));
            seat.link.cut();
        }
        sleep(Duration::from_millis(350)).await;
    }
    for seat in &stage.seats {
        seat.wait_resumed(1, BACK).await;
    }
    stage.finish("cut again and again").await;
}

#[tokio::test]
async fn a_paused_gateway_wakes_up_to_sessions_that_live_elsewhere() {
    let mut stage = Stage::three().await.unwrap();
    for _ in 0..2 {
        let stock = stage.stock();
        for make in [stock, Make::Raw] {
            stage.seat(make, 2, &["lobby"]).await.unwrap();
        }
    }
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(30, LATER).await;
    stage.cluster.nodes[2].pause().unwrap();
    for seat in &stage.seats {
        seat.link.route(Route::Only(0));
        seat.link.half_open();
    }
    for seat in &stage.seats {
        seat.wait_resumed(1, BACK_AFTER_KILL).await;
    }
    stage.wait_acked(30, LATER).await;
    sleep(Duration::from_secs(7)).await;
    stage.cluster.nodes[2].wake().unwrap();
    stage.cluster.wait_all_ready().await.unwrap();
    go_round(&stage, 1, async |seat| seat.link.thaw()).await;
    stage.finish("paused gateway").await;
}
