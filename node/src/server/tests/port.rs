//! Sessions, refusals, probes and the graceful end of a client port.

use super::*;

#[tokio::test]
async fn a_session_opens_echoes_and_ends_over_tcp() {
    let (port, upper) = port();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&t=1&token=a%20b HTTP/1.1\r\n{UPGRADE}\
         User-Agent: test\r\nAuthorization: secret\r\nX-Other: no\r\n"
    );
    // The first message comes in the same breath as the request.
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    let mut bytes = format!("{request}\r\n").into_bytes();
    bytes.extend([0x81, 0x83, 0, 0, 0, 0, b'4', b'h', b'i']);
    stream.write_all(&bytes).await.unwrap();
    head(&mut stream).await;
    let (_, open) = frame(&mut stream).await;
    let open = String::from_utf8(open).unwrap();
    assert!(
        open.starts_with(r#"0{"sid":"5."#),
        "the node is readable: {open}"
    );
    assert_eq!(frame(&mut stream).await, (0x81, b"4hi".to_vec()));
    {
        let handshakes = upper.handshakes.lock();
        let handshake = &handshakes[0];
        assert_eq!(handshake.query("token"), Some("a b"));
        assert_eq!(handshake.header("user-agent"), Some("test"));
        assert_eq!(handshake.header("authorization"), Some("secret"));
        assert_eq!(handshake.header("x-other"), None);
        let shown = format!("{handshake:?} {:?}", handshake.headers);
        assert!(
            !shown.contains("secret") && !shown.contains("a b"),
            "{shown}"
        );
    }
    stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(frame(&mut stream).await, (0x88, vec![0x03, 0xe8]));
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
    drop(stream);
    soon(port.stop()).await;
    assert_eq!(upper.closed.load(SeqCst), 1);
    assert_eq!(port.engine().registry().count(), 0);
}

