//! What apply does besides the command itself: what became due, and keeping each namespace's timers
//! and existence in step with what is in it.

use std::sync::Arc;

use super::effect::Effect;
use super::group::{GroupState, Moment};
use super::namespace::Namespace;
use super::timers::TimerKey;
use crate::ids::Position;

impl GroupState {
    /// Does everything that is due at the present log time.
    pub(super) fn run_timers(&mut self, moment: Moment, effects: &mut Vec<Effect>) {
        let expiry = Position::new(moment.position.index, u32::MAX);
        while let Some(key) = self.timers.pop_due(self.log_time_us) {
            match key {
                TimerKey::Session(socket) => self.expire(expiry, &socket, effects),
                TimerKey::Retention(name) => {
                    let until = self.log_time_us.checked_sub(self.settings.retention_us());
                    self.change_namespace(&name, |namespace| {
                        namespace.retention_due_us = None;
                        if let Some(until) = until {
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

    /// The namespace, made if need be. [`Self::settle`] must follow.
    pub(super) fn namespace_mut(&mut self, name: &str) -> &mut Namespace {
        if !self.namespaces.contains_key(name) {
            let floor = self.forgotten.take(name);
            let name: Arc<str> = Arc::from(name);
            self.namespaces
                .insert(Arc::clone(&name), Arc::new(Namespace::new(name, floor)));
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

    /// Arms the timers of a namespace for what is oldest in it now; deletes it when it is empty.
    pub(super) fn settle(&mut self, name: &str) {
        let Some(namespace) = self.namespaces.get(name) else {
            return;
        };
        let after = |at_us: u64, window_us: u64| at_us.saturating_add(window_us);
        let retention = namespace.events.front();
        let retention = retention.map(|event| after(event.at_us, self.settings.retention_us()));
        let keys = namespace.keys.oldest_us();
        let keys = keys.map(|at_us| after(at_us, self.settings.key_window_us()));
        let (old_retention, old_keys) = (namespace.retention_due_us, namespace.keys_due_us);
        let name = Arc::clone(&namespace.name);
        if namespace.is_empty() {
            let floor = namespace.floor;
            self.namespaces.remove(&name);
            self.forgotten.remember(Arc::clone(&name), floor);
        } else if (old_retention, old_keys) != (retention, keys)
            && let Some(namespace) = self.namespaces.get_mut(&name)
        {
            let namespace = Arc::make_mut(namespace);
            namespace.retention_due_us = retention;
            namespace.keys_due_us = keys;
        }
        self.rearm(
            old_retention,
            retention,
            TimerKey::Retention(Arc::clone(&name)),
        );
        self.rearm(old_keys, keys, TimerKey::Keys(name));
    }

    fn rearm(&mut self, old_us: Option<u64>, new_us: Option<u64>, key: TimerKey) {
        if old_us == new_us {
            return;
        }
        if let Some(old_us) = old_us {
            self.timers.cancel(old_us, key.clone());
        }
        if let Some(new_us) = new_us {
            self.timers.arm(new_us, key);
        }
    }
}
