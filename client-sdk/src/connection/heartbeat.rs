//! When a server that should have sent a ping counts as gone. (Engine.IO v4, "Heartbeat".) Pure.

use std::time::Duration;

use roomcast_proto::engineio::OpenPacket;
use tokio::time::Instant;

/// The deadline of the next ping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    /// Ping interval + ping timeout, as the server announced them.
    patience: Duration,
    /// The next ping has to be here by then.
    deadline: Instant,
}

impl Heartbeat {
    /// Starts at the server's open packet.
    pub(crate) fn new(open: &OpenPacket, now: Instant) -> Self {
        let patience_ms = open.ping_interval_ms.saturating_add(open.ping_timeout_ms);
        // A day bounds what a hostile open packet can do to the clock's arithmetic.
        let patience = Duration::from_millis(patience_ms).min(Duration::from_secs(86_400));
        Self {
            patience,
            deadline: now + patience,
        }
    }

    /// A ping came.
    pub(crate) fn ping(&mut self, now: Instant) {
        self.deadline = now + self.patience;
    }

    /// When the server counts as gone.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ping_grants_interval_and_timeout() {
        let open = OpenPacket {
            sid: "s".to_owned(),
            upgrades: Vec::new(),
            ping_interval_ms: 300,
            ping_timeout_ms: 200,
            max_payload: 1,
        };
        let now = Instant::now();
        let mut heartbeat = Heartbeat::new(&open, now);
        assert_eq!(heartbeat.deadline(), now + Duration::from_millis(500));
        let later = now + Duration::from_millis(400);
        heartbeat.ping(later);
        assert_eq!(heartbeat.deadline(), later + Duration::from_millis(500));
    }

    #[test]
    fn absurd_intervals_do_not_overflow() {
        let open = OpenPacket {
            sid: "s".to_owned(),
            upgrades: Vec::new(),
            ping_interval_ms: u64::MAX,
            ping_timeout_ms: u64::MAX,
            max_payload: 1,
        };
        Heartbeat::new(&open, Instant::now());
    }
}
