//! Configuration: flags, `ROOMCAST_*` variables and an optional TOML file become one immutable,
//! checked value before anything is opened; a wrong one is refused with all its errors at once.
//!
//! To add a key: a line in [`keys`], a field, and a line where the field is read.

mod backends;
mod dev;
mod error;
mod http;
mod key;
pub mod keys;
mod overrides;
pub mod parse;
mod reader;
mod sections;
mod serve;
mod sources;
mod tokens;
mod webhooks;

#[cfg(test)]
mod tests;

pub use backends::{BackendConfig, Fit, NamespacePattern, Policy};
pub use dev::DevConfig;
pub(crate) use dev::is_passed;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use http::{CLIENT_BUNDLE_FILES, CorsOrigins, HttpConfig};
pub(crate) use reader::host_port;
pub use sections::{ClusterSettings, EngineConfig};
pub use serve::{InitialCluster, Member, Mode, ServeConfig};
pub use sources::{Lookup, Sources};
pub use tokens::ApiTokens;
pub use webhooks::{Webhook, WebhookSecret, WebhooksConfig};
