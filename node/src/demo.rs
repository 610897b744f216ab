//! The demo page's own event, in development mode: `whereami` says which node a socket is on, so
//! that a person can kill that node. Everything else is the built-in handler's.

use async_trait::async_trait;
use serde_json::json;

use crate::ids::NodeId;
use crate::pubsub::Pubsub;
use crate::socketio::{Ack, Admission, ConnectRequest, Event, Handler, Rejection, Socket};

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Demo {
    /// This node.
    pub node: NodeId,
    /// This process.
    pub process: u32,
    /// Whose events all others are.
    pub pubsub: Pubsub,
}

#[async_trait]
impl Handler for Demo {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        self.pubsub.admit(request).await
    }

    async fn on_connect(&self, socket: &Socket) {
        self.pubsub.on_connect(socket).await;
    }

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        if event.name == "whereami" {
            if let Some(ack) = ack {
                ack.send(json!({ "node": self.node, "pid": self.process }));
            }
            return;
        }
        self.pubsub.on_event(socket, event, ack).await;
    }

    async fn on_disconnect(&self, socket: &Socket, reason: &str) {
        self.pubsub.on_disconnect(socket, reason).await;
    }
}
