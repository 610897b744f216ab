//! The backends of the whole cluster, as far as this node knows, and which of them serves what.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use super::description::{Description, Registered};
use super::stream::BackendStream;
use super::tunnel::Tunnel;
use crate::config::{Fit, NamespacePattern};
use crate::ids::{NodeId, SocketId};
use crate::limits;

/// A backend that can be asked.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) id: String,
    /// Where its stream ends.
    pub(super) node: NodeId,
    pub(super) description: Description,
    pub(super) way: Way,
    /// One permit per open call of this node; the stream's own window counts those of all nodes.
    pub(super) window: Arc<Semaphore>,
    /// One permit per operation whose outcome it waits for.
    pub(super) operations: Arc<Semaphore>,
    /// Open calls of this node, those that wait for their place included.
    pub(super) open: AtomicUsize,
    /// Cancelled when it serves nobody any more.
    gone: CancellationToken,
}

/// How a backend is reached.
#[derive(Debug)]
pub(super) enum Way {
    /// Its stream ends at this node.
    Here(Arc<BackendStream>),
    /// It ends elsewhere.
    Elsewhere(Tunnel),
}

impl Backend {
    pub(super) fn new(id: String, node: NodeId, description: Description, way: Way) -> Arc<Self> {
        Arc::new(Self {
            id,
            node,
            window: Arc::new(Semaphore::new(description.window as usize)),
            operations: Arc::new(Semaphore::new(limits::BACKEND_OPERATIONS_MAX)),
            open: AtomicUsize::new(0),
            gone: CancellationToken::new(),
            description,
            way,
        })
    }

    /// Cancelled when it serves nobody any more.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Whether it serves nobody any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }
}

/// A backend, and which of its registrations is meant.
#[derive(Debug, Clone)]
pub(super) struct Tie {
    pub(super) backend: Arc<Backend>,
    place: usize,
}

