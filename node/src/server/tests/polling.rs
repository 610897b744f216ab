//! Long-polling row by row of the reference's table, as bytes over TCP.

use super::*;

pub(super) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// An answer's status, body and head.
pub(super) type Reply = (u16, String, String);

/// Timings of the official suites.
pub(super) fn quick() -> EngineConfig {
    let mut config = EngineConfig::standard();
    config.ping_interval = Duration::from_millis(300);
    config.ping_timeout = Duration::from_millis(200);
    config
}

pub(super) async fn reply(mut stream: TcpStream) -> Reply {
    let head = head(&mut stream).await;
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    soon(stream.read_exact(&mut body)).await.unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, String::from_utf8(body).unwrap(), head)
}

/// Opens a session; its sid.
pub(super) async fn begin(port: &ClientPort) -> String {
    let request = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n");
    let (status, body, head) = reply(connect(port, &request).await).await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: text/plain; charset=UTF-8\r\n"));
    assert!(head.contains("cache-control: no-store\r\n"));
    let (before, after) = body.split_once("\",").unwrap();
    assert_eq!(&before[..8], "0{\"sid\":");
    assert!(
        after.starts_with(r#""upgrades":["websocket"],"pingInterval":"#),
        "{after}"
    );
    assert!(after.ends_with(r#""maxPayload":1000000}"#), "{after}");
    before[9..].to_owned()
}

/// Sends a GET; its answer is read by [`reply`].
pub(super) async fn begin_get(port: &ClientPort, sid: &str) -> TcpStream {
    connect(
        port,
        &format!("GET {POLLING}&sid={sid} HTTP/1.1\r\nHost: a\r\n"),
    )
    .await
}

pub(super) async fn get(port: &ClientPort, sid: &str) -> (u16, String) {
    let (status, body, _) = reply(begin_get(port, sid).await).await;
    (status, body)
}

pub(super) async fn begin_post(
    port: &ClientPort,
    sid: &str,
    headers: &str,
    body: &str,
) -> TcpStream {
    let request = format!("POST {POLLING}&sid={sid} HTTP/1.1\r\nHost: a\r\n{headers}");
    let mut stream = connect(port, &request).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

pub(super) async fn post(port: &ClientPort, sid: &str, body: &str) -> (u16, String) {
    let length = format!("Content-Length: {}\r\n", body.len());
    let (status, body, _) = reply(begin_post(port, sid, &length, body).await).await;
    (status, body)
}

pub(super) fn answer(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

async fn ended(port: &ClientPort) {
    soon(async {
        while port.engine().registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn closes(port: &ClientPort, reason: CloseReason) -> u64 {
    port.engine().counters().values().closed[reason as usize]
}

/// Waits until a GET waits at the session.
async fn waiting(port: &ClientPort) {
    soon(async {
        while !port.engine().registry().sessions()[0].is_writable() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn messages_go_both_ways_in_payloads() {
    let (port, upper) = port();
    let sid = begin(&port).await;
    let length = "Content-Length: 17\r\nContent-Type: text/plain;charset=UTF-8\r\n";
    let body = "4a\x1e4\u{20ac}\x1ebAQIDBA==";
    let (status, body, head) = reply(begin_post(&port, &sid, length, body).await).await;
    assert_eq!((status, body.as_str()), (200, "ok"));
    assert!(head.contains("content-type: text/html\r\n"), "{head}");
    assert_eq!(
        get(&port, &sid).await,
        answer(200, "4a\x1e4\u{20ac}\x1ebAQIDBA==")
    );
    // A GET that came first is answered by what comes.
    let waits = begin_get(&port, &sid).await;
    waiting(&port).await;
    assert_eq!(post(&port, &sid, "4late").await, answer(200, "ok"));
    assert_eq!(reply(waits).await.1, "4late");
    assert_eq!(upper.handshakes.lock().len(), 1);
}

#[tokio::test]
async fn other_methods_and_binary_bodies_are_refused() {
    let (port, _) = port();
    let sid = begin(&port).await;
    for method in ["PUT", "DELETE", "HEAD"] {
        let line = format!("{method} {POLLING}&sid={sid}");
        let (status, body, _) = ask(&port, &line, "Host: a\r\n").await;
        assert_eq!((status.as_str(), body.as_str()), ("500", ""), "{method}");
    }
    assert_eq!(post(&port, &sid, "4still here").await.0, 200);
    let headers = "Content-Length: 2\r\nContent-Type: application/octet-stream\r\n";
    let (status, body, _) = reply(begin_post(&port, &sid, headers, "4a").await).await;
    assert_eq!((status, body.as_str()), (400, ""));
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
}

#[tokio::test]
async fn a_second_get_ends_the_session_and_the_first() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let first = begin_get(&port, &sid).await;
    waiting(&port).await;
    assert_eq!(get(&port, &sid).await, answer(400, ""));
    let (status, body, _) = reply(first).await;
    assert_eq!((status, body.as_str()), (200, "1"));
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    ended(&port).await;
    assert_eq!(closes(&port, CloseReason::TransportError), 1);
}

#[tokio::test]
async fn a_second_post_ends_the_session_and_the_first() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let mut first = begin_post(&port, &sid, "Content-Length: 100\r\n", "4half").await;
    let second = async {
        loop {
            // The first may not have arrived yet.
            let answered = post(&port, &sid, "4b").await;
            if answered.0 != 200 {
                return answered;
            }
        }
    };
    assert_eq!(soon(second).await, answer(400, ""));
    let mut rest = Vec::new();
    soon(first.read_to_end(&mut rest)).await.unwrap();
    assert!(
        rest.starts_with(b"HTTP/1.1 400 "),
        "and its connection ends"
    );
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
}

#[tokio::test]
async fn a_large_body_is_refused_and_the_session_kept() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let large = "4".repeat(1_000_001);
    assert_eq!(post(&port, &sid, &large).await, answer(413, ""));
    let chunked = format!("f4241\r\n{large}\r\n0\r\n\r\n");
    let headers = "Transfer-Encoding: chunked\r\n";
    let (status, body, _) = reply(begin_post(&port, &sid, headers, &chunked).await).await;
    assert_eq!((status, body.as_str()), (413, ""));
    let expects = "Content-Length: 1000001\r\nExpect: 100-continue\r\n";
    assert_eq!(
        reply(begin_post(&port, &sid, expects, "").await).await.0,
        413
    );
    let fits = format!("4{}", "x".repeat(999_999));
    assert_eq!(post(&port, &sid, &fits).await, answer(200, "ok"));
    assert_eq!(get(&port, &sid).await, answer(200, &fits));
}

#[tokio::test]
async fn a_bad_packet_ends_the_session_behind_the_good_ones() {
    let (port, upper) = port();
    for bad in ["abc", "", "4a\x1e\x1e4b", "4a\x1eb===", "2", "0{}", "5"] {
        let sid = begin(&port).await;
        assert_eq!(post(&port, &sid, bad).await, answer(200, "ok"), "{bad:?}");
        assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN), "{bad:?}");
        let values = port.engine().counters().values();
        assert_eq!(values.open(), 0);
    }
    assert_eq!(closes(&port, CloseReason::ParseError), 7);
    assert_eq!(
        port.engine().counters().values().messages_in,
        2,
        "the two before"
    );
    let sid = begin(&port).await;
    let waits = begin_get(&port, &sid).await;
    waiting(&port).await;
    assert_eq!(post(&port, &sid, "2probe").await.0, 200);
    assert_eq!(reply(waits).await.1, "1");
    assert_eq!(upper.closed.load(SeqCst), 8);
}

#[tokio::test]
async fn a_client_that_closes_gets_its_get_back() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let waits = begin_get(&port, &sid).await;
    waiting(&port).await;
    assert_eq!(post(&port, &sid, "1").await, answer(200, "ok"));
    assert_eq!(reply(waits).await.1, "6");
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    assert_eq!(post(&port, &sid, "4a").await, answer(400, UNKNOWN));
    assert_eq!(closes(&port, CloseReason::ClientClosed), 1);
}

#[tokio::test]
async fn a_request_that_is_cut_off_ends_the_session() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let waits = begin_get(&port, &sid).await;
    waiting(&port).await;
    drop(waits);
    ended(&port).await;
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    let sid = begin(&port).await;
    drop(begin_post(&port, &sid, "Content-Length: 100\r\n", "4half").await);
    ended(&port).await;
    assert_eq!(closes(&port, CloseReason::TransportError), 2);
    assert_eq!(port.engine().counters().values().messages_in, 0);
}

#[tokio::test]
async fn pings_come_alone_and_silence_ends_the_session() {
    let (port, _) = port_of(quick(), 10, 100);
    let sid = begin(&port).await;
    for _ in 0..3 {
        assert_eq!(get(&port, &sid).await, answer(200, "2"));
        assert_eq!(post(&port, &sid, "3").await, answer(200, "ok"));
    }
    // A GET alone is no sign of life, and no GET at all is none either.
    assert_eq!(get(&port, &sid).await, answer(200, "2"));
    assert_eq!(get(&port, &sid).await, answer(200, "1"));
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    let sid = begin(&port).await;
    tokio::time::sleep(Duration::from_millis(505)).await;
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    assert_eq!(closes(&port, CloseReason::PingTimeout), 2);
}

#[tokio::test]
async fn a_close_stands_alone_behind_the_last_events() {
    let (port, upper) = port();
    let sid = begin(&port).await;
    let session = port.engine().registry().sessions().remove(0);
    session.try_push(&Frames::text("4last".into())).unwrap();
    session.close(CloseReason::Draining);
    assert_eq!(post(&port, &sid, "4too late").await, answer(200, "ok"));
    assert_eq!(get(&port, &sid).await, answer(200, "4last"));
    assert_eq!(get(&port, &sid).await, answer(200, "1"));
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    assert_eq!(soon(session.closed()).await, CloseReason::Draining);
    // One that reads too slowly is told at once, and of nothing else.
    let sid = begin(&port).await;
    let session = port.engine().registry().sessions().remove(0);
    session.try_push(&Frames::text("4dropped".into())).unwrap();
    session.close(CloseReason::SlowConsumer);
    assert_eq!(get(&port, &sid).await, answer(200, "1"));
    soon(session.closed()).await;
    assert_eq!(upper.closed.load(SeqCst), 2);
    assert_eq!(port.engine().counters().values().messages_in, 0);
}

#[tokio::test]
async fn volatile_is_writable_only_while_a_get_waits() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let session = port.engine().registry().sessions().remove(0);
    assert!(!session.is_writable(), "no GET waits");
    let waits = begin_get(&port, &sid).await;
    waiting(&port).await;
    session.try_push(&Frames::text("4a".into())).unwrap();
    assert!(!session.is_writable(), "it is spoken for");
    assert_eq!(reply(waits).await.1, "4a");
    assert!(!session.is_writable());
}

#[tokio::test]
async fn payloads_hold_what_waited_up_to_the_limit() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let session = port.engine().registry().sessions().remove(0);
    let message = format!("4{}", "m".repeat(399_999));
    for _ in 0..2 {
        session
            .try_push(&Frames::text(message.clone().into()))
            .unwrap();
    }
    let attached = Frames::with_attachments("451-[]".into(), vec![vec![0; 150_000].into()]);
    session.try_push(&attached).unwrap();
    assert_eq!(session.outbox_depth().0, 3);
    let (_, body) = get(&port, &sid).await;
    assert_eq!(body, format!("{message}\x1e{message}"));
    let (_, body) = get(&port, &sid).await;
    assert_eq!(body, format!("451-[]\x1eb{}", "A".repeat(200_000)));
    assert_eq!(session.outbox_depth(), (0, 0));
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_by_name() {
    let (port, _) = port();
    let origin = "Host: a\r\nOrigin: http://page.example\r\n";
    let asks = format!("{origin}Access-Control-Request-Headers: x-one\r\n");
    let (status, _, head) = ask(&port, &format!("OPTIONS {POLLING}"), &asks).await;
    assert_eq!(status, "204");
    for line in [
        "access-control-allow-origin: http://page.example\r\n",
        "access-control-allow-credentials: true\r\n",
        "access-control-allow-methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n",
        "access-control-allow-headers: x-one\r\n",
        "vary: origin\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    for line in [format!("GET {POLLING}"), format!("GET {POLLING}&sid=x")] {
        let (_, _, head) = ask(&port, &line, origin).await;
        assert!(head.contains("access-control-allow-origin: http://page.example\r\n"));
        assert!(head.contains("access-control-allow-credentials: true\r\n"));
    }
}
