//! Nodes that run: order, speed of commit, change of leaders.

use std::time::Duration;

use bytes::Bytes;
use roomcast_proto::peer as pb;
use tokio::time::Instant;

use super::super::peers::{client_over, connect_lazily};
use super::{Cluster, GROUPS, until};
use crate::raft::{ENTRY_BYTES_MAX, ProposeError, ReadError, Timings};

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_apply_a_leaders_proposals_in_their_order() {
    let mut cluster = Cluster::running(3).await;
    let leader = cluster.leader(0).await;
    let texts: Vec<Bytes> = (0..300).map(|i| Bytes::from(format!("c{i}"))).collect();
    for text in &texts {
        cluster
            .node(leader)
            .consensus
            .propose(0, text.clone())
            .await
            .unwrap();
    }
    cluster.applied(0, texts.len()).await;
    cluster.assert_equal(0);
    assert_eq!(cluster.node(0).states[0].texts(), texts);
    assert_eq!(cluster.node(0).states[1].count(), 0, "groups are apart");

    let follower = (leader + 1) % 3;
    let consensus = &cluster.node(follower).consensus;
    let refused = consensus
        .propose(0, Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    let leader_id = cluster.seats[leader].id;
    assert_eq!(refused, ProposeError::NotLeader(Some(leader_id)));

    let indexes: Vec<u64> = cluster.node(0).states[0]
        .commands
        .lock()
        .iter()
        .map(|(index, _)| *index)
        .collect();
    let read = consensus.read(0, &[indexes[7], indexes[3]]).await.unwrap();
    assert_eq!(
        read,
        [
            (indexes[7], texts[7].clone()),
            (indexes[3], texts[3].clone())
        ]
    );
    let later = consensus.read(0, &[indexes[299] + 1]).await.unwrap_err();
    assert!(matches!(later, ReadError::NotACommand { .. }));
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_the_largest_size_is_replicated() {
    let mut cluster = Cluster::running(3).await;
    let leader = cluster.leader(0).await;
    let consensus = &cluster.node(leader).consensus;
    let largest = Bytes::from(vec![7; ENTRY_BYTES_MAX]);
    consensus.propose(0, largest.clone()).await.unwrap();
    consensus.propose(0, largest).await.unwrap();
    let larger = Bytes::from(vec![7; ENTRY_BYTES_MAX + 1]);
    assert_eq!(
        consensus.propose(0, larger).await,
        Err(ProposeError::TooLarge)
    );
    cluster.applied(0, 2).await;
    cluster.assert_equal(0);
    cluster.kill_all().await;
}

/// With a heartbeat of half a second, a follower that waited for it would lag that long.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_reaches_idle_followers_at_once() {
    let mut cluster = Cluster::seats(3).await;
    cluster.timings = Timings {
        heartbeat: Duration::from_millis(500),
        election_min: Duration::from_millis(1500),
        election_max: Duration::from_millis(3000),
        ..Timings::regional()
    };
    cluster.start_all().await;
    let leader = cluster.leader(0).await;
    let mut lags = Vec::new();
    for round in 0..15 {
        tokio::time::sleep(Duration::from_millis(70)).await;
        cluster.propose(0, &format!("c{round}")).await;
        cluster.applied(0, round + 1).await;
        let at = |place: usize| cluster.node(place).states[0].last_at.lock().unwrap();
        let slowest = (0..3).map(at).max().unwrap();
        lags.push(slowest.saturating_duration_since(at(leader)));
    }
    lags.sort();
    println!("follower lag: median {:?}, worst {:?}", lags[7], lags[14]);
    assert!(lags[7] < Duration::from_millis(100), "{lags:?}");
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_leads_soon_after_the_leader_is_gone() {
    let mut cluster = Cluster::running(3).await;
    for i in 0..20 {
        cluster.propose(0, &format!("before{i}")).await;
    }
    cluster.applied(0, 20).await;
    let old = cluster.leader(0).await;
    cluster.kill(old).await;
    let gone = Instant::now();
    let new = cluster.leader(0).await;
    let took = gone.elapsed();
    println!("failover took {took:?}");
    assert!(new != old && took < Duration::from_secs(8), "{took:?}");
    for i in 0..20 {
        cluster.propose(0, &format!("after{i}")).await;
    }
    cluster.start_one(old).await.unwrap();
    cluster.applied(0, 40).await;
    cluster.assert_equal(0);
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_on_request() {
    let mut cluster = Cluster::running(3).await;
    let old = cluster.leader(1).await;
    let new = (old + 1) % 3;
    let to = cluster.seats[new].id;
    let mut watched = cluster.node(new).consensus.watch(1);
    cluster
        .node(old)
        .consensus
        .transfer_leader(1, to)
        .await
        .unwrap();
    until("the new leader leads", || {
        watched.borrow_and_update().leading
    })
    .await;
    assert!(!cluster.node(old).consensus.status(1).leading);
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_a_whole_cluster() {
    let mut cluster = Cluster::running(1).await;
    for group in 0..GROUPS {
        cluster.propose(group, "alone").await;
        cluster.applied(group, 1).await;
    }
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_a_wrong_header_are_refused() {
    let mut cluster = Cluster::running(3).await;
    let consensus = &cluster.node(0).consensus;
    let mut client = client_over(connect_lazily(&cluster.seats[1].address).unwrap());
    let right = consensus.header(2);
    let mut renew = async |header: pb::Header| {
        let request = pb::RenewRequest {
            header: Some(header),
            leases: Vec::new(),
        };
        client
            .renew(request)
            .await
            .map(|answer| answer.into_inner().renewed[0].incarnation)
    };
    assert_eq!(
        renew(right.clone()).await.unwrap(),
        1,
        "the handler is told who asks"
    );
    let other = pb::Header {
        cluster_id: "other".to_owned(),
        ..right.clone()
    };
    let elsewhere = pb::Header { to: 3, ..right };
    for wrong in [other, elsewhere] {
        let refused = renew(wrong.clone()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        let append = pb::AppendRequest {
            header: Some(wrong),
            ..pb::AppendRequest::default()
        };
        let mut client = consensus.peer_client(2).unwrap();
        let refused = client
            .append(futures_util::stream::iter([append]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    }
    cluster.kill_all().await;
}
