//! What a backend says of itself in its Hello, checked.

use std::collections::BTreeSet;

use roomcast_proto::api::{Hello, Registration};

use crate::config::{Fit, NamespacePattern};
use crate::limits;

/// What a backend says of itself, checked.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) registrations: Vec<Registered>,
    /// The window that counts.
    pub(super) window: u32,
}

/// One of its namespaces or patterns.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) pattern: NamespacePattern,
    /// Names of events that it wants; none: all.
    pub(super) events: BTreeSet<String>,
    pub(super) admits: bool,
    /// Nobody is let in to it but by a program that decides.
    pub(super) guarded: bool,
    pub(super) disconnects: bool,
    /// Other events are the built-in handler's.
    pub(super) builtin: bool,
    /// The node tells its clients the membership of their rooms.
    presence: bool,
}

impl Registered {
    fn read(registration: Registration) -> Result<Self, String> {
        let name = registration.namespace;
        let pattern = NamespacePattern::parse(&name)
            .map_err(|wrong| format!("namespace {name:?} {wrong}"))?;
        let events = registration.events;
        let is_long = |event: &String| event.len() > limits::BACKEND_NAME_BYTES_MAX;
        if events.len() > limits::BACKEND_EVENTS_MAX || events.iter().any(is_long) {
            return Err(format!(
                "namespace {name:?} has too many or too long events"
            ));
        }
        Ok(Self {
            pattern,
            events: events.into_iter().collect(),
            admits: registration.admits,
            guarded: registration.guarded,
            disconnects: registration.disconnects,
            builtin: registration.builtin,
            presence: registration.presence,
        })
    }

    pub(super) fn wants(&self, event: &str) -> bool {
        match self.events.is_empty() {
            true => !self.leaves_presence(event),
            false => self.events.contains(event),
        }
    }

    /// Whether an event asks for presence, and the node answers it.
    pub(super) fn leaves_presence(&self, event: &str) -> bool {
        self.presence && event == "presence" && !self.events.contains(event)
    }
}

impl Description {
    /// # Errors
    /// What is wrong with it, for who wrote the backend.
    pub(super) fn read(hello: Hello) -> Result<Self, String> {
        if hello.name.len() > limits::BACKEND_NAME_BYTES_MAX {
            return Err("the name is too long".to_owned());
        }
        let count = hello.namespaces.len();
        if !(1..=limits::BACKEND_REGISTRATIONS_MAX).contains(&count) {
            let max = limits::BACKEND_REGISTRATIONS_MAX;
            return Err(format!("{count} namespaces, where 1 to {max} may be"));
        }
        let registrations = hello.namespaces.into_iter().map(Registered::read);
        Ok(Self {
            name: hello.name,
            registrations: registrations.collect::<Result<_, _>>()?,
            window: match hello.window {
                0 => limits::BACKEND_WINDOW,
                asked => asked.min(limits::BACKEND_WINDOW_MAX),
            },
        })
    }

    /// Its names and patterns.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let registrations = self.registrations.iter();
        let names = registrations.map(|registered| registered.pattern.as_str().to_owned());
        names.collect()
    }

    /// For other nodes.
    pub(super) fn to_hello(&self) -> Hello {
        let registrations = self.registrations.iter().map(|registered| Registration {
            namespace: registered.pattern.as_str().to_owned(),
            events: registered.events.iter().cloned().collect(),
            admits: registered.admits,
            guarded: registered.guarded,
            disconnects: registered.disconnects,
            builtin: registered.builtin,
            presence: registered.presence,
        });
        Hello {
            name: self.name.clone(),
            namespaces: registrations.collect(),
            window: self.window,
        }
    }

    /// Whether it registers exactly this pattern, as is wanted.
    pub(super) fn registers(
        &self,
        pattern: &NamespacePattern,
        is_wanted: impl Fn(&Registered) -> bool,
    ) -> bool {
        let mut registrations = self.registrations.iter();
        registrations.any(|registered| registered.pattern == *pattern && is_wanted(registered))
    }

    /// The registration that fits a namespace best, and how well.
    pub(super) fn fitting(&self, namespace: &str) -> Option<(Fit, usize)> {
        let fitting = self.registrations.iter().zip(0..);
        let fitting = fitting
            .filter_map(|(registered, place)| Some((registered.pattern.fit(namespace)?, place)));
        fitting.max_by_key(|(fit, _)| *fit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_that_is_wrong_is_told_why() {
        let hello = |namespaces: &[&str]| Hello {
            name: "n".to_owned(),
            namespaces: namespaces
                .iter()
                .map(|name| Registration {
                    namespace: (*name).to_owned(),
                    ..Registration::default()
                })
                .collect(),
            window: 9999,
        };
        let right = Description::read(hello(&["/a"])).unwrap();
        assert_eq!(right.window, limits::BACKEND_WINDOW_MAX);
        assert_eq!(Description::read(right.to_hello()).unwrap().name, "n");
        for (names, words) in [
            (&[][..], "0 namespaces"),
            (&["chat"][..], "begins with no slash"),
        ] {
            let wrong = Description::read(hello(names)).unwrap_err();
            assert!(wrong.contains(words), "{wrong}");
        }
    }
}
