//! How long a session lives: heartbeats, deadlines, a full outbox, a busy handler.

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::engine::PushError;

async fn answer_ping(rig: &mut Rig) {
    assert_eq!(rig.frame().await, (0x81, b"2".to_vec()));
    rig.send_text("3").await;
}

#[tokio::test(start_paused = true)]
async fn pings_follow_pongs_and_a_missing_pong_ends_the_session() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    let start = Instant::now();
    assert_eq!(rig.frame().await, (0x81, b"2".to_vec()));
    assert_eq!(start.elapsed().as_secs(), 25);
    sleep(seconds(19)).await;
    rig.send_text("3").await;
    assert_eq!(rig.frame().await, (0x81, b"2".to_vec()));
    assert_eq!(
        start.elapsed().as_secs(),
        25 + 19 + 25,
        "one interval after the pong"
    );
    let session = rig.session.clone();
    rig.expect_close(1001, "ping timeout").await;
    assert_eq!(session.closed().await, CloseReason::PingTimeout);
    assert_eq!(start.elapsed().as_secs(), 69 + 20);
}

#[tokio::test(start_paused = true)]
async fn a_pong_brings_the_next_ping_forward_when_the_timeout_is_the_longer() {
    let mut config = small();
    config.ping_interval = seconds(5);
    let mut rig = rig_with(config, b"").await;
    rig.frame().await;
    let start = Instant::now();
    answer_ping(&mut rig).await;
    answer_ping(&mut rig).await;
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_early_pong_proves_nothing() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    let start = Instant::now();
    sleep(seconds(24)).await;
    rig.send_text("3").await;
    answer_ping(&mut rig).await;
    assert_eq!(start.elapsed().as_secs(), 25);
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Arrived(1)),
        "the open packet alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pong_tells_what_arrived_before_its_ping() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    for i in 0..3 {
        rig.session
            .try_push(&message_frame(&i.to_string()))
            .unwrap();
    }
    assert_eq!(rig.session.pushed_count(), 4);
    for _ in 0..3 {
        rig.frame().await;
    }
    assert_eq!(rig.frame().await.1, b"2");
    rig.session
        .try_push(&message_frame("after the ping"))
        .unwrap();
    rig.frame().await;
    rig.send_text("3").await;
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Arrived(4)),
        "not the one after the ping"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blocked_handler_gets_pings_and_is_not_the_clients_fault() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    rig.send_text("4block").await;
    assert_eq!(
        rig.frame().await,
        (0x81, b"2".to_vec()),
        "pinged while the handler blocks"
    );
    rig.send_text("3").await;
    rig.session.try_push(&message_frame("out")).unwrap();
    assert_eq!(
        rig.frame().await.1,
        b"4out",
        "written while the handler blocks"
    );
    // The pong lies unread far beyond the ping timeout.
    sleep(seconds(200)).await;
    assert!(!rig.session.is_closed());
    rig.release.notify_one();
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("block".into())));
    assert_eq!(rig.seen.recv().await, Some(Seen::Arrived(1)));
    answer_ping(&mut rig).await;
    // A client that is gone while the handler blocks is still found out, once the handler is done.
    rig.send_text("4block").await;
    assert_eq!(rig.frame().await.1, b"2");
    sleep(seconds(100)).await;
    rig.release.notify_one();
    let freed = Instant::now();
    assert_eq!(rig.session.closed().await, CloseReason::PingTimeout);
    assert_eq!(
        freed.elapsed().as_secs(),
        20 + 1,
        "a full timeout, then the goodbye's deadline"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_closed_while_its_handler_blocks() {
    let mut rig = rig().await;
    rig.send_text("4block").await;
    assert_eq!(rig.seen.recv().await, Some(Seen::Text("block".into())));
    rig.session.close(CloseReason::Fenced);
    rig.expect_close(4003, "fenced").await;
}

#[tokio::test(start_paused = true)]
async fn a_handlers_refusal_is_the_reason() {
    let mut rig = rig().await;
    rig.send_text("4fail").await;
    rig.expect_close(4005, "overloaded").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_namespace_ends_after_45_seconds() {
    let mut rig = rig().await;
    let start = Instant::now();
    answer_ping(&mut rig).await;
    rig.expect_close(1000, "connect timeout").await;
    assert_eq!(start.elapsed().as_secs(), 45);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_fills_its_outbox_and_only_the_caller_decides() {
    let mut config = small();
    config.outbox.bytes_max = 20_000;
    let mut rig = rig_with(config, b"").await;
    sleep(seconds(1)).await;
    assert!(rig.session.is_writable());
    let frame = message_frame(&"x".repeat(996));
    let mut taken = 0;
    let refused = loop {
        match rig.session.try_push(&frame) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        // The writer runs, but the client's pipe is full.
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, PushError::Full);
    assert!(
        (20..=24).contains(&taken),
        "{taken}: 20 KB of outbox and 4 KB of pipe"
    );
    assert!(!rig.session.is_writable() && !rig.session.is_closed());
    assert_eq!(rig.engine.counters().values().outbox_full, 1);
    let start = Instant::now();
    rig.session.close(CloseReason::SlowConsumer);
    assert_eq!(
        rig.seen.recv().await,
        Some(Seen::Closed(CloseReason::SlowConsumer))
    );
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "the handler is told at once"
    );
    assert_eq!(rig.session.closed().await, CloseReason::SlowConsumer);
    assert!(
        start.elapsed() <= seconds(1),
        "a client that does not read holds nothing up"
    );
    rig.task.await.unwrap();
    assert_eq!(rig.engine.registry().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumers_close_waits_for_the_frame_under_way_only() {
    let mut rig = rig().await;
    let frame = message_frame(&"x".repeat(999));
    for _ in 0..100 {
        rig.session.try_push(&frame).unwrap();
    }
    sleep(seconds(1)).await;
    rig.session.close(CloseReason::SlowConsumer);
    let mut whole = 0;
    let last = loop {
        let (opcode, payload) = rig.frame().await;
        if opcode == 0x88 {
            break payload;
        }
        assert_eq!(payload.len(), 1000);
        whole += 1;
    };
    assert_eq!(last, b"\x0f\xa2slow consumer");
    assert_eq!(
        whole,
        PIPE_BYTES / 1004 + 1,
        "what the pipe held and its rest"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_nothing_and_pings_overtake_its_backlog() {
    let mut rig = rig().await;
    rig.session.mark_joined();
    let session = rig.session.clone();
    let pusher = tokio::spawn(async move {
        for i in 0..2000_u32 {
            let text = format!("{i}:{}", "y".repeat(1000));
            session.space(0).await.unwrap();
            session.try_push(&message_frame(&text)).unwrap();
        }
    });
    sleep(seconds(26)).await;
    let mut next = 0;
    let mut ping_after = None;
    while next < 2000 {
        let (_, payload) = rig.frame().await;
        if payload == b"2" {
            ping_after.get_or_insert(next);
            rig.send_text("3").await;
            continue;
        }
        let text = String::from_utf8(payload).unwrap();
        assert!(
            text.starts_with(&format!("4{next}:")),
            "{next} is missing: {}",
            &text[..10]
        );
        next += 1;
    }
    pusher.await.unwrap();
    assert!(
        ping_after.is_some_and(|at| at < 10),
        "{ping_after:?}: behind the pipe, not the outbox"
    );
    timeout(seconds(1), async {
        while !rig.session.is_writable() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(rig.session.outbox_depth(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_at_its_pace() {
    let rig = rig().await;
    let mut clients = vec![];
    for _ in 0..10 {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(server);
        let connection = WebSocketConnection {
            read,
            write,
            received: Bytes::new(),
        };
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let handshake = Handshake::new(Vec::new(), &http::HeaderMap::new(), remote);
        let engine = Arc::clone(&rig.engine);
        tokio::spawn(async move { engine.serve_websocket(connection, handshake).await });
        clients.push(client);
    }
    tokio::task::yield_now().await;
    assert_eq!(rig.engine.registry().count(), 11);
    let start = Instant::now();
    let pace = crate::engine::DrainPace {
        sessions_per_second: 5,
    };
    rig.engine
        .registry()
        .drain(pace, CloseReason::Draining)
        .await;
    let took = start.elapsed();
    assert!(took >= seconds(2) && took < seconds(5), "{took:?}");
    assert_eq!(rig.engine.registry().count(), 0);
    let closed = rig.engine.counters().values().closed[CloseReason::Draining.index()];
    assert_eq!(closed, 11);
}
