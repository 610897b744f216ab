//! What becomes of sockets is told once each, exactly as their clients did it, though the node that
//! tells it and the nodes that hold them are killed.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::time::Duration;

use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::follower::{Follower, FollowerSpec, read_behind};
use roomcast_cluster_tests::link::Route;
use roomcast_cluster_tests::offset::Offset;
use roomcast_cluster_tests::oracle::lifecycle::Told;
use roomcast_cluster_tests::seat::{Make, Seat};
use roomcast_cluster_tests::stage::{Stage, lifecycle_calm};
use tokio::time::{sleep, timeout};

/// Long enough for every client that comes back.
const RESUME_WINDOW: &str = "7s";
/// A client of a killed node is at another one within this.
const RESUMED_WITHIN: Duration = Duration::from_secs(10);
/// Everything has been told within this, an expiry too.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// A follower that stays where it is served.
const FOR_GOOD: Duration = Duration::from_secs(600);

async fn leave(seat: &Seat, room: &str) {
    let leaving = async {
        while !seat.leave(room).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(RESUMED_WITHIN, leaving).await.expect("no answer");
}

/// Kills a node, and waits until its clients are elsewhere with their sessions. All of them join
/// `room` at once, some of them before they have noticed.
async fn kill(stage: &mut Stage, node: usize, room: &str) {
    for seat in &stage.seats {
        seat.link.route(Route::RoundRobin);
    }
    let holds = |seat: &&Seat| seat.link.upstream() == Some(node);
    let held: Vec<(&Seat, u64)> = stage
        .seats
        .iter()
        .filter(holds)
        .map(|seat| (seat, seat.client.state().recovered))
        .collect();
    assert!(!held.is_empty(), "node {} holds no socket", node + 1);
    stage.cluster.nodes[node].kill9().unwrap();
    for seat in &stage.seats {
        seat.join(room).await;
    }
    for (seat, recovered) in held {
        seat.wait_resumed(recovered + 1, RESUMED_WITHIN).await;
    }
}

/// Every node goes on from every offset with exactly what the follower was told behind it.
async fn assert_resumable(stage: &Stage, story: &[(Offset, Told)]) {
    for (count, (after, _)) in story.iter().enumerate() {
        let rest = story.iter().filter(|(offset, _)| offset > after);
        let rest: Vec<_> = rest.cloned().collect();
        let node = stage.cluster.apis()[count % 3];
        let told = read_behind(node, "/", *after, rest.len()).await;
        assert_eq!(told.unwrap(), rest, "behind {after}");
    }
}

#[tokio::test]
async fn what_becomes_of_sockets_is_told_exactly_though_nodes_are_killed() {
    let spec = ClusterSpec::new(3).flag("--resume-window", RESUME_WINDOW);
    let mut stage = Stage::open(&spec).await.unwrap();
    let lifecycle = stage.oracle.lifecycle.clone();
    let spec = FollowerSpec {
        nodes: stage.cluster.apis(),
        namespace: "/".to_owned(),
        stay: FOR_GOOD,
    };
    let follower = Follower::start(spec, &lifecycle).await;
    assert_eq!(follower.node(), Some(0));
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    let lost = stage.seat(Make::Sdk, 2, &["lobby"]).await.unwrap();
    // Who has gone.
    let mut gone = vec![stage.seats.remove(lost)];
    gone[0].vanish().await;
    let mut joins = 7;

    // The node that tells it; meanwhile sockets of the others come and go.
    kill(&mut stage, 0, "first").await;
    joins += 6;
    leave(&stage.seats[2], "lobby").await;
    leave(&stage.seats[4], "first").await;
    stage.seats[2].join("lobby").await;
    gone.push(stage.seats.remove(3));
    gone[1].close().await;
    joins += 1;
    stage.cluster.restart(0).await.unwrap();
    let teller = follower.node().unwrap();
    assert_ne!(teller, 0, "it has not gone on elsewhere");

    // A node that holds sockets and tells nothing.
    let holder = 3 - teller;
    stage.seats[0].link.route(Route::Only(holder));
    stage.seats[0].link.cut();
    stage.seats[0].wait_resumed(2, RESUMED_WITHIN).await;
    kill(&mut stage, holder, "second").await;
    joins += 5;
    leave(&stage.seats[0], "first").await;
    leave(&stage.seats[1], "second").await;
    stage.cluster.restart(holder).await.unwrap();

    // One more fresh session, and the end of all of them.
    let late = stage.stock();
    stage.seat(late, holder, &["lobby", "first"]).await.unwrap();
    joins += 2;
    for seat in &stage.seats {
        seat.close().await;
    }
    let report = lifecycle_calm(&lifecycle, TOLD_WITHIN).await;
    report.assert_clean("a lifecycle under kills");
    assert_eq!((report.connects, report.unclaimed), (8, 0));
    assert_eq!((report.joins, report.leaves), (joins, joins));
    assert_eq!((report.disconnects, report.expiries), (7, 1));
    assert!(report.streams >= 2, "{report}");
    assert_resumable(&stage, &lifecycle.story()).await;
}
