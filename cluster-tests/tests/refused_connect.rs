//! A connect that an application refuses: whichever door the application has, whichever node the
//! client is at and whichever node the backend has dialled, the client is told the same.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use roomcast::{Connect, ConnectNext, Namespace, Rejection, ServeConfig, Server, from_fn};
use roomcast_cluster_tests::backend::{NAMESPACE, REFUSE, TestBackend};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::wire::{Frame, Packet, Wire};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Longest wait for an answer.
const SOON: Duration = Duration::from_secs(10);
/// What a webhook application serves.
const HOOKED: &str = "/hooked";
/// What an application in the node's process serves.
const RUST: &str = "/rust";
/// Member of `auth`: a webhook application refuses by a status, as another one does by its answer.
const BY_STATUS: &str = "by_status";

/// A webhook application on a port of its own; it ends with the test.
async fn hooked() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    addr
}

/// Answers one request after the other.
async fn serve(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream
                .read_line(&mut line)
                .await
                .ok()
                .filter(|of| *of > 0)?;
            let header = line.to_ascii_lowercase();
            if let Some(given) = header.strip_prefix("content-length:") {
                length = given.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let (status, answer) = decide(&serde_json::from_slice(&body).ok()?);
        let length = answer.len();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{answer}");
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}

/// What it answers to a message: everything is fine but a client that asks to be refused.
fn decide(message: &Value) -> (&'static str, String) {
    let (auth, refuse) = (&message["auth"], &message["auth"][REFUSE]);
    if message["type"] != "connect" || refuse.is_null() {
        return ("200 OK", String::new());
    }
    let status = match auth[BY_STATUS].as_bool() {
        Some(true) => "403 Forbidden",
        _ => "200 OK",
    };
    (status, json!({ "reject": refuse }).to_string())
}

/// A node of this process, whose middleware refuses who asks for it.
async fn in_process(dir: &std::path::Path) -> Server {
    let namespace =
        Namespace::new().connect_layer(from_fn(|connect: Connect, next: ConnectNext| async move {
            let refuse = connect.auth[REFUSE].clone();
            if refuse.is_null() {
                return next.run(connect).await;
            }
            Err(Rejection {
                message: refuse["message"].as_str().unwrap_or_default().to_owned(),
                data: refuse.get("data").cloned(),
            })
        }));
    let mut config = ServeConfig::single_node(dir);
    config.disk_reserve_bytes = 0;
    let building = Server::builder(config).namespace(RUST, namespace);
    let server = building.start().await.unwrap();
    timeout(SOON, server.ready()).await.unwrap();
    server
}

/// The packet that refuses a connect. The connection is as good as before: the
/// same client is admitted on it when it does not ask to be refused.
async fn refused(addr: SocketAddr, namespace: &str, auth: &Value) -> Packet {
    let mut wire = Wire::connect(addr, "").await.unwrap();
    let packet = wire.connect_namespace(namespace, auth).await.unwrap();
    assert_eq!((packet.kind, packet.id), ('4', None), "{packet:?}");
    assert_eq!(
        (&*packet.namespace, packet.attachment_count),
        (namespace, 0)
    );
    let admitted = wire.connect_namespace(namespace, &json!({})).await.unwrap();
    assert_eq!(admitted.kind, '0', "{admitted:?}");
    packet
}

/// What clients are refused with, and the payload that each is told.
fn refusals() -> [(Value, Value); 4] {
    let with = |refuse: Value| (json!({ REFUSE: refuse }), refuse);
    [
        with(
            json!({ "message": "not today", "data": { "retry": false, "why": ["a", 1.5, null] } }),
        ),
        with(json!({ "message": "no \"data\"\n\u{1f6aa}" })),
        with(json!({ "message": "", "data": "text" })),
        with(json!({ "message": "a list", "data": [] })),
    ]
}

/// Three nodes whose namespaces are served by a backend, a webhook application and themselves.
async fn cluster() -> Cluster {
    let hooks = format!("{HOOKED}=http://{}/", hooked().await);
    let spec = ClusterSpec::new(3)
        .flag("--backend-policies", &format!("{NAMESPACE}=wait"))
        .flag("--webhooks", &hooks);
    Cluster::start(&spec).await.unwrap()
}

async fn welcome(backend: &TestBackend) {
    let welcome = async {
        while backend.with(|record| record.welcomes.is_empty()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, welcome).await.expect("it is welcome");
}

#[tokio::test]
async fn a_refused_client_is_told_the_same_at_every_door_and_node() {
    let cluster = cluster().await;
    let dir = tempfile::tempdir().unwrap();
    let server = in_process(dir.path()).await;
    for (auth, payload) in refusals() {
        let packet = refused(server.client_addr(), RUST, &auth).await;
        assert_eq!(packet.data, payload);
        let mut by_status = auth.clone();
        by_status[BY_STATUS] = json!(true);
        for addr in cluster.clients() {
            for auth in [&auth, &by_status] {
                let packet = refused(addr, HOOKED, auth).await;
                assert_eq!(packet.data, payload, "{addr} {auth}");
            }
        }
    }
    for node in 0..cluster.nodes.len() {
        let backend = TestBackend::start(vec![cluster.addrs[node].api]);
        welcome(&backend).await;
        for (auth, payload) in refusals() {
            for addr in cluster.clients() {
                let packet = refused(addr, NAMESPACE, &auth).await;
                assert_eq!(packet.data, payload, "{addr}, the backend at {node}");
            }
        }
    }
    timeout(SOON, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn what_the_node_itself_refuses_has_the_same_shape_and_what_is_undecided_has_none() {
    let spec = ClusterSpec::new(3)
        .flag("--backend-policies", "/app=wait,/refuse=refuse")
        .flag("--backend-wait", "300ms");
    let cluster = Cluster::start(&spec).await.unwrap();
    let long = json!({ "identity": "x".repeat(10_000) });
    for addr in cluster.clients() {
        let packet = refused(addr, "/", &long).await;
        assert_eq!(
            packet.data,
            json!({ "message": "auth.identity is too long" })
        );
        let mut wire = Wire::connect(addr, "").await.unwrap();
        let packet = wire.connect_namespace("/refuse", &json!({})).await.unwrap();
        let unavailable = json!({ "code": "unavailable" });
        let payload = json!({ "message": "no backend is there", "data": unavailable });
        assert_eq!((packet.kind, packet.data), ('4', payload));
        // A stock client does not come back from a refusal: who waits in vain is cut instead.
        wire.send("40/app,".to_owned()).await;
        let cut = wire.next(SOON).await.unwrap();
        assert!(matches!(cut, Frame::Closed { .. }), "{cut:?}");
    }
}