impl Tie {
    pub(super) fn registered(&self) -> &Registered {
        &self.backend.description.registrations[self.place]
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Registry {
    inner: RwLock<Inner>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    backends: Vec<Arc<Backend>>,
    /// What was served since this node started, oldest first.
    seen: VecDeque<Seen>,
}

/// A pattern that was served since this node started.
#[derive(Debug)]
struct Seen {
    pattern: NamespacePattern,
    /// Names of programs that decide about its connects, by their last word; also while they are
    /// away, so that nobody gets past them.
    admitting: BTreeSet<String>,
    /// When a backend of it went last.
    lost: Option<Instant>,
}

impl Inner {
    /// The word of a program of which others may run: none of those takes it back while one of
    /// them stands by it, and one without a name none.
    fn remember(&mut self, name: &str, registered: &Registered) {
        let pattern = &registered.pattern;
        let mut described = self.backends.iter().map(|backend| &backend.description);
        let others_admit = described
            .any(|other| other.name == name && other.registers(pattern, |theirs| theirs.admits));
        let mut seen = self.seen.iter_mut();
        let known = seen.find(|seen| seen.pattern == registered.pattern);
        let seen = match known {
            Some(known) => known,
            None => {
                self.forget_one();
                self.seen.push_back(Seen {
                    pattern: registered.pattern.clone(),
                    admitting: BTreeSet::new(),
                    lost: None,
                });
                self.seen.back_mut().expect("it was pushed")
            }
        };
        if registered.admits {
            seen.admitting.insert(name.to_owned());
        } else if !name.is_empty() && !others_admit {
            seen.admitting.remove(name);
        }
        while seen.admitting.len() > limits::BACKENDS_MAX {
            seen.admitting.pop_last();
        }
    }

    /// Makes a place when there is none: of what nobody serves or guards, the oldest goes.
    fn forget_one(&mut self) {
        if self.seen.len() < limits::BACKEND_PATTERNS_REMEMBERED_MAX {
            return;
        }
        let is_needed = |seen: &Seen| {
            let mut described = self.backends.iter().map(|backend| &backend.description);
            !seen.admitting.is_empty() || described.any(|of| of.registers(&seen.pattern, |_| true))
        };
        let oldest = self.seen.iter().position(|seen| !is_needed(seen));
        self.seen.remove(oldest.unwrap_or_default());
    }

    fn lose(&mut self, backend: &Backend) {
        for seen in &mut self.seen {
            if backend.description.registers(&seen.pattern, |_| true) {
                seen.lost = Some(Instant::now());
            }
        }
    }

    /// What was served and fits a namespace, and how well.
    fn seen<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (Fit, &'a Seen)> {
        let seen = self.seen.iter();
        seen.filter_map(|seen| Some((seen.pattern.fit(namespace)?, seen)))
    }
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            inner: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Told of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All that can be asked.
    pub(super) fn all(&self) -> Vec<Arc<Backend>> {
        self.inner.read().backends.clone()
    }

    /// Those whose stream ends at a node.
    pub(super) fn at(&self, node: NodeId) -> Vec<Arc<Backend>> {
        let mut all = self.all();
        all.retain(|backend| backend.node == node);
        all
    }

    pub(super) fn add(&self, backend: Arc<Backend>) {
        let mut inner = self.inner.write();
        for registered in &backend.description.registrations {
            inner.remember(&backend.description.name, registered);
        }
        tracing::info!(
            backend = backend.id,
            node = backend.node,
            name = backend.description.name,
            "a backend serves"
        );
        inner.backends.push(backend);
        drop(inner);
        self.changed();
    }

    /// No backend that is `meant` serves any more; how many those were.
    pub(super) fn remove(&self, meant: impl Fn(&Backend) -> bool) -> usize {
        let mut inner = self.inner.write();
        let (gone, kept) = std::mem::take(&mut inner.backends)
            .into_iter()
            .partition::<Vec<_>, _>(|backend| meant(backend));
        inner.backends = kept;
        for backend in &gone {
            backend.gone.cancel();
            inner.lose(backend);
            tracing::info!(
                backend = backend.id,
                node = backend.node,
                name = backend.description.name,
                "a backend serves no longer"
            );
        }
        drop(inner);
        if !gone.is_empty() {
            self.changed();
        }
        gone.len()
    }

    /// When a backend of this namespace went last.
    pub(super) fn lost(&self, namespace: &str) -> Option<Instant> {
        let inner = self.inner.read();
        inner
            .seen(namespace)
            .filter_map(|(_, seen)| seen.lost)
            .max()
    }

    /// Whether some backend has served this namespace since this node started.
    pub(super) fn has_seen(&self, namespace: &str) -> bool {
        self.inner.read().seen(namespace).next().is_some()
    }

    /// Whether some backend serves this namespace.
    pub(super) fn serves(&self, namespace: &str) -> bool {
        let inner = self.inner.read();
        let mut descriptions = inner.backends.iter().map(|backend| &backend.description);
        descriptions.any(|description| description.fitting(namespace).is_some())
    }

    /// The backends that serve a namespace: of all registrations that fit it the best decide.
    pub(super) fn serving(&self, namespace: &str) -> Vec<Tie> {
        let inner = self.inner.read();
        let mut best = None;
        let mut serving = Vec::new();
        for backend in &inner.backends {
            let Some((fit, place)) = backend.description.fitting(namespace) else {
                continue;
            };
            if best.is_some_and(|best| fit < best) {
                continue;
            }
            if best.is_none_or(|best| fit > best) {
                best = Some(fit);
                serving.clear();
            }
            let backend = Arc::clone(backend);
            serving.push(Tie { backend, place });
        }
        serving
    }

    /// The backend that serves a socket: the same on every node, and as long as the same serve the
    /// namespace.
    pub(super) fn of_socket(&self, namespace: &str, socket: SocketId) -> Option<Tie> {
        let weight = |tie: &Tie| {
            let mut hash = Xxh3::new();
            hash.update(&socket.0);
            hash.update(tie.backend.id.as_bytes());
            hash.digest()
        };
        self.serving(namespace).into_iter().max_by_key(weight)
    }

    /// The backend that decides about a connect, the one with the fewest open calls; `Ok(None)`
    /// when nobody wants to: neither those that serve the namespace nor one that is away.
    pub(super) fn of_connect(&self, namespace: &str) -> Result<Option<Tie>, NotServed> {
        let serving = self.serving(namespace);
        let pattern = serving.first().map(|tie| &tie.registered().pattern);
        let fit = pattern.ok_or(NotServed)?.closeness();
        let is_guarded = serving.iter().any(|tie| tie.registered().guarded);
        let admitting = serving.into_iter().filter(|tie| tie.registered().admits);
        let admitting = admitting.min_by_key(|tie| tie.backend.open.load(Ordering::Relaxed));
        match admitting {
            None if is_guarded || self.is_admitted_to(namespace, Some(fit)) => Err(NotServed),
            admitting => Ok(admitting),
        }
    }

    /// Whether a program decides about its connects, though it may be away; those of patterns that
    /// fit worse than `least` do not count.
    pub(super) fn is_admitted_to(&self, namespace: &str, least: Option<Fit>) -> bool {
        let inner = self.inner.read();
        let mut seen = inner.seen(namespace);
        seen.any(|(fit, seen)| Some(fit) >= least && !seen.admitting.is_empty())
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// No backend serves a namespace, or none of those that do may decide about a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotServed;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use roomcast_proto::api::{Hello, Registration};

    use super::*;
    use crate::ids::Entropy;

    fn backend(id: &str, namespaces: &[&str]) -> Arc<Backend> {
        let registration = |name: &&str| Registration {
            namespace: (*name).to_owned(),
            admits: id.starts_with("admits"),
            ..Registration::default()
        };
        let hello = Hello {
            name: id.to_owned(),
            namespaces: namespaces.iter().map(registration).collect(),
            window: 0,
        };
        let description = Description::read(hello).unwrap();
        let way = Way::Elsewhere(Tunnel::new(1, id.to_owned()));
        Backend::new(id.to_owned(), 1, description, way)
    }

    fn ids(registry: &Registry, namespace: &str) -> Vec<String> {
        let serving = registry.serving(namespace);
        serving.iter().map(|tie| tie.backend.id.clone()).collect()
    }

    #[test]
    fn a_name_wins_over_patterns_and_what_is_left_serves_when_it_goes() {
        let registry = Registry::new();
        registry.add(backend("all", &["/*"]));
        registry.add(backend("games", &["/game-*"]));
        registry.add(backend("one", &["/game-1", "/*"]));
        assert_eq!(ids(&registry, "/game-1"), ["one"]);
        assert_eq!(ids(&registry, "/game-2"), ["games"]);
        assert_eq!(ids(&registry, "/chat"), ["all", "one"]);
        assert_eq!(registry.remove(|backend| backend.id == "one"), 1);
        assert_eq!(ids(&registry, "/game-1"), ["games"]);
        registry.remove(|_| true);
        assert!(ids(&registry, "/game-1").is_empty());
        assert!(registry.has_seen("/game-1") && registry.has_seen("/anything"));
        assert!(!registry.serves("/game-1") && registry.lost("/game-1").is_some());
    }

    #[test]
    fn a_socket_stays_where_it_is_unless_its_own_backend_goes() {
        let registry = Registry::new();
        for id in ["a", "b", "c"] {
            registry.add(backend(id, &["/"]));
        }
        let entropy = Entropy::from_seed(7);
        let sockets: Vec<_> = (0..300).map(|_| entropy.socket_id()).collect();
        let of = |registry: &Registry, id| registry.of_socket("/", id).unwrap().backend.id.clone();
        let before: Vec<String> = sockets.iter().map(|id| of(&registry, *id)).collect();
        let mut shares = BTreeMap::new();
        for id in &before {
            *shares.entry(id.clone()).or_insert(0) += 1;
        }
        assert!(shares.values().all(|share| *share > 60), "{shares:?}");
        registry.remove(|backend| backend.id == "b");
        for (socket, before) in sockets.iter().zip(before) {
            let now = of(&registry, *socket);
            assert!(now == before || before == "b", "{now} {before}");
        }
    }

    #[test]
    fn whoever_wants_to_decide_about_connects_does() {
        let registry = Registry::new();
        assert_eq!(registry.of_connect("/").err(), Some(NotServed));
        registry.add(backend("silent", &["/"]));
        assert!(registry.of_connect("/").unwrap().is_none());
        registry.add(backend("admits", &["/"]));
        assert_eq!(
            registry.of_connect("/").unwrap().unwrap().backend.id,
            "admits"
        );
        // A wider pattern's doorkeeper says nothing about a name that has its own backends.
        registry.add(backend("admits all", &["/*"]));
        registry.add(backend("news", &["/news"]));
        registry.remove(|backend| backend.id.starts_with("admits"));
        assert!(registry.of_connect("/news").unwrap().is_none());
        assert_eq!(
            registry.of_connect("/").err(),
            Some(NotServed),
            "it is away"
        );
        let registration = Registration {
            namespace: "/".to_owned(),
            ..Registration::default()
        };
        let hello = Hello {
            name: "admits".to_owned(),
            namespaces: vec![registration],
            window: 0,
        };
        let way = Way::Elsewhere(Tunnel::new(1, "anew".to_owned()));
        let description = Description::read(hello).unwrap();
        registry.add(Backend::new("anew".to_owned(), 1, description, way));
        assert!(
            registry.of_connect("/").unwrap().is_none(),
            "it has changed its mind"
        );
    }
}
