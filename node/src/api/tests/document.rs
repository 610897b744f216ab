//! The OpenAPI document and the routes say the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::Fake;
use crate::api::json::{self, OPENAPI};
use crate::api::port::{command_routes, open_routes};
use crate::api::{Access, Extra, router};
use crate::operations::Operations;

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Each route's path, with each method that it does not refuse as unknown.
async fn routes() -> BTreeSet<(String, Method)> {
    let mut paths: Vec<&'static str> = Vec::new();
    paths.extend(open_routes().iter().map(|(path, _)| *path));
    paths.extend(command_routes().iter().map(|(path, _)| *path));
    paths.extend(json::routes().iter().map(|(path, _)| *path));
    let fake = Arc::new(Fake::default());
    let extra = Extra {
        access: Access::Open,
        http: json::router(Arc::new(Operations::default())),
        grpc: axum::Router::new(),
    };
    let metrics = crate::metrics::install().unwrap();
    let router = router(Arc::clone(&fake) as _, fake as _, metrics, extra);
    let mut found = BTreeSet::new();
    for path in paths {
        for method in METHODS {
            let request = Request::builder().method(&method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_ne!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
                found.insert((path.to_owned(), method));
            }
        }
    }
    found
}

#[tokio::test]
async fn the_document_describes_every_route_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            described.insert((path.clone(), method));
        }
    }
    let served = routes().await;
    assert!(served.len() > 15, "{served:?}");
    assert_eq!(served, described);
}

/// What the document refers to is there.
#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut open = vec![&document];
    let mut count = 0;
    while let Some(value) = open.pop() {
        if let Some(Value::String(reference)) = value.get("$ref") {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
            count += 1;
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    assert!(count > 100, "{count}");
}
