//! Requests that no honest client sends. Each ends in a documented status or close, within a
//! bounded time, and leaves no session and no connection behind.

use super::polling::{POLLING, answer, begin, begin_get, begin_post, get, post, quick, reply};
use super::*;

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// Nothing is left: no session, and every place for one is free again.
async fn expect_empty(port: ClientPort) {
    soon(async {
        while port.engine().registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(port.engine().counters().values().open(), 0);
    soon(port.stop()).await;
}

/// What comes until the connection ends, however that is.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn answer_to(port: &ClientPort, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    rest_of(stream).await
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_off_in_time() {
    let (port, _) = port();
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    let started = tokio::time::Instant::now();
    for byte in b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n" {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut byte = [0];
        match stream.try_read(&mut byte) {
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let waited = started.elapsed();
    let deadline = limits::HEADER_READ_TIMEOUT;
    assert!(waited >= deadline && waited < deadline * 2, "{waited:?}");
    assert_eq!(port.engine().registry().count(), 0);
}

#[tokio::test]
async fn a_body_that_trickles_ends_with_its_session() {
    let (port, _) = port_of(quick(), 10, 100);
    let sid = begin(&port).await;
    let mut stream = begin_post(&port, &sid, "Content-Length: 1000\r\n", "4a").await;
    let started = tokio::time::Instant::now();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        while write.write_all(b"b").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending().await
    };
    let mut bytes = Vec::new();
    tokio::select! {
        () = trickle => {}
        // An answer can be reset away by bytes that nobody reads.
        _ = soon(read.read_to_end(&mut bytes)) => {}
    }
    // One ping interval and one timeout, as for any client that is silent.
    assert!(started.elapsed() < Duration::from_secs(2));
    let text = String::from_utf8(bytes).unwrap();
    let told = text.starts_with("HTTP/1.1 400 ") && text.ends_with(UNKNOWN);
    assert!(text.is_empty() || told, "{text}");
    assert_eq!(port.engine().counters().values().messages_in, 0);
    expect_empty(port).await;
}

#[tokio::test]
async fn a_body_that_trickles_for_another_node_is_given_up() {
    let (owner, elsewhere, _other) = super::forward::two();
    let sid = begin(&owner).await;
    let mut stream = begin_post(&elsewhere, &sid, "Content-Length: 1000\r\n", "4a").await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let waited = started.elapsed();
    tokio::time::resume();
    let text = String::from_utf8(bytes).unwrap();
    let told = text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\n");
    assert!(told, "{text}");
    let deadline = limits::FORWARD_RECEIVE_DEADLINE;
    assert!(waited >= deadline && waited < deadline * 2, "{waited:?}");
    assert_eq!(get(&owner, &sid).await, answer(400, UNKNOWN));
    expect_empty(owner).await;
}

#[tokio::test]
async fn floods_of_headers_are_refused_unread() {
    let (port, _) = port();
    let line = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n");
    let many: String = (0..limits::HEADERS_MAX)
        .map(|i| format!("X-{i}: 1\r\n"))
        .collect();
    let large = format!("X-Large: {}\r\n", "x".repeat(limits::HEAD_BYTES_MAX));
    let long = format!(
        "GET {POLLING}&x={} HTTP/1.1\r\nHost: a\r\n\r\n",
        "x".repeat(limits::HEAD_BYTES_MAX)
    );
    for request in [
        format!("{line}{many}\r\n"),
        format!("{line}{large}\r\n"),
        long,
    ] {
        let answered = answer_to(&port, request.as_bytes()).await;
        // Unread bytes can reset the answer away; what may not be is a session.
        let refused = answered.is_empty() || answered.starts_with("HTTP/1.1 431 ");
        assert!(
            refused || answered.starts_with("HTTP/1.1 414 "),
            "{answered}"
        );
    }
    let many: String = (0..300).map(|i| format!("&p{i}=1")).collect();
    let (status, body, _) = ask(&port, &format!("GET {POLLING}{many}"), "Host: a\r\n").await;
    let bad = r#"{"code":3,"message":"Bad request"}"#;
    assert_eq!((status.as_str(), body.as_str()), ("400", bad));
    assert_eq!(port.engine().counters().values().opened, 0);
    expect_empty(port).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let (port, _) = port();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\x00\x00\x00\x00\r\n\r\n",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/9.9\r\n\r\n",
        b"GET /socket.io/ HTTP/1.1\r\nOrigin: a\x01b\r\n\r\n",
        b"GET /socket.io/ HTTP/1.1\r\nNo colon\r\n\r\n",
        b"POST /socket.io/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /socket.io/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /socket.io/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let answered = rest_of(stream).await;
        let refused = answered.is_empty() || answered.starts_with("HTTP/1.1 4");
        assert!(
            refused || answered.starts_with("HTTP/1.1 505 "),
            "{answered}"
        );
    }
    assert_eq!(port.engine().counters().values().opened, 0);
    expect_empty(port).await;
}

#[tokio::test]
async fn bodies_that_are_no_text_or_no_payload_end_their_session() {
    let (port, _) = port();
    for body in [
        &b"4\xff"[..],
        b"4a\x1e4\xe2\x82",
        b"4\xed\xa0\x80",
        b"\x1e\x1e\x1e\x1e",
        b"\x00",
        b"b\xff\xff",
        b"7",
        b"2:4ab",
    ] {
        let sid = begin(&port).await;
        let head = format!(
            "POST {POLLING}&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut stream = connect(&port, &head).await;
        stream.write_all(body).await.unwrap();
        let (status, said, _) = reply(stream).await;
        assert_eq!((status, said.as_str()), (200, "ok"), "{body:?}");
        assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN), "{body:?}");
    }
    // A body whose chunks are none.
    let sid = begin(&port).await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let stream = begin_post(&port, &sid, chunked, "zz\r\n4a\r\n0\r\n\r\n").await;
    let answered = rest_of(stream).await;
    assert!(
        answered.is_empty() || answered.starts_with("HTTP/1.1 400 "),
        "{answered}"
    );
    assert_eq!(get(&port, &sid).await, answer(400, UNKNOWN));
    assert_eq!(
        port.engine().counters().values().messages_in,
        1,
        "the one before"
    );
    expect_empty(port).await;
}

