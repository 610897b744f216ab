//! From polling to WebSocket: the probe, the order of packets, and what failure leaves behind.

use super::polling::{POLLING, answer, begin, begin_get, get, post, reply};
use super::*;

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

pub(super) async fn websocket(port: &ClientPort, sid: &str) -> TcpStream {
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let mut stream = connect(port, &format!("GET {path} HTTP/1.1\r\n{UPGRADE}")).await;
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

pub(super) async fn say(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    bytes.extend(text.as_bytes());
    stream.write_all(&bytes).await.unwrap();
}

pub(super) async fn hear(stream: &mut TcpStream) -> String {
    let (first, payload) = frame(stream).await;
    assert_eq!(first, 0x81, "{payload:?}");
    String::from_utf8(payload).unwrap()
}

/// Reads to the connection's end; only a close frame may come.
pub(super) async fn expect_closed(mut stream: TcpStream) {
    assert_eq!(frame(&mut stream).await, (0x88, vec![0x03, 0xe8]));
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

pub(super) async fn probed(port: &ClientPort, sid: &str) -> TcpStream {
    let mut stream = websocket(port, sid).await;
    say(&mut stream, "2probe").await;
    assert_eq!(hear(&mut stream).await, "3probe");
    stream
}

pub(super) async fn upgraded(port: &ClientPort, sid: &str) -> TcpStream {
    let mut stream = probed(port, sid).await;
    say(&mut stream, "5").await;
    stream
}

#[tokio::test]
async fn a_get_beside_the_confirmation_comes_too_late() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let late = begin_get(&port, &sid).await;
    let session = port.engine().registry().sessions().remove(0);
    while !session.is_writable() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut stream = websocket(&port, &sid).await;
    // Two frames in one write: no client has a GET waiting then.
    let probe = b"\x81\x86\0\0\0\x002probe\x81\x81\0\0\0\x005";
    stream.write_all(probe).await.unwrap();
    let (status, body, _) = reply(late).await;
    assert_eq!((status, body), answer(400, BAD_REQUEST));
    assert_eq!(hear(&mut stream).await, "3probe");
    say(&mut stream, "4hello").await;
    assert_eq!(hear(&mut stream).await, "4hello");
}

#[tokio::test]
async fn an_upgrade_releases_the_get_and_moves_the_session() {
    let (port, upper) = port();
    let sid = begin(&port).await;
    let waits = begin_get(&port, &sid).await;
    let mut stream = probed(&port, &sid).await;
    assert_eq!(reply(waits).await.1, "6");
    // A GET that comes before the client has paused is released, too.
    assert_eq!(get(&port, &sid).await, answer(200, "6"));
    let session = port.engine().registry().sessions().remove(0);
    session.try_push(&Frames::text("4kept".into())).unwrap();
    say(&mut stream, "5").await;
    assert_eq!(hear(&mut stream).await, "4kept");
    say(&mut stream, "4hello").await;
    assert_eq!(hear(&mut stream).await, "4hello");
    assert!(session.is_writable());
    for answered in [get(&port, &sid).await, post(&port, &sid, "4a").await] {
        assert_eq!(answered, answer(400, BAD_REQUEST));
    }
    let second = websocket(&port, &sid).await;
    expect_closed(second).await;
    say(&mut stream, "4still").await;
    assert_eq!(hear(&mut stream).await, "4still");
    session.close(CloseReason::Draining);
    assert_eq!(
        frame(&mut stream).await,
        (0x88, b"\x0f\xa1draining".to_vec())
    );
    drop(stream);
    assert_eq!(soon(session.closed()).await, CloseReason::Draining);
    assert_eq!(upper.closed.load(SeqCst), 1);
    soon(port.stop()).await;
}

#[tokio::test]
async fn what_fails_to_upgrade_stays_on_polling() {
    let (port, _) = port();
    let sid = begin(&port).await;
    // Each with its own first word or none; `5` without a probe is no confirmation.
    for word in ["4hello", "5", "2", "2other", "1"] {
        let mut stream = websocket(&port, &sid).await;
        say(&mut stream, word).await;
        expect_closed(stream).await;
    }
    drop(probed(&port, &sid).await);
    let mut stream = probed(&port, &sid).await;
    say(&mut stream, "4not yet").await;
    expect_closed(stream).await;
    assert_eq!(post(&port, &sid, "4a").await, answer(200, "ok"));
    assert_eq!(get(&port, &sid).await, answer(200, "4a"));
    let mut stream = upgraded(&port, &sid).await;
    say(&mut stream, "4b").await;
    assert_eq!(hear(&mut stream).await, "4b");
}

#[tokio::test]
async fn a_second_probe_is_closed_and_the_first_goes_on() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let mut first = probed(&port, &sid).await;
    expect_closed(websocket(&port, &sid).await).await;
    say(&mut first, "5").await;
    say(&mut first, "4a").await;
    assert_eq!(hear(&mut first).await, "4a");
}

