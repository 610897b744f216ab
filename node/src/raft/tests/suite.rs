//! openraft's own tests of a log store and a state machine, on ours.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use tempfile::TempDir;

use super::super::log_store::LogStore;
use super::super::snapshot::SnapshotStore;
use super::super::state_machine::Machine;
use super::super::types::TypeConfig;
use super::Memory;
use crate::wal::{self, Wal};

struct Builder;

/// Kept while a case runs: the writer ends with it, then the directory goes.
struct Log {
    _wal: Wal,
    _dir: TempDir,
}

impl StoreBuilder<TypeConfig, LogStore, Machine, Log> for Builder {
    async fn build(&self) -> Result<(Log, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Arc::new(|message: &str| panic!("{message}"));
        let options = wal::Options {
            groups: 1,
            owner: 1,
            reserve_bytes: 0,
            segment_bytes: 4_096,
            // Most entries are read back from the disk.
            cache_bytes: 100,
        };
        let wal = Wal::open(dir.path(), options, fatal).unwrap();
        let log = LogStore::new(wal.group(0));
        let snapshots = SnapshotStore::open(dir.path().join("snapshots")).unwrap();
        let machine = Machine::new(
            Arc::new(Memory::default()),
            Arc::new(snapshots),
            Arc::default(),
            Arc::default(),
        );
        Ok((
            Log {
                _wal: wal,
                _dir: dir,
            },
            log,
            machine,
        ))
    }
}

#[test]
fn the_stores_pass_openrafts_suite() {
    TypeConfig::run(async { Suite::test_all(Builder).await.unwrap() });
}
