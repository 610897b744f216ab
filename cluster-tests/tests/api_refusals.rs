//! The HTTP API refuses what is wrong, one row of a table each: status, code and message.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer.
const SOON: Duration = Duration::from_secs(10);
const TOKEN: &str = "a-token-of-this-test";
const JSON: &str = "application/json";
/// A body may have 8 MiB.
const BODY_BYTES_MAX: usize = 8 << 20;
/// An event may have a megabyte.
const EVENT_BYTES_MAX: usize = 1_000_000;

/// A request, and what it is refused with: the message holds these words.
struct Row {
    request: Request,
    status: u16,
    code: &'static str,
    words: &'static str,
}

struct Request {
    /// Method and path.
    line: &'static str,
    content_type: &'static str,
    token: Option<&'static str>,
    body: String,
}

const fn row(request: Request, status: u16, code: &'static str, words: &'static str) -> Row {
    Row {
        request,
        status,
        code,
        words,
    }
}

fn post(line: &'static str, body: impl Into<String>) -> Request {
    let body = body.into();
    Request {
        line,
        content_type: JSON,
        token: Some(TOKEN),
        body,
    }
}

fn get(line: &'static str) -> Request {
    post(line, "")
}

impl Request {
    fn with_token(self, token: Option<&'static str>) -> Self {
        Self { token, ..self }
    }

    fn of_type(self, content_type: &'static str) -> Self {
        Self {
            content_type,
            ..self
        }
    }