#[tokio::test]
async fn an_abandoned_upgrade_is_given_up() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let mut stream = probed(&port, &sid).await;
    // Only the deadline can end this wait: with time standing still it passes in no time.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8]);
    let waited = started.elapsed();
    tokio::time::resume();
    assert!(waited >= limits::PROBE_DEADLINE && waited < limits::PROBE_DEADLINE * 2);
    assert_eq!(post(&port, &sid, "4a").await, answer(200, "ok"));
    assert_eq!(get(&port, &sid).await, answer(200, "4a"));
}

#[tokio::test]
async fn a_session_that_ends_takes_its_probe_along() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let stream = probed(&port, &sid).await;
    assert_eq!(post(&port, &sid, "1").await, answer(200, "ok"));
    expect_closed(stream).await;
    let mut stream = {
        let sid = begin(&port).await;
        upgraded(&port, &sid).await
    };
    say(&mut stream, "1").await;
    expect_closed(stream).await;
}

#[tokio::test]
async fn a_websocket_for_no_session_is_refused() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let path = "/socket.io/?EIO=4&transport=websocket&sid=";
    let (status, body, _) = ask(&port, &format!("GET {path}unknown"), UPGRADE).await;
    let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
    assert_eq!((status.as_str(), body.as_str()), ("400", unknown));
    for (line, headers) in [
        (format!("GET {path}{sid}"), "Host: a\r\n"),
        (format!("GET {POLLING}&sid={sid}"), UPGRADE),
    ] {
        let (status, body, _) = ask(&port, &line, headers).await;
        assert_eq!(
            (status.as_str(), body.as_str()),
            ("400", BAD_REQUEST),
            "{line}"
        );
    }
    assert_eq!(post(&port, &sid, "4a").await, answer(200, "ok"));
}

/// Both sides send all the while; the client does what the stock one does.
#[tokio::test]
async fn packets_keep_their_order_across_the_upgrade() {
    const COUNT: u32 = 2000;
    let (port, _) = port();
    for round in 0..5 {
        let sid = begin(&port).await;
        let session = port
            .engine()
            .registry()
            .get(&crate::engine::Sid::parse(&sid).unwrap());
        let session = session.unwrap();
        let pushing = tokio::spawn(async move {
            for number in 0..COUNT {
                let frames = Frames::text(format!("4s{number}").into());
                session.space(0).await.unwrap();
                session.try_push(&frames).unwrap();
                if number % 100 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        let mut heard = Vec::new();
        let mut sent = 0;
        let mut probing = None;
        // Polls a while, probes, polls on until it is released with nothing, then confirms.
        let mut stream = loop {
            post(&port, &sid, &format!("4c{sent}\x1e4c{}", sent + 1)).await;
            sent += 2;
            if sent == 6 + 4 * round {
                probing = Some(probed(&port, &sid).await);
            }
            let (status, body) = get(&port, &sid).await;
            assert_eq!(status, 200);
            heard.extend(body.split('\x1e').filter(|p| *p != "6").map(str::to_owned));
            if let Some(stream) = probing.take() {
                break stream;
            }
        };
        say(&mut stream, "5").await;
        for _ in 0..10 {
            say(&mut stream, &format!("4c{sent}")).await;
            sent += 1;
        }
        while heard.len() < (COUNT + sent) as usize {
            heard.push(hear(&mut stream).await);
        }
        pushing.await.unwrap();
        for (kind, count) in [("4s", COUNT), ("4c", sent)] {
            let of_kind = heard.iter().filter_map(|text| text.strip_prefix(kind));
            let numbers: Vec<u32> = of_kind.map(|number| number.parse().unwrap()).collect();
            assert_eq!(
                numbers,
                (0..count).collect::<Vec<_>>(),
                "round {round}, {kind}"
            );
        }
    }
}
