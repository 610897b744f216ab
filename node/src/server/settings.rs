//! How the client port speaks HTTP, as far as an operator decides it.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Request, Response};

use super::bundle::ClientBundle;
use super::client_port::ENGINE_PATH;
use super::compression::Compression;
use super::cors::Cors;
use crate::engine::Sid;
use crate::limits;

/// Settings of the Engine.IO path.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// What the path of an Engine.IO request begins with, as in the reference: [`ENGINE_PATH`] for
    /// stock clients. Without a slash at its end, that slash is optional.
    pub path: String,
    /// Which pages of other origins may talk to it.
    pub cors: Cors,
    /// How long a browser may keep the answer to a preflight request.
    pub cors_max_age: Option<Duration>,
    /// Name of a cookie with the session's id on the answer to a polling handshake.
    pub cookie: Option<String>,
    /// The official client's files, served below the path.
    pub bundle: Option<ClientBundle>,
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
            cors_max_age: None,
            cookie: None,
            bundle: None,
            compression: Compression::From(limits::COMPRESSION_BYTES_MIN),
        }
    }

    /// The answer to a preflight request, when there is one to give.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        self.cors.preflight(request, self.cors_max_age)
    }

    /// What stands behind the path in a request's path; `None` when it is not ours.
    pub(super) fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.path)
    }

    /// What a browser is told to remember of a session; nothing depends on it.
    pub(super) fn cookie(&self, sid: &Sid) -> Option<HeaderValue> {
        let name = self.cookie.as_ref()?;
        let text = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax", sid.reveal());
        let mut value = HeaderValue::try_from(text).expect("a name of the configuration");
        value.set_sensitive(true);
        Some(value)
    }
}
