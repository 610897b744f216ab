//! What goes over the wire: the handshake's packet, frames, violations, close codes.

use tokio::io::AsyncReadExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_open_packet_comes_first_with_the_settings_and_no_upgrades() {
    let mut rig = rig_with(EngineConfig::standard(), b"").await;
    let (_, payload) = rig.frame().await;
    let sid = rig.session.sid().reveal();
    let expected = format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}}"
    );
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
    assert_eq!(
        rig.engine
            .registry()
            .get(&rig.session.sid())
            .map(|s| s.sid()),
        Some(rig.session.sid())
    );
}

#[tokio::test(start_paused = true)]
async fn literal_frames_become_messages_and_back() {
    let mut rig = rig().await;
    // "4hi" masked with 01 02 03 04.
    rig.send(&[0x81, 0x83, 1, 2, 3, 4, b'4' ^ 1, b'h' ^ 2, b'i' ^ 3])
        .await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("hi".into())));
    rig.send(&[0x82, 0x82, 1, 2, 3, 4, 7 ^ 1, 8 ^ 2]).await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Binary(vec![7, 8])));
    rig.send_text("4echo").await;
    let mut bytes = [0; 7];
    rig.client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\x81\x054echo");
    rig.send_text("bAQI=").await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("echo".into())));
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Binary(vec![1, 2])),
        "base64 of a b64=1 client"
    );
    rig.send_text("6").await;
    rig.send_text("4last").await;
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Text("last".into())),
        "noop is nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn what_came_with_the_handshake_is_not_lost() {
    let mut rig = rig_with(
        small(),
        &[0x81, 0x82, 0, 0, 0, 0, b'4', b'a', 0x81, 0x82, 0, 0],
    )
    .await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("a".into())));
    rig.send(&[0, 0, b'4', b'b']).await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("b".into())));
}

#[tokio::test(start_paused = true)]
async fn frames_arrive_in_any_pieces() {
    let mut rig = rig().await;
    let big = format!("4{}", "x".repeat(70_000));
    let mut bytes = masked(0x81, b"4one");
    bytes.extend(masked(0x01, b"4fr"));
    bytes.extend(masked(0x89, b"between"));
    bytes.extend(masked(0x00, b"ag"));
    bytes.extend(masked(0x80, b"ment"));
    bytes.extend(masked(0x81, big.as_bytes()));
    bytes.extend(masked(0x82, &[9; 300]));
    for piece in bytes.chunks(7) {
        rig.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("one".into())));
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("fragment".into())));
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("x".repeat(70_000))));
    assert_eq!(rig.seen.recv().await, Some(Seen::Binary(vec![9; 300])));
    assert_eq!(
        rig.frame().await,
        (0x8a, b"between".to_vec()),
        "a ping is answered"
    );
}

#[tokio::test(start_paused = true)]
async fn the_largest_message_is_taken_and_one_byte_more_is_1009() {
    let mut rig = rig().await;
    let max = small().max_payload;
    let bytes = masked(0x82, &vec![5; max]);
    rig.send(&bytes).await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Binary(vec![5; max])));
    rig.send(&masked(0x82, &vec![5; max + 1])[..14]).await;
    rig.expect_close(1009, "message too large").await;

    let mut rig = super::rig().await;
    rig.send(&masked(0x02, &vec![5; max])).await;
    rig.send(&masked(0x80, &[5])).await;
    rig.expect_close(1009, "message too large").await;
}

#[tokio::test(start_paused = true)]
async fn violations_are_parse_errors_with_1002() {
    let mut half_code = masked(0x88, &[3]);
    half_code.extend(masked(0x81, b"4a"));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unmasked", b"\x81\x024a".to_vec()),
        ("reserved bit", masked(0xc1, b"4a")),
        ("unknown data opcode", masked(0x83, b"4a")),
        ("unknown control opcode", masked(0x8b, b"")),
        ("fragmented ping", masked(0x09, b"a")),
        ("long ping", masked(0x89, &[0; 126])),
        ("continuation of nothing", masked(0x80, b"4a")),
        (
            "message in a message",
            [masked(0x01, b"4a"), masked(0x81, b"4b")].concat(),
        ),
        ("half a close code", half_code),
        ("close code for no frame", masked(0x88, &[0x03, 0xed])),
        ("close code of no one", masked(0x88, &[0x0b, 0xb7])),
        ("close reason", masked(0x88, &[0x03, 0xe8, 0xff])),
        ("empty packet", masked(0x81, b"")),
        ("unknown packet", masked(0x81, b"x")),
        ("client ping", masked(0x81, b"2")),
        ("client open", masked(0x81, b"0{}")),
        ("upgrade outside of one", masked(0x81, b"5")),
        ("broken base64", masked(0x81, b"b!")),
        ("http instead of frames", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        println!("{name}");
        let mut rig = rig().await;
        rig.send(&bytes).await;
        rig.expect_close(1002, "parse error").await;
    }
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf8_has_a_code_of_its_own() {
    let mut rig = rig().await;
    rig.send(&masked(0x81, b"4\xff")).await;
    let session = rig.session.clone();
    rig.expect_close(1007, "not utf-8").await;
    assert_eq!(session.closed().await, CloseReason::NotUtf8);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_gets_its_close_back() {
    for goodbye in [
        masked(0x81, b"1"),
        masked(0x88, b""),
        masked(0x88, &[0x03, 0xe9]),
    ] {
        let mut rig = rig().await;
        rig.send(&goodbye).await;
        let session = rig.session.clone();
        rig.expect_close(1000, "").await;
        assert_eq!(session.closed().await, CloseReason::ClientClosed);
    }
    let mut rig = rig().await;
    rig.send(&masked(0x81, b"4half")[..5]).await;
    assert_eq!(rig.expect_end().await, CloseReason::TransportClosed);
}

#[tokio::test(start_paused = true)]
async fn every_reason_of_ours_has_its_code_and_what_waits_goes_first() {
    for reason in CloseReason::ALL {
        if matches!(
            reason,
            CloseReason::TransportClosed | CloseReason::TransportError | CloseReason::Moved
        ) {
            continue;
        }
        let mut rig = rig().await;
        rig.session.try_push(&message_frame("last words")).unwrap();
        rig.session.close(reason);
        rig.session.close(CloseReason::Fenced);
        assert!(rig.session.try_push(&message_frame("late")).is_err());
        if reason.flushes() {
            assert_eq!(rig.frame().await.1, b"4last words");
        }
        let (code, word) = reason.websocket();
        let session = rig.session.clone();
        rig.expect_close(code, word).await;
        assert_eq!(session.closed().await, reason, "the first reason wins");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_costs_one_pong() {
    let mut rig = rig().await;
    rig.session
        .try_push(&message_frame(&"x".repeat(3 * PIPE_BYTES)))
        .unwrap();
    for i in 0..1000_u32 {
        rig.send(&masked(0x89, &i.to_be_bytes())).await;
    }
    rig.send_text("4done").await;
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Text("done".into())),
        "reading goes on"
    );
    assert_eq!(rig.frame().await.1.len(), 3 * PIPE_BYTES + 1);
    assert_eq!(rig.frame().await, (0x8a, 999_u32.to_be_bytes().to_vec()));
    rig.send_text("4echo").await;
    assert_eq!(rig.frame().await.1, b"4echo");
}
