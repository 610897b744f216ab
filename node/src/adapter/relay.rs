//! Node to node, outside the log: events that are not logged, and answers. One stream and one
//! bounded queue per peer, which keeps their order; a full queue drops events (they promise no
//! arrival) and answers (counted as unanswered).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_proto::peer::{self, Emit, RelayRequest, relay_request::Kind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::requests::Answer;
use super::server_events::ServerEvent;
use super::unlogged::Class;
use crate::ids::{GroupId, NodeId, SocketId};
use crate::limits;
use crate::raft::Consensus;
use crate::state::Event;

/// Pause before a broken stream is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Relay {
    consensus: Consensus,
    links: Mutex<HashMap<NodeId, mpsc::Sender<RelayRequest>>>,
}

impl Relay {
    pub(crate) fn new(consensus: Consensus) -> Self {
        Self {
            consensus,
            links: Mutex::new(HashMap::new()),
        }
    }

    /// Sends an event that is not logged to every other node.
    pub(crate) fn emit(&self, group: GroupId, event: &Event, class: Class) {
        for peer in self.consensus.members() {
            if peer.id != self.consensus.node_id() {
                let strings = |names: &[Arc<str>]| names.iter().map(|n| n.to_string()).collect();
                let emit = Emit {
                    group,
                    namespace: event.namespace.to_string(),
                    rooms: strings(&event.rooms),
                    except: strings(&event.except),
                    event: event.event.clone(),
                    attachments: event.attachments.clone(),
                    volatile: class == Class::Volatile,
                };
                self.send(peer.id, Kind::Emit(emit));
            }
        }
    }

    /// Sends a client's answer to the node that asked. Clients choose the number, hence the node:
    /// one that is no member gets no link.
    pub(crate) fn answer(&self, to: NodeId, number: u64, socket: SocketId, answer: Answer) {
        let members = self.consensus.members();
        if !members.iter().any(|peer| peer.id == to) {
            crate::metrics::relay_dropped("answer").increment(1);
            return;
        }
        let answer = peer::Answer {
            request: number,
            socket_id: socket.0.to_vec().into(),
            data: answer.data,
            attachments: answer.attachments,
        };
        self.send(to, Kind::Answer(answer));
    }

    /// Sends an event of the application to the application on these nodes.
    pub(crate) fn server_event(&self, nodes: &[NodeId], event: &ServerEvent, request: Option<u64>) {
        for node in nodes {
            let event = peer::ServerEvent {
                namespace: event.namespace.clone(),
                event: event.event.clone(),
                request,
            };
            self.send(*node, Kind::ServerEvent(event));
        }
    }

    /// Sends what the application said to such an event.
    pub(crate) fn server_answer(&self, to: NodeId, request: u64, data: Bytes) {
        self.send(to, Kind::ServerAnswer(peer::ServerAnswer { request, data }));
    }

    /// The other members of the cluster.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        let members = self.consensus.members().into_iter().map(|peer| peer.id);
        members
            .filter(|id| *id != self.consensus.node_id())
            .collect()
    }

    /// Links that were opened.
    #[cfg(test)]
    pub(super) fn links(&self) -> usize {
        self.links.lock().len()
    }

    fn send(&self, to: NodeId, kind: Kind) {
        let header = Some(self.consensus.header(to));
        let word = match &kind {
            Kind::Emit(_) => "emit",
            Kind::Answer(_) => "answer",
            Kind::ServerEvent(_) => "server_event",
            Kind::ServerAnswer(_) => "server_answer",
        };
        let mut links = self.links.lock();
        let link = match links.entry(to) {
            Entry::Occupied(known) => known.into_mut(),
            // Clients choose the number of what they answer, hence the node: only nodes get a link.
            Entry::Vacant(new) => match self.open(to) {
                Some(link) => new.insert(link),
                None => return crate::metrics::relay_dropped(word).increment(1),
            },
        };
        match link.try_send(RelayRequest {
            header,
            kind: Some(kind),
        }) {
            Ok(()) => crate::metrics::relay_sent(word).increment(1),
            Err(mpsc::error::TrySendError::Full(_)) => {
                crate::metrics::relay_dropped(word).increment(1);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                crate::metrics::relay_dropped(word).increment(1);
                links.remove(&to);
            }
        }
    }

    /// `None` for a node that is not known.
    fn open(&self, to: NodeId) -> Option<mpsc::Sender<RelayRequest>> {
        let mut client = self.consensus.peer_client(to)?;
        let (sender, receiver) = mpsc::channel(limits::RELAY_QUEUE_MAX);
        tokio::spawn(async move {
            if let Err(status) = client.relay(ReceiverStream::new(receiver)).await {
                tracing::debug!(to, %status, "relay stream ended");
            }
            // The sender notices that this one is closed and opens another.
            tokio::time::sleep(REOPEN_PAUSE).await;
        });
        Some(sender)
    }
}
