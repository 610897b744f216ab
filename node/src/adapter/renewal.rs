//! Renews this node's leases at the leaders of its groups, and gives a group's sockets up when that
//! fails for too long. (DESIGN, section 4, "Leases".)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roomcast_proto::command::{Configure, Settings, command::Body};
use roomcast_proto::peer::{self, RenewRequest};
use tokio::time::Instant;

use super::group::{Group, lease_length};
use super::groups::Adapter;
use super::proposer::encode;
use crate::ids::NodeId;

/// How often leases are renewed, and looked at.
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How long one renewal may take.
const RENEW_DEADLINE: Duration = Duration::from_millis(1500);

/// How often a node proposes its cluster settings at its start, and how long it waits for each.
const SETTINGS_TRIES_MAX: usize = 5;
const SETTINGS_PAUSE: Duration = Duration::from_millis(700);

/// Runs until the node stops.
pub(crate) async fn run(adapter: Arc<Adapter>) {
    let mut every = tokio::time::interval(RENEW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        for group in adapter.groups() {
            if group.lease.expire(lease_length(&group.view())) {
                tracing::warn!(
                    group = group.id,
                    "no leader renewed this node's lease: closing"
                );
                group.lose_all().await;
            }
        }
        renew_all(&adapter);
    }
}

fn renew_all(adapter: &Arc<Adapter>) {
    let mut by_leader: BTreeMap<NodeId, Vec<Arc<Group>>> = BTreeMap::new();
    for group in adapter.groups() {
        let status = adapter.consensus().status(group.id);
        if !group.pending.is_registered() {
            continue;
        }
        if status.leading {
            let sent = Instant::now();
            if group.leadership.renew(group.pending.incarnation()) {
                group.lease.renewed(sent);
            }
        } else if let Some(leader) = status.leader {
            by_leader.entry(leader).or_default().push(Arc::clone(group));
        }
    }
    for (leader, groups) in by_leader {
        tokio::spawn(renew_at(Arc::clone(adapter), leader, groups));
    }
}

async fn renew_at(adapter: Arc<Adapter>, leader: NodeId, groups: Vec<Arc<Group>>) {
    let Some(mut client) = adapter.consensus().peer_client(leader) else {
        return;
    };
    let lease = |group: &Arc<Group>| peer::Lease {
        group: group.id,
        incarnation: group.pending.incarnation(),
    };
    let request = RenewRequest {
        header: Some(adapter.consensus().header(leader)),
        leases: groups.iter().map(lease).collect(),
    };
    let sent = Instant::now();
    let answer = tokio::time::timeout(RENEW_DEADLINE, client.renew(request)).await;
    let Ok(Ok(response)) = answer else {
        tracing::debug!(leader, "a renewal was not answered");
        return;
    };
    for renewed in response.into_inner().renewed {
        for group in &groups {
            if group.id == renewed.group && group.pending.incarnation() == renewed.incarnation {
                group.lease.renewed(sent);
            }
        }
    }
}

/// Proposes this node's cluster settings to every group whose replicated ones differ, once.
pub(crate) async fn propose_settings(adapter: Arc<Adapter>, settings: Settings) {
    for group in adapter.groups() {
        let mut wait = tokio::time::interval(RENEW_EVERY);
        while group.epoch() == 0 || !group.lease.holds() {
            wait.tick().await;
        }
        propose_to(group, &settings).await;
    }
}

/// Nobody answers a proposal: it is made again until the settings change, to these or to what
/// another node proposed meanwhile.
async fn propose_to(group: &Group, settings: &Settings) {
    let before = group.view().settings().to_command();
    for _ in 0..SETTINGS_TRIES_MAX {
        let present = group.view().settings().to_command();
        if present == *settings || present != before {
            return;
        }
        tracing::info!(group = group.id, "proposing this node's cluster settings");
        let body = Body::Configure(Configure {
            settings: Some(settings.clone()),
        });
        group.propose_plain(encode(body)).await;
        tokio::time::sleep(SETTINGS_PAUSE).await;
    }
    tracing::warn!(
        group = group.id,
        "this node's cluster settings are not in force"
    );
}
