//! Full outboxes: what a socket does when its client does not read, and how it comes back.

use std::sync::Arc;

use super::local::LocalSocket;
use super::replay::{Reached, Stalled};
use crate::adapter::testing::{Begun, Reader, identity, session, text};
use crate::ids::Position;
use crate::limits;

const LIVE: Result<Reached, Stalled> = Ok(Reached::Live);

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

const fn at(index: u64) -> Position {
    Position::new(index, 0)
}

/// What is owed after an event lies in the log up to `through`.
fn behind(after: u64, through: Position) -> Result<Reached, Stalled> {
    let after = at(after);
    Ok(Reached::Behind { after, through })
}

/// A socket that is live from position 5 on, whose outbox takes so many frames.
fn live(frames_max: usize) -> (Arc<LocalSocket>, Reader, Arc<Begun>) {
    let (session, begun) = (session(frames_max), Arc::new(Begun::default()));
    let mut identity = identity(1);
    identity.catch_ups = Arc::<Begun>::clone(&begun);
    let socket = LocalSocket::live(identity, session.clone(), at(5));
    (Arc::new(socket), Reader::new(session), begun)
}

/// The events 6 and 7 fill an outbox of two frames, and 8 is too much.
fn fallen_behind() -> (Arc<LocalSocket>, Reader, Arc<Begun>) {
    let (socket, reader, begun) = live(2);
    assert!(event(&socket, 6) && event(&socket, 7) && begun.starts.lock().is_empty());
    assert!(!event(&socket, 8));
    (socket, reader, begun)
}

/// An event of the log reaches the fan-out.
fn event(socket: &Arc<LocalSocket>, index: u64) -> bool {
    socket.deliver(at(index), None, || text(index.to_string()))
}

/// The replay brings one.
fn replayed(socket: &Arc<LocalSocket>, index: u64) -> Result<(), Stalled> {
    socket.replay(at(index), &text(index.to_string()))
}

#[test]
fn a_full_outbox_turns_a_live_socket_to_catching_up_from_what_it_has() {
    let (socket, mut reader, begun) = fallen_behind();
    assert_eq!(*begun.starts.lock(), [at(7)]);
    assert_eq!(socket.delivered(), at(7));
    assert!(!reader.session.is_closed() && !event(&socket, 9));
    assert_eq!(begun.starts.lock().len(), 1, "one catch-up at a time");
    assert_eq!(
        socket.reach(at(7)),
        behind(7, Position::MAX),
        "8 and 9 are owed"
    );
    assert_eq!(reader.read(2), ["6", "7"], "what was in the outbox stays");
    assert_eq!(replayed(&socket, 8), Ok(()));
    assert_eq!(replayed(&socket, 9), Ok(()));
    assert!(matches!(replayed(&socket, 10), Err(Stalled::Full(_))));
    assert_eq!(socket.reach(at(9)), LIVE);
    assert_eq!(reader.read(9), ["8", "9"]);
    assert!(event(&socket, 10));
    assert_eq!(reader.read(9), ["10"]);
}

#[test]
fn a_catch_up_begins_behind_what_was_fanned_out() {
    let (socket, _reader, _begun) = live(1);
    let begun = Arc::new(Begun::default());
    *begun.fanned_out.lock() = at(70);
    let mut identity = identity(1);
    identity.catch_ups = Arc::<Begun>::clone(&begun);
    let behind = LocalSocket::live(identity, socket.session.clone(), at(5));
    let behind = Arc::new(behind);
    behind.answer_now(&text("a"));
    behind.answer_now(&text("b"));
    assert_eq!(*begun.starts.lock(), [at(70)]);
    assert_eq!(behind.delivered(), at(70), "it was owed nothing since 5");
}

#[test]
fn answers_that_find_the_outbox_full_wait_in_their_order() {
    let (socket, mut reader, begun) = live(1);
    assert!(event(&socket, 6));
    socket.answer_now(&text("a"));
    socket.operation_issued();
    socket.answer_after_issued(text("b"));
    socket.answer_at(at(7), text("at 7"));
    socket.operation_settled();
    assert!(!event(&socket, 8));
    assert_eq!(*begun.starts.lock(), [at(6)]);
    assert_eq!(socket.freeze(at(8)), None, "answers are kept");
    let mut got = reader.read(1);
    socket.answer_now(&text("late"));
    for _ in 0..2 {
        let full = socket.reach(at(6));
        assert!(matches!(full, Err(Stalled::Full(_))), "{full:?}");
        got.extend(reader.read(1));
    }
    for cursor in [6, 7] {
        let reached = socket.reach(at(cursor));
        assert_eq!(reached, behind(cursor, Position::MAX), "8 is owed");
        got.extend(reader.read(1));
    }
    assert_eq!(got, ["6", "a", "b", "late", "at 7"], "none overtakes");
}

