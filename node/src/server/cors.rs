//! Which pages of other origins may talk to the Engine.IO path (Fetch standard, "CORS protocol").
//! Matters to polling only: a WebSocket's origin is judged by the upper floor.

use std::time::Duration;

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    CONTENT_LENGTH, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};

/// Methods that the reference allows.
const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";

/// A policy for pages of other origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// Nothing is said: browsers refuse them, or something in front decides.
    Off,
    /// All of them, with credentials. For development.
    AnyOrigin,
    /// All of them, without credentials: `*`, which browsers refuse for requests that carry any.
    Anonymous,
    /// These, with credentials.
    Listed(Vec<HeaderValue>),
}

impl Cors {
    /// The answer to a preflight request, when there is one to give.
    pub(super) fn preflight<B>(
        &self,
        request: &Request<B>,
        max_age: Option<Duration>,
    ) -> Option<Response<Body>> {
        if *self == Self::Off || request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        self.allow(request.headers().get(ORIGIN).cloned(), headers);
        headers.append(VARY, HeaderValue::from_name(ACCESS_CONTROL_REQUEST_HEADERS));
        if let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        if let Some(max_age) = max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.as_secs().into());
        }
        Some(response)
    }

    /// Adds what lets a page of `origin` read an answer.
    pub(super) fn allow(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        let allowed = match self {
            Self::Off => return,
            Self::Anonymous => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                return;
            }
            Self::AnyOrigin => origin,
            Self::Listed(origins) => origin.filter(|origin| origins.contains(origin)),
        };
        // By name, not `*`: browsers refuse `*` for requests with credentials.
        headers.append(VARY, HeaderValue::from_name(ORIGIN));
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        if let Some(origin) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}
