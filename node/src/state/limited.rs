//! Durable subscribers that came to a limit: their names are remembered, so that who comes back is
//! told `limit` and not `unknown`.

use std::sync::Arc;

use super::codec::{Reader, Writer};
use super::dated::Dated;
use super::snapshot::SnapshotError;
use super::subscribers::SubscriberName;
use crate::ids::Position;

/// Names that ended by a limit, remembered to tell `limit` from `unknown`. Part of the format.
const LIMITED_MAX: usize = 10_000;

/// Names that ended by a limit and have not come back, by namespace; the oldest are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limited(Dated<(Arc<str>, SubscriberName)>);

impl Limited {
    pub(super) fn remember(&mut self, namespace: Arc<str>, name: SubscriberName, at: Position) {
        self.0.insert((namespace, name), at);
        if self.0.len() > LIMITED_MAX {
            self.0.remove_oldest();
        }
    }

    /// Whether the name is remembered.
    pub(super) fn contains(&self, namespace: &Arc<str>, name: &SubscriberName) -> bool {
        let key = (Arc::clone(namespace), name.clone());
        self.0.get(&key).is_some()
    }

    /// Forgets a name.
    pub(super) fn take(&mut self, namespace: &Arc<str>, name: &SubscriberName) {
        self.0.remove(&(Arc::clone(namespace), name.clone()));
    }

    /// For snapshots: oldest first.
    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.0.len());
        for (at, (namespace, SubscriberName { identity, name })) in self.0.iter() {
            out.position(*at);
            out.text(namespace);
            out.option(identity.as_ref(), |out, identity| out.text(identity));
            out.text(name);
        }
    }

    /// What [`Self::write`] wrote.
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut limited = Self::default();
        for _ in 0..from.count()? {
            let (at, namespace) = (from.position()?, from.text()?);
            let name = SubscriberName {
                identity: from.option(Reader::text)?,
                name: from.text()?,
            };
            limited.remember(namespace, name, at);
        }
        Ok(limited)
    }
}