#[tokio::test]
async fn a_flood_of_tiny_packets_ends_at_the_outbox() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let session = port.engine().registry().sessions().remove(0);
    // The application echoes each; nobody fetches them.
    let body = vec!["4"; 400_000].join("\x1e");
    assert_eq!(post(&port, &sid, &body).await, answer(200, "ok"));
    assert!(session.outbox_depth().0 <= limits::OUTBOX_FRAMES_MAX);
    assert_eq!(get(&port, &sid).await, answer(200, "1"));
    assert_eq!(soon(session.closed()).await, CloseReason::SlowConsumer);
    assert_eq!(
        session.outbox_depth(),
        (0, 0),
        "nothing is held for the dead"
    );
    let handled = port.engine().counters().values().messages_in as usize;
    assert!(
        handled <= limits::OUTBOX_FRAMES_MAX + 2,
        "{handled} of 400,000"
    );
    expect_empty(port).await;
}

#[tokio::test]
async fn sessions_that_nobody_fetches_make_room_again() {
    let (port, _) = port_of(quick(), 20, 100);
    for _ in 0..20 {
        begin(&port).await;
    }
    let (status, body, _) = ask(&port, &format!("GET {POLLING}"), "Host: a\r\n").await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("503", "too many sessions\n")
    );
    soon(async {
        while port.engine().registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    begin(&port).await;
    expect_empty(port).await;
}

#[tokio::test]
async fn a_flood_of_upgrades_leaves_one_probe_and_the_session() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let waits = begin_get(&port, &sid).await;
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let request = format!("GET {path} HTTP/1.1\r\n{UPGRADE}");
    let mut probes = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&port, &request).await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
        probes.push(stream);
    }
    // All but one were closed at once.
    let mut closed = 0;
    for mut stream in probes {
        let mut bytes = [0; 4];
        let reading = stream.read_exact(&mut bytes);
        if let Ok(Ok(_)) = timeout(Duration::from_millis(300), reading).await {
            assert_eq!(bytes, [0x88, 2, 0x03, 0xe8]);
            closed += 1;
        }
    }
    assert_eq!(closed, 49);
    assert_eq!(post(&port, &sid, "4a").await, answer(200, "ok"));
    assert_eq!(reply(waits).await.1, "4a");
    assert_eq!(port.engine().registry().count(), 1);
    assert_eq!(post(&port, &sid, "1").await, answer(200, "ok"));
    expect_empty(port).await;
}

#[tokio::test]
async fn a_burst_of_everything_leaves_the_port_as_it_was() {
    let (port, upper) = port_of(quick(), 200, 300);
    let polling = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n\r\n");
    let websocket = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{UPGRADE}\r\n");
    let mut held = Vec::new();
    for round in 0..40 {
        for (i, request) in [&polling, &websocket].into_iter().enumerate() {
            let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let junk: &[u8] = match (round + i) % 4 {
                0 => b"\x81\x85\x00\x00\x00\x004abc\xff",
                1 => b"\x82\xff\x00\x00\x00\x00\x00\x0f\x42\x40",
                2 => b"GET / HTTP/1.1\r\n",
                _ => b"",
            };
            stream.write_all(junk).await.ok();
            if round % 2 == 0 {
                held.push(stream);
            }
        }
    }
    soon(async {
        while port.engine().counters().values().opened < 60 || port.engine().registry().count() > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(held);
    let values = port.engine().counters().values();
    assert_eq!(values.open(), 0);
    assert_eq!(
        u64::from(upper.closed.load(SeqCst)),
        values.opened,
        "each was told once"
    );
    begin(&port).await;
    expect_empty(port).await;
}
