//! Up to where a socket's client surely has everything (P6): what PONGs prove, position by
//! position. Errs on one side only: late, never beyond what arrived.

use super::LocalSocket;
use super::delivery::Mode;
use crate::ids::Position;

/// One socket's; part of its delivery, and under the same lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Where this node came to own the socket: its connect or resume.
    pub(crate) attached: Position,
    /// Everything owed up to here has arrived.
    pub(crate) arrived: Position,
    /// The log knows that everything up to here has.
    pub(crate) told: Position,
    /// What a later PONG may prove. Whoever drops messages from an outbox MUST take it away before
    /// the session counts on: what was counted will not be written any more.
    pub(super) mark: Option<Mark>,
}

/// A socket's delivery at one moment, in the words of its session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// Messages pushed to the session until then.
    pub(crate) pushed: u64,
    /// Everything owed up to here was among them.
    pub(crate) delivered: Position,
}

impl Arrival {
    /// Of a socket that was attached at `attached` and has everything up to `start`.
    pub(crate) fn new(start: Position, attached: Position) -> Self {
        Self {
            attached,
            arrived: start,
            told: start,
            mark: None,
        }
    }

    /// A PONG proved that the session's first `count` messages have arrived; `now` is where the
    /// delivery stands. If nothing was pushed beyond those, all that was delivered has arrived;
    /// else the mark of an earlier PONG may have, and the next one is set here.
    pub(crate) fn ponged(&mut self, count: u64, now: Mark) {
        let proven = [Some(now), self.mark]
            .into_iter()
            .flatten()
            .find(|mark| mark.pushed <= count);
        match proven {
            Some(mark) => {
                self.arrived = self.arrived.max(mark.delivered);
                self.mark = Some(now).filter(|now| now.pushed > count);
            }
            None => self.mark = self.mark.or(Some(now)),
        }
    }
}

impl LocalSocket {
    /// A PONG proved that the first `count` messages of the session have arrived. The fan-out had
    /// reached `progress` before.
    pub(crate) fn ponged(&self, count: u64, progress: Position) {
        let mut delivery = self.delivery.lock();
        let delivered = match delivery.mode {
            // What it was not given up to there it is not owed.
            Mode::Live => delivery.delivered.max(progress),
            Mode::CatchingUp => delivery.delivered,
            Mode::Closed => return,
        };
        let pushed = self.session.pushed_count();
        delivery.arrival.ponged(count, Mark { pushed, delivered });
    }

    /// Where it starts here is what another node had put out, and not what has arrived.
    pub(crate) fn forget_arrival(&self) {
        let arrival = &mut self.delivery.lock().arrival;
        *arrival = Arrival::new(Position::ZERO, arrival.attached);
    }

    /// What has arrived at the client.
    pub(crate) fn arrival(&self) -> Arrival {
        self.delivery.lock().arrival
    }

    /// The log is told that everything up to `position` has arrived.
    pub(crate) fn told(&self, position: Position) {
        let told = &mut self.delivery.lock().arrival.told;
        *told = position.max(*told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(pushed: u64, delivered: u64) -> Mark {
        Mark {
            pushed,
            delivered: Position::new(delivered, 0),
        }
    }

    fn arrival() -> Arrival {
        Arrival::new(Position::new(5, 0), Position::new(9, 0))
    }

    #[test]
    fn an_idle_session_has_what_was_delivered_when_its_pong_comes() {
        let mut arrival = arrival();
        arrival.ponged(3, mark(3, 20));
        assert_eq!(arrival.arrived.index, 20);
        arrival.ponged(3, mark(3, 80));
        assert_eq!(arrival.arrived.index, 80, "it was owed nothing meanwhile");
    }

    #[test]
    fn what_was_pushed_after_the_ping_is_proven_by_a_later_one() {
        let mut arrival = arrival();
        arrival.ponged(3, mark(7, 20));
        assert_eq!(arrival.arrived.index, 5);
        arrival.ponged(6, mark(9, 30));
        assert_eq!(
            arrival.arrived.index, 5,
            "of seven messages six have arrived"
        );
        arrival.ponged(7, mark(12, 40));
        assert_eq!(arrival.arrived.index, 20);
        arrival.ponged(13, mark(15, 50));
        assert_eq!(arrival.arrived.index, 40);
        arrival.ponged(15, mark(15, 60));
        assert_eq!(arrival.arrived.index, 60);
    }

    #[test]
    fn a_transport_that_writes_nothing_proves_nothing_new() {
        let mut arrival = arrival();
        for pushed in 4..100 {
            arrival.ponged(3, mark(pushed, pushed));
        }
        assert_eq!(arrival.arrived.index, 5);
    }

    #[test]
    fn what_was_dropped_is_never_proven() {
        let mut arrival = arrival();
        arrival.ponged(3, mark(7, 20));
        arrival.mark = None;
        arrival.ponged(8, mark(9, 12));
        assert_eq!(arrival.arrived.index, 5);
        arrival.ponged(9, mark(10, 13));
        assert_eq!(arrival.arrived.index, 12);
    }
}
