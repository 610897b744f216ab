//! The API port over loopback, on a fake node.

mod access;
mod document;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::client::Asked;
use super::*;
use crate::ids::{GroupId, NodeId};

#[derive(Default)]
struct Fake {
    /// Commands in the order they came.
    commands: Mutex<Vec<String>>,
}

#[async_trait]
impl StatusSource for Fake {
    async fn report(&self) -> NodeReport {
        let group = |group, leader| GroupReport {
            group,
            leader,
            term: 3,
            applied: 12,
            first: 1,
            connected: 2,
            away: 1,
            hash: "00ff".to_owned(),
        };
        NodeReport {
            node_id: 1,
            cluster_id: "c".to_owned(),
            version: "0".to_owned(),
            zone: None,
            ready: false,
            reason: Some("no quorum".to_owned()),
            groups: vec![group(0, Some(2)), group(1, None)],
            backends: vec![BackendReport {
                id: "b".to_owned(),
                name: "chat".to_owned(),
                node: 2,
                namespaces: vec!["/chat".to_owned()],
                open_calls: 3,
            }],
        }
    }

    fn group_of(&self, namespace: &str) -> Option<GroupId> {
        (namespace == "/chat & more").then_some(0)
    }
}

#[async_trait]
impl AdminSource for Fake {
    async fn drain(&self) -> Result<(), AdminError> {
        self.commands.lock().push("drain".to_owned());
        Ok(())
    }

    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), AdminError> {
        self.commands
            .lock()
            .push(format!("transfer {group} to {to}"));
        match group {
            0 => Ok(()),
            1 => Err(AdminError::Unavailable("node 2 leads".to_owned())),
            2 => Err(AdminError::Failed("disk".to_owned())),
            _ => Err(AdminError::Invalid("no such group".to_owned())),
        }
    }

    async fn snapshot(&self, group: Option<GroupId>) -> Result<Vec<SnapshotReport>, AdminError> {
        self.commands.lock().push(format!("snapshot {group:?}"));
        Ok(vec![SnapshotReport {
            group: 0,
            index: 12,
        }])
    }
}

struct Fixture {
    address: String,
    fake: Arc<Fake>,
    _stop: tokio_util::sync::DropGuard,
}

