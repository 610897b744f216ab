//! All groups of this node, and which of them holds a namespace.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_proto::command::Settings;
use roomcast_proto::peer;
use roomcast_proto::socketio::Parser;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::acknowledge;
use super::backends::BackendDoor;
use super::backfill;
use super::group::{Group, Parts};
use super::peers::Peers;
use super::relay::Relay;
use super::renewal;
use super::replica::{Applied, Replica};
use super::requests::{Answer, Requests};
use super::retention;
use super::server_events::{ServerAnswers, ServerEvent, ServerEvents};
use super::unlogged::Class;
use crate::engine::Engine;
use crate::ids::{Entropy, GroupId, NodeId, SocketId};
use crate::limits;
use crate::raft::{Config, Consensus, PeerHandler, StartError, StateMachine};
use crate::state::{Event, bucket_of};

/// What the adapter needs to start.
#[derive(Debug)]
pub struct Start {
    /// Consensus: addresses, disks, timings.
    pub consensus: Config,
    /// The peer port.
    pub peer: tokio::net::TcpListener,
    /// Entries after which a group's state is written as a snapshot.
    pub snapshot_every_entries: u64,
    /// Proposed when this node founds a log; never used directly.
    pub settings: Settings,
    /// Propose `settings` to a cluster that has others.
    pub propose_settings: bool,
    /// How the clients of this node speak.
    pub parser: Parser,
    /// The one source of random numbers.
    pub entropy: Entropy,
}

/// All groups of this node.
#[derive(Debug)]
pub struct Adapter {
    groups: Vec<Arc<Group>>,
    parser: Parser,
    consensus: Consensus,
    entropy: Entropy,
    requests: Arc<Requests>,
    server_events: ServerEvents,
    relay: Relay,
    backends: BackendDoor,
    peers: Arc<Peers>,
    /// One permit per follower.
    followers: Arc<Semaphore>,
}

impl Adapter {
    /// Starts consensus and every group. Returns when this node is a member of a cluster.
    ///
    /// # Errors
    /// Founding, the data directory, or the peer port: see [`StartError`].
    pub async fn start(start: Start) -> Result<Arc<Self>, StartError> {
        let node = start.consensus.node_id;
        let peers = Arc::new(Peers::new());
        let made = Mutex::new(Vec::new());
        let machine = |group| {
            let (effects, applied) = mpsc::channel::<Applied>(limits::EFFECTS_MAX);
            let replica = Arc::new(Replica::new(group, effects));
            made.lock().push((Arc::clone(&replica), applied));
            replica as Arc<dyn StateMachine>
        };
        let handler: Arc<dyn PeerHandler> = Arc::<Peers>::clone(&peers);
        let consensus = Consensus::start(start.consensus, start.peer, machine, handler).await?;
        let requests = Arc::new(Requests::new(node));
        let parts = Parts {
            node,
            groups: consensus.group_count(),
            consensus: consensus.clone(),
            settings: start.settings,
            parser: start.parser,
            entropy: start.entropy.clone(),
            requests: Arc::clone(&requests),
        };
        let groups: Vec<_> = made
            .into_inner()
            .into_iter()
            .zip(0..)
            .map(|((replica, applied), id)| Group::start(&parts, id, replica, applied))
            .collect();
        let relay = Relay::new(consensus.clone());
        let adapter = Arc::new(Self {
            groups,
            parser: start.parser,
            consensus,
            entropy: start.entropy,
            requests,
            server_events: ServerEvents::new(),
            relay,
            backends: BackendDoor::default(),
            peers: Arc::clone(&peers),
            followers: Arc::new(Semaphore::new(limits::FOLLOWERS_MAX)),
        });
        peers.serve(&adapter);
        tokio::spawn(renewal::run(Arc::clone(&adapter)));
        let every = start.snapshot_every_entries;
        tokio::spawn(retention::run(Arc::clone(&adapter), every));
        tokio::spawn(backfill::run(Arc::clone(&adapter)));
        if start.propose_settings {
            tokio::spawn(renewal::propose_settings(
                Arc::clone(&adapter),
                start.settings,
            ));
        }
        Ok(adapter)
    }

    /// The group that holds a namespace.
    #[must_use]
    pub fn group_of(&self, namespace: &str) -> &Arc<Group> {
        let bucket = bucket_of(namespace);
        // Every group's state holds the same table; before founding, the default one.
        let group = self.groups[0].view().group_of_bucket(bucket);
        let index = group.unwrap_or(bucket % self.groups.len() as u32) as usize;
        &self.groups[index.min(self.groups.len() - 1)]
    }

