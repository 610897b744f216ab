//! Routes of the API port.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};

use super::gate::{self, Access, Gate};
use super::json::{Given, OPENAPI, Parameters};
use super::refused::{Refused, method, unknown};
use super::source::{AdminSource, NamespaceReport, NodeReport, SnapshotReport, StatusSource};
use crate::ids::{GroupId, NodeId};
use crate::metrics::{self, Metrics};

/// Largest body of a command.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The label under which all gRPC calls are counted.
const GRPC: &str = "grpc";
/// The label of everything that is no route: any path would be an unbounded label.
const OTHER: &str = "other";
/// How long an answer may take; snapshots of large groups take longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Api {
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn AdminSource>,
    metrics: Metrics,
}

/// What is served beside the routes of this module. No router has a fallback of its own.
#[derive(Debug, Default)]
pub struct Extra {
    /// Who may use what is served here and there.
    pub access: Access,
    /// Plain HTTP: bounded in time as everything here is.
    pub http: Router,
    /// gRPC: a stream lasts as long as both ends want it.
    pub grpc: Router,
}

/// What everybody may read.
pub(super) fn open_routes() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/metrics", get(render)),
        ("/v1/status", get(report)),
        ("/v1/openapi.json", get(openapi)),
    ]
}

/// What operators may do.
pub(super) fn command_routes() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/v1/drain", post(drain)),
        ("/v1/transfer-leader", post(transfer_leader)),
        ("/v1/snapshot", post(snapshot)),
    ]
}

/// The routes, to be given to [`super::serve`].
pub fn router(
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn AdminSource>,
    metrics: Metrics,
    extra: Extra,
) -> Router {
    let Extra { access, http, grpc } = extra;
    let gate = Gate::new(access);
    let all = |routes: Vec<(&'static str, MethodRouter<Api>)>| {
        let empty = Router::new();
        let routes = routes.into_iter();
        routes.fold(empty, |router, (path, method)| router.route(path, method))
    };
    let commands = middleware::from_fn_with_state(gate.clone(), gate::commands);
    let requests = middleware::from_fn_with_state(gate.clone(), gate::requests);
    let calls = middleware::from_fn_with_state(gate, gate::calls);
    all(open_routes())
        .merge(all(command_routes()).route_layer(commands))
        .with_state(Api {
            status,
            admin,
            metrics,
        })
        .merge(gated(http, requests))
        .fallback(unknown)
        .method_not_allowed_fallback(method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(bounded))
        .merge(gated(grpc, calls).layer(middleware::from_fn(counted)))
}

/// `route_layer` wants routes.
fn gated<L>(router: Router, layer: L) -> Router
where
    L: tower::Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service:
        tower::Service<Request, Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    <L::Service as tower::Service<Request>>::Response: IntoResponse + 'static,
    <L::Service as tower::Service<Request>>::Future: Send + 'static,
{
    if router.has_routes() {
        router.route_layer(layer)
    } else {
        router
    }
}

/// Bounds every answer in time, and counts it by route.
async fn bounded(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let response = match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer in time")
            .into_response(),
    };
    let route = path.map_or_else(|| OTHER.to_owned(), |path| path.as_str().to_owned());
    metrics::http_requests(route, response.status().as_str().to_owned()).increment(1);
    response
}

/// Counts a gRPC call when it is taken; its own status comes at its end.
async fn counted(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics::http_requests(GRPC, response.status().as_str().to_owned()).increment(1);
    response
}

/// The document that describes every path.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn render(State(api): State<Api>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}

#[derive(Serialize)]
struct StatusAnswer {
    #[serde(flatten)]
    node: NodeReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<NamespaceReport>,
}

async fn report(State(api): State<Api>, given: Given) -> Result<Json<StatusAnswer>, Refused> {
    let mut query = Parameters::of(given)?;
    let name = query.one("namespace")?;
    query.end()?;
    Ok(Json(answer(&*api.status, name).await))
}

/// What `GET /v1/status` says, for whoever asks in another way.
pub(crate) async fn status_json(status: &dyn StatusSource, namespace: Option<String>) -> String {
    let answer = answer(status, namespace).await;
    serde_json::to_string(&answer).expect("numbers and texts are JSON")
}

async fn answer(status: &dyn StatusSource, namespace: Option<String>) -> StatusAnswer {
    let node = status.report().await;
    let namespace = namespace.and_then(|name| {
        let group = status.group_of(&name)?;
        let known = node.groups.iter().find(|report| report.group == group);
        Some(NamespaceReport {
            name,
            group,
            leader: known.and_then(|report| report.leader),
        })
    });
    StatusAnswer { node, namespace }
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
