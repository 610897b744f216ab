//! Carries commands to the leader of a group, in order: directly when this node leads, else over
//! one stream per leader. It promises order, not arrival: the proposer sends again.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_proto::peer::ProposeRequest;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::leadership::Leadership;
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::raft::Consensus;

/// The way to a group's leader: keeps the order, promises no arrival. What a proposer sends
/// through.
pub(crate) trait Carry: Send + 'static {
    /// Sends a command on its way.
    fn send(&mut self, command: Bytes) -> impl Future<Output = ()> + Send;
    /// Resolves when something that was sent may not have arrived.
    fn troubled(&self) -> impl Future<Output = ()> + Send;
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Courier {
    group: GroupId,
    consensus: Consensus,
    leadership: Arc<Leadership>,
    link: Option<Link>,
    trouble: Arc<Notify>,
}

#[derive(Debug)]
struct Link {
    leader: NodeId,
    requests: mpsc::Sender<ProposeRequest>,
}

impl Courier {
    pub(crate) fn new(group: GroupId, consensus: Consensus, leadership: Arc<Leadership>) -> Self {
        Self {
            group,
            consensus,
            leadership,
            link: None,
            trouble: Arc::new(Notify::new()),
        }
    }

    fn send_to(&mut self, leader: NodeId, command: Bytes) {
        let usable = self
            .link
            .as_ref()
            .is_some_and(|l| l.leader == leader && !l.requests.is_closed());
        if !usable {
            self.link = self.open(leader);
        }
        let header = Some(self.consensus.header(leader));
        let request = ProposeRequest {
            header,
            group: self.group,
            command,
            sequence: 0,
        };
        let Some(link) = &self.link else {
            self.trouble.notify_one();
            return;
        };
        match link.requests.try_send(request) {
            Ok(()) => {}
            // It goes out again when its time has come.
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::debug!(group = self.group, leader, "propose stream is full");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.link = None;
                self.trouble.notify_one();
            }
        }
    }

    fn open(&self, leader: NodeId) -> Option<Link> {
        let mut client = self.consensus.peer_client(leader)?;
        let (requests, receiver) = mpsc::channel(limits::PROPOSE_STREAM_MAX);
        let trouble = Arc::clone(&self.trouble);
        let group = self.group;
        tokio::spawn(async move {
            match client.propose(ReceiverStream::new(receiver)).await {
                Ok(response) => {
                    let mut answers = response.into_inner();
                    while let Ok(Some(answer)) = answers.message().await {
                        if !answer.accepted {
                            trouble.notify_one();
                        }
                    }
                }
                Err(status) => tracing::debug!(group, leader, %status, "propose stream refused"),
            }
            trouble.notify_one();
        });
        Some(Link { leader, requests })
    }
}

impl Carry for Courier {
    async fn send(&mut self, command: Bytes) {
        let status = self.consensus.status(self.group);
        if status.leading {
            self.link = None;
            if self.leadership.propose(&command).await.is_err() {
                self.trouble.notify_one();
            }
            return;
        }
        match status
            .leader
            .filter(|leader| *leader != self.consensus.node_id())
        {
            Some(leader) => self.send_to(leader, command),
            None => self.trouble.notify_one(),
        }
    }

    async fn troubled(&self) {
        self.trouble.notified().await;
    }
}
