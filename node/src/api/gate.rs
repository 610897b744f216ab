//! Who may use the API port, and how much of it at once. (DESIGN: nothing is open until it is
//! allowed.)

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refused::Refused;
use crate::config::ApiTokens;
use crate::limits;
use crate::messages;
use crate::socketio::{Code, Refusal};

/// What gRPC's requests are, with or without their codec behind it.
const GRPC_TYPE: &str = "application/grpc";
const BEARER: &str = "Bearer ";

/// Who may ask for what.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Everybody for everything: development.
    Open,
    /// Operators for their commands, nobody for the application's operations.
    #[default]
    Closed,
    /// Who brings one of these, for everything.
    Tokens(ApiTokens),
}

/// Stands before the routes of the API port.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    access: Access,
    /// One permit per request of a program.
    running: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            running: Arc::new(Semaphore::new(limits::API_REQUESTS_MAX)),
        }
    }

    /// An operator's command: open where there are no tokens.
    fn command(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.access {
            Access::Open | Access::Closed => Ok(()),
            Access::Tokens(tokens) => authenticate(tokens, headers),
        }
    }

    /// A request of a program; the permit lasts until its answer begins.
    fn request(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Refusal> {
        match &self.access {
            Access::Open => {}
            Access::Closed => {
                return Err(Refusal::forbidden(
                    "in production the API is closed to programs until --api-token-file is given",
                ));
            }
            Access::Tokens(tokens) => authenticate(tokens, headers)?,
        }
        let permit = Arc::clone(&self.running).try_acquire_owned();
        permit.map_err(|_| Refusal::new(Code::Overloaded, "too many requests are at work here"))
    }
}

fn authenticate(tokens: &ApiTokens, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(messages::unauthenticated(
            "authorization is missing: Bearer and a token of --api-token-file",
        ));
    };
    let token = value.to_str().ok().and_then(|text| {
        let scheme = text.get(..BEARER.len())?;
        scheme
            .eq_ignore_ascii_case(BEARER)
            .then(|| &text[BEARER.len()..])
    });
    match token {
        Some(token) if tokens.knows(token.trim()) => Ok(()),
        _ => Err(messages::unauthenticated("the token is not known here")),
    }
}

/// Before operators' commands.
pub(super) async fn commands(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.command(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Refused::from(refusal).into_response(),
    }
}

/// Before the application's operations over HTTP.
pub(super) async fn requests(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.request(request.headers()) {
        Ok(_permit) => next.run(request).await,
        Err(refusal) => {
            refusal.count();
            Refused::from(refusal).into_response()
        }
    }
}

/// The same over gRPC. A page in a browser could send other types unasked.
pub(super) async fn calls(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with(GRPC_TYPE) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Refused::new(status, "invalid", "this path takes gRPC").into_response();
    }
    match gate.request(request.headers()) {
        Ok(_permit) => next.run(request).await,
        Err(refusal) => {
            refusal.count();
            messages::refusal_status(&refusal).into_http()
        }
    }
}
