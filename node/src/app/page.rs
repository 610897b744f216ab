//! The demo page, in development mode: ours from the binary, the official client from its npm
//! package.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The official client in its npm package, below `--page-dir`.
const CLIENT_FILE: &str = "node_modules/socket.io-client/dist/socket.io.min.js";

/// Serves the page at `/`; `page_dir` is where the page's npm packages are installed.
pub(super) fn router(page_dir: Option<PathBuf>) -> Router {
    let asset = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route(
            "/",
            asset(
                "text/html; charset=utf-8",
                include_str!("../../demo/index.html"),
            ),
        )
        .route(
            "/demo/app.js",
            asset("text/javascript", include_str!("../../demo/app.js")),
        )
        .route(
            "/demo/checker.js",
            asset("text/javascript", include_str!("../../demo/checker.js")),
        )
        .route(
            "/demo/view.js",
            asset("text/javascript", include_str!("../../demo/view.js")),
        )
        .route(
            "/demo/style.css",
            asset("text/css", include_str!("../../demo/style.css")),
        )
        .route("/demo/socket.io.js", get(client))
        .with_state(Arc::new(page_dir))
}

async fn client(State(page_dir): State<Arc<Option<PathBuf>>>) -> Response {
    let Some(dir) = page_dir.as_ref() else {
        let text = "no --page-dir was given: `make run` installs the client and gives it";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    match tokio::fs::read(dir.join(CLIENT_FILE)).await {
        Ok(script) => ([(header::CONTENT_TYPE, "text/javascript")], script).into_response(),
        Err(error) => {
            let text = format!("{CLIENT_FILE} in --page-dir: {error}");
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}
