//! Path, cookie, pages of other origins, and the client bundle, against what the reference answers
//! (socket.io 4.8.4).

use std::path::Path;

use flate2::read::GzDecoder;
use http::HeaderValue;
use std::io::Read as _;

use super::polling::POLLING;
use super::*;
use crate::config::CLIENT_BUNDLE_FILES;
use crate::server::ClientBundle;

pub(super) fn port_with_http(http: HttpSettings) -> ClientPort {
    let upper = Arc::new(Upper::default());
    let acceptor: Arc<dyn Acceptor> = upper.clone();
    let config = EngineConfig::standard();
    let engine = Engine::new(5, config, Entropy::from_seed(9), acceptor);
    port_speaking(http, Arc::new(engine), upper, (100, 100), None)
}

pub(super) fn at_path(path: &str) -> ClientPort {
    port_with_http(HttpSettings {
        path: path.to_owned(),
        ..HttpSettings::standard()
    })
}

#[tokio::test]
async fn the_path_is_a_prefix_with_its_slash() {
    let query = "?EIO=4&transport=polling";
    for (path, found, not_found) in [
        (
            "/socket.io/",
            &["/socket.io/", "/socket.io/extra", "/socket.io/a/b"][..],
            &["/socket.io", "/socket.iox/", "/", "/ws/", "/socket.i"][..],
        ),
        ("/ws/", &["/ws/", "/ws/a"], &["/ws", "/socket.io/"]),
        (
            "/socket.io",
            &["/socket.io", "/socket.io/", "/socket.iox", "/socket.io/x"],
            &["/socket.i", "/ws"],
        ),
    ] {
        let port = at_path(path);
        for asked in found {
            let (status, _, head) = ask(&port, &format!("GET {asked}{query}"), "Host: a\r\n").await;
            assert_eq!(status, "200", "{path}: {asked}: {head}");
            let line = format!("GET {asked}?EIO=4&transport=other");
            assert_eq!(ask(&port, &line, "Host: a\r\n").await.0, "400");
            let request = format!("GET {asked}?EIO=4&transport=websocket HTTP/1.1\r\n{UPGRADE}");
            let upgraded = head_of(&port, &request).await;
            assert!(upgraded.starts_with("HTTP/1.1 101 "), "{asked}: {upgraded}");
        }
        for asked in not_found {
            let (status, body, _) = ask(&port, &format!("GET {asked}{query}"), "Host: a\r\n").await;
            // The page of the tests is at `/`.
            if *asked != "/" {
                assert_eq!(status, "404", "{path}: {asked}: {body}");
            }
        }
    }
}

async fn head_of(port: &ClientPort, request: &str) -> String {
    head(&mut connect(port, request).await).await
}

#[tokio::test]
async fn a_cookie_comes_with_the_polling_handshake_alone() {
    let port = port_with_http(HttpSettings {
        cookie: Some("io".to_owned()),
        ..HttpSettings::standard()
    });
    let (status, body, head) = ask(&port, &format!("GET {POLLING}"), "Host: a\r\n").await;
    assert_eq!(status, "200");
    let sid = body[8..].split('"').nth(1).unwrap();
    let line = format!("set-cookie: io={sid}; Path=/; HttpOnly; SameSite=Lax\r\n");
    assert!(head.contains(&line), "{head}");
    let session = port.engine().registry().sessions().remove(0);
    session.try_push(&Frames::text("4a".into())).unwrap();
    let (_, _, head) = ask(&port, &format!("GET {POLLING}&sid={sid}"), "Host: a\r\n").await;
    assert!(!head.contains("set-cookie"), "{head}");
    let request = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{UPGRADE}");
    let head = head_of(&port, &request).await;
    assert!(!head.contains("set-cookie"), "{head}");
    let none = at_path("/socket.io/");
    let (_, _, head) = ask(&none, &format!("GET {POLLING}"), "Host: a\r\n").await;
    assert!(!head.contains("set-cookie"), "{head}");
}

const GOOD: &str = "http://good.example";

