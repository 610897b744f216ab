//! Nodes that come back: from their disk, or by a snapshot.

use bytes::Bytes;

use super::{Cluster, GROUPS, POISON, until};
use crate::raft::ReadError;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_stopped_keeps_everything() {
    let mut cluster = Cluster::running(3).await;
    for i in 0..50 {
        cluster.propose(i % GROUPS, &format!("c{i}")).await;
    }
    for group in 0..GROUPS {
        cluster.applied(group, 25).await;
    }
    let before = cluster.node(0).states[0].commands.lock().clone();
    let (id, term) = {
        let consensus = &cluster.node(0).consensus;
        (consensus.cluster_id().to_owned(), consensus.status(0).term)
    };
    cluster.kill_all().await;
    cluster.start_all().await;
    for group in 0..GROUPS {
        cluster.leader(group).await;
        cluster.applied(group, 25).await;
        cluster.assert_equal(group);
    }
    assert!(*cluster.node(0).states[0].commands.lock() == before);
    assert_eq!(cluster.node(0).consensus.cluster_id(), id);
    let status = cluster.node(0).consensus.status(0);
    assert!(
        status.term > term,
        "a restarted leader stands for election again"
    );
    cluster.propose(0, "and goes on").await;
    cluster.applied(0, 26).await;
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_at_the_newest_snapshot() {
    let mut cluster = Cluster::running(1).await;
    for i in 0..30 {
        cluster.propose(0, &format!("c{i}")).await;
    }
    cluster.applied(0, 30).await;
    let at = cluster.node(0).consensus.snapshot(0).await.unwrap();
    assert_eq!(at, cluster.node(0).consensus.status(0).applied);
    cluster.node(0).consensus.purge(0, at - 5).await.unwrap();
    until("it is purged", || {
        cluster.node(0).consensus.status(0).first == at - 4
    })
    .await;
    for i in 30..35 {
        cluster.propose(0, &format!("c{i}")).await;
    }
    cluster.applied(0, 35).await;
    let before = cluster.node(0).states[0].commands.lock().clone();
    cluster.kill_all().await;
    cluster.start_all().await;
    cluster.leader(0).await;
    cluster.applied(0, 35).await;
    let node = cluster.node(0);
    assert!(*node.states[0].commands.lock() == before);
    assert_eq!(*node.states[0].restored.lock(), 1);
    assert_eq!(
        node.consensus.status(0).first,
        at - 4,
        "where the log begins is remembered"
    );
    assert!(node.consensus.read(0, &[at - 4]).await.is_ok());
    let history = node.consensus.read(0, &[at - 5]).await;
    assert!(history.is_ok(), "given up by Raft, and still here");
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_a_purged_log_gets_a_snapshot_and_asks_others_for_what_it_misses() {
    let mut cluster = Cluster::running(3).await;
    cluster.propose(0, "first").await;
    cluster.applied(0, 1).await;
    let leader = cluster.leader(0).await;
    let behind = (leader + 1) % 3;
    cluster.kill(behind).await;
    let large = "x".repeat(20_000);
    for i in 0..100 {
        cluster.propose(0, &format!("{i}{large}")).await;
    }
    cluster.applied(0, 101).await;
    // The leader keeps nothing, the third node some; whoever leads, it has to send its snapshot.
    let leader = cluster.leader(0).await;
    let third = 3 - behind - leader;
    let some = cluster.node(third).states[0].commands.lock()[20].0;
    for (place, upto) in [(leader, u64::MAX), (third, some)] {
        let consensus = &cluster.node(place).consensus;
        let at = consensus.snapshot(0).await.unwrap();
        consensus.purge(0, upto).await.unwrap();
        let first = upto.min(at) + 1;
        until("it is purged", || consensus.status(0).first == first).await;
    }

    cluster.start_one(behind).await.unwrap();
    cluster.applied(0, 101).await;
    cluster.assert_equal(0);
    let node = cluster.node(behind);
    assert_ne!(*node.states[0].restored.lock(), 0);
    let wanted: Vec<(u64, Bytes)> = node.states[0].commands.lock()[40..60].to_vec();
    let indexes: Vec<u64> = wanted.iter().map(|(index, _)| *index).collect();
    // The state is restored a moment before the log is told to begin behind it.
    let begins = || node.consensus.status(0).first > indexes[19];
    until("its log begins behind the snapshot", begins).await;
    let hole = node.consensus.read(0, &indexes).await.unwrap_err();
    assert!(matches!(hole, ReadError::Hole { first } if first > indexes[19]));
    let read = node.consensus.read_anywhere(0, &indexes).await.unwrap();
    assert!(read == wanted);
    cluster.propose(0, "last").await;
    cluster.applied(0, 102).await;
    cluster.assert_equal(0);

    cluster.kill(behind).await;
    cluster.start_one(behind).await.unwrap();
    cluster.applied(0, 102).await;
    cluster.assert_equal(0);
    cluster.kill_all().await;
}

/// Writes something behind the last frame of the newest segment, as a torn write leaves it.
fn tear(dir: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let log = dir.join("log");
    let files = std::fs::read_dir(&log).unwrap();
    let newest = files.map(|file| file.unwrap().path()).max().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&newest)
        .unwrap();
    file.write_at(b"torn", end + 64).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_lack_acknowledged_entries_votes_only_when_it_has_caught_up() {
    let mut cluster = Cluster::running(3).await;
    cluster.propose(0, "before").await;
    cluster.applied(0, 1).await;
    cluster.kill_all().await;
    tear(&cluster.seats[0].dir);
    cluster.start_one(0).await.unwrap();
    cluster.start_one(1).await.unwrap();
    tokio::time::sleep(cluster.timings.election_max * 4).await;
    for place in 0..2 {
        let status = cluster.node(place).consensus.status(0);
        assert!(!status.leading, "nobody can be elected without its vote");
    }
    cluster.start_one(2).await.unwrap();
    cluster.leader(0).await;
    cluster.propose(0, "after").await;
    cluster.applied(0, 2).await;
    // Now it is wanted for a majority.
    cluster.kill(2).await;
    cluster.leader(0).await;
    cluster.propose(0, "with its vote").await;
    cluster.applied(0, 3).await;
    cluster.assert_equal(0);
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_machine_that_panics_ends_the_node() {
    let cluster = Cluster::running(1).await;
    cluster
        .node(0)
        .consensus
        .propose(0, Bytes::from_static(POISON))
        .await
        .unwrap();
    until("the failure is reported", || {
        // The next proposal needs the worker that is gone.
        let consensus = cluster.node(0).consensus.clone();
        tokio::spawn(async move { consensus.propose(0, Bytes::from_static(b"next")).await.ok() });
        !cluster.node(0).fatal.lock().is_empty()
    })
    .await;
    println!("{:?}", cluster.node(0).fatal.lock());
}
