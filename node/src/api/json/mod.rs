//! HTTP and JSON for programs: the operations of `/v1/`, in JSON's natural form. Arguments are
//! carried as the program's own text; binary attachments are base64 beside their placeholders.

mod answers;
mod calls;
mod follow;
mod object;
mod query;
mod requests;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};

pub(super) use query::{Given, Parameters};

use crate::limits;
use crate::operations::Operations;

/// The document that describes every path of the API port.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

type Shared = Arc<Operations>;

/// The routes of the operations.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/publish", post(calls::publish)),
        ("/v1/publish-batch", post(calls::publish_batch)),
        ("/v1/emit-with-ack", post(calls::emit_with_ack)),
        ("/v1/server-side-emit", post(calls::server_side_emit)),
        ("/v1/sockets-join", post(calls::sockets_join)),
        ("/v1/sockets-leave", post(calls::sockets_leave)),
        ("/v1/disconnect-sockets", post(calls::disconnect_sockets)),
        ("/v1/set-data", post(calls::set_data)),
        ("/v1/sockets", get(calls::sockets)),
        ("/v1/members", get(calls::members)),
        ("/v1/rooms", get(calls::rooms)),
        ("/v1/history", get(calls::history)),
        ("/v1/follow", get(follow::follow)),
    ]
}

/// The same as a router, for [`super::Extra`].
pub fn router(operations: Shared) -> Router {
    let empty = Router::new();
    let all = routes().into_iter();
    let all = all.fold(empty, |router, (path, method)| router.route(path, method));
    all.layer(DefaultBodyLimit::max(limits::API_REQUEST_BYTES_MAX))
        .with_state(operations)
}
