//! How the client port speaks HTTP, as far as an operator decides it.

use super::client_port::ENGINE_PATH;
use super::compression::Compression;
use super::cors::Cors;
use crate::limits;

/// Settings of the Engine.IO path.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where Engine.IO lives: [`ENGINE_PATH`] for stock clients.
    pub path: String,
    /// Which pages of other origins may talk to it.
    pub cors: Cors,
    /// When answers to polling GETs are compressed.
    pub compression: Compression,
}

impl HttpSettings {
    /// The reference's defaults.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            path: ENGINE_PATH.to_owned(),
            cors: Cors::Off,
            compression: Compression::From(limits::COMPRESSION_BYTES_MIN),
        }
    }
}
