//! Links between nodes that lose everything, or break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Cluster, PeerAddress, start};

/// One direction between two nodes.
pub(super) struct Link {
    address: String,
    /// While cut it swallows what comes and says nothing.
    pub(super) cut: Arc<watch::Sender<bool>>,
    /// A connection ends when it has carried so many bytes.
    pub(super) fuse: Arc<AtomicU64>,
}

async fn link(to: String, tasks: &mut JoinSet<()>) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cut = Arc::new(watch::Sender::new(false));
    let fuse = Arc::new(AtomicU64::new(u64::MAX));
    let (state, limit) = (cut.clone(), fuse.clone());
    tasks.spawn(async move {
        let mut pipes = JoinSet::new();
        while let Ok((from, _)) = listener.accept().await {
            let (to, state, limit) = (to.clone(), state.clone(), limit.clone());
            pipes.spawn(async move {
                // A connection that is made while the link is cut gets nowhere.
                state.subscribe().wait_for(|cut| !cut).await.unwrap();
                let Ok(to) = TcpStream::connect(to).await else {
                    return;
                };
                let ((from_read, from_write), (to_read, to_write)) =
                    (from.into_split(), to.into_split());
                tokio::select! {
                    () = pump(from_read, to_write, &state, &limit) => {}
                    () = pump(to_read, from_write, &state, &limit) => {}
                }
            });
        }
    });
    Link { address, cut, fuse }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: &watch::Sender<bool>,
    fuse: &AtomicU64,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut carried = 0;
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // What was lost once is lost: the connection is dead, as after a long partition.
        if *cut.borrow() {
            return std::future::pending().await;
        }
        carried += len as u64;
        if carried > fuse.load(Ordering::Relaxed) || to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// The links of a cluster, by (from, to).
pub(super) struct Links(pub(super) BTreeMap<(usize, usize), Link>);

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
