//! Frames that no honest client sends, beyond those of `wire`: floods, trickles, and lengths that
//! promise what never comes. Each ends with a documented code and leaves nothing behind.

use tokio::time::{Instant, sleep};

use super::*;
use crate::{limits, metrics};

#[tokio::test(start_paused = true)]
async fn every_reserved_bit_and_opcode_is_1002() {
    for bits in [0x40, 0x20, 0x10, 0x70] {
        let mut rig = rig().await;
        rig.send(&masked(0x81 | bits, b"4a")).await;
        rig.expect_close(1002, "parse error").await;
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        let mut rig = rig().await;
        rig.send(&masked(0x80 | opcode, b"4a")).await;
        rig.expect_close(1002, "parse error").await;
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_are_whole_short_and_masked() {
    for opcode in [0x8, 0x9, 0xa] {
        for bytes in [
            masked(opcode, b""),
            masked(0x80 | opcode, &[b'x'; 126]),
            vec![0x80 | opcode, 0],
            vec![0x80 | opcode, 2, 3, 0xe8],
            // A length of 64 bits for a control frame.
            vec![0x80 | opcode, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        ] {
            let mut rig = rig().await;
            rig.send(&bytes).await;
            rig.expect_close(1002, "parse error").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unmasked_frame_is_judged_by_its_header() {
    // The mask bit is missed before a byte of the payload has come.
    let mut rig = rig().await;
    rig.send(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]).await;
    rig.expect_close(1002, "parse error").await;
}

#[tokio::test(start_paused = true)]
async fn lengths_beyond_the_limit_are_1009_whatever_they_say() {
    for length in [100_001_u64, u64::from(u32::MAX), 1 << 62, u64::MAX >> 1] {
        let mut rig = rig().await;
        let mut header = vec![0x82, 0x80 | 127];
        header.extend(length.to_be_bytes());
        header.extend([0; 4]);
        rig.send(&header).await;
        rig.expect_close(1009, "message too large").await;
    }
    // Many small fragments of one message.
    let mut rig = rig().await;
    rig.send(&masked(0x02, &[1; 50_000])).await;
    rig.send(&masked(0x00, &[1; 50_000])).await;
    rig.send(&masked(0x00, &[1])).await;
    rig.expect_close(1009, "message too large").await;
}

#[tokio::test(start_paused = true)]
async fn fragments_without_content_are_counted() {
    let mut rig = rig().await;
    let mut bytes = masked(0x01, b"4");
    for _ in 0..limits::FRAGMENTS_MAX {
        bytes.extend(masked(0x00, b""));
    }
    rig.send(&bytes).await;
    rig.expect_close(1009, "message too large").await;
}

#[tokio::test(start_paused = true)]
async fn text_is_utf8_as_a_whole() {
    let mut rig = rig().await;
    // The euro sign, cut between two frames.
    rig.send(&masked(0x01, b"4\xe2\x82")).await;
    rig.send(&masked(0x80, b"\xac")).await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("\u{20ac}".into())));
    for bytes in [
        &b"4\xc0\xaf"[..],
        b"4\xed\xa0\x80",
        b"4\xf4\x90\x80\x80",
        b"4\xe2\x82",
        b"4a\x80",
        b"\xff",
    ] {
        let mut rig = super::rig().await;
        rig.send(&masked(0x81, bytes)).await;
        rig.expect_close(1007, "not utf-8").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_lives_as_long_as_the_heartbeat_allows() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    let start = Instant::now();
    // The largest message, promised; a byte of it every five seconds, and never a pong.
    rig.send(&masked(0x82, &vec![5; small().max_payload])[..14])
        .await;
    while !rig.session.is_closed() {
        sleep(seconds(5)).await;
        if rig.client.write_all(&[1]).await.is_err() {
            break;
        }
    }
    assert!(start.elapsed() >= seconds(45) && start.elapsed() <= seconds(55));
    assert_eq!(rig.expect_end().await, CloseReason::PingTimeout);
}

#[tokio::test(start_paused = true)]
async fn floods_of_empty_packets_leave_nothing_behind() {
    let mut rig = rig().await;
    // Pongs that nobody asked for, noops, and pings of WebSocket's own.
    for _ in 0..5_000 {
        let mut bytes = masked(0x81, b"3");
        bytes.extend(masked(0x81, b"6"));
        bytes.extend(masked(0x89, b"x"));
        bytes.extend(masked(0x8a, b"x"));
        rig.send(&bytes).await;
        // Read as they come: the answers to pings are as many as fit.
        let mut pongs = [0; 64];
        let reading = tokio::time::timeout(Duration::ZERO, rig.client.read(&mut pongs));
        reading.await.ok();
        assert!(rig.session.outbox_depth().0 <= 1);
    }
    rig.send_text("4still here").await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("still here".into())));
    assert_eq!(rig.seen.try_recv().ok(), None, "no pong proved anything");
    assert_eq!(rig.session.outbox_depth(), (0, 0));
    assert_eq!(rig.expect_end().await, CloseReason::TransportClosed);
}

#[tokio::test(start_paused = true)]
async fn faults_are_counted_by_kind() {
    let counted = |kind: &str| {
        let name = format!("roomcast_protocol_errors_total{{kind=\"{kind}\"}} ");
        let text = metrics::install().unwrap().render();
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    for (kind, bytes) in [
        ("websocket", masked(0xc1, b"4a")),
        ("engineio", masked(0x81, b"x")),
        ("engineio", masked(0x81, b"2")),
        ("too_large", masked(0x82, &vec![5; 100_001])[..14].to_vec()),
    ] {
        let before = counted(kind);
        let mut rig = rig().await;
        rig.send(&bytes).await;
        while !rig.session.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(counted(kind) > before, "{kind}");
        rig.expect_end().await;
    }
}
