//! The deadlines of a session as a pure struct: when to PING, how long to wait for the PONG, and
//! how long a session may live without joining a namespace (Engine.IO v4, Heartbeat). Reads no
//! clock.

use std::time::Duration;

use tokio::time::Instant;

use super::close::CloseReason;
use super::moving::Due;
use crate::limits;

/// What a session has to do next about its deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing before this moment.
    Sleep(Instant),
    /// Send a PING now.
    Ping,
    /// End the session.
    Close(CloseReason),
}

/// The settings of a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// Time from a PONG to the next PING.
    pub(crate) ping_interval: Duration,
    /// Time from a PING to the last moment of its PONG.
    pub(crate) ping_timeout: Duration,
    /// Time a session may live without joining a namespace.
    pub(crate) connect_timeout: Duration,
}

impl Deadlines {
    /// The heartbeat of a session that opens now.
    pub(crate) fn start(&self) -> Heartbeat {
        Heartbeat::new(Instant::now(), self)
    }
}

/// Where the heartbeat stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next PING goes out at this moment.
    Idle(Instant),
    /// A PONG is due by this moment.
    Pinged(Instant),
    /// It was due, but the handler is busy, so a PONG may lie unread in the connection: the client
    /// is judged once the session reads again.
    Overdue,
}

/// Deadlines of one session.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// Time from a PONG to the next PING.
    ping_interval: Duration,
    /// Time from a PING to the last moment of its PONG.
    ping_timeout: Duration,
    /// Where the heartbeat stands.
    phase: Phase,
    /// When a session without a namespace ends; `None` once one is joined.
    join_by: Option<Instant>,
    /// Whether the handler is working, so that nothing is read.
    busy: bool,
    /// Whether a deadline moved since the session's timer was set.
    moved: bool,
    /// Messages written before the PING that is outstanding: what its PONG proves to have arrived.
    /// `None` when none is, or when it was sent by another node.
    written_before_ping: Option<u64>,
}

impl Heartbeat {
    /// The first PING follows the opening by one interval.
    pub(crate) fn new(now: Instant, deadlines: &Deadlines) -> Self {
        Self {
            ping_interval: deadlines.ping_interval,
            ping_timeout: deadlines.ping_timeout,
            phase: Phase::Idle(now + deadlines.ping_interval),
            join_by: Some(now + deadlines.connect_timeout),
            busy: false,
            moved: false,
            written_before_ping: None,
        }
    }

    /// The heartbeat of a session that comes from another node. A PONG that is due proves nothing
    /// here: what was written before its PING is not known.
    pub(crate) fn moved(now: Instant, deadlines: &Deadlines, due: Due) -> Self {
        let phase = match due {
            Due::Ping(after) => Phase::Idle(now + after.min(deadlines.ping_interval)),
            Due::Pong(within) => Phase::Pinged(now + within.min(deadlines.ping_timeout)),
        };
        Self {
            phase,
            ..Self::new(now, deadlines)
        }
    }

    /// What a session that leaves at `now` takes along.
    pub(crate) fn due(&self, now: Instant) -> Due {
        match self.phase {
            Phase::Idle(at) => Due::Ping(at.saturating_duration_since(now)),
            Phase::Pinged(at) => Due::Pong(at.saturating_duration_since(now)),
            Phase::Overdue => Due::Pong(self.ping_timeout),
        }
    }

    /// What is due at `now`.
    pub(crate) fn next(&mut self, now: Instant, joined: bool) -> Beat {
        if joined {
            self.join_by = None;
        }
        if self.join_by.is_some_and(|at| now >= at) {
            return Beat::Close(CloseReason::ConnectTimeout);
        }
        let due = match self.phase {
            Phase::Idle(at) if now >= at => {
                // From when it was due: a timer's own lateness does not add up. From nearly now, if
                // the whole process was late.
                let from = now
                    .checked_sub(limits::TIMER_SLACK)
                    .map_or(at, |t| at.max(t));
                self.phase = Phase::Pinged(from + self.ping_timeout);
                return Beat::Ping;
            }
            Phase::Pinged(at) if now >= at => {
                if !self.busy {
                    return Beat::Close(CloseReason::PingTimeout);
                }
                self.phase = Phase::Overdue;
                now + self.ping_timeout
            }
            Phase::Idle(at) | Phase::Pinged(at) => at,
            Phase::Overdue => now + self.ping_timeout,
        };
        Beat::Sleep(self.join_by.map_or(due, |join_by| due.min(join_by)))
    }

    /// Notes how many messages were written before the PING that goes out now.
    pub(crate) fn pinged(&mut self, written: u64) {
        self.written_before_ping = Some(written);
    }

    /// A PONG arrived. Answers how many messages it proves to have arrived; `None` when no PING of
    /// this node was outstanding: without any, it moves no deadline either.
    pub(crate) fn ponged(&mut self, now: Instant) -> Option<u64> {
        if matches!(self.phase, Phase::Idle(_)) {
            return None;
        }
        self.phase = Phase::Idle(now + self.ping_interval);
        self.moved = true;
        self.written_before_ping.take()
    }

