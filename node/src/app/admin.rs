//! What the API port and the probes ask of a node.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::adapter::Adapter;
use crate::api::{
    AdminError, AdminSource, BackendReport, GroupReport, NodeReport, SnapshotReport, StatusSource,
};
use crate::backend::{BackendDoor, Backends};
use crate::config::ServeConfig;
use crate::ids::{GroupId, NodeId};
use crate::server::Readiness;

/// See the module's text. It answers before the node has started, too.
pub(super) struct Admin {
    node: NodeId,
    zone: Option<String>,
    adapter: OnceLock<Arc<Adapter>>,
    backends: BackendDoor,
    drain: Notify,
}

impl Admin {
    pub(super) fn new(config: &ServeConfig, backends: BackendDoor) -> Self {
        Self {
            node: config.node_id,
            zone: config.zone.clone(),
            adapter: OnceLock::new(),
            backends,
            drain: Notify::new(),
        }
    }

    pub(super) fn adapter_started(&self, adapter: &Arc<Adapter>) {
        assert!(
            self.adapter.set(Arc::clone(adapter)).is_ok(),
            "a node starts once"
        );
    }

    pub(super) async fn drain_asked(&self) {
        self.drain.notified().await;
    }

    fn started(&self) -> Result<&Arc<Adapter>, AdminError> {
        let waiting = || AdminError::Unavailable("this node waits for its cluster".to_owned());
        self.adapter.get().ok_or_else(waiting)
    }
}

impl Readiness for Admin {
    fn ready(&self) -> Result<(), String> {
        self.started().map_err(|error| error.to_string())?.ready()
    }
}

#[async_trait]
impl StatusSource for Admin {
    async fn report(&self) -> NodeReport {
        let reason = self.ready().err();
        let adapter = self.adapter.get();
        let groups = adapter.map_or(Vec::new(), |adapter| {
            adapter
                .groups()
                .iter()
                .map(|group| report(adapter, group.id))
                .collect()
        });
        NodeReport {
            node_id: self.node,
            cluster_id: adapter
                .map_or("", |a| a.consensus().cluster_id())
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: self.zone.clone(),
            ready: reason.is_none(),
            reason,
            groups,
            backends: self.backends.backends().map_or(Vec::new(), backends),
        }
    }

    fn group_of(&self, namespace: &str) -> Option<GroupId> {
        self.adapter
            .get()
            .map(|adapter| adapter.group_of(namespace).id)
    }
}

fn backends(backends: &Backends) -> Vec<BackendReport> {
    let status = backends.status().into_iter();
    let report = status.map(|status| BackendReport {
        id: status.id,
        name: status.name,
        node: status.node,
        namespaces: status.namespaces,
        open_calls: status.open_calls,
    });
    report.collect()
}

fn report(adapter: &Adapter, id: GroupId) -> GroupReport {
    let status = adapter.consensus().status(id);
    let view = adapter.groups()[id as usize].view();
    GroupReport {
        group: id,
        leader: status.leader,
        term: status.term,
        // The state's own position: the hash is of this very state.
        applied: view.position().index,
        first: status.first,
        connected: view.connected_count() as u64,
        away: view.away_count() as u64,
        hash: format!("{:032x}", view.hash()),
    }
}

#[async_trait]
impl AdminSource for Admin {
    async fn drain(&self) -> Result<(), AdminError> {
        self.started()?;
        self.drain.notify_one();
        Ok(())
    }

    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), AdminError> {
        let adapter = self.started()?;
        let known = adapter.groups().len();
        if group as usize >= known {
            return Err(AdminError::Invalid(format!(
                "there are groups 0 to {}",
                known - 1
            )));
        }
        // A leader that waits for a node that is not there takes nothing meanwhile.
        if !adapter
            .consensus()
            .members()
            .iter()
            .any(|peer| peer.id == to)
        {
            return Err(AdminError::Invalid(format!("there is no node {to}")));
        }
        let failed = |error: crate::raft::ProposeError| AdminError::Failed(error.to_string());
        adapter
            .consensus()
            .transfer_leader(group, to)
            .await
            .map_err(failed)
    }

    async fn snapshot(&self, group: Option<GroupId>) -> Result<Vec<SnapshotReport>, AdminError> {
        let adapter = self.started()?;
        let wanted = |id: &GroupId| group.is_none_or(|group| group == *id);
        let mut reports = Vec::new();
        for id in adapter.groups().iter().map(|group| group.id).filter(wanted) {
            let index = adapter.consensus().snapshot(id).await;
            let index = index.map_err(|error| AdminError::Failed(error.to_string()))?;
            reports.push(SnapshotReport { group: id, index });
        }
        Ok(reports)
    }
}
