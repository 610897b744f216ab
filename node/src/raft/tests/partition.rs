//! Links that lose everything: a leader that is cut off, and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Cluster, PeerAddress, start, until};
use crate::raft::ProposeError;

/// One direction between two nodes. While cut it swallows what comes and says nothing.
struct Link {
    address: String,
    cut: Arc<watch::Sender<bool>>,
}

async fn link(to: String, tasks: &mut JoinSet<()>) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cut = Arc::new(watch::Sender::new(false));
    let state = cut.clone();
    tasks.spawn(async move {
        let mut pipes = JoinSet::new();
        while let Ok((from, _)) = listener.accept().await {
            let (to, state) = (to.clone(), state.clone());
            pipes.spawn(async move {
                // A connection that is made while the link is cut gets nowhere.
                state.subscribe().wait_for(|cut| !cut).await.unwrap();
                let Ok(to) = TcpStream::connect(to).await else {
                    return;
                };
                let ((from_read, from_write), (to_read, to_write)) =
                    (from.into_split(), to.into_split());
                tokio::select! {
                    () = pump(from_read, to_write, &state) => {}
                    () = pump(to_read, from_write, &state) => {}
                }
            });
        }
    });
    Link { address, cut }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: &watch::Sender<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // What was lost once is lost: the connection is dead, as after a long partition.
        if *cut.borrow() {
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// The links of a cluster, by (from, to).
pub(super) struct Links(BTreeMap<(usize, usize), Link>);

impl Links {
    /// Cuts every link from and to a node, or mends them.
    pub(super) fn cut(&self, place: usize, cut: bool) {
        for ((from, to), link) in &self.0 {
            if *from == place || *to == place {
                link.cut.send_replace(cut);
            }
        }
    }
}

/// A cluster whose nodes reach each other over links only.
pub(super) async fn linked() -> (Cluster, Links, JoinSet<()>) {
    let mut cluster = Cluster::running(3).await;
    cluster.kill_all().await;
    let (mut links, mut tasks) = (BTreeMap::new(), JoinSet::new());
    // Once there is data, each node's list is only where it looks for the others.
    for from in 0..3 {
        let mut members = cluster.members();
        for to in (0..3).filter(|to| *to != from) {
            let link = link(cluster.seats[to].address.clone(), &mut tasks).await;
            members[to] = PeerAddress {
                id: members[to].id,
                address: link.address.clone(),
            };
            links.insert((from, to), link);
        }
        let node = start(&cluster.seats[from], members, cluster.timings)
            .await
            .unwrap();
        cluster.nodes[from] = Some(node);
    }
    (cluster, Links(links), tasks)
}

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
