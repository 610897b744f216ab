//! What apply does besides the command itself: what became due, and keeping each namespace's timers
//! and existence in step with what is in it.

use std::sync::Arc;

use super::effect::{Effect, Refusal};
use super::group::{GroupState, Moment};
use super::namespace::Namespace;
use super::timers::TimerKey;
use crate::ids::Position;

/// Empty namespaces that are kept. Part of the format: every replica deletes the same.
const DORMANT_MAX: usize = 64;

impl GroupState {
    /// Does everything that is due at the present log time.
    pub(super) fn run_timers(&mut self, moment: Moment, effects: &mut Vec<Effect>) {
        let expiry = Position::new(moment.position.index, u32::MAX);
        while let Some(key) = self.timers.pop_due(self.log_time_us) {
            match key {
                TimerKey::Session(socket) => self.expire(expiry, &socket, effects),
                TimerKey::Retention(name) => {
                    let now_us = self.log_time_us;
                    self.change_namespace(&name, |namespace| {
                        namespace.retention_due_us = None;
                        if let Some(until) = now_us.checked_sub(namespace.retention.max_us) {
                            namespace.drop_until(until);
                        }
                    });
                }
                TimerKey::Keys(name) => {
                    let until = self.log_time_us.checked_sub(self.settings.key_window_us());
                    self.change_namespace(&name, |namespace| {
                        namespace.keys_due_us = None;
                        if let Some(until) = until {
                            namespace.keys.drop_until(until);
                        }
                    });
                }
            }
        }
    }

    /// Refuses to make one namespace more than there may be. Dormant ones hold nothing but a bound
    /// on what histories say, and have a limit of their own.
    pub(super) fn check_namespace_count(&self, name: &str) -> Result<(), Refusal> {
        let known = self.namespaces.get(name);
        let exists = known.is_some_and(|namespace| namespace.dormant_at.is_none());
        let count = self.namespaces.len() - self.dormant.len();
        if exists || count < self.settings.namespaces_max as usize {
            Ok(())
        } else {
            Err(Refusal::NamespacesFull)
        }
    }

    /// The namespace, made if need be. [`Self::settle`] must follow, unless it exists and its
    /// sessions, events and keys stay as they are.
    pub(super) fn namespace_mut(&mut self, name: &str) -> &mut Namespace {
        if !self.namespaces.contains_key(name) {
            let floor = self.forgotten.take(name);
            let name: Arc<str> = Arc::from(name);
            let namespace = Namespace::new(Arc::clone(&name), floor, &self.settings);
            self.namespaces.insert(name, Arc::new(namespace));
        }
        let namespace = self
            .namespaces
            .get_mut(name)
            .expect("it was made if it was missing");
        Arc::make_mut(namespace)
    }

    /// Changes a namespace if there is one, and settles it.
    pub(super) fn change_namespace(&mut self, name: &str, change: impl FnOnce(&mut Namespace)) {
        if let Some(namespace) = self.namespaces.get_mut(name) {
            change(Arc::make_mut(namespace));
            self.settle(name);
        }
    }

    /// Decides about what has left the retention of a namespace, then brings its timers in step
    /// with what is oldest in it now, and its existence with whether there is anything in it.
    pub(super) fn settle(&mut self, name: &str) {
        self.spare_or_drop(name);
        let Some(namespace) = self.namespaces.get(name) else {
            return;
        };
        let retention = namespace.events.front();
        let retention = retention.map(|event| event.at_us + namespace.retention.max_us);
        let keys = namespace.keys.oldest_us();
        let keys = keys.map(|at_us| at_us + self.settings.key_window_us());
        let look = namespace.next_look_us();
        let dormant = namespace.is_empty().then_some(namespace.floor);
        let old = (
            namespace.retention_due_us,
            namespace.keys_due_us,
            namespace.look_due_us,
            namespace.dormant_at,
        );
        if old == (retention, keys, look, dormant) {
            return;
        }
        let name = Arc::clone(&namespace.name);
        if let Some(namespace) = self.namespaces.get_mut(&name) {
            let namespace = Arc::make_mut(namespace);
            namespace.retention_due_us = retention;
            namespace.keys_due_us = keys;
            namespace.look_due_us = look;
            namespace.dormant_at = dormant;
        }
        let (timers, looks) = (&mut self.timers, &mut self.looks);
        timers.rearm(old.0, retention, TimerKey::Retention(Arc::clone(&name)));
        timers.rearm(old.1, keys, TimerKey::Keys(Arc::clone(&name)));
        looks.rearm(old.2, look, Arc::clone(&name));
        self.rest(old.3, dormant, &name);
    }

    /// An empty namespace goes at once if it never dropped an event, else when too many others do.
    fn rest(&mut self, old: Option<Position>, new: Option<Position>, name: &Arc<str>) {
        if let Some(old) = old {
            self.dormant.remove(&(old, Arc::clone(name)));
        }
        match new {
            None => {}
            Some(Position::ZERO) => {
                self.namespaces.remove(name);
            }
            Some(floor) => {
                self.dormant.insert((floor, Arc::clone(name)));
                if self.dormant.len() > DORMANT_MAX
                    && let Some((floor, oldest)) = self.dormant.remove_min()
                {
                    self.namespaces.remove(&oldest);
                    self.forgotten.remember(oldest, floor);
                }
            }
        }
    }
}
