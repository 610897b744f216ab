//! A node whose clients wait for backends.

use std::time::Duration;

use roomcast::config::{Mode, NamespacePattern, Policy};
use roomcast::{Namespace, ServeConfig, Server};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::program::Program;
use crate::wire::Wire;

/// Longest wait for anything; far more than any of it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Longer than anything takes that would come at once.
pub(crate) const SOON: Duration = Duration::from_millis(300);

/// A node that is ready.
pub(crate) struct Node {
    pub(crate) server: Server,
    _dir: TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::configured(|_| {}).await
    }

    /// One with policies for namespaces without a backend; without one everything is open in
    /// development, and nothing in production.
    pub(crate) async fn with_policies(
        mode: Mode,
        policies: &[(&str, Policy)],
        wait: Duration,
    ) -> Self {
        let pattern = |name| NamespacePattern::parse(name).expect("a pattern");
        let policies = policies
            .iter()
            .map(|(name, policy)| (pattern(name), *policy));
        let policies = policies.collect();
        Self::configured(|config| {
            config.mode = mode;
            config.backends.policies = policies;
            config.backends.wait = wait;
        })
        .await
    }

    pub(crate) async fn configured(configure: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::serving(configure, None).await
    }

    /// With a namespace of the process's own.
    pub(crate) async fn serving(
        configure: impl FnOnce(&mut ServeConfig),
        own: Option<(&str, Namespace)>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = ServeConfig::single_node(dir.path());
        config.disk_reserve_bytes = 0;
        let every = NamespacePattern::parse("/*").expect("a pattern");
        config.backends.policies = vec![(every, Policy::Wait)];
        configure(&mut config);
        let mut building = Server::builder(config);
        if let Some((name, namespace)) = own {
            building = building.namespace(name, namespace);
        }
        let server = building.start().await.expect("it starts");
        timeout(LIMIT, server.ready()).await.expect("it is ready");
        Self { server, _dir: dir }
    }

    /// A backend of these namespaces that decides about connects.
    pub(crate) async fn program(&self, namespaces: &[&str]) -> Program {
        Program::dial(self.server.api_addr(), Program::hello(namespaces)).await
    }

    /// A client's connection.
    pub(crate) async fn client(&self) -> Wire {
        Wire::open(self.server.client_addr()).await
    }

    pub(crate) async fn end(self) {
        let ending = timeout(LIMIT, self.server.shutdown());
        ending.await.expect("it ends");
    }
}