    /// All groups.
    #[must_use]
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// Group by number, when there is one.
    pub(crate) fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.get(id as usize)
    }

    /// Consensus.
    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// From now on requests that other nodes forward for sessions of `engine` are answered.
    pub fn serve_sessions(&self, engine: &Arc<Engine>) {
        self.peers.serve_sessions(engine);
    }

    /// From now on the log is told once per `every`, the ping interval, what the clients of this
    /// node have for sure.
    pub fn acknowledge(self: &Arc<Self>, every: Duration) {
        tokio::spawn(acknowledge::run(Arc::clone(self), every));
    }

    /// A place for one follower more, if there is one.
    pub(crate) fn place_for_follower(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.followers).try_acquire_owned().ok()
    }

    /// How the clients of this node speak.
    #[must_use]
    pub fn parser(&self) -> Parser {
        self.parser
    }

    /// The one source of random numbers.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    pub(super) fn backend_door(&self) -> &BackendDoor {
        &self.backends
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Whether a client had better connect here than elsewhere: some group's lease is held.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.groups.iter().any(|group| group.lease.holds())
    }

    /// Ready: every group's leader is known and its lease is held.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn ready(&self) -> Result<(), String> {
        for group in &self.groups {
            if self.consensus.status(group.id).leader.is_none() {
                return Err(format!("group {} has no known leader", group.id));
            }
            if !group.lease.holds() {
                return Err(format!("this node has no lease in group {}", group.id));
            }
        }
        Ok(())
    }

    /// Hands every group that this node leads to another member, so that none waits for an
    /// election.
    pub async fn hand_over(&self) {
        let node = self.consensus.node_id();
        let others: Vec<_> = self
            .consensus
            .members()
            .into_iter()
            .filter(|peer| peer.id != node)
            .collect();
        for (group, turn) in self.groups.iter().zip(0..) {
            if !self.consensus.status(group.id).leading || others.is_empty() {
                continue;
            }
            let to = others[turn % others.len()].id;
            if let Err(error) = self.consensus.transfer_leader(group.id, to).await {
                tracing::warn!(group = group.id, to, %error, "leadership was not handed over");
            }
        }
    }

    /// Waits, a moment at most, until what this node has proposed is settled.
    pub async fn settle(&self) {
        let deadline = tokio::time::Instant::now() + limits::SETTLE_DEADLINE;
        while self.groups.iter().any(|group| group.is_busy())
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Emits an event that is not logged: on every node, unless it is local.
    pub(crate) fn emit(&self, group: &Group, event: Event, class: Class) {
        let event = Arc::new(event);
        if class != Class::Local {
            self.relay.emit(group.id, &event, class);
        }
        group.emit(event, class);
    }

    /// Links to peers that were opened.
    #[cfg(test)]
    pub(crate) fn relay_links(&self) -> usize {
        self.relay.links()
    }

    pub(crate) fn server_events(&self) -> &ServerEvents {
        &self.server_events
    }

    /// Runs this node's application for an event of another node's, and answers if that asks.
    pub(crate) fn server_event(self: &Arc<Self>, from: NodeId, event: peer::ServerEvent) {
        let peer::ServerEvent {
            namespace,
            event,
            request,
        } = event;
        let adapter = Arc::downgrade(self);
        self.server_events
            .handle(ServerEvent { namespace, event }, move |data| {
                if let (Some(request), Some(adapter)) = (request, adapter.upgrade()) {
                    adapter.relay.server_answer(from, request, data);
                }
            });
    }

    /// Sends an event to the application on every other node, without a promise.
    pub(crate) fn emit_to_servers(&self, event: &ServerEvent) {
        let nodes = self.relay.others();
        self.relay.server_event(&nodes, event, None);
    }

    /// The same, and waits until all have answered, or for `timeout`.
    pub(crate) async fn ask_servers(
        &self,
        event: &ServerEvent,
        timeout: Duration,
    ) -> ServerAnswers {
        let nodes = self.relay.others();
        let (number, all) = self.server_events.open(&nodes);
        self.relay.server_event(&nodes, event, Some(number));
        if tokio::time::timeout(timeout, all).await.is_err() {
            tracing::debug!("not every node has answered in time");
        }
        self.server_events.close(number)
    }

    /// Brings a client's answer to the node that asked.
    pub(crate) fn answer(&self, number: u64, socket: SocketId, answer: Answer) {
        let asker = Requests::asker(number);
        if asker == self.consensus.node_id() {
            self.requests.answer(number, socket, answer);
        } else {
            self.relay.answer(asker, number, socket, answer);
        }
    }
}
