//! A request's body: a JSON object, and no list.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::api::refused::Refused;

/// See the module's text. By itself serde reads a list, too, as the fields in their order.
pub(super) struct Object<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let Json(body) = Json::<Box<RawValue>>::from_request(request, state).await?;
        if !body.get().starts_with('{') {
            let message = "the body is no JSON object".to_owned();
            return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid", message));
        }
        let read: Result<Json<T>, JsonRejection> = Json::from_bytes(body.get().as_bytes());
        let Json(value) = read?;
        Ok(Self(value))
    }
}
