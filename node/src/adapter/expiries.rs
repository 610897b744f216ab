//! Sessions that have expired, on their way to this node's application: one node of the cluster is
//! told of each, which the log has chosen. At most once: what a full queue or the end of the node
//! loses is lost, and who must not miss one follows the lifecycle.

use std::sync::{Arc, Weak};

use tokio::sync::{Semaphore, mpsc};

use super::groups::Adapter;
use crate::state::ExpiredSession;
use crate::{limits, metrics};

/// Where the fan-outs put expired sessions; never waits.
#[derive(Debug, Clone)]
pub(crate) struct Expiries(mpsc::Sender<ExpiredSession>);

impl Expiries {
    pub(crate) fn new() -> (Self, mpsc::Receiver<ExpiredSession>) {
        let (queue, expired) = mpsc::channel(limits::EXPIRIES_QUEUED_MAX);
        (Self(queue), expired)
    }

    /// Drops it when too many wait.
    pub(crate) fn push(&self, session: ExpiredSession) {
        if self.0.try_send(session).is_err() {
            metrics::expiries_dropped().increment(1);
        }
    }
}

/// Has the application handle them, some at a time, until the adapter is gone.
pub(crate) async fn run(adapter: Weak<Adapter>, mut expired: mpsc::Receiver<ExpiredSession>) {
    let running = Arc::new(Semaphore::new(limits::EXPIRIES_RUNNING_MAX));
    while let Some(session) = expired.recv().await {
        let Ok(permit) = Arc::clone(&running).acquire_owned().await else {
            return;
        };
        let Some(adapter) = adapter.upgrade() else {
            return;
        };
        let Some(application) = adapter.server_events().application() else {
            metrics::expiries_dropped().increment(1);
            continue;
        };
        tokio::spawn(async move {
            application.on_expired(session).await;
            drop(permit);
        });
    }
}
