//! The table of Engine.IO's HTTP answers as literal bytes: what is sent, and all of what comes back
//! but its date. Rows that need two requests at once are in `polling` and `upgrade`.

use super::polling::begin;
use super::settings::{at_path, port_with_http};
use super::*;

/// All of an answer, its date left out and sids named.
async fn whole(port: &ClientPort, request: &str, sid: &str) -> String {
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    let request = request.replace("SID", sid).replace('\n', "\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = head(&mut stream).await;
    let length = text
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    soon(stream.read_exact(&mut body)).await.unwrap();
    text.push_str(std::str::from_utf8(&body).unwrap());
    let lines = text
        .split("\r\n")
        .filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("\n").replace(sid, "SID")
}

async fn expect_rows(port: &ClientPort, sid: &str, rows: &[(&str, &str)]) {
    for (request, expected) in rows {
        assert_eq!(whole(port, request, sid).await, *expected, "{request}");
    }
}

/// The answer of the reference's six refusals.
fn refused(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\ncontent-type: application/json\ncache-control: no-store\n\
         connection: close\ncontent-length: {}\n\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_handshake_is_answered_with_the_open_packet() {
    let port = at_path("/socket.io/");
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    stream
        .write_all(b"GET /socket.io/?EIO=4&transport=polling&t=abc&x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let head = head(&mut stream).await;
    let sid = port.engine().registry().sessions()[0].sid().reveal();
    let open = format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}}"
    );
    let mut body = vec![0; open.len()];
    soon(stream.read_exact(&mut body)).await.unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), open);
    let date = head
        .lines()
        .find(|line| line.starts_with("date: "))
        .unwrap();
    let expected = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\n\
         cache-control: no-store\r\ncontent-length: {}\r\n{date}\r\n\r\n",
        open.len()
    );
    assert_eq!(head, expected);
    assert_eq!(&open[9..11], "5.", "the owner is readable");
}

/// Codes and the requests that get them; `SID` is on polling, `OTHER` on WebSocket.
const REFUSED: &[(usize, &str)] = &[
    // Transport missing, unknown, not enabled; with and without a session.
    (0, "GET /socket.io/?EIO=4"),
    (0, "GET /socket.io/?EIO=4&transport="),
    (0, "GET /socket.io/?EIO=4&transport=tcp"),
    (0, "GET /socket.io/?EIO=4&transport=webtransport"),
    (0, "GET /socket.io/"),
    (0, "POST /socket.io/?EIO=4&transport=tcp&sid=SID"),
    // Nothing else is looked at before.
    (0, "POST /socket.io/?EIO=3&transport=tcp&sid=unknown"),
    (1, "GET /socket.io/?EIO=4&transport=polling&sid=unknown"),
    (1, "POST /socket.io/?EIO=4&transport=polling&sid=unknown"),
    (1, "PUT /socket.io/?EIO=4&transport=polling&sid=unknown"),
    (
        1,
        "GET /socket.io/?EIO=3&transport=polling&sid=5.AAAAAAAAAAAAAAAAAAAAAA",
    ),
    (
        1,
        "GET /socket.io/?EIO=4&transport=websocket&sid=7.AAAAAAAAAAAAAAAAAAAAAA",
    ),
    (2, "POST /socket.io/?EIO=4&transport=polling"),
    (2, "PUT /socket.io/?EIO=4&transport=polling"),
    (2, "DELETE /socket.io/?EIO=4&transport=polling"),
    (2, "OPTIONS /socket.io/?EIO=4&transport=polling"),
    (2, "POST /socket.io/?EIO=3&transport=websocket"),
    (2, "POST /socket.io/?EIO=4&transport=polling&sid="),
    (3, "GET /socket.io/?EIO=4&transport=websocket"),
    (3, "GET /socket.io/?EIO=3&transport=websocket"),
    (3, "GET /socket.io/?EIO=4&transport=websocket&sid=SID"),
    (3, "POST /socket.io/?EIO=4&transport=websocket&sid=SID"),
    (3, "GET /socket.io/?EIO=4&transport=polling&sid=OTHER"),
    (3, "POST /socket.io/?EIO=4&transport=polling&sid=OTHER"),
    (3, "GET /socket.io/?EIO=4&transport=polling&j=0"),
    (3, "POST /socket.io/?EIO=4&transport=polling&j=0&sid=SID"),
    (3, "GET /socket.io/?EIO=4&EIO=4&transport=polling"),
    (5, "GET /socket.io/?transport=polling"),
    (5, "GET /socket.io/?EIO=&transport=polling"),
    (5, "GET /socket.io/?EIO=3&transport=polling"),
    (5, "GET /socket.io/?EIO=abc&transport=polling"),
    (5, "GET /socket.io/?EIO=44&transport=polling"),
];

/// Messages by code.
const WORDS: [&str; 6] = [
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
];