fn from_origin(cors: Cors, max_age_s: Option<u64>) -> ClientPort {
    port_with_http(HttpSettings {
        cors,
        cors_max_age: max_age_s.map(Duration::from_secs),
        ..HttpSettings::standard()
    })
}

/// What of an answer is about other origins, sorted.
fn said(head: &str) -> Vec<&str> {
    let about = |line: &&str| line.starts_with("access-control-") || line.starts_with("vary: ");
    let mut lines: Vec<&str> = head.lines().filter(about).collect();
    lines.sort_unstable();
    lines
}

async fn said_to(port: &ClientPort, line: &str, origin: Option<&str>) -> (String, String) {
    let mut headers = "Host: a\r\n".to_owned();
    if let Some(origin) = origin {
        headers.push_str(&format!("Origin: {origin}\r\n"));
    }
    if line.starts_with("OPTIONS") {
        headers.push_str("Access-Control-Request-Headers: x-one\r\n");
    }
    let (status, _, head) = ask(port, line, &headers).await;
    (status, said(&head).join(" | "))
}

const METHODS: &str = "access-control-allow-methods: GET,HEAD,PUT,PATCH,POST,DELETE";

#[tokio::test]
async fn listed_origins_are_let_in_with_credentials() {
    let origins = vec![
        HeaderValue::from_static(GOOD),
        HeaderValue::from_static("http://two.example"),
    ];
    let port = from_origin(Cors::Listed(origins), Some(600));
    let credentials = "access-control-allow-credentials: true";
    for line in [
        format!("GET {POLLING}"),
        "GET /socket.io/?EIO=3&transport=polling".to_owned(),
    ] {
        let (_, good) = said_to(&port, &line, Some(GOOD)).await;
        let allowed = "access-control-allow-origin: http://good.example";
        assert_eq!(good, format!("{credentials} | {allowed} | vary: origin"));
        for other in [
            Some("http://bad.example"),
            Some("http://good.example.evil"),
            None,
        ] {
            let (_, other) = said_to(&port, &line, other).await;
            assert_eq!(other, format!("{credentials} | vary: origin"));
        }
    }
    let preflight = format!("OPTIONS {POLLING}");
    let common = "access-control-max-age: 600 | vary: access-control-request-headers | \
        vary: origin";
    let (status, good) = said_to(&port, &preflight, Some(GOOD)).await;
    assert_eq!(status, "204");
    assert_eq!(
        good,
        format!(
            "{credentials} | access-control-allow-headers: x-one | {METHODS} | \
             access-control-allow-origin: {GOOD} | {common}"
        )
    );
    let (status, bad) = said_to(&port, &preflight, Some("http://bad.example")).await;
    assert_eq!(status, "204", "it is the browser that refuses");
    assert_eq!(
        bad,
        format!("{credentials} | access-control-allow-headers: x-one | {METHODS} | {common}")
    );
}