    /// Status and body of the answer.
    async fn send(&self, api: SocketAddr) -> (u16, Value) {
        let Self {
            line,
            content_type,
            body,
            ..
        } = self;
        let length = body.len();
        let authorization = self
            .token
            .map(|of| format!("authorization: Bearer {of}\r\n"));
        let authorization = authorization.unwrap_or_default();
        let text = format!(
            "{line} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\n{authorization}\
             content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(api).await?;
            stream.write_all(text.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = timeout(SOON, exchange).await.expect(line).expect(line);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(status == 503, head.contains("retry-after: "), "{head}");
        (status, serde_json::from_str(body).expect(body))
    }
}

/// What stands before every operation.
fn at_the_gate() -> Vec<Row> {
    let publish = || post("POST /v1/publish", r#"{"event":"e"}"#);
    let too_large = post("POST /v1/publish", " ".repeat(BODY_BYTES_MAX + 1));
    vec![
        row(
            publish().with_token(None),
            401,
            "unauthenticated",
            "authorization is missing",
        ),
        row(
            publish().with_token(Some("other")),
            401,
            "unauthenticated",
            "not known",
        ),
        row(
            get("GET /v1/rooms").with_token(None),
            401,
            "unauthenticated",
            "is missing",
        ),
        row(
            get("GET /v1/follow").with_token(None),
            401,
            "unauthenticated",
            "is missing",
        ),
        row(
            post("POST /v1/drain", "{}").with_token(None),
            401,
            "unauthenticated",
            "is missing",
        ),
        row(get("GET /v1/publish"), 405, "invalid", "another method"),
        row(
            post("POST /v1/rooms", "{}"),
            405,
            "invalid",
            "another method",
        ),
        row(
            post("DELETE /v1/publish", ""),
            405,
            "invalid",
            "another method",
        ),
        row(get("GET /v1/nothing"), 404, "not_found", "no such path"),
        row(
            post("POST /v2/publish", "{}"),
            404,
            "not_found",
            "no such path",
        ),
        row(
            publish().of_type("text/plain"),
            415,
            "invalid",
            "application/json",
        ),
        row(publish().of_type(""), 415, "invalid", "application/json"),
        row(too_large, 413, "too_large", "length limit"),
    ]
}

/// Bodies that are no JSON, or other JSON.
fn in_the_body() -> Vec<Row> {
    let publish = |body: &str| post("POST /v1/publish", body);
    let publishes = json!({ "publishes": vec![json!({ "event": "e" }); 1_001] }).to_string();
    let long = json!({ "event": "e", "args": ["x".repeat(EVENT_BYTES_MAX)] }).to_string();
    let bad = |request, words| row(request, 400, "invalid", words);
    vec![
        bad(publish(""), "EOF"),
        bad(publish(r#"{"event":"e""#), "EOF"),
        bad(publish("event=e"), "expected value"),
        bad(publish(r#"["e"]"#), "no JSON object"),
        bad(
            publish(r#"["/",null,"e",null,null,null,null,null]"#),
            "no JSON object",
        ),
        bad(publish("{}"), "missing field `event`"),
        bad(publish(r#"{"event":"e","evnt":1}"#), "unknown field `evnt`"),
        bad(
            publish(r#"{"event":"e","event":"f"}"#),
            "duplicate field `event`",
        ),
        bad(publish(r#"{"event":7}"#), "invalid type: integer `7`"),
        bad(
            publish(r#"{"event":"e","rooms":"lobby"}"#),
            "invalid type: string",
        ),
        bad(
            publish(r#"{"event":"e","rooms":[1]}"#),
            "invalid type: integer",
        ),
        bad(publish(r#"{"event":"e","args":{"a":1}}"#), "args"),
        bad(
            publish(r#"{"event":"e","class":"loud"}"#),
            "unknown variant `loud`",
        ),
        bad(publish(r#"{"event":"e","key":""}"#), "key"),
        bad(publish(r#"{"event":"e","attachments":["%%"]}"#), "base64"),
        bad(publish(r#"{"event":"connect"}"#), "reserved"),
        bad(publish(r#"{"event":"e","namespace":"chat"}"#), "namespace"),
        bad(post("POST /v1/publish-batch", publishes), "publishes"),
        bad(
            post("POST /v1/publish-batch", "{}"),
            "missing field `publishes`",
        ),
        bad(
            post("POST /v1/set-data", r#"{"socket":"x","data":1}"#),
            "socket",
        ),
        bad(post("POST /v1/sockets-join", r#"{"join":[""]}"#), "room"),
        bad(
            post("POST /v1/emit-with-ack", r#"{"event":"e","timeout_ms":-1}"#),
            "invalid value",
        ),
        row(publish(&long), 413, "too_large", ""),
        row(
            post(
                "POST /v1/set-data",
                r#"{"socket":"AAAAAAAAAAAAAAAAAAAAAA","data":1}"#,
            ),
            404,
            "not_found",
            "socket",
        ),
    ]
}

/// Queries that mean nothing.
fn in_the_query() -> Vec<Row> {
    let bad = |line, words| row(get(line), 400, "invalid", words);
    vec![
        bad("GET /v1/rooms?nmespace=/", "no parameter \"nmespace\""),
        bad("GET /v1/rooms?namespace=/&namespace=/", "more than once"),
        bad("GET /v1/rooms?limit=0", "at least 1"),
        bad("GET /v1/rooms?limit=%2B1", "no number"),
        bad("GET /v1/rooms?limit=1000000", "limit"),
        bad("GET /v1/members", "room"),
        bad("GET /v1/members?room=r&away=yes", "true or false"),
        bad("GET /v1/sockets?after=", "no socket's id"),
        bad("GET /v1/sockets?after=nobody", "socket's id"),
        bad(
            "GET /v1/history?room=r&after=0.1.1&last=2",
            "exclude each other",
        ),
        bad("GET /v1/history?room=r&after=then", "offset"),
        bad("GET /v1/follow?after=then", "offset"),
    ]
}

#[tokio::test]
async fn whatever_is_wrong_is_refused_by_its_status_and_code_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
    let spec = ClusterSpec::new(1).flag("--api-token-file", tokens.to_str().unwrap());
    let cluster = Cluster::start(&spec).await.unwrap();
    let api = cluster.addrs[0].api;
    let mut wrong = Vec::new();
    let rows = [at_the_gate(), in_the_body(), in_the_query()];
    for row in rows.into_iter().flatten() {
        let (status, body) = row.request.send(api).await;
        let error = body["error"].clone();
        let message = error["message"].as_str().unwrap_or_default();
        let keys = |of: &Value| {
            of.as_object()
                .map(|of| of.keys().cloned().collect::<Vec<_>>())
        };
        let is_right = status == row.status
            && error["code"] == row.code
            && body["ok"] == false
            && keys(&body) == Some(vec!["error".to_owned(), "ok".to_owned()])
            && keys(&error) == Some(vec!["code".to_owned(), "message".to_owned()])
            && !message.is_empty()
            && message.contains(row.words);
        if !is_right {
            let start: String = row.request.body.chars().take(80).collect();
            let expected = (row.status, row.code, row.words);
            wrong.push(format!(
                "{} {start} {expected:?}: {status} {body}",
                row.request.line
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // None of it was carried out.
    let (status, body) = get("GET /v1/history?room=r").send(api).await;
    assert_eq!((status, &body["events"]), (200, &json!([])));
}
