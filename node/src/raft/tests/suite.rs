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

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Arc::new(|message: &str| panic!("{message}"));
        let log = LogStore::open(&dir.path().join("log"), 1 << 20, fatal).unwrap();
        let snapshots = SnapshotStore::open(dir.path().join("snapshots")).unwrap();
        let machine = Machine::new(
            Arc::new(Memory::default()),
            Arc::new(snapshots),
            Arc::default(),
        );
        Ok((dir, log, machine))
    }
}

#[test]
fn the_stores_pass_openrafts_suite() {
    TypeConfig::run(async { Suite::test_all(Builder).await.unwrap() });
}