#[tokio::test]
async fn any_origin_is_let_in_without_credentials_and_none_when_off() {
    let port = from_origin(Cors::Anonymous, None);
    let star = "access-control-allow-origin: *";
    let (_, said) = said_to(&port, &format!("GET {POLLING}"), Some(GOOD)).await;
    assert_eq!(said, star);
    let (status, said) = said_to(&port, &format!("OPTIONS {POLLING}"), Some(GOOD)).await;
    assert_eq!(status, "204");
    assert_eq!(
        said,
        format!(
            "access-control-allow-headers: x-one | {METHODS} | {star} | \
             vary: access-control-request-headers"
        )
    );
    let port = from_origin(Cors::Off, None);
    let (status, said) = said_to(&port, &format!("GET {POLLING}"), Some(GOOD)).await;
    assert_eq!((status.as_str(), said.as_str()), ("200", ""));
    let (status, body, head) = ask(&port, &format!("OPTIONS {POLLING}"), "Host: a\r\n").await;
    assert_eq!(status, "400");
    assert_eq!(body, r#"{"code":2,"message":"Bad handshake method"}"#);
    assert!(!head.contains("access-control"), "{head}");
}

fn bundle(directory: &Path) -> ClientBundle {
    for name in CLIENT_BUNDLE_FILES {
        let text = format!("/* {name} */ {}", "io();".repeat(100));
        std::fs::write(directory.join(name), text).unwrap();
    }
    ClientBundle::load(directory).unwrap()
}

#[tokio::test]
async fn the_client_bundle_is_served_by_its_fixed_names() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret.js"), "secret").unwrap();
    let port = port_with_http(HttpSettings {
        bundle: Some(bundle(dir.path())),
        ..HttpSettings::standard()
    });
    // What is served was read at the start.
    std::fs::write(dir.path().join("socket.io.js"), "changed").unwrap();
    for name in CLIENT_BUNDLE_FILES {
        let line = format!("GET /socket.io/{name}?v=1");
        let (status, body, head) = ask(&port, &line, "Host: a\r\n").await;
        assert_eq!(status, "200", "{name}");
        assert!(body.starts_with(&format!("/* {name} */ io();")), "{body}");
        let kind = match name.ends_with(".map") {
            true => "content-type: application/json; charset=utf-8\r\n",
            false => "content-type: application/javascript; charset=utf-8\r\n",
        };
        assert!(head.contains(kind), "{head}");
        assert!(
            head.contains("cache-control: public, max-age=0\r\n"),
            "{head}"
        );
        let etag = head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .unwrap();
        for known in [
            etag.to_owned(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".into(),
        ] {
            let headers = format!("Host: a\r\nIf-None-Match: {known}\r\n");
            let (status, body, head) = ask(&port, &line, &headers).await;
            assert_eq!((status.as_str(), body.as_str()), ("304", ""), "{known}");
            assert!(head.contains(&format!("etag: {etag}\r\n")), "{head}");
        }
        let headers = "Host: a\r\nIf-None-Match: \"4.8.4\"\r\n";
        assert_eq!(ask(&port, &line, headers).await.0, "200");
        let request = format!("HEAD /socket.io/{name} HTTP/1.1\r\nHost: a\r\n");
        let head = head_of(&port, &request).await;
        assert!(head.starts_with("HTTP/1.1 200 "));
    }
    for line in [
        "GET /socket.io/secret.js",
        "GET /socket.io/../socket.io.js",
        "GET /socket.io/%2e%2e/secret.js",
        "GET /socket.io/socket.io.js/",
        "POST /socket.io/socket.io.js",
    ] {
        let (status, body, _) = ask(&port, line, "Host: a\r\nContent-Length: 0\r\n").await;
        let unknown = r#"{"code":0,"message":"Transport unknown"}"#;
        assert_eq!((status.as_str(), body.as_str()), ("400", unknown), "{line}");
    }
}

#[tokio::test]
async fn a_bundle_is_compressed_and_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let port = port_with_http(HttpSettings {
        path: "/ws".to_owned(),
        bundle: Some(bundle(dir.path())),
        cors: Cors::Anonymous,
        ..HttpSettings::standard()
    });
    let request = "GET /ws/socket.io.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n";
    let mut stream = connect(&port, request).await;
    let head = head(&mut stream).await;
    for line in [
        "content-encoding: gzip\r\n",
        "vary: accept-encoding\r\n",
        "access-control-allow-origin: *\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let mut text = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert!(text.starts_with("/* socket.io.js */ io();"), "{text}");
    let line = "OPTIONS /ws/socket.io.js";
    assert_eq!(ask(&port, line, "Host: a\r\n").await.0, "204");

    let none = at_path("/socket.io/");
    for name in CLIENT_BUNDLE_FILES {
        let (status, body, _) = ask(&none, &format!("GET /socket.io/{name}"), "Host: a\r\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("404", "not found\n"));
    }
    std::fs::remove_file(dir.path().join("socket.io.esm.min.js")).unwrap();
    let error = ClientBundle::load(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("client-bundle-dir: "), "{error}");
    assert!(error.contains("socket.io.esm.min.js: "), "{error}");
    std::fs::write(dir.path().join("socket.io.js"), vec![b' '; (4 << 20) + 1]).unwrap();
    let error = ClientBundle::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("socket.io.js: larger than 4194304 bytes"),
        "{error}"
    );
}
