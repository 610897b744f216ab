//! Routes of the API port.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};

use super::source::{
    AdminError, AdminSource, NamespaceReport, NodeReport, SnapshotReport, StatusSource,
};
use crate::ids::{GroupId, NodeId};
use crate::metrics::{self, Metrics};

const METRICS: &str = "/metrics";
const STATUS: &str = "/v1/status";
const DRAIN: &str = "/v1/drain";
const TRANSFER_LEADER: &str = "/v1/transfer-leader";
const SNAPSHOT: &str = "/v1/snapshot";
const PATHS: [&str; 5] = [METRICS, STATUS, DRAIN, TRANSFER_LEADER, SNAPSHOT];

/// Largest body of a command.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The label under which all gRPC calls are counted.
const GRPC: &str = "grpc";
/// How long an answer may take; snapshots of large groups take longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Api {
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn AdminSource>,
    metrics: Metrics,
}

/// What is served beside the routes of this module. No router has a fallback of its own.
#[derive(Debug, Default)]
pub struct Extra {
    /// Plain HTTP: bounded in time as everything here is.
    pub http: Router,
    /// gRPC: a stream lasts as long as both ends want it.
    pub grpc: Router,
}

/// The routes, to be given to [`super::serve`].
pub fn router(
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn AdminSource>,
    metrics: Metrics,
    extra: Extra,
) -> Router {
    let grpc = extra.grpc.layer(middleware::from_fn(counted));
    Router::new()
        .route(METRICS, get(render))
        .route(STATUS, get(report))
        .route(DRAIN, post(drain))
        .route(TRANSFER_LEADER, post(transfer_leader))
        .route(SNAPSHOT, post(snapshot))
        .with_state(Api {
            status,
            admin,
            metrics,
        })
        .merge(extra.http)
        .fallback(unknown)
        .method_not_allowed_fallback(method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(bounded))
        .merge(grpc)
}

/// Bounds every answer in time, and counts it by route: any path would be an unbounded label.
async fn bounded(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route = PATHS
        .into_iter()
        .find(|known| *known == path)
        .unwrap_or("other");
    let response = match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer in time")
            .into_response(),
    };
    metrics::http_requests(route, response.status().as_str().to_owned()).increment(1);
    response
}

/// Counts a gRPC call when it is taken; its own status comes at its end.
async fn counted(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics::http_requests(GRPC, response.status().as_str().to_owned()).increment(1);
    response
}

async fn render(State(api): State<Api>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}

#[derive(Deserialize)]
struct StatusQuery {
    namespace: Option<String>,
}

#[derive(Serialize)]
struct StatusAnswer {
    #[serde(flatten)]
    node: NodeReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<NamespaceReport>,
}

async fn report(State(api): State<Api>, Query(query): Query<StatusQuery>) -> Json<StatusAnswer> {
    let node = api.status.report().await;
    let namespace = query.namespace.and_then(|name| {
        let group = api.status.group_of(&name)?;
        let known = node.groups.iter().find(|report| report.group == group);
        Some(NamespaceReport {
            name,
            group,
            leader: known.and_then(|report| report.leader),
        })
    });
    Json(StatusAnswer { node, namespace })
}

/// The body of a command without arguments: `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    group: GroupId,
    to: NodeId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    group: Option<GroupId>,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshots: Option<Vec<SnapshotReport>>,
}

const DONE: Json<Done> = Json(Done {
    ok: true,
    snapshots: None,
});

type Body<T> = Result<Json<T>, JsonRejection>;

async fn drain(State(api): State<Api>, body: Body<Nothing>) -> Result<Json<Done>, Refused> {
    let Json(Nothing {}) = body?;
    api.admin.drain().await?;
    Ok(DONE)
}

async fn transfer_leader(
    State(api): State<Api>,
    body: Body<Transfer>,
) -> Result<Json<Done>, Refused> {
    let Json(Transfer { group, to }) = body?;
    api.admin.transfer_leader(group, to).await?;
    Ok(DONE)
}

async fn snapshot(State(api): State<Api>, body: Body<Snapshot>) -> Result<Json<Done>, Refused> {
    let Json(Snapshot { group }) = body?;
    let snapshots = Some(api.admin.snapshot(group).await?);
    Ok(Json(Done {
        ok: true,
        snapshots,
    }))
}

async fn unknown() -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "the API has no such path",
    )
}

async fn method() -> Refused {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid",
        "this path has another method",
    )
}

/// `{"ok":false,"error":{"code","message"}}`, as everywhere in Roomcast.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
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
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = serde_json::json!({ "code": self.code, "message": self.message });
        let body = serde_json::json!({ "ok": false, "error": error });
        (self.status, Json(body)).into_response()
    }
}
