//! The other nodes as this one reaches them: addresses, connections by class of traffic, and the
//! header that every message carries and every receiver checks.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use parking_lot::Mutex;
use roomcast_proto::peer as pb;
use roomcast_proto::peer::peer_client::PeerClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::api::PeerAddress;
use super::settings::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use super::transfer::Bandwidth;
use crate::ids::NodeId;

/// Classes of traffic; each has a connection of its own, so that one never delays another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Votes, heartbeats, questions.
    Control,
    /// Entries.
    Append,
    /// Snapshots.
    Bulk,
    /// What the floors above send.
    Traffic,
    /// Requests of clients: many that wait long.
    Forward,
    /// Calls to backends.
    Backend,
}

/// The other nodes.
#[derive(Debug)]
pub(crate) struct Peers {
    /// This node.
    pub(crate) node_id: NodeId,
    /// Set once, when this node has a cluster.
    cluster_id: OnceLock<String>,
    /// Addresses from the command line; they go before those of the membership, because an operator
    /// gives them when nodes have moved.
    configured: BTreeMap<NodeId, String>,
    /// Addresses from the membership.
    learned: Mutex<BTreeMap<NodeId, String>>,
    /// Lazily connected; remade when the address has changed.
    links: Mutex<BTreeMap<(NodeId, Class), (String, Channel)>>,
    /// How fast snapshots and history are sent to them.
    pub(crate) bulk: Bandwidth,
}

impl Peers {
    /// Knows only the configured addresses at first; sends in bulk `bulk_rate` bytes per second.
    pub(crate) fn new(node_id: NodeId, configured: &[PeerAddress], bulk_rate: u64) -> Self {
        Self {
            node_id,
            cluster_id: OnceLock::new(),
            configured: configured
                .iter()
                .map(|m| (m.id, m.address.clone()))
                .collect(),
            learned: Mutex::default(),
            links: Mutex::default(),
            bulk: Bandwidth::new(bulk_rate),
        }
    }

    /// From now on messages of this cluster are accepted.
    pub(crate) fn enter(&self, cluster_id: String) {
        let id = self.cluster_id.get_or_init(|| cluster_id.clone());
        assert_eq!(*id, cluster_id, "a node enters one cluster in its life");
    }

    /// Empty before there is one.
    pub(crate) fn cluster_id(&self) -> &str {
        self.cluster_id.get().map_or("", String::as_str)
    }

    /// Takes an address from the membership.
    pub(crate) fn learn(&self, node: NodeId, address: &str) {
        self.learned.lock().insert(node, address.to_owned());
    }

    /// Where a node listens, if known.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.configured
            .get(&node)
            .cloned()
            .or_else(|| self.learned.lock().get(&node).cloned())
    }

    /// The header of a message to a node.
    pub(crate) fn header(&self, to: NodeId) -> pb::Header {
        pb::Header {
            cluster_id: self.cluster_id().to_owned(),
            from: self.node_id,
            to,
        }
    }

    /// Who sent it, when it is of this cluster and meant for this node. An address that was reused
    /// must not connect two clusters, or make one node answer for another.
    pub(crate) fn check(&self, header: Option<&pb::Header>) -> Result<NodeId, Status> {
        let header = header.ok_or_else(|| Status::invalid_argument("header is missing"))?;
        let ours = self.cluster_id();
        if ours.is_empty() {
            return Err(Status::unavailable("this node has no cluster yet"));
        }
        if header.cluster_id != ours {
            return Err(Status::failed_precondition(format!(
                "this node belongs to cluster {ours}, not to {}",
                header.cluster_id
            )));
        }
        if header.to != self.node_id {
            return Err(Status::failed_precondition(format!(
                "this is node {}, not node {}",
                self.node_id, header.to
            )));
        }
        if header.from == self.node_id {
            return Err(Status::failed_precondition("a node does not call itself"));
        }
        Ok(header.from)
    }

    /// A connection to a node; not tried before it is used. `None` when its address is not known.
    pub(crate) fn channel(&self, node: NodeId, class: Class) -> Option<Channel> {
        let address = self.address(node)?;
        let mut links = self.links.lock();
        if let Some((known, channel)) = links.get(&(node, class))
            && *known == address
        {
            return Some(channel.clone());
        }
        let channel = connect_lazily(&address)?;
        links.insert((node, class), (address, channel.clone()));
        Some(channel)
    }

    /// A client over [`Self::channel`] with this cluster's message sizes.
    pub(crate) fn client(&self, node: NodeId, class: Class) -> Option<PeerClient<Channel>> {
        self.channel(node, class).map(client_over)
    }

    /// Closes every connection that nothing uses any more.
    pub(crate) fn disconnect(&self) {
        self.links.lock().clear();
    }
}

/// A connection to an address, made when it is first used and again whenever it is lost.
pub(crate) fn connect_lazily(address: &str) -> Option<Channel> {
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint,
        Err(e) => {
            tracing::error!(address, error = %e, "peer address is not usable");
            return None;
        }
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Some(endpoint.connect_lazy())
}

/// A client whose messages may be as large as an entry may be.
pub(crate) fn client_over(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn only_messages_of_this_cluster_to_this_node_are_taken() {
        let peers = Peers::new(2, &[], 1);
        let header = |cluster: &str, from, to| pb::Header {
            cluster_id: cluster.into(),
            from,
            to,
        };
        let code = |header: pb::Header| peers.check(Some(&header)).map_err(|s| s.code());
        assert_eq!(
            code(header("", 1, 2)),
            Err(Code::Unavailable),
            "no cluster yet"
        );
        peers.enter("c1".to_owned());
        assert_eq!(code(header("c1", 1, 2)), Ok(1));
        assert_eq!(code(header("c2", 1, 2)), Err(Code::FailedPrecondition));
        assert_eq!(code(header("", 1, 2)), Err(Code::FailedPrecondition));
        assert_eq!(code(header("c1", 1, 3)), Err(Code::FailedPrecondition));
        assert_eq!(code(header("c1", 2, 2)), Err(Code::FailedPrecondition));
        assert_eq!(
            peers.check(None).map_err(|s| s.code()),
            Err(Code::InvalidArgument)
        );
    }
}
