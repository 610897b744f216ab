//! Refusals of the API port: `{"ok":false,"error":{"code","message"}}`, as everywhere in Roomcast.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::source::AdminError;
use crate::limits;
use crate::messages;
use crate::socketio::Refusal;

/// Characters of a message: what is wrong with a body may quote it.
const MESSAGE_CHARS_MAX: usize = 400;

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

/// For a path that is none.
pub(super) async fn unknown() -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "the API has no such path",
    )
}

/// For a method that a path has not.
pub(super) async fn method() -> Refused {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid",
        "this path has another method",
    )
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = messages::http_status(refusal.code);
        Self::new(status, refusal.code.word(), refusal.message)
    }
}

impl From<AdminError> for Refused {
    fn from(error: AdminError) -> Self {
        let (status, code) = match error {
            AdminError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            AdminError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            AdminError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        let (status, code) = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid"),
            // Not JSON, or other JSON: the message tells which.
            _ => (StatusCode::BAD_REQUEST, "invalid"),
        };
        Self::new(status, code, rejection.body_text())
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let message: String = self.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let error = json!({ "code": self.code, "message": message });
        let body = json!({ "ok": false, "error": error });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, limits::RETRY_AFTER_S.into());
            }
            StatusCode::UNAUTHORIZED => {
                let bearer = HeaderValue::from_static("Bearer");
                headers.insert(header::WWW_AUTHENTICATE, bearer);
            }
            _ => {}
        }
        response
    }
}
