//! What the leader of a group does beside Raft: it stamps commands with log time, founds the log,
//! keeps the leases of the group's producers in memory, and writes ticks when something is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use roomcast_proto::command::{Command, Detach, Founding, Settings, command::Body};
use tokio::time::Instant;

use super::proposer::encode;
use super::replica::Replica;
use crate::ids::{Entropy, GroupId, Incarnation};
use crate::raft::{Consensus, ProposeError};

/// How often the leader looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The clock moves at most this far per look, so that a process that was paused, or a machine that
/// slept, does not expire what it could not serve.
const STEP_MAX: Duration = Duration::from_millis(500);
/// How long to wait before proposing the same remedy again.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// One group's leadership duties; idle while another node leads.
#[derive(Debug)]
pub(crate) struct Leadership {
    group: GroupId,
    groups: u32,
    consensus: Consensus,
    replica: Arc<Replica>,
    settings: Settings,
    entropy: Entropy,
    clock: Mutex<LogClock>,
    /// Keeps stamping and proposing in one order.
    order: tokio::sync::Mutex<()>,
    leases: Mutex<Leases>,
}

/// The leader's own measure of time: monotonic, and standing still while the process does.
#[derive(Debug)]
struct LogClock {
    sampled: Instant,
    now: Duration,
    /// The term in which `stamped` was taken; 0 while this node does not lead.
    term: u64,
    /// Up to where the log has this term's time.
    stamped: Duration,
}

#[derive(Debug, Default)]
struct Leases {
    term: u64,
    renewed: HashMap<Incarnation, Duration>,
}

impl LogClock {
    fn new() -> Self {
        Self {
            sampled: Instant::now(),
            now: Duration::ZERO,
            term: 0,
            stamped: Duration::ZERO,
        }
    }

    fn sample(&mut self) -> Duration {
        let now = Instant::now();
        self.now += now.duration_since(self.sampled).min(STEP_MAX);
        self.sampled = now;
        self.now
    }

    /// Time since the previous stamp of this term, or since this node was first seen to lead in it:
    /// a leader that nobody gives anything to write must still notice that something is due.
    fn elapsed(&mut self, term: u64) -> Duration {
        let now = self.sample();
        if self.term != term {
            self.term = term;
            self.stamped = now;
        }
        now.saturating_sub(self.stamped)
    }

    /// The log has taken `elapsed`; news of a term that is over.
    fn stamp(&mut self, term: u64, elapsed: Duration) {
        if self.term == term {
            self.stamped += elapsed;
        }
    }

    /// This node does not lead now: what passes meanwhile is not log time.
    fn rest(&mut self) {
        self.term = 0;
    }
}

impl Leadership {
    pub(crate) fn new(
        group: GroupId,
        groups: u32,
        consensus: Consensus,
        replica: Arc<Replica>,
        settings: Settings,
        entropy: Entropy,
    ) -> Self {
        Self {
            group,
            groups,
            consensus,
            replica,
            settings,
            entropy,
            clock: Mutex::new(LogClock::new()),
            order: tokio::sync::Mutex::new(()),
            leases: Mutex::new(Leases::default()),
        }
    }

    /// Stamps a command and proposes it; commands of one caller keep their order.
    pub(crate) async fn propose(&self, command: &Bytes) -> Result<(), ProposeError> {
        let _ordered = self.order.lock().await;
        let status = self.consensus.status(self.group);
        if !status.leading {
            return Err(ProposeError::NotLeader(status.leader));
        }
        let elapsed = self.clock.lock().elapsed(status.term);
        let stamp = Command {
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            wall_ms: wall_ms(),
            ..Command::default()
        };
        // Encoded protobuf messages merge by concatenation: the payload is not decoded here.
        let mut stamped = BytesMut::with_capacity(stamp.encoded_len() + command.len());
        stamped.extend_from_slice(&stamp.encode_to_vec());
        stamped.extend_from_slice(command);
        self.consensus.propose(self.group, stamped.freeze()).await?;
        self.clock.lock().stamp(status.term, elapsed);
        Ok(())
    }

    /// Renews a lease, if this node leads and knows the incarnation.
    pub(crate) fn renew(&self, incarnation: Incarnation) -> bool {
        let status = self.consensus.status(self.group);
        if !status.leading || self.replica.view().producer_sequence(incarnation).is_none() {
            return false;
        }
        let now = self.clock.lock().sample();
        self.leases.lock().renewed.insert(incarnation, now);
        true
    }