#[test]
fn questions_keep_their_place_behind_a_full_outbox() {
    let (socket, mut reader, begun) = live(2);
    let ask = |index: u64| socket.deliver(at(index), Some(index), || text(format!("{index}?")));
    assert!(
        event(&socket, 6) && ask(7) && ask(8),
        "held counts as given"
    );
    assert_eq!(*begun.starts.lock(), [at(7)]);
    assert!(!event(&socket, 9));
    assert_eq!(reader.read(9), ["6", "7?"]);
    assert_eq!(replayed(&socket, 9), Ok(()));
    assert_eq!(socket.reach(at(9)), LIVE);
    assert_eq!(reader.read(9), ["8?", "9"]);
    assert!(socket.take_asked(8) && !socket.take_asked(8));
}

#[test]
fn too_many_kept_answers_close_the_transport() {
    let (socket, reader, _begun) = fallen_behind();
    for _ in 0..limits::SOCKET_ANSWERS_HELD_MAX / 2 {
        socket.answer_now(&text("a"));
        socket.answer_at(at(9), text("a"));
    }
    assert!(!reader.session.is_closed());
    socket.answer_now(&text("a"));
    assert!(reader.session.is_closed());
}

#[test]
fn too_many_bytes_of_kept_answers_close_the_transport() {
    let (socket, reader, _begun) = fallen_behind();
    let half = text("x".repeat(limits::SOCKET_ANSWERS_HELD_BYTES_MAX / 2));
    socket.answer_now(&half);
    assert!(!reader.session.is_closed());
    socket.operation_issued();
    socket.answer_after_issued(half);
    assert!(reader.session.is_closed(), "two halves and their headers");
}

#[test]
fn a_joining_socket_holds_what_comes_and_its_replay_ends_where_it_stood() {
    let (socket, mut reader, _begun) = fallen_behind();
    socket.join();
    assert!(event(&socket, 9), "held");
    socket.answer_at(at(9), text("at 9"));
    assert!(event(&socket, 10));
    assert_eq!(reader.read(9), ["6", "7"]);
    assert_eq!(socket.reach(at(7)), behind(7, at(8)));
    assert_eq!(replayed(&socket, 8), Ok(()));
    let full = socket.reach(at(8));
    assert!(matches!(full, Err(Stalled::Full(_))), "{full:?}");
    assert_eq!(socket.delivered(), at(9), "as far as it went");
    assert!(event(&socket, 11), "still held");
    assert_eq!(reader.read(9), ["8", "9"]);
    assert!(matches!(socket.reach(at(8)), Err(Stalled::Full(_))));
    assert_eq!(reader.read(9), ["at 9", "10"]);
    assert_eq!(socket.reach(at(8)), LIVE);
    assert!(event(&socket, 12));
    assert_eq!(reader.read(9), ["11", "12"]);
}

#[test]
fn a_joining_socket_that_would_hold_too_much_is_left_to_the_log() {
    let (socket, mut reader, _begun) = fallen_behind();
    socket.join();
    socket.answer_at(at(8), text("at 8"));
    let last = 8 + limits::SOCKET_JOINING_EVENTS_MAX as u64;
    for index in 9..=last {
        assert!(event(&socket, index), "{index}");
    }
    assert!(!event(&socket, last + 1));
    assert!(!event(&socket, last + 2), "it joins no more");
    reader.read(9);
    let rest = behind(last + 1, Position::MAX);
    assert_eq!(socket.reach(at(last + 1)), rest, "all are the log's");
    assert_eq!(reader.read(9), ["at 8"], "but what it has not");
    assert_eq!(socket.reach(at(last + 2)), LIVE);
    assert_eq!(reader.read(9), [""; 0]);
}

#[test]
fn a_joining_socket_freezes_with_what_is_in_its_outbox() {
    let (socket, _reader, _begun) = fallen_behind();
    socket.join();
    assert!(event(&socket, 9));
    let frozen = socket.freeze(at(9)).unwrap();
    assert_eq!(frozen.delivered, at(7), "8 and 9 are replayed elsewhere");
    assert_eq!(socket.reach(at(9)), Err(Stalled::Stopped));
}

#[tokio::test]
async fn who_waits_for_space_learns_that_the_socket_was_stopped() {
    let (socket, reader, _begun) = fallen_behind();
    let waiting = {
        let socket = Arc::clone(&socket);
        tokio::spawn(async move { socket.space(0).await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    socket.stop();
    let told = tokio::time::timeout(SOON, waiting).await.unwrap();
    assert!(told.unwrap().is_err());
    assert!(!reader.session.is_closed(), "the transport goes on");
    assert!(socket.space(0).await.is_err());
}
