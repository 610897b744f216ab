//! Disks that are nearly full: nothing new is written, and everything goes on when there is space.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::statvfs::statvfs;
use roomcast_cluster_tests::cluster::ClusterSpec;
use roomcast_cluster_tests::http::metric;
use roomcast_cluster_tests::payload::Body;
use roomcast_cluster_tests::publisher::{PublishSpec, Publisher};
use roomcast_cluster_tests::stage::Stage;
use serde_json::json;
use tokio::time::sleep;

const LATER: Duration = Duration::from_secs(30);
const GIB: u64 = 1 << 30;
const LOW: &str = "roomcast_log_space_low";
const WRITTEN: &str = "roomcast_log_written_bytes_total";

fn free_bytes(dir: &Path) -> u64 {
    let space = statvfs(dir).unwrap();
    space.blocks_available() * space.fragment_size()
}

async fn wait_low(stage: &Stage, node: usize, wanted: bool) {
    let deadline = Instant::now() + LATER;
    loop {
        let low = metric(&stage.cluster.metrics(node).await, LOW, &[]) > 0.0;
        if low == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "node {node} is low: {low}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The disk fills beside the nodes and is freed again.
#[tokio::test]
async fn a_full_disk_refuses_publishes_until_there_is_space() {
    let free = free_bytes(&std::env::temp_dir());
    if free < 4 * GIB {
        println!("skipped: the disk of the tests has {free} bytes free, less than 4 GiB");
        return;
    }
    let reserve = (free - GIB).to_string();
    let spec = ClusterSpec::new(3).flag("--disk-reserve-bytes", &reserve);
    let mut stage = Stage::open(&spec).await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    stage.publish_everywhere(&PublishSpec::new("lobby"));
    stage.wait_acked(100, LATER).await;

    let hog = stage.cluster.folder().join("hog");
    let file = File::create(&hog).unwrap();
    let bytes = i64::try_from(2 * GIB).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap();
    for node in 0..3 {
        wait_low(&stage, node, true).await;
    }
    let client = stage.raw(0);
    client
        .wait_for("connected", LATER, |state| state.connected)
        .await;
    let args = vec![json!("lobby"), json!("refused"), json!(1)];
    let answer = client.ask("publish", args, LATER).await;
    let answer = format!("{answer:?}");
    assert!(answer.contains("unavailable"), "{answer}");

    drop(file);
    std::fs::remove_file(&hog).unwrap();
    for node in 0..3 {
        wait_low(&stage, node, false).await;
    }
    stage.wait_acked(100, LATER).await;
    stage.finish("a disk that was full").await;
}

/// A node that cannot write leaves that to others, and its clients miss nothing.
#[tokio::test]
async fn a_node_that_is_low_on_space_does_not_lead() {
    // Low, and not below half of it.
    let reserve = free_bytes(&std::env::temp_dir()) / 2 * 3;
    let spec = ClusterSpec::new(3).node_flag(0, "--disk-reserve-bytes", &reserve.to_string());
    let mut stage = Stage::open(&spec).await.unwrap();
    wait_low(&stage, 0, true).await;
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    for node in 1..3 {
        let spec = PublishSpec::new("lobby");
        let publisher = Publisher::start(stage.raw(node), &stage.oracle, spec);
        stage.publishers.push(publisher);
    }
    stage.wait_acked(300, LATER).await;
    stage.finish("one disk is low").await;
}

/// A file system in memory, for as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` for a user who may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let (path, kind) = (dir.path(), "tmpfs");
        match mount(
            Some(kind),
            path,
            Some(kind),
            MsFlags::empty(),
            Some(options.as_str()),
        ) {
            Ok(()) => Some(Self(dir)),
            Err(Errno::EPERM | Errno::EACCES) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = umount(self.0.path()) {
            println!("{} is still mounted: {error}", self.0.path().display());
        }
    }
}

/// More is written than the disk of the nodes holds, long before a snapshot would be due: they
/// refuse, drop what retention does not want any more, and go on, by themselves.
#[tokio::test]
async fn a_small_disk_that_fills_is_survived() {
    let Some(disk) = SmallDisk::mount("600m") else {
        println!("skipped: this user may not mount a file system");
        return;
    };
    let mut spec = ClusterSpec::new(3)
        .flag("--groups", "1")
        .flag("--retention", "8s")
        .flag("--retention-min", "1s")
        .flag("--disk-reserve-bytes", "256MiB");
    spec.within = Some(disk.0.path().to_owned());
    let mut stage = Stage::open(&spec).await.unwrap();
    stage.seat_everywhere(&["lobby"]).await.unwrap();
    stage.publish_everywhere(&PublishSpec {
        bodies: vec![Body::Text(100_000)],
        pace: Some(Duration::from_millis(30)),
        ..PublishSpec::new("lobby")
    });
    wait_low(&stage, 0, true).await;
    wait_low(&stage, 0, false).await;
    let written = metric(&stage.cluster.metrics(0).await, WRITTEN, &[]);
    println!("{:.0} MB written on each node", written / 1e6);
    stage.finish("a small disk").await;
}
