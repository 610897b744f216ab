//! gRPC for programs, on the API port: `roomcast.v1`. Each call is an operation, its message and
//! its answer are the operation's own.

mod service;

use std::sync::Arc;

use axum::Router;
use roomcast_proto::api::api_server::ApiServer;

use crate::api::StatusSource;
use crate::limits;
use crate::operations::Operations;
use service::Service;

/// The routes of the calls, for [`crate::api::Extra`].
pub fn router(operations: Arc<Operations>, status: Arc<dyn StatusSource>) -> Router {
    let service = ApiServer::new(Service { operations, status })
        .max_decoding_message_size(limits::API_REQUEST_BYTES_MAX);
    Router::new().route_service("/roomcast.v1.Api/{*call}", service)
}