#[tokio::test]
async fn each_refusal_has_its_status_and_json() {
    let port = at_path("/socket.io/");
    let sid = begin(&port).await;
    let websocket = open(&port).await;
    let sessions = port.engine().registry().sessions();
    let other = sessions
        .iter()
        .map(|s| s.sid().reveal())
        .find(|text| *text != sid)
        .unwrap();
    for (code, line) in REFUSED {
        let line = line.replace("OTHER", &other);
        let body = format!(r#"{{"code":{code},"message":"{}"}}"#, WORDS[*code]);
        let request = format!("{line} HTTP/1.1\nHost: a\n\n");
        assert_eq!(
            whole(&port, &request, &sid).await,
            refused("400 Bad Request", &body),
            "{line}"
        );
    }
    assert_eq!(
        port.engine().registry().count(),
        2,
        "both sessions are as before"
    );
    drop(websocket);
}

#[tokio::test]
async fn a_client_that_may_not_come_is_told_in_the_applications_words() {
    let port = at_path("/socket.io/");
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\nHost: a\n\
        Origin: http://evil.example\n\n";
    let body = r#"{"code":4,"message":"origin \"evil\""}"#;
    assert_eq!(
        whole(&port, request, "\0").await,
        refused("403 Forbidden", body)
    );
    assert_eq!(port.engine().registry().count(), 0);
}

#[tokio::test]
async fn requests_of_a_session_have_literal_answers() {
    let port = at_path("/socket.io/");
    let sid = begin(&port).await;
    expect_rows(
        &port,
        &sid,
        &[
            (
                "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\
                 Content-Type: text/plain;charset=UTF-8\nContent-Length: 11\n\n4a\x1e4b\x1ebAQI=",
                "HTTP/1.1 200 OK\ncontent-type: text/html\ncache-control: no-store\n\
                 content-length: 2\n\nok",
            ),
            (
                "GET /socket.io/?EIO=4&transport=polling&b64=1&sid=SID HTTP/1.1\nHost: a\n\n",
                "HTTP/1.1 200 OK\ncontent-type: text/plain; charset=UTF-8\n\
                 cache-control: no-store\ncontent-length: 11\n\n4a\x1e4b\x1ebAQI=",
            ),
            // The version was judged at the handshake; the path may go on behind its slash.
            (
                "POST /socket.io/more?transport=polling&sid=SID HTTP/1.1\nHost: a\n\
                 Content-Length: 2\n\n4c",
                "HTTP/1.1 200 OK\ncontent-type: text/html\ncache-control: no-store\n\
                 content-length: 2\n\nok",
            ),
            (
                "PUT /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\n",
                "HTTP/1.1 500 Internal Server Error\ncache-control: no-store\n\
                 connection: close\ncontent-length: 0\n\n",
            ),
            (
                "DELETE /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\n",
                "HTTP/1.1 500 Internal Server Error\ncache-control: no-store\n\
                 connection: close\ncontent-length: 0\n\n",
            ),
            (
                "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\
                 Expect: 100-continue\nContent-Length: 1000001\n\n",
                "HTTP/1.1 413 Payload Too Large\ncache-control: no-store\n\
                 connection: close\ncontent-length: 0\n\n",
            ),
            (
                "GET /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\n",
                "HTTP/1.1 200 OK\ncontent-type: text/plain; charset=UTF-8\n\
                 cache-control: no-store\ncontent-length: 2\n\n4c",
            ),
            (
                "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\
                 Content-Type: application/octet-stream\nContent-Length: 2\n\n4d",
                "HTTP/1.1 400 Bad Request\ncache-control: no-store\n\
                 connection: close\ncontent-length: 0\n\n",
            ),
            (
                "GET /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\nHost: a\n\n",
                "HTTP/1.1 400 Bad Request\ncontent-type: application/json\n\
                 cache-control: no-store\nconnection: close\ncontent-length: 41\n\n\
                 {\"code\":1,\"message\":\"Session ID unknown\"}",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_lies_elsewhere_is_not_found() {
    let port = at_path("/socket.io/");
    for line in [
        "GET /socket.io",
        "GET /socket.iox/",
        "GET /other",
        "POST /healthz",
    ] {
        let request = format!("{line} HTTP/1.1\nHost: a\nContent-Length: 0\n\n");
        let answered = whole(&port, &request, "\0").await;
        assert!(
            answered.starts_with("HTTP/1.1 404 Not Found\n"),
            "{line}: {answered}"
        );
    }
}

#[tokio::test]
async fn preflight_requests_have_a_literal_answer() {
    let port = port_with_http(HttpSettings {
        cors: Cors::AnyOrigin,
        ..HttpSettings::standard()
    });
    let request = "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\nHost: a\n\
        Origin: http://page.example\nAccess-Control-Request-Method: POST\n\
        Access-Control-Request-Headers: x-one, x-two\n\n";
    assert_eq!(
        whole(&port, request, "\0").await,
        "HTTP/1.1 204 No Content\n\
         access-control-allow-methods: GET,HEAD,PUT,PATCH,POST,DELETE\n\
         vary: origin\nvary: access-control-request-headers\n\
         access-control-allow-credentials: true\n\
         access-control-allow-origin: http://page.example\n\
         access-control-allow-headers: x-one, x-two\n\n"
    );
}

/// The reference's `connectTimeout`: nobody waits for a client that joins nothing.
#[tokio::test]
async fn a_session_on_polling_that_joins_nothing_ends() {
    let mut config = EngineConfig::standard();
    config.connect_timeout = Duration::from_millis(200);
    let (port, _) = port_of(config, 10, 10);
    let sid = begin(&port).await;
    let started = tokio::time::Instant::now();
    let get = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\nHost: a\n\n");
    let answered = whole(&port, &get, &sid).await;
    assert!(answered.ends_with("\n\n1"), "{answered}");
    assert!(started.elapsed() >= Duration::from_millis(190));
    let closed = port.engine().counters().values().closed;
    assert_eq!(closed[CloseReason::ConnectTimeout as usize], 1);
}
