//! The lease of this node in one group, as this node counts it. (DESIGN, section 4, "Leases".) It
//! is held at the group's leader; here it only decides when to stop accepting. Safety never rests
//! on it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Lease {
    /// When the last renewal that succeeded was sent; none while there is no lease.
    renewed: Mutex<Option<Instant>>,
    lost: Notify,
}

impl Lease {
    pub(crate) fn new() -> Self {
        Self {
            renewed: Mutex::new(None),
            lost: Notify::new(),
        }
    }

    /// Our incarnation is registered: a full lease begins.
    pub(crate) fn granted(&self) {
        *self.renewed.lock() = Some(Instant::now());
    }

    /// A renewal sent at `sent` succeeded.
    pub(crate) fn renewed(&self, sent: Instant) {
        let mut renewed = self.renewed.lock();
        if let Some(last) = renewed.as_mut() {
            *last = (*last).max(sent);
        }
    }

    /// Whether this node may accept work for the group.
    pub(crate) fn holds(&self) -> bool {
        self.renewed.lock().is_some()
    }

    /// Gives the lease up if nothing renewed it for four fifths of its length; true when it was
    /// held.
    pub(crate) fn expire(&self, length: Duration) -> bool {
        let mut renewed = self.renewed.lock();
        let overdue = renewed.is_some_and(|last| last.elapsed() >= length * 4 / 5);
        if overdue {
            *renewed = None;
            self.lost.notify_one();
        }
        overdue
    }

    /// Gives the lease up now.
    pub(crate) fn revoke(&self) {
        *self.renewed.lock() = None;
        self.lost.notify_one();
    }

    /// Resolves when there is no lease. One at a time waits.
    pub(crate) async fn lost(&self) {
        // The notice may be of a lease before this one.
        while self.holds() {
            self.lost.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_lost_after_four_fifths_without_renewal() {
        let lease = Lease::new();
        let length = Duration::from_secs(5);
        assert!(!lease.holds());
        lease.granted();
        tokio::time::advance(Duration::from_millis(3900)).await;
        assert!(!lease.expire(length) && lease.holds());
        lease.renewed(Instant::now());
        tokio::time::advance(Duration::from_millis(3900)).await;
        assert!(!lease.expire(length) && lease.holds());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(lease.expire(length) && !lease.holds());
        lease.renewed(Instant::now());
        assert!(
            !lease.holds(),
            "a late renewal does not bring a lost lease back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_a_lease_does_not_end_the_next_one() {
        let lease = Lease::new();
        lease.granted();
        lease.revoke();
        lease.lost().await;
        lease.granted();
        let lost = tokio::time::timeout(Duration::from_secs(1), lease.lost());
        assert!(lost.await.is_err(), "the new lease is held");
    }
}
