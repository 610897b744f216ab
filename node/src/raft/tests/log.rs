//! How much of the log is read at once. What a crash leaves of it is [`crate::wal`]'s to test.

use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorageExt;

use super::super::log_store::LogStore;
use super::super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES};
use super::super::types::{Content, LogEntry, log_id};
use crate::wal::{self, Wal};

#[tokio::test]
async fn pages_end_at_their_byte_budget_and_never_before_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let fatal = Arc::new(|message: &str| panic!("{message}"));
    let options = wal::Options {
        groups: 1,
        owner: 1,
        reserve_bytes: 0,
        segment_bytes: 1 << 20,
        cache_bytes: 1 << 20,
    };
    let wal = Wal::open(dir.path(), options, fatal).unwrap();
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
