//! Snapshots over links that break.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::link::linked;
use super::{Cluster, LIMIT, until};

/// A node is behind what the others keep of a group's log; it is not running. Returns its place.
pub(super) async fn left_behind(
    cluster: &mut Cluster,
    commands: usize,
    command_bytes: usize,
) -> usize {
    cluster.propose(0, "first").await;
    cluster.applied(0, 1).await;
    let behind = (cluster.leader(0).await + 1) % 3;
    cluster.kill(behind).await;
    let large = "x".repeat(command_bytes);
    for i in 0..commands {
        cluster.propose(0, &format!("{i}{large}")).await;
    }
    cluster.applied(0, commands + 1).await;
    for node in cluster.running_nodes() {
        node.consensus.snapshot(0).await.unwrap();
        node.consensus.purge(0, u64::MAX).await.unwrap();
    }
    let purged = || {
        let mut nodes = cluster.running_nodes().map(|node| node.consensus.status(0));
        nodes.all(|status| status.first > commands as u64)
    };
    until("the others have purged", purged).await;
    behind
}

/// Without going on where it broke, a transfer would never end here: no connection carries a third
/// of it. And a newer snapshot must not begin it anew, nor take the log that follows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_arrives_over_connections_none_of_which_carries_it() {
    let (mut cluster, links, mut tasks) = linked().await;
    let behind = left_behind(&mut cluster, 60, 100_000).await;
    for ((_, to), link) in &links.0 {
        if *to == behind {
            link.fuse.store(2_000_000, Ordering::Relaxed);
        }
    }
    let leader = cluster.leader(0).await;
    let before = cluster.node(leader).consensus.bulk_bytes();
    cluster.start_one(behind).await.unwrap();
    let deadline = Instant::now() + LIMIT;
    let mut meanwhile = 0;
    while *cluster.node(behind).states[0].restored.lock() == 0 {
        assert!(Instant::now() < deadline, "it never arrives");
        cluster.propose(0, "meanwhile").await;
        meanwhile += 1;
        let consensus = &cluster.node(cluster.leader(0).await).consensus;
        consensus.snapshot(0).await.unwrap();
        consensus.purge(0, u64::MAX).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.applied(0, 61 + meanwhile).await;
    cluster.assert_equal(0);
    assert_eq!(*cluster.node(behind).states[0].restored.lock(), 1);
    assert!(meanwhile > 3, "{meanwhile}");
    let sent = cluster.node(leader).consensus.bulk_bytes() - before;
    // What was on its way when a connection broke is sent again.
    assert!((6_000_000..12_000_000).contains(&sent), "{sent} bytes sent");
    cluster.kill_all().await;
    tasks.shutdown().await;
}

/// A slow transfer takes its time: what limits it is that something moves, not how long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_keeps_to_the_rate_and_no_timeout_cuts_it() {
    let mut cluster = Cluster::seats(3).await;
    cluster.timings.install_snapshot = Duration::from_secs(1);
    for seat in &mut cluster.seats {
        seat.bulk_rate = 2_000_000;
    }
    cluster.start_all().await;
    let behind = left_behind(&mut cluster, 60, 100_000).await;
    let leader = cluster.leader(0).await;
    let before = cluster.node(leader).consensus.bulk_bytes();
    let began = Instant::now();
    cluster.start_one(behind).await.unwrap();
    cluster.applied(0, 61).await;
    assert!(began.elapsed() > Duration::from_millis(2500), "{began:?}");
    cluster.assert_equal(0);
    let sent = cluster.node(leader).consensus.bulk_bytes() - before;
    assert!((6_000_000..6_600_000).contains(&sent), "{sent}: at once");
    cluster.kill_all().await;
}