async fn port(connections_max: usize) -> Fixture {
    let fake = Arc::new(Fake::default());
    let metrics = crate::metrics::install().unwrap();
    let here = |text: &'static str| axum::routing::post(move || async move { text });
    let extra = Extra {
        access: Access::Open,
        http: axum::Router::new().route("/v1/more", here("more")),
        grpc: axum::Router::new().route("/package.Service/{*call}", here("called")),
    };
    let router = router(
        Arc::clone(&fake) as _,
        Arc::clone(&fake) as _,
        metrics,
        extra,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(serve(
        ApiListener::new(listener, connections_max),
        router,
        stop.clone(),
    ));
    Fixture {
        address,
        fake,
        _stop: stop.drop_guard(),
    }
}

impl Fixture {
    async fn ask(&self, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let patience = Duration::from_secs(10);
        let asked = Asked {
            path,
            body: body.as_ref(),
            token: None,
        };
        let answer = client::request(&self.address, asked, patience).await;
        let (status, bytes) = answer.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

#[tokio::test]
async fn status_has_the_shape_of_the_contract() {
    let port = port(8).await;
    let (status, answer) = port.ask("/v1/status", None).await;
    assert_eq!(status, StatusCode::OK);
    let group = |group: u32, leader: Value| {
        json!({
            "group": group, "leader": leader, "term": 3, "applied": 12, "first": 1,
            "connected": 2, "away": 1, "hash": "00ff",
        })
    };
    let groups = [group(0, json!(2)), group(1, Value::Null)];
    let mut expected = json!({
        "node_id": 1, "cluster_id": "c", "version": "0", "zone": null, "ready": false,
        "reason": "no quorum", "groups": groups, "backends": [{
            "id": "b", "name": "chat", "node": 2, "namespaces": ["/chat"], "open_calls": 3,
        }],
    });
    assert_eq!(answer, expected);
    let (_, answer) = port
        .ask("/v1/status?namespace=/chat%20%26%20more", None)
        .await;
    expected["namespace"] = json!({ "name": "/chat & more", "group": 0, "leader": 2 });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn commands_reach_the_node_and_refusals_the_operator() {
    let port = port(8).await;
    let refused = |code: &str, message: &str| {
        let error = json!({ "code": code, "message": message });
        json!({ "ok": false, "error": error })
    };
    let transfer = |group: u32| Some(json!({ "group": group, "to": 2 }));
    for (path, body, status, answer) in [
        ("/v1/drain", Some(json!({})), 200, json!({ "ok": true })),
        (
            "/v1/transfer-leader",
            transfer(0),
            200,
            json!({ "ok": true }),
        ),
        (
            "/v1/transfer-leader",
            transfer(1),
            503,
            refused("unavailable", "node 2 leads"),
        ),
        (
            "/v1/transfer-leader",
            transfer(2),
            500,
            refused("failed", "disk"),
        ),
        (
            "/v1/transfer-leader",
            transfer(3),
            400,
            refused("invalid", "no such group"),
        ),
        (
            "/v1/snapshot",
            Some(json!({ "group": null })),
            200,
            json!({ "ok": true, "snapshots": [{ "group": 0, "index": 12 }] }),
        ),
        (
            "/v1/nothing",
            None,
            404,
            refused("not_found", "the API has no such path"),
        ),
        (
            "/v1/drain",
            None,
            405,
            refused("invalid", "this path has another method"),
        ),
    ] {
        let (got, said) = port.ask(path, body.clone()).await;
        assert_eq!((got.as_u16(), said), (status, answer), "{path} {body:?}");
    }
    let commands = port.fake.commands.lock().clone();
    assert_eq!(commands[..2], ["drain", "transfer 0 to 2"]);
    assert_eq!(commands.last().unwrap(), "snapshot None");
    assert_eq!(commands.len(), 6, "what is malformed reaches nobody");
}

#[tokio::test]
async fn malformed_commands_are_refused_in_json() {
    let port = port(8).await;
    for (path, body) in [
        ("/v1/drain", json!({ "now": true })),
        ("/v1/transfer-leader", json!({ "group": 0 })),
        ("/v1/transfer-leader", json!({ "group": -1, "to": 2 })),
        ("/v1/snapshot", json!([])),
        ("/v1/snapshot", json!({ "groups": 1 })),
    ] {
        let (status, answer) = port.ask(path, Some(body.clone())).await;
        assert!(status.is_client_error(), "{path} {body} {status}");
        assert_eq!(answer["error"]["code"], "invalid", "{path} {body}");
    }
    assert!(port.fake.commands.lock().is_empty());
}

/// What a page of another origin can send without asking first.
#[tokio::test]
async fn a_form_of_a_web_page_commands_nothing() {
    let port = port(8).await;
    let mut stream = TcpStream::connect(&port.address).await.unwrap();
    let head = "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
    let rest = "Content-Length: 2\r\nConnection: close\r\n\r\n{}";
    stream
        .write_all(format!("{head}{rest}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(port.fake.commands.lock().is_empty());
}

#[tokio::test]
async fn metrics_are_rendered_and_requests_are_counted_by_route() {
    let port = port(8).await;
    port.ask("/v1/some/path", None).await;
    let (status, text) = port.ask("/metrics", None).await;
    assert_eq!(status, StatusCode::OK);
    let text = text.as_str().unwrap();
    assert!(text.contains("# TYPE roomcast_sessions gauge\n"), "{text}");
    let counted = "roomcast_http_requests_total{route=\"other\",status=\"404\"}";
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains("/v1/some"), "a path is no label");
}

#[tokio::test]
async fn connections_above_the_bound_wait_for_their_turn() {
    let port = port(1).await;
    let idle = TcpStream::connect(&port.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let short = Duration::from_millis(300);
    let waiting = client::request(&port.address, Asked::get("/v1/status"), short).await;
    assert!(
        matches!(waiting, Err(client::RequestError::Timeout { .. })),
        "{waiting:?}"
    );
    drop(idle);
    let (status, _) = port.ask("/v1/status", None).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn http_2_is_spoken_on_the_same_port_and_reaches_what_others_serve() {
    let port = port(8).await;
    let (status, text) = port.ask("/v1/more", Some(json!({}))).await;
    assert_eq!((status, text), (StatusCode::OK, json!("more")));
    let stream = TcpStream::connect(&port.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (path, expected) in [
        ("/v1/more", StatusCode::OK),
        ("/package.Service/Call", StatusCode::OK),
        ("/v1/nothing", StatusCode::NOT_FOUND),
    ] {
        let request = http::Request::post(format!("http://{}{path}", port.address))
            .header("content-type", "application/grpc")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert_eq!(answer.status(), expected, "{path}");
    }
    let counted = crate::metrics::install().unwrap().render();
    let line = "roomcast_http_requests_total{route=\"grpc\",status=\"200\"}";
    assert!(counted.contains(line), "{counted}");
}