    /// Runs until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut acted = None;
        loop {
            look.tick().await;
            let now = self.clock.lock().sample();
            let status = self.consensus.status(self.group);
            if !status.leading {
                self.clock.lock().rest();
                acted = None;
                continue;
            }
            if acted.is_some_and(|at: Duration| now < at + REPEAT_AFTER) {
                continue;
            }
            if let Some(body) = self.due(status.term, now) {
                acted = Some(now);
                for command in body {
                    if let Err(error) = self.propose(&command).await {
                        let group = self.group;
                        tracing::debug!(group, %error, "leader's own proposal refused");
                    }
                }
            }
        }
    }

    /// What the leader has to write now.
    fn due(&self, term: u64, now: Duration) -> Option<Vec<Bytes>> {
        let view = self.replica.view();
        if view.epoch().is_none() {
            tracing::info!(group = self.group, "founding the group's log");
            return Some(vec![encode(Body::Founding(self.founding()))]);
        }
        let lease = Duration::from_millis(view.settings().lease_ms);
        let producers: Vec<Incarnation> = view
            .producer_incarnations()
            .into_iter()
            .map(|(_, incarnation)| incarnation)
            .collect();
        let expired = self.expired_leases(term, now, lease, &producers);
        if !expired.is_empty() {
            tracing::info!(
                group = self.group,
                count = expired.len(),
                "leases expired: detaching"
            );
            crate::metrics::detaches().increment(expired.len() as u64);
            let detach = |incarnation| encode(Body::Detach(Detach { incarnation }));
            return Some(expired.into_iter().map(detach).collect());
        }
        let ahead = self.clock.lock().elapsed(term);
        let log_time = view.log_time_us().saturating_add(ahead.as_micros() as u64);
        let due = view.next_due().is_some_and(|due| due <= log_time);
        due.then(|| vec![encode_tick()])
    }

    fn expired_leases(
        &self,
        term: u64,
        now: Duration,
        lease: Duration,
        producers: &[Incarnation],
    ) -> Vec<Incarnation> {
        let mut leases = self.leases.lock();
        if leases.term != term {
            // A new leader knows nothing of renewals before it: everybody gets a full lease.
            *leases = Leases {
                term,
                renewed: HashMap::new(),
            };
        }
        leases
            .renewed
            .retain(|incarnation, _| producers.contains(incarnation));
        let mut expired = Vec::new();
        for &incarnation in producers {
            let renewed = *leases.renewed.entry(incarnation).or_insert(now);
            if now.saturating_sub(renewed) > lease {
                expired.push(incarnation);
            }
        }
        expired
    }

    fn founding(&self) -> Founding {
        Founding {
            epoch: self.entropy.bits64(),
            group: self.group,
            table: crate::state::default_table(self.groups),
            settings: Some(self.settings.clone()),
            feature_level: crate::state::FEATURE_LEVEL,
        }
    }
}

fn encode_tick() -> Bytes {
    Command {
        version: crate::state::COMMAND_VERSION,
        ..Command::default()
    }
    .encode_to_vec()
    .into()
}

fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    fn clock() -> LogClock {
        LogClock::new()
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    /// Time passes while the process runs: it looks at its clock again and again.
    async fn run(clock: &mut LogClock, time: Duration) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            pass(STEP).await;
            clock.sample();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_time_and_never_goes_back() {
        let mut clock = clock();
        let mut last = clock.sample();
        for step in [0, 1, 70, 0, 499, 500] {
            pass(Duration::from_millis(step)).await;
            let now = clock.sample();
            assert_eq!(now - last, Duration::from_millis(step));
            last = now;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_the_process_does() {
        let mut clock = clock();
        run(&mut clock, Duration::from_secs(1)).await;
        let before = clock.sample();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(clock.sample() - before, STEP_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_term_starts_at_zero_and_its_time_counts_from_its_first_look() {
        let mut clock = clock();
        run(&mut clock, Duration::from_secs(1)).await;
        assert_eq!(clock.elapsed(1), Duration::ZERO);
        run(&mut clock, Duration::from_secs(2)).await;
        assert_eq!(
            clock.elapsed(1),
            Duration::from_secs(2),
            "a quiet log's ticks rest on this"
        );
        assert_eq!(clock.elapsed(2), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn stamps_add_up_to_the_time_that_passed() {
        let mut clock = clock();
        assert_eq!(clock.elapsed(1), Duration::ZERO);
        clock.stamp(1, Duration::ZERO);
        let mut sum = Duration::ZERO;
        for _ in 0..10 {
            run(&mut clock, Duration::from_millis(300)).await;
            let elapsed = clock.elapsed(1);
            // A refused proposal is not stamped: its time is still to come.
            assert_eq!(clock.elapsed(1), elapsed);
            clock.stamp(1, elapsed);
            sum += elapsed;
        }
        assert_eq!(sum, Duration::from_secs(3));
        assert_eq!(clock.elapsed(1), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stamp_of_a_term_that_is_over_changes_nothing() {
        let mut clock = clock();
        let elapsed = clock.elapsed(1);
        assert_eq!(clock.elapsed(2), Duration::ZERO);
        run(&mut clock, Duration::from_secs(1)).await;
        clock.stamp(1, elapsed);
        assert_eq!(clock.elapsed(2), Duration::from_secs(1));
    }
}
