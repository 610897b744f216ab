//! A leader that is cut off, and comes back.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::link::linked;
use super::until;
use crate::raft::ProposeError;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_refuses_and_comes_back_as_a_follower() {
    let (mut cluster, links, mut tasks) = linked().await;
    cluster.propose(0, "before").await;
    cluster.applied(0, 1).await;

    let old = cluster.leader(0).await;
    links.cut(old, true);
    let gone = Instant::now();
    until("the old leader knows that it has no quorum", || {
        !cluster.node(old).consensus.status(0).leading
    })
    .await;
    println!("without quorum after {:?}", gone.elapsed());
    let refused = cluster
        .node(old)
        .consensus
        .propose(0, Bytes::from_static(b"lost"))
        .await;
    assert_eq!(refused, Err(ProposeError::NotLeader(None)));
    let new = cluster.leader(0).await;
    println!("a new leader after {:?}", gone.elapsed());
    assert_ne!(new, old);
    for i in 0..10 {
        cluster.propose(0, &format!("during{i}")).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.node(old).states[0].count(), 1, "it was cut off");

    let term = cluster.node(new).consensus.status(0).term;
    links.cut(old, false);
    let healed = Instant::now();
    cluster.applied(0, 11).await;
    println!("caught up {:?} after the links came back", healed.elapsed());
    cluster.assert_equal(0);
    let status = cluster.node(new).consensus.status(0);
    assert!(
        status.leading && status.term == term,
        "it deposed nobody: {status:?}"
    );

    // Again: now a connection that was in use is dead when the links come back.
    links.cut(old, true);
    for i in 0..10 {
        cluster.propose(0, &format!("again{i}")).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    links.cut(old, false);
    let healed = Instant::now();
    cluster.applied(0, 21).await;
    println!(
        "caught up {:?} after the links came back again",
        healed.elapsed()
    );
    cluster.assert_equal(0);
    cluster.kill_all().await;
    tasks.shutdown().await;
}
