//! How much of the log is read at once. What a crash leaves of it is [`crate::wal`]'s to test.

use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use super::super::log_store::LogStore;
use super::super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES};
use super::super::types::{Content, LogEntry, log_id};
use crate::wal::{self, Wal};

fn open(dir: &std::path::Path) -> Wal {
    let fatal = Arc::new(|message: &str| panic!("{message}"));
    let options = wal::Options {
        groups: 1,
        owner: 1,
        reserve_bytes: 0,
        segment_bytes: 1 << 20,
        cache_bytes: 1 << 20,
    };
    Wal::open(dir, options, fatal).unwrap()
}

/// A snapshot was installed, and the log has not been told yet: behind it are entries that nobody
/// has committed.
#[tokio::test]
async fn what_a_former_leader_left_is_never_taken_for_what_a_snapshot_holds() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut store = LogStore::new(wal.group(0));
    let entry = |index| LogEntry {
        log_id: log_id(5, index),
        content: Content::Command(Bytes::from_static(b"x")),
    };
    store.blocking_append((0..6).map(entry)).await.unwrap();
    store.save_committed(Some(log_id(5, 3))).await.unwrap();
    assert_eq!((store.settled(3), store.settled(5)), (3, 5));
    assert_eq!(store.settled(40), 3);
    assert_eq!(store.lacking(&[3, 4, 5, 40], 40), [4, 5, 40]);
    // The snapshot is of an earlier term than what was left.
    store.purge(log_id(4, 40)).await.unwrap();
    assert_eq!(store.settled(40), 40);
    assert_eq!(store.lacking(&[3, 4, 5, 40], 40), [4, 5, 40]);
    store.blocking_append([entry(41)]).await.unwrap();
}

#[tokio::test]
async fn pages_end_at_their_byte_budget_and_never_before_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut store = LogStore::new(wal.group(0));
    let large = |index, bytes| LogEntry {
        log_id: log_id(1, index),
        content: Content::Command(Bytes::from(vec![7; bytes])),
    };
    let half = PAGE_BYTES / 2;
    let log = vec![
        large(0, half),
        large(1, half),
        large(2, 9),
        large(3, ENTRY_BYTES_MAX),
    ];
    store.blocking_append(log).await.unwrap();
    let mut pages = Vec::new();
    let mut from = 0;
    while from < 4 {
        let page = store.limited_get_log_entries(from, 4).await.unwrap();
        from += page.len() as u64;
        pages.push(page.len());
    }
    assert_eq!(pages, [2, 1, 1]);
}
