//! Early drops (DESIGN, section 4, "Retention is state"): an event that every session of its
//! namespace has acknowledged goes before the limits take it, once it is older than the minimum.
//! The least cursor of all sessions stands for those that the event is owed to, which can only keep
//! it longer. Durable subscribers are not among them: what they are owed is spared for them.
//!
//! Nothing is looked for when a cursor moves. A namespace is looked at when its oldest event
//! reaches the minimum, and, if a session has not acknowledged that one, again and again until it
//! has, or until a limit takes the event. What one entry does is bounded; the next goes on.

use std::sync::Arc;

use super::group::GroupState;
use super::namespace::Namespace;
use super::settings::Retention;
use crate::ids::Position;

/// How often a namespace is looked at whose oldest event waits for an acknowledgement, in
/// microseconds of log time. All are looked at together, so that a quiet log gets one tick for it.
/// Part of the format.
const LOOK_EVERY_US: u64 = 5_000_000;
/// Looks, dropped events and rooms of those events of one entry. Twice what a batch may publish, so
/// that drops keep pace. Part of the format.
const WORK_MAX: usize = 2_048;

impl GroupState {
    /// Looks at the namespaces that are due, as far as one entry may.
    pub(super) fn run_looks(&mut self) {
        let mut work = WORK_MAX;
        while work > 0
            && let Some(name) = self.looks.pop_due(self.log_time_us)
        {
            work -= 1;
            self.look(&name, &mut work);
        }
    }

    fn look(&mut self, name: &Arc<str>, work: &mut usize) {
        let acknowledged = self.acknowledged(name);
        let now_us = self.log_time_us;
        self.change_namespace(name, |namespace| {
            namespace.look_due_us = None;
            if let Some(until_us) = now_us.checked_sub(namespace.retention.min_us)
                && namespace.drop_acknowledged(acknowledged, until_us, work)
            {
                let looks = now_us / LOOK_EVERY_US + 1;
                namespace.look_after_us = looks.saturating_mul(LOOK_EVERY_US);
            }
        });
    }

    /// How long the slowest session lags, in microseconds of log time: the age of the oldest event
    /// that some session of its namespace has not acknowledged, owed to it or not.
    #[must_use]
    pub fn lag_us(&self) -> u64 {
        let lag = |namespace: &Arc<Namespace>| {
            let subscribers = &namespace.subscribers.cursors;
            let all = [&namespace.cursors, subscribers].into_iter();
            let least = all.filter_map(|all| all.least(|owner| self.cursor_of(owner)));
            let event = namespace.first_after(least.min()?)?;
            Some(self.log_time_us.saturating_sub(event.at_us))
        };
        self.namespaces
            .values()
            .filter_map(lag)
            .max()
            .unwrap_or_default()
    }
}

impl Namespace {
    /// Drops the oldest events that are acknowledged and were published at or before `until_us`,
    /// while there is `work` left. True when the next one is old enough and only waits for an
    /// acknowledgement.
    fn drop_acknowledged(
        &mut self,
        acknowledged: Option<Position>,
        until_us: u64,
        work: &mut usize,
    ) -> bool {
        while let Some(event) = self.events.front()
            && event.at_us <= until_us
        {
            if acknowledged.is_some_and(|acknowledged| event.position > acknowledged) {
                return true;
            }
            if *work == 0 {
                return false;
            }
            *work = work.saturating_sub(1 + event.rooms.len());
            self.drop_oldest();
        }
        false
    }

    /// When it is to be looked at, unless a limit takes the oldest event before.
    pub(super) fn next_look_us(&self) -> Option<u64> {
        let at_us = self.events.front()?.at_us;
        let Retention { max_us, min_us } = self.retention;
        let due_us = at_us.saturating_add(min_us).max(self.look_after_us);
        (due_us < at_us + max_us).then_some(due_us)
    }
}
