//! The bound on what this node sends in bulk, snapshots and history, over all groups and peers: so
//! that entries and heartbeats on the same network keep their pace.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Bytes per second, shared by everyone who takes from it, in the order of their calls.
#[derive(Debug)]
pub(in crate::raft) struct Bandwidth {
    /// Bytes per second.
    rate: u64,
    /// When what was taken so far has passed, and how much that was.
    taken: Mutex<(Instant, u64)>,
}

impl Bandwidth {
    /// `rate` in bytes per second, at least 1.
    pub(in crate::raft) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            taken: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Waits until so many bytes may be sent. Time that nobody used is not saved up: over any time
    /// no more passes than the rate allows, and one piece. Who gives up waiting has taken them all
    /// the same.
    pub(in crate::raft) async fn take(&self, bytes: usize) {
        let at = {
            let mut taken = self.taken.lock();
            let at = taken.0.max(Instant::now());
            let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
            taken.0 = at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            taken.1 += bytes as u64;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Bytes taken so far.
    #[cfg(test)]
    pub(in crate::raft) fn taken(&self) -> u64 {
        self.taken.lock().1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_together_get_the_rate_and_no_more() {
        let bandwidth = Arc::new(Bandwidth::new(1000));
        let began = Instant::now();
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let bandwidth = Arc::clone(&bandwidth);
                tokio::spawn(async move {
                    for _ in 0..5 {
                        bandwidth.take(100).await;
                    }
                })
            })
            .collect();
        for taker in takers {
            taker.await.unwrap();
        }
        let took = began.elapsed();
        let expected = Duration::from_millis(1900);
        assert!(took >= expected && took < expected + Duration::from_millis(50));
        // A pause is not saved up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        for _ in 0..11 {
            bandwidth.take(100).await;
        }
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
}