    /// The handler starts to work on a message: reading stops.
    pub(crate) fn handler_entered(&mut self) {
        self.busy = true;
    }

    /// The handler is done: reading goes on. Answers whether the client is still to be judged, by
    /// [`Heartbeat::judge_again`].
    pub(crate) fn handler_left(&mut self) -> bool {
        self.busy = false;
        self.phase == Phase::Overdue
    }

    /// Gives the client a full ping timeout from now, while the session reads.
    pub(crate) fn judge_again(&mut self, now: Instant) {
        self.phase = Phase::Pinged(now + self.ping_timeout);
        self.moved = true;
    }

    /// Whether a deadline moved since this was last asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const DEADLINES: Deadlines = Deadlines {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(45),
    };

    fn heartbeat(start: Instant) -> Heartbeat {
        Heartbeat::new(start, &DEADLINES)
    }

    #[test]
    fn ping_follows_the_last_pong_by_one_interval() {
        let start = Instant::now();
        let mut beat = heartbeat(start);
        assert_eq!(beat.next(start, true), Beat::Sleep(start + 25 * S));
        assert_eq!(beat.next(start + 25 * S, true), Beat::Ping);
        beat.pinged(7);
        assert_eq!(beat.next(start + 25 * S, true), Beat::Sleep(start + 45 * S));
        assert_eq!(beat.ponged(start + 40 * S), Some(7));
        assert_eq!(beat.next(start + 45 * S, true), Beat::Sleep(start + 65 * S));
        assert_eq!(beat.next(start + 65 * S, true), Beat::Ping);
        assert_eq!(
            beat.next(start + 85 * S, true),
            Beat::Close(CloseReason::PingTimeout)
        );
    }

    #[test]
    fn a_pong_without_a_ping_moves_nothing() {
        let start = Instant::now();
        let mut beat = heartbeat(start);
        assert_eq!(beat.ponged(start + 20 * S), None);
        assert_eq!(beat.next(start + 25 * S, true), Beat::Ping);
    }

    #[test]
    fn a_busy_handler_postpones_the_verdict_but_does_not_cancel_it() {
        let start = Instant::now();
        let mut beat = heartbeat(start);
        assert_eq!(beat.next(start + 25 * S, true), Beat::Ping);
        beat.handler_entered();
        assert_eq!(beat.next(start + 45 * S, true), Beat::Sleep(start + 65 * S));
        assert!(beat.handler_left());
        beat.judge_again(start + 50 * S);
        assert!(beat.take_moved() && !beat.take_moved());
        assert_eq!(beat.next(start + 50 * S, true), Beat::Sleep(start + 70 * S));
        assert_eq!(
            beat.next(start + 70 * S, true),
            Beat::Close(CloseReason::PingTimeout)
        );
    }

    #[test]
    fn a_session_without_a_namespace_ends_and_joining_lifts_that() {
        let start = Instant::now();
        let mut beat = heartbeat(start);
        assert_eq!(beat.next(start + 25 * S, false), Beat::Ping);
        beat.pinged(0);
        assert_eq!(beat.ponged(start + 26 * S), Some(0));
        assert_eq!(
            beat.next(start + 26 * S, false),
            Beat::Sleep(start + 45 * S)
        );
        assert_eq!(
            beat.next(start + 45 * S, false),
            Beat::Close(CloseReason::ConnectTimeout)
        );
        let mut beat = heartbeat(start);
        assert_eq!(beat.next(start + 10 * S, true), Beat::Sleep(start + 25 * S));
        assert_eq!(
            beat.next(start + 46 * S, false),
            Beat::Ping,
            "joined once is joined"
        );
    }

    #[test]
    fn a_moved_heartbeat_goes_on_where_it_stood() {
        let start = Instant::now();
        let mut beat = heartbeat(start);
        assert_eq!(beat.due(start + 20 * S), Due::Ping(5 * S));
        let mut idle = Heartbeat::moved(start, &DEADLINES, Due::Ping(5 * S));
        assert_eq!(idle.next(start, true), Beat::Sleep(start + 5 * S));
        assert_eq!(beat.next(start + 25 * S, true), Beat::Ping);
        assert_eq!(beat.due(start + 30 * S), Due::Pong(15 * S));
        let mut pinged = Heartbeat::moved(start, &DEADLINES, Due::Pong(15 * S));
        assert_eq!(pinged.next(start, true), Beat::Sleep(start + 15 * S));
        assert_eq!(pinged.ponged(start + S), None, "not this node's PING");
        assert_eq!(pinged.next(start + S, true), Beat::Sleep(start + 26 * S));
        let mut forged = Heartbeat::moved(start, &DEADLINES, Due::Pong(1000 * S));
        assert_eq!(forged.next(start, true), Beat::Sleep(start + 20 * S));
    }
}
