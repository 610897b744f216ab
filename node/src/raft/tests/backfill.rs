//! What a snapshot leaves out: read from whoever has it, and fetched until this node has it.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use super::transfer::left_behind;
use super::{Cluster, until};
use crate::raft::{Needs, Part, ReadError};

/// These entries are wanted of all groups.
struct Wanted(Range<u64>);

impl Needs for Wanted {
    fn first(&self, _: u32) -> u64 {
        self.0.start
    }

    fn wanted(&self, _: u32, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        let part = |index| Part {
            index,
            number: 0,
            bytes: u32::MAX,
        };
        let wanted = indexes.filter(|index| self.0.contains(index));
        Some(wanted.map(part).collect())
    }

    fn trim(&self, _: &Bytes, _: &[u32]) -> Option<Bytes> {
        None
    }
}

/// Gives up the entries of the first group outside of a range, as far as whole files go.
async fn keep(cluster: &Cluster, place: usize, range: Range<u64>) {
    let consensus = &cluster.node(place).consensus;
    let before = consensus.log_size().0;
    for _ in 0..4 {
        consensus.reclaim(Wanted(range.clone())).await.unwrap();
    }
    assert!(consensus.log_size().0 < before, "something went");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_leaves_out_is_read_from_whoever_has_it_and_then_from_here() {
    let mut cluster = Cluster::running(3).await;
    let behind = left_behind(&mut cluster, 100, 100_000).await;
    let commands = cluster.node((behind + 1) % 3).states[0]
        .commands
        .lock()
        .clone();
    let (first, last) = (commands[0].0, commands[100].0);
    let others = [(behind + 1) % 3, (behind + 2) % 3];
    // Each of the others has what the other lacks, and both lack the middle.
    keep(&cluster, others[0], 0..first + 40).await;
    keep(&cluster, others[1], first + 60..last).await;
    let place_of = |range: Range<usize>| -> (Vec<u64>, Vec<(u64, Bytes)>) {
        let some = commands[range].to_vec();
        (some.iter().map(|(index, _)| *index).collect(), some)
    };

    cluster.start_one(behind).await.unwrap();
    cluster.applied(0, 101).await;
    let node = cluster.node(behind);
    assert_ne!(*node.states[0].restored.lock(), 0);
    let begins = || node.consensus.status(0).first > last;
    until("its log begins behind the snapshot", begins).await;

    let (mut ends, mut exact) = place_of(20..30);
    let (late, late_exact) = place_of(80..90);
    ends.extend(late);
    exact.extend(late_exact);
    assert!(node.consensus.read(0, &ends).await.is_err());
    assert!(node.consensus.read_anywhere(0, &ends).await.unwrap() == exact);
    let (middle, _) = place_of(44..47);
    let refused = node.consensus.read_anywhere(0, &middle).await.unwrap_err();
    assert!(matches!(refused, ReadError::Hole { .. }), "nobody has it");

    let (all, _) = place_of(10..101);
    let lacking = node.consensus.lacking(0, all.clone()).await.unwrap();
    let stored = node.consensus.backfill(0, &lacking).await.unwrap();
    let holes = node.consensus.lacking(0, all).await.unwrap();
    assert_eq!(lacking.len(), stored.entries + holes.len());
    let asked = |index: &u64| holes.contains(index);
    assert!(middle.iter().all(asked) && holes.len() < 50, "{holes:?}");
    assert_eq!(node.consensus.read(0, &ends).await.unwrap(), exact);

    // From here, whether the others live or not, and after a restart.
    for place in others {
        cluster.kill(place).await;
    }
    for _ in 0..2 {
        let consensus = &cluster.node(behind).consensus;
        assert!(consensus.read(0, &ends).await.unwrap() == exact);
        let again = consensus.backfill(0, &ends).await.unwrap();
        assert_eq!(again.entries, 0, "nobody answers");
        cluster.kill(behind).await;
        cluster.start_one(behind).await.unwrap();
    }
    cluster.kill_all().await;
}
