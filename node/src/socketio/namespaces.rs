//! Which namespaces are open, and whose handlers serve them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::handler::{Handler, SharedHandler};
use crate::limits;

/// Whether a namespace's name is one of those meant.
type Pattern = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Opens namespaces while the node runs.
pub trait Opener: Send + Sync + 'static {
    /// The handlers of a namespace that is served now, or will be again in a moment.
    fn open(&self, name: &str) -> Option<SharedHandler>;

    /// Those of a namespace that nobody else opens: somebody may still come and serve it.
    fn open_at_last(&self, name: &str) -> Option<SharedHandler>;
}

/// Handlers by namespace. Nothing is open until it is allowed.
#[derive(Clone, Default)]
pub struct Namespaces {
    exact: BTreeMap<String, SharedHandler>,
    opener: Option<Arc<dyn Opener>>,
    /// In the order of their registration, in which they are tried.
    matching: Vec<(Pattern, SharedHandler)>,
    every_other: Option<SharedHandler>,
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces")
            .field("exact", &self.exact.keys())
            .field("opener", &self.opener.is_some())
            .field("matching", &self.matching.len())
            .field("every_other", &self.every_other.is_some())
            .finish()
    }
}

impl Namespaces {
    /// None is open.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// Opens one namespace; `name` begins with a slash.
    #[must_use]
    pub fn open(mut self, name: impl Into<String>, handler: impl Handler) -> Self {
        self.exact.insert(name.into(), Arc::new(handler));
        self
    }

    /// Opens every namespace whose name, with its leading slash, `matches`: those not opened by
    /// name are tried in the order of these calls. How many may exist is a setting of the cluster.
    #[must_use]
    pub fn open_matching(
        mut self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
        handler: impl Handler,
    ) -> Self {
        self.matching.push((Arc::new(matches), Arc::new(handler)));
        self
    }

    /// Opens every namespace that is not opened by name or pattern.
    #[must_use]
    pub fn open_every_other(mut self, handler: impl Handler) -> Self {
        self.every_other = Some(Arc::new(handler));
        self
    }

    /// Asks `opener` for every namespace that is not opened by name, before the patterns, and once
    /// more when nothing else has opened it.
    #[must_use]
    pub fn open_from(mut self, opener: Arc<dyn Opener>) -> Self {
        self.opener = Some(opener);
        self
    }

    /// The handlers of a namespace, if it is open.
    pub(crate) fn find(&self, name: &str) -> Option<SharedHandler> {
        if name.len() > limits::NAMESPACE_NAME_BYTES_MAX {
            return None;
        }
        let matching = || {
            let mut patterns = self.matching.iter();
            patterns.find(|(matches, _)| matches(name))
        };
        if let Some(exact) = self.exact.get(name) {
            return Some(Arc::clone(exact));
        }
        let opener = self.opener.as_ref();
        opener
            .and_then(|opener| opener.open(name))
            .or_else(|| matching().map(|(_, handler)| Arc::clone(handler)))
            .or_else(|| self.every_other.clone())
            .or_else(|| opener?.open_at_last(name))
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::socketio::{Ack, Admission, ConnectRequest, Event, Rejection, Socket};

    /// Says its name when asked to admit somebody.
    struct Named(&'static str);

    #[async_trait]
    impl Handler for Named {
        async fn admit(&self, _: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
            Ok(Admission {
                identity: Some(self.0.to_owned()),
                ..Admission::default()
            })
        }

        async fn on_connect(&self, _: &Socket) {}
        async fn on_event(&self, _: &Socket, _: Event, _: Option<Ack>) {}
        async fn on_disconnect(&self, _: &Socket, _: &str) {}
    }

    struct OnlyRoomSevenAndEight;

    impl Opener for OnlyRoomSevenAndEight {
        fn open(&self, name: &str) -> Option<SharedHandler> {
            let opened: SharedHandler = Arc::new(Named("opened"));
            ["/room-7", "/room-8"].contains(&name).then_some(opened)
        }

        fn open_at_last(&self, name: &str) -> Option<SharedHandler> {
            let opened: SharedHandler = Arc::new(Named("opened at last"));
            ["/room-x", "/other"].contains(&name).then_some(opened)
        }
    }

    async fn served(namespaces: &Namespaces, name: &str) -> Option<String> {
        let remote = ([127, 0, 0, 1], 1).into();
        let handshake =
            crate::engine::Handshake::new(Vec::new(), &http::HeaderMap::new(), remote).into();
        let request = ConnectRequest {
            namespace: name,
            auth: &serde_json::Value::Null,
            handshake: &handshake,
        };
        let admission = namespaces.find(name)?.admit(&request).await;
        admission.expect("everybody is admitted").identity
    }

    #[tokio::test]
    async fn a_name_wins_over_patterns_and_the_first_pattern_over_later_ones() {
        let is_number = |name: &str| {
            name.strip_prefix("/room-")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        let closed = Namespaces::closed()
            .open_matching(is_number, Named("number"))
            .open_matching(|name| name.starts_with("/room-"), Named("room"))
            .open("/room-7", Named("seven"));
        let open = closed.clone().open_every_other(Named("rest"));
        for (name, expected) in [
            ("/room-7", Some("seven")),
            ("/room-8", Some("number")),
            ("/room-x", Some("room")),
            ("/room-", Some("room")),
            ("/other", None),
            ("room-8", None),
        ] {
            assert_eq!(served(&closed, name).await.as_deref(), expected, "{name}");
            let expected = expected.or(Some("rest"));
            assert_eq!(served(&open, name).await.as_deref(), expected, "{name}");
        }
        let both = open.open_from(Arc::new(OnlyRoomSevenAndEight));
        for (name, expected) in [("/room-7", "seven"), ("/room-8", "opened"), ("/x", "rest")] {
            let served = served(&both, name).await;
            assert_eq!(served.as_deref(), Some(expected), "{name}");
        }
        let at_last = closed.open_from(Arc::new(OnlyRoomSevenAndEight));
        for (name, expected) in [("/room-x", "room"), ("/other", "opened at last")] {
            let served = served(&at_last, name).await;
            assert_eq!(served.as_deref(), Some(expected), "{name}");
        }
        let long = format!("/room-{}", "1".repeat(limits::NAMESPACE_NAME_BYTES_MAX));
        assert_eq!(served(&both, &long).await, None);
    }
}