/// The error body of the reference.
fn refusal(code: u8) -> String {
    let message = match code {
        0 => "Transport unknown",
        1 => "Session ID unknown",
        2 => "Bad handshake method",
        3 => "Bad request",
        _ => "Unsupported protocol version",
    };
    format!(r#"{{"code":{code},"message":"{message}"}}"#)
}

#[tokio::test]
async fn a_second_websocket_of_a_session_is_a_bad_request() {
    let (port, _) = port();
    let mut stream = open(&port).await;
    stream
        .write_all(&[0x81, 0x81, 0, 0, 0, 0, b'6'])
        .await
        .unwrap();
    let sid = port.engine().registry().sessions()[0].sid().reveal();
    for (sid, code) in [(sid.as_str(), 3), (&format!("{}x", &sid[..20]), 1)] {
        let line = format!("GET /socket.io/?EIO=4&transport=websocket&sid={sid}");
        let (status, body, _) = ask(&port, &line, UPGRADE).await;
        assert_eq!((status.as_str(), body), ("400", refusal(code)));
    }
}

#[tokio::test]
async fn bad_handshakes_get_the_references_codes() {
    let (port, _) = port();
    let plain = "Host: a\r\n";
    for (method, query, headers, code) in [
        ("GET", "EIO=4&transport=websockets", UPGRADE, 0),
        ("GET", "EIO=4&transport=webtransport", plain, 0),
        ("POST", "EIO=4&transport=polling", plain, 2),
        ("GET", "EIO=4&transport=polling&sid=abc", plain, 1),
        ("GET", "EIO=4&transport=polling", UPGRADE, 3),
        ("GET", "EIO=3&transport=polling", plain, 5),
        ("GET", "EIO=abc&transport=polling", plain, 5),
        ("GET", "EIO=4", UPGRADE, 0),
        ("POST", "EIO=4&transport=websocket", plain, 2),
        ("GET", "EIO=4&transport=websocket", plain, 3),
        ("GET", "EIO=3&transport=websocket", UPGRADE, 5),
        ("GET", "transport=websocket", UPGRADE, 5),
    ] {
        let line = format!("{method} /socket.io/?{query}");
        let (status, body, head) = ask(&port, &line, headers).await;
        assert_eq!(status, "400", "{line}");
        assert_eq!(body, refusal(code), "{line}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
}

#[tokio::test]
async fn forbidden_and_malformed_upgrades_are_refused() {
    let (port, _) = port();
    let forbidden = format!("{UPGRADE}Origin: http://evil.example\r\n");
    let (status, body, _) = ask(
        &port,
        "GET /socket.io/?EIO=4&transport=websocket",
        &forbidden,
    )
    .await;
    assert_eq!(status, "403");
    assert_eq!(body, r#"{"code":4,"message":"origin \"evil\""}"#);
    let no_key = UPGRADE.replace("Sec-WebSocket-Key", "X-Key");
    let (status, _, _) = ask(&port, "GET /socket.io/?EIO=4&transport=websocket", &no_key).await;
    assert_eq!(status, "400");
    let (status, _, _) = ask(&port, "GET /socket.io?EIO=4&transport=websocket", UPGRADE).await;
    assert_eq!(status, "404", "the slash belongs to the path");
    assert_eq!(port.engine().counters().values().bad_handshakes, 2);
}

#[tokio::test]
async fn probes_pages_and_temporary_refusals_answer() {
    let (port, upper) = port();
    let plain = "Host: a\r\n";
    assert_eq!(ask(&port, "GET /healthz", plain).await.0, "200");
    assert_eq!(ask(&port, "GET /readyz", plain).await.0, "200");
    assert_eq!(ask(&port, "GET /", plain).await.1, "a page");
    assert_eq!(ask(&port, "GET /nothing", plain).await.0, "404");
    let mut offered = UPGRADE.to_owned();
    offered.push_str("Sec-WebSocket-Protocol: one, two\r\n");
    let request = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{offered}");
    let mut stream = connect(&port, &request).await;
    assert!(
        head(&mut stream)
            .await
            .contains("sec-websocket-protocol: one\r\n")
    );

    *upper.refusal.lock() = Some(Refused {
        retry_after_s: 7,
        reason: "group 2 has no leader".into(),
    });
    let (status, body, _) = ask(&port, "GET /readyz", plain).await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("503", "not ready: group 2 has no leader\n")
    );
    let (status, _, head) = ask(&port, "GET /socket.io/?EIO=4&transport=websocket", UPGRADE).await;
    assert_eq!(status, "503");
    assert!(head.contains("retry-after: 7\r\n"), "{head}");
    assert_eq!(
        ask(&port, "GET /healthz", plain).await.0,
        "200",
        "alive all the same"
    );
    assert_eq!(port.engine().counters().values().refused, 1);
}

#[tokio::test]
async fn a_drain_refuses_newcomers_closes_sessions_and_stops() {
    let (port, upper) = port();
    let mut first = open(&port).await;
    let mut second = open(&port).await;
    port.begin_drain();
    assert_eq!(ask(&port, "GET /readyz", "Host: a\r\n").await.0, "503");
    assert_eq!(ask(&port, "GET /healthz", "Host: a\r\n").await.0, "200");
    let (status, _, head) = ask(&port, "GET /socket.io/?EIO=4&transport=websocket", UPGRADE).await;
    assert_eq!(status, "503");
    assert!(head.contains("retry-after: 1\r\n"));
    let draining = port.clone();
    let pace = DrainPace {
        sessions_per_second: 1000,
    };
    let drained = tokio::spawn(async move { draining.drain(pace).await });
    for stream in [&mut first, &mut second] {
        assert_eq!(frame(stream).await, (0x88, b"\x0f\xa1draining".to_vec()));
    }
    drop((first, second));
    soon(drained).await.unwrap();
    assert_eq!(upper.closed.load(SeqCst), 2);
    let idle = connect(&port, "GET /healthz HTTP/1.1\r\nHost: a\r\n").await;
    soon(port.stop()).await;
    drop(idle);
    assert!(
        TcpStream::connect(port.local_addr()).await.is_err(),
        "nobody listens"
    );
}

#[tokio::test]
async fn a_close_arrives_whole_when_the_client_is_still_sending() {
    let (port, upper) = port();
    let mut stream = open(&port).await;
    let mut bytes = vec![0x81, 0x86, 0, 0, 0, 0];
    bytes.extend(b"4block");
    bytes.extend([0x82, 0xfe, 0xea, 0x60, 0, 0, 0, 0]);
    bytes.extend(vec![1; 60_000]);
    stream.write_all(&bytes).await.unwrap();
    // Unread bytes wait in the connection: closing over them would reset it.
    stream.write_all(&bytes[12..]).await.unwrap();
    let session = port.engine().registry().sessions().remove(0);
    session.close(CloseReason::Fenced);
    assert_eq!(frame(&mut stream).await, (0x88, b"\x0f\xa3fenced".to_vec()));
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest))
        .await
        .expect("an end, not a reset");
    assert_eq!(
        upper.closed.load(SeqCst),
        1,
        "told beside the goodbye, not behind it"
    );
    drop(stream);
    assert_eq!(soon(session.closed()).await, CloseReason::Fenced);
}

#[tokio::test]
async fn a_full_node_says_so_and_still_answers_probes() {
    let (port, _) = port_with(1, 2);
    let session = open(&port).await;
    let (status, body, answer) =
        ask(&port, "GET /socket.io/?EIO=4&transport=websocket", UPGRADE).await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("503", "too many sessions\n")
    );
    assert!(answer.contains("retry-after: "));
    assert_eq!(ask(&port, "GET /healthz", "Host: a\r\n").await.0, "200");
    drop(session);
    soon(async {
        while port.engine().registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    open(&port).await;

    // Two connections that say nothing hold both places of plain HTTP.
    let silent = (
        TcpStream::connect(port.local_addr()).await.unwrap(),
        TcpStream::connect(port.local_addr()).await.unwrap(),
    );
    let mut third = connect(&port, "GET /healthz HTTP/1.1\r\nHost: a\r\n").await;
    assert!(head(&mut third).await.starts_with("HTTP/1.1 503 "));
    drop(silent);
    assert!(port.engine().counters().values().connections_refused >= 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_not_waited_for_for_ever() {
    let (port, _) = port();
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    stream.write_all(b"GET /healthz HT").await.unwrap();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    // Answered or not, the connection ends when the time for a head is over, which here passes in
    // no time.
    stream.read_to_end(&mut rest).await.ok();
    let waited = started.elapsed();
    let deadline = limits::HEADER_READ_TIMEOUT;
    assert!(waited >= deadline && waited < deadline * 2, "{waited:?}");
}
