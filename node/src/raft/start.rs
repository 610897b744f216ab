//! The steps of a start: what is refused before anything is opened, the peer port, and the first
//! entry of each group.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

use openraft::errors::RaftError;
use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_server::PeerServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::{Config, PeerHandler, StartError};
use super::founding;
use super::gate;
use super::group::{Group, create_durably};
use super::identity::{Identity, Stage, log_dir};
use super::net;
use super::peers::Peers;
use super::service::{Local, Service};
use super::settings::{MESSAGE_BYTES_MAX, raft_config};
use super::state_machine::blocking;
use super::types::PeerNode;
use crate::ids::NodeId;
use crate::wal::{self, Wal};

/// Refuses what cannot work before anything is opened.
pub(super) fn check(config: &Config) -> Result<(), StartError> {
    let refuse = |reason: String| Err(StartError::Config(reason));
    raft_config(&config.timings)?;
    if config.node_id == 0 {
        return refuse("node id 0 is reserved".to_owned());
    }
    if config.groups == 0 {
        return refuse("at least one group is needed".to_owned());
    }
    let mut ids: Vec<NodeId> = config
        .initial_cluster
        .iter()
        .map(|member| member.id)
        .collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("the initial cluster names node {} twice", twice[0]));
    }
    if !ids.contains(&config.node_id) {
        return refuse(format!(
            "the initial cluster does not name node {}",
            config.node_id
        ));
    }
    Ok(())
}

/// Refuses a directory of another node.
pub(super) fn check_owner(config: &Config, stored: Option<&Identity>) -> Result<(), StartError> {
    match stored {
        Some(identity) if identity.node_id != config.node_id => Err(StartError::OtherNode {
            dir: config.data_dir.clone(),
            stored: identity.node_id,
            configured: config.node_id,
        }),
        _ => Ok(()),
    }
}

/// What this node is at first.
pub(super) fn local(config: &Config, peers: Arc<Peers>, stored: Option<&Identity>) -> Local {
    let standing = match stored {
        Some(identity) => (pb::Stage::Ready, identity.groups),
        None => (pb::Stage::Empty, config.groups),
    };
    let local = Local {
        peers,
        initial_cluster: founding::canonical(&config.initial_cluster),
        standing: Mutex::new(standing),
        founders: OnceLock::new(),
        groups: OnceLock::new(),
    };
    // At once, before the peer port is served: in a cluster that starts, a node that lost its disk
    // must meet members, or it would take part in a founding.
    if let Some(identity) = stored
        && identity.stage == Stage::Member
    {
        become_member(&local, identity);
    }
    local
}

/// From now on this node answers as a member and takes its cluster's messages.
pub(super) fn become_member(local: &Local, identity: &Identity) {
    debug_assert_eq!(identity.stage, Stage::Member);
    local
        .founders
        .get_or_init(|| identity.founders.iter().map(|founder| founder.id).collect());
    local.peers.enter(identity.cluster_id.clone());
    *local.standing.lock() = (pb::Stage::Member, identity.groups);
}

/// Opens the log of all groups; and whether acknowledged entries may be missing at its end.
pub(super) async fn open_log(
    config: &Config,
    identity: &Identity,
) -> Result<(Wal, bool), StartError> {
    let dir = log_dir(&config.data_dir);
    if identity.initialized && !dir.is_dir() {
        return Err(StartError::LogMissing(dir));
    }
    let options = wal::Options {
        groups: identity.groups,
        owner: identity.log_owner(),
        reserve_bytes: config.disk_reserve_bytes,
        segment_bytes: config.log_segment_bytes,
        cache_bytes: config.log_cache_bytes_max / identity.groups.max(1) as usize,
    };
    let (data_dir, on_fatal) = (config.data_dir.clone(), config.on_fatal.clone());
    let log_dir = dir.clone();
    let opened = blocking(move || {
        create_durably(&data_dir, &log_dir)?;
        let is_same_boot = gate::is_same_boot(&data_dir)?;
        let opened = Wal::open(&log_dir, options, on_fatal);
        Ok(opened.map(|wal| {
            let may_lack = is_same_boot && wal.was_torn();
            (wal, may_lack)
        }))
    });
    match opened.await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(StartError::Log {
            dir,
            reason: error.to_string(),
        }),
        Err(source) => Err(StartError::DataDir { dir, source }),
    }
}

/// Serves the peer port until the token is cancelled.
pub(super) fn serve(
    listener: TcpListener,
    local: Arc<Local>,
    handler: Arc<dyn PeerHandler>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let service = PeerServer::new(Service { local, handler })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tokio::spawn(net::serve(listener, service, stop))
}

/// Gives every group its first entry, the same on every founding member, so that it does not matter
/// who leads first. An added node gets its log from the leader.
pub(super) async fn initialize(
    config: &Config,
    identity: &Identity,
    groups: &[Arc<Group>],
) -> Result<(), StartError> {
    if identity.initialized {
        return Ok(());
    }
    for group in groups.iter().filter(|_| !identity.founders.is_empty()) {
        let failed = |reason: String| StartError::Group {
            group: group.id,
            reason,
        };
        let initialized = group
            .raft
            .is_initialized()
            .await
            .map_err(|e| failed(e.to_string()))?;
        if initialized {
            continue;
        }
        let members = identity.founders.iter();
        let node = |address: &String| PeerNode {
            address: address.clone(),
        };
        let members: BTreeMap<NodeId, PeerNode> = members
            .map(|founder| (founder.id, node(&founder.address)))
            .collect();
        match group.raft.initialize(members).await {
            // Another member was faster, and has given this one the same entry or a vote.
            Ok(()) | Err(RaftError::APIError(_)) => {}
            Err(RaftError::Fatal(e)) => return Err(failed(e.to_string())),
        }
    }
    let done = Identity {
        initialized: true,
        ..identity.clone()
    };
    let dir = config.data_dir.clone();
    let stored = blocking(move || done.store(&dir).map_err(io::Error::other)).await;
    let failed = |source| StartError::DataDir {
        dir: config.data_dir.clone(),
        source,
    };
    stored.map_err(failed)
}
