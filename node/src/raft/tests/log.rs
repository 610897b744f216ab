//! The log on disk: what a crash leaves, and how much is read at once.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use tokio::sync::oneshot;

use super::super::log_store::LogStore;
use super::super::settings::{ENTRY_BYTES_MAX, PAGE_BYTES};
use super::super::types::{Content, LogEntry, log_id};
use super::super::wal_record::{Flushed, Waiter};
use crate::raft::FatalHook;

fn open(dir: &Path) -> LogStore {
    LogStore::open(dir, 1 << 20, Arc::new(|message: &str| panic!("{message}"))).unwrap()
}

fn entries(indexes: std::ops::Range<u64>) -> Vec<LogEntry> {
    let command = |index| Content::Command(Bytes::from(format!("command {index}")));
    indexes
        .map(|index| LogEntry {
            log_id: log_id(1, index),
            content: command(index),
        })
        .collect()
}

/// What a crash of the machine can leave: the newest file cut anywhere in its last record.
#[tokio::test]
async fn a_torn_tail_loses_the_torn_entry_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.blocking_append(entries(0..20)).await.unwrap();
    store.close();
    let newest = || {
        let files = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|e| e == "wal"))
            .max()
            .unwrap()
    };
    let whole = std::fs::read(newest()).unwrap();
    for lost in [1, 5, 17] {
        std::fs::write(newest(), &whole[..whole.len() - lost]).unwrap();
        let mut store = open(dir.path());
        let state = store.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, Some(log_id(1, 18)), "{lost} bytes lost");
        let read = store.commands(&(0..19).collect::<Vec<_>>()).unwrap();
        assert_eq!(read[18].1, "command 18");
        store.close();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        let first = dir.path().join("r-00_000_000_000_000_000_000.wal");
        std::fs::write(first, &whole).unwrap();
    }
}

#[tokio::test]
async fn pages_end_at_their_byte_budget_and_never_before_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
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

#[tokio::test]
async fn a_failed_write_is_reported_as_fatal() {
    let told = Arc::new(parking_lot::Mutex::new(String::new()));
    let teller = told.clone();
    let on_fatal: FatalHook = Arc::new(move |message: &str| *teller.lock() = message.into());
    let (done, wait) = oneshot::channel();
    let flushed = Flushed {
        waiter: Waiter::Caller(done),
        on_fatal,
    };
    raft_log::Callback::send(flushed, Err(io::Error::other("no space")));
    assert!(wait.await.unwrap().is_err());
    assert_eq!(*told.lock(), "the log could not be written: no space");
}
