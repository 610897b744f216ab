//! Snapshots that are installed under load, again and again: a follower is cut off, the leader
//! snapshots and purges what the follower lacks, the follower comes back while entries are written,
//! and leadership moves meanwhile. openraft issue 2116 (a group's core panics when a snapshot's
//! purge meets entries that were accepted but not handed to apply) would end a group here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::AppendEntriesRequest;

use super::link::{Links, linked};
use super::{Cluster, Frozen, LIMIT, until};
use crate::raft::snapshot::{SnapshotFile, SnapshotStore};
use crate::raft::types::{Content, LogEntry, SnapshotMeta, StoredMembership, Vote, log_id};
use crate::raft::{FrozenState, ProposeError};

/// Times that a follower is cut off; `ROOMCAST_INSTALL_ROUNDS` overrides it for a longer hunt.
const ROUNDS: usize = 6;
/// Proposals in flight.
const WRITERS: usize = 64;
/// How long a follower is away in a round.
const AWAY: Duration = Duration::from_millis(500);

/// Proposes until told to stop, wherever the leader is; counts what was accepted.
async fn write(cluster: &Cluster, writer: usize, stop: &AtomicBool) -> usize {
    let mut accepted = 0;
    let command = Bytes::from(vec![u8::try_from(writer).unwrap(); 32]);
    while !stop.load(Ordering::Acquire) {
        let leader = cluster.leader(0).await;
        let proposed = cluster.node(leader).consensus.propose(0, command.clone());
        match proposed.await {
            Ok(()) => accepted += 1,
            Err(ProposeError::NotLeader(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    accepted
}

/// The newest snapshot is made and everything before it is purged, at all nodes that answer: the
/// most that could ever be purged, where the product keeps one more interval.
async fn purge_all(cluster: &Cluster) {
    for node in cluster.running_nodes() {
        let consensus = &node.consensus;
        let made = tokio::time::timeout(AWAY, consensus.snapshot(0)).await;
        if let Ok(Ok(index)) = made {
            consensus.purge(0, index).await.unwrap();
        }
    }
}

async fn disturb(cluster: &Cluster, links: &Links, rounds: usize) {
    for round in 0..rounds {
        let away = (cluster.leader(0).await + 1 + round % 2) % 3;
        links.cut(away, true);
        tokio::time::sleep(AWAY).await;
        purge_all(cluster).await;
        links.cut(away, false);
        // The third node is asked to lead while the second one is sent its snapshot.
        let leader = cluster.leader(0).await;
        if let Some(to) = (0..3).find(|place| ![away, leader].contains(place))
            && round % 3 == 1
        {
            let to = cluster.seats[to].id;
            let moved = cluster.node(leader).consensus.transfer_leader(0, to).await;
            println!("round {round}: leadership moves: {moved:?}");
        }
        purge_all(cluster).await;
        let seen = cluster.node(leader).states[0].count();
        until("it has caught up", || {
            cluster.node(away).states[0].count() >= seen
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_installed_under_load_end_no_group() {
    let rounds = std::env::var("ROOMCAST_INSTALL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (mut cluster, links, mut tasks) = linked().await;
    let stop = AtomicBool::new(false);
    let writers = join_all((0..WRITERS).map(|writer| write(&cluster, writer, &stop)));
    let disturbed = async {
        disturb(&cluster, &links, rounds).await;
        stop.store(true, Ordering::Release);
    };
    let (accepted, ()) = futures_util::future::join(writers, disturbed).await;
    let restored = cluster
        .running_nodes()
        .map(|node| *node.states[0].restored.lock());
    let (accepted, restored): (usize, u32) = (accepted.iter().sum(), restored.sum());
    println!("{accepted} entries accepted, {restored} snapshots installed");
    assert_ne!(restored, 0, "snapshots were installed");
    cluster.propose(0, "the end").await;
    until("all have everything", || {
        let mut states = cluster.running_nodes().map(|node| &node.states[0]);
        states.all(|state| {
            state
                .commands
                .lock()
                .last()
                .is_some_and(|(_, last)| last == "the end")
        })
    })
    .await;
    cluster.assert_equal(0);
    cluster.kill_all().await;
    tasks.shutdown().await;
}

/// An entry of the leader that the test plays.
fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry {
        log_id: log_id(term, index),
        content: Content::Command(Bytes::from(format!("c{index}"))),
    }
}

/// A snapshot of `commands` and of what follows them up to `index`.
fn snapshot(
    store: &SnapshotStore,
    commands: &[(u64, Bytes)],
    term: u64,
    index: u64,
) -> SnapshotFile {
    let last = commands.last().map_or(0, |(index, _)| *index);
    let later = (last + 1..=index).map(|index| (index, Bytes::from(format!("c{index}"))));
    let state = Frozen(commands.iter().cloned().chain(later).collect()).encode();
    let mut writer = store
        .begin(SnapshotMeta {
            last_log_id: Some(log_id(term, index)),
            last_membership: StoredMembership::default(),
        })
        .unwrap();
    writer.write(&state).unwrap();
    writer.finish().unwrap()
}

/// A leader (the test) takes the first of its snapshots for lost and sends the next. The node's log
/// ends so many entries behind what both have in common: before the snapshots, between, or behind
/// them, which openraft's debug builds do not survive without the look into the log.
async fn two_snapshots(entries: u64, ends: [u64; 2]) {
    let mut cluster = Cluster::running(3).await;
    cluster.propose(0, "before").await;
    cluster.applied(0, 1).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let node = cluster.node(0);
    let group = node.consensus.group(0);
    let before = group.raft.metrics().borrow_watched().last_applied;
    let status = node.consensus.status(0);
    let (last, term) = (status.applied, status.term + 10);
    let vote = Vote::new_committed(term, 2);
    let new = (last + 1..=last + entries).map(|index| entry(term, index));
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: before,
        entries: new.collect(),
        leader_commit: Some(log_id(term, last + 2)),
    };
    group.raft.append_entries(request).await.unwrap();
    cluster.applied(0, 3).await;

    *node.states[0].restore_takes.lock() = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path().to_owned()).unwrap();
    let commands = node.states[0].commands.lock().clone();
    let first = snapshot(&store, &commands, term, last + ends[0]);
    let second = snapshot(&store, &commands, term, last + ends[1]);
    let install = async |file: SnapshotFile, after: Duration| {
        tokio::time::sleep(after).await;
        group.install(vote, file).await.map(drop)
    };
    let installed = futures_util::future::join(
        install(first, Duration::ZERO),
        install(second, Duration::from_millis(100)),
    );
    let installed = tokio::time::timeout(LIMIT, installed).await.unwrap();
    assert_eq!(*node.fatal.lock(), Vec::<String>::new());
    assert!(installed.0.is_ok() && installed.1.is_ok(), "{installed:?}");
    let applied = || node.consensus.status(0).applied == last + ends[1];
    until("the second one is applied", applied).await;
    let last_command = node.states[0].commands.lock().last().cloned();
    let expected = Bytes::from(format!("c{}", last + ends[1]));
    assert_eq!(last_command, Some((last + ends[1], expected)));
    let installs = *node.states[0].restored.lock();
    assert_eq!(
        installs as usize,
        ends.iter().filter(|end| **end > entries).count()
    );
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_what_the_log_holds_are_not_installed() {
    two_snapshots(20, [10, 15]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_snapshot_waits_for_the_first() {
    two_snapshots(5, [10, 15]).await;
    two_snapshots(12, [10, 15]).await;
}
