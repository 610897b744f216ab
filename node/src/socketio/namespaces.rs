//! Which namespaces are open, and whose handlers serve them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::handler::{Handler, SharedHandler};
use crate::limits;

/// Handlers by namespace. Nothing is open until it is allowed.
#[derive(Clone, Default)]
pub struct Namespaces {
    exact: BTreeMap<String, SharedHandler>,
    every_other: Option<SharedHandler>,
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces")
            .field("exact", &self.exact.keys())
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

    /// Opens every namespace that is not opened by name.
    #[must_use]
    pub fn open_every_other(mut self, handler: impl Handler) -> Self {
        self.every_other = Some(Arc::new(handler));
        self
    }

    /// The handlers of a namespace, if it is open.
    pub(crate) fn find(&self, name: &str) -> Option<SharedHandler> {
        if name.len() > limits::NAMESPACE_NAME_BYTES_MAX {
            return None;
        }
        self.exact.get(name).or(self.every_other.as_ref()).cloned()
    }
}
