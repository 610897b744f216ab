//! Tracked tasks and the signal that ends them. Owns no policy: who stops when is the app's.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks that are waited for at the end, and tells them when to end. Clones share both.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Every task spawned here that has not ended.
    tracker: TaskTracker,
    /// Cancelled once, when tasks should come to their end.
    stop: CancellationToken,
}

impl Tasks {
    /// A new set of tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// A set that is told to stop when this one is, can be stopped alone, and is waited for alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: self.stop.child_token(),
        }
    }

    /// Spawns a task that [`Tasks::ended`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Asks every task to end; each decides how.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Cancelled when [`Tasks::stop`] is called.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether [`Tasks::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when [`Tasks::stop`] is called.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Completes when every task has ended. Tasks may still be spawned meanwhile; the caller makes
    /// sure that they are not.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.len()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_reaches_children_and_ended_waits_for_all() {
        let tasks = Tasks::new();
        let child = tasks.child();
        let inner = child.clone();
        child.spawn(async move { inner.stopping().await });
        assert_eq!(child.count(), 1);
        tasks.stop();
        child.ended().await;
        assert_eq!(child.count(), 0);
        assert!(child.is_stopping());
    }
}
