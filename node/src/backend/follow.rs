//! The backends at the other nodes: this node follows each member's list. Those of a node that
//! cannot be heard are gone from here at once, for calls to them could not be made either.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message as _;
use roomcast_proto::api::Hello;
use roomcast_proto::peer::BackendsList;
use tokio::sync::mpsc;
use tonic::Status;

use super::description::Description;
use super::hub::Hub;
use super::registry::{Backend, Way};
use super::tunnel::Tunnel;
use crate::ids::NodeId;
use crate::limits;

/// Follows every member, new ones too, until the node ends.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut followed: HashSet<NodeId> = HashSet::new();
    let mut every = tokio::time::interval(limits::BACKEND_MEMBERS_EVERY);
    loop {
        every.tick().await;
        for node in hub.adapter.other_nodes() {
            if followed.insert(node) {
                tokio::spawn(follow(Arc::clone(&hub), node));
            }
        }
    }
}

/// A node that is no member any more is asked in vain, which costs little.
async fn follow(hub: Arc<Hub>, node: NodeId) {
    loop {
        if let Err(status) = take_in(&hub, node).await {
            tracing::debug!(node, %status, "a node's backends are not heard of");
        }
        hub.registry.remove(|backend| backend.node == node);
        tokio::time::sleep(limits::BACKEND_FOLLOW_PAUSE).await;
    }
}

async fn take_in(hub: &Hub, node: NodeId) -> Result<(), Status> {
    let (seen, versions) = mpsc::channel(1);
    let mut lists = hub.adapter.follow_backends(node, versions).await?;
    while let Some(list) = lists.message().await? {
        let version = list.version;
        replace(hub, node, list);
        if seen.send(version).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The list is all there is: what it lacks is gone, what is new is added.
fn replace(hub: &Hub, node: NodeId, list: BackendsList) {
    let listed: HashSet<&String> = list.backends.iter().map(|backend| &backend.id).collect();
    hub.registry
        .remove(|backend| backend.node == node && !listed.contains(&backend.id));
    let known: HashSet<String> = hub
        .registry
        .at(node)
        .iter()
        .map(|backend| backend.id.clone())
        .collect();
    for announced in list.backends {
        if known.contains(&announced.id) {
            continue;
        }
        let described = Hello::decode(announced.hello).map_err(|error| error.to_string());
        match described.and_then(Description::read) {
            Ok(description) => {
                let way = Way::Elsewhere(Tunnel::new(node, announced.id.clone()));
                hub.registry
                    .add(Backend::new(announced.id, node, description, way));
            }
            Err(wrong) => tracing::warn!(node, wrong, "another node's backend is not understood"),
        }
    }
}
