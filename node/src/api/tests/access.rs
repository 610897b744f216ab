//! Who may ask for what.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::Fake;
use crate::api::{Access, Extra, json, router};
use crate::config::ApiTokens;
use crate::grpc;
use crate::operations::Operations;

const TOKEN: &str = "a-token-of-this-test";

fn tokens() -> Access {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("{TOKEN}\n").as_bytes()).unwrap();
    Access::Tokens(ApiTokens::read(file.path().to_str().unwrap()).unwrap())
}

async fn ask(access: &Access, request: Request<Body>) -> Response {
    let fake = Arc::new(Fake::default());
    let operations = Arc::new(Operations::default());
    let extra = Extra {
        access: access.clone(),
        http: json::router(Arc::clone(&operations)),
        grpc: grpc::router(operations, Arc::clone(&fake) as _),
    };
    let metrics = crate::metrics::install().unwrap();
    let router = router(Arc::clone(&fake) as _, fake as _, metrics, extra);
    router.oneshot(request).await.unwrap()
}

/// Asks over HTTP; GET or POST as the path wants it.
async fn status_of(access: &Access, path: &str, authorization: Option<&str>) -> u16 {
    let post = !["/metrics", "/v1/status", "/v1/openapi.json", "/v1/rooms"].contains(&path);
    let mut request = Request::builder().uri(path);
    if post {
        request = request
            .method("POST")
            .header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    let body = if path == "/v1/publish" {
        r#"{"event":"e"}"#
    } else {
        "{}"
    };
    let body = if post { body } else { "" };
    let answer = ask(access, request.body(Body::from(body)).unwrap()).await;
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    }
    status.as_u16()
}

/// 503: let in, by a node that has not joined its cluster.
#[tokio::test]
async fn a_token_opens_what_is_closed_without_one() {
    let right = format!("bearer {TOKEN}");
    let wrong = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");
    let cases: [(Access, Option<&str>, [u16; 6]); 7] = [
        (Access::Open, None, [200, 200, 200, 200, 503, 503]),
        (Access::Closed, None, [200, 200, 200, 200, 403, 403]),
        (Access::Closed, Some(&right), [200, 200, 200, 200, 403, 403]),
        (tokens(), None, [200, 200, 200, 401, 401, 401]),
        (tokens(), Some(&wrong), [200, 200, 200, 401, 401, 401]),
        (tokens(), Some(&basic), [200, 200, 200, 401, 401, 401]),
        (tokens(), Some(&right), [200, 200, 200, 200, 503, 503]),
    ];
    let paths = [
        "/metrics",
        "/v1/status",
        "/v1/openapi.json",
        "/v1/drain",
        "/v1/publish",
        "/v1/rooms",
    ];
    for (access, authorization, statuses) in cases {
        for (path, status) in paths.into_iter().zip(statuses) {
            let got = status_of(&access, path, authorization).await;
            assert_eq!(got, status, "{path} of {access:?} with {authorization:?}");
        }
    }
}

/// The codes of gRPC: 14 is UNAVAILABLE, 16 UNAUTHENTICATED, 7 PERMISSION_DENIED.
#[tokio::test]
async fn grpc_is_closed_and_opened_the_same_way() {
    let right = format!("Bearer {TOKEN}");
    for (access, authorization, code, word) in [
        (Access::Open, None, "14", "unavailable"),
        (Access::Closed, Some(&*right), "7", "forbidden"),
        (tokens(), None, "16", "unauthenticated"),
        (tokens(), Some("Bearer x"), "16", "unauthenticated"),
        (tokens(), Some(&*right), "14", "unavailable"),
    ] {
        let mut request = Request::post("/roomcast.v1.Api/Rooms")
            .header(header::CONTENT_TYPE, "application/grpc+proto");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let empty: &[u8] = &[0, 0, 0, 0, 0];
        let answer = ask(&access, request.body(Body::from(empty)).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{access:?}");
        assert_eq!(
            answer.headers()["grpc-status"],
            code,
            "{access:?} {authorization:?}"
        );
        assert_eq!(answer.headers()["roomcast-code"], word);
    }
}

/// What a page of another origin can send without asking first.
#[tokio::test]
async fn a_form_of_a_web_page_calls_nothing_over_grpc() {
    let request =
        Request::post("/roomcast.v1.Api/Rooms").header(header::CONTENT_TYPE, "text/plain");
    let empty: &[u8] = &[0, 0, 0, 0, 0];
    let answer = ask(&Access::Open, request.body(Body::from(empty)).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_refusal_says_which_key_opens_the_door() {
    let request = Request::post("/v1/publish").header(header::CONTENT_TYPE, "application/json");
    let answer = ask(&Access::Closed, request.body(Body::from("{}")).unwrap()).await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(said["error"]["code"], "forbidden");
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("--api-token-file"), "{message}");
}
