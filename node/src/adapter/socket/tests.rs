//! Answers, modes, and moves.

use std::sync::Arc;

use roomcast_proto::socketio::Parser;

use super::delivery::Frozen;
use super::ending::Holder;
use super::local::LocalSocket;
use super::replay::{Reached, Stalled};
use crate::adapter::testing::{event, identity, session, text, texts};
use crate::adapter::unlogged::Stamped;
use crate::engine::{Frames, SessionHandle};
use crate::ids::Position;
use crate::limits;

const LIVE: Result<Reached, Stalled> = Ok(Reached::Live);

const fn at(index: u64) -> Position {
    Position::new(index, 0)
}

/// The log is to be read from there to its end.
fn behind(after: u64) -> Result<Reached, Stalled> {
    let (after, through) = (at(after), Position::MAX);
    Ok(Reached::Behind { after, through })
}

fn catching_up(start: u64, resumed: u64) -> (Arc<LocalSocket>, SessionHandle) {
    let session = session(1000);
    let socket = LocalSocket::catching_up(identity(1), session.clone(), at(start), at(resumed));
    (Arc::new(socket), session)
}

fn live_from(position: Position, frames_max: usize) -> (Arc<LocalSocket>, SessionHandle) {
    let session = session(frames_max);
    let socket = LocalSocket::live(identity(1), session.clone(), position);
    (Arc::new(socket), session)
}

/// An event of this name that is not logged.
fn unlogged(name: &str) -> Stamped {
    let mut event = event(Position::ZERO, &[], &[]);
    event.event = format!("[\"{name}\"]").into();
    Stamped::new(Arc::new(event), 0, Parser::Json)
}

fn never() -> Arc<Frames> {
    unreachable!("nothing is encoded for a socket that does not get it")
}

#[test]
fn a_live_socket_gets_only_what_is_later_than_what_it_has() {
    let (socket, session) = live_from(at(5), 10);
    assert!(!socket.deliver(at(4), None, never) && !socket.deliver(at(5), None, never));
    assert!(socket.deliver(at(6), None, || text("6")));
    assert!(!socket.deliver(at(6), None, never), "once");
    assert_eq!(
        (texts(&session), socket.delivered()),
        (vec!["6".into()], at(6))
    );
}

#[test]
fn a_resumed_socket_is_never_live_before_its_resume() {
    let (socket, session) = catching_up(3, 7);
    for cursor in [3, 4, 6] {
        assert_eq!(socket.reach(at(cursor)), behind(cursor), "{cursor}");
    }
    assert_eq!(socket.reach(at(7)), LIVE);
    assert!(socket.deliver(at(8), None, || text("8")));
    assert_eq!(texts(&session), ["8"]);
}

#[test]
fn an_event_seen_while_catching_up_is_left_to_the_replay() {
    let (socket, session) = catching_up(3, 7);
    assert!(!socket.deliver(at(9), None, never));
    assert_eq!(socket.reach(at(8)), behind(8), "9 is owed and not replayed");
    assert_eq!(socket.reach(at(9)), LIVE);
    assert!(
        !socket.deliver(at(9), None, never),
        "the replay delivered it"
    );
    assert_eq!(texts(&session), [""; 0]);
}

#[test]
fn a_catching_up_socket_gets_no_volatile_events() {
    let (socket, session) = catching_up(3, 7);
    assert!(!socket.deliver_volatile(&mut unlogged("v")));
    assert_eq!(socket.reach(at(7)), LIVE);
    assert_eq!(texts(&session), [""; 0]);
}

#[test]
fn a_volatile_event_carries_what_is_delivered_and_needs_an_idle_transport() {
    let (socket, session) = live_from(at(5), 10);
    assert!(socket.deliver_volatile(&mut unlogged("v")));
    let busy = socket.deliver_volatile(&mut unlogged("w"));
    assert!(!busy, "something waits already");
    assert_eq!(texts(&session), [r#"42["v","0.5.0"]"#]);
    assert_eq!(socket.delivered(), at(5));
}

#[test]
fn transient_events_are_queued_in_order_and_dropped_by_a_full_outbox() {
    let (socket, session) = live_from(at(5), 3);
    assert!(socket.deliver_transient(&mut unlogged("t")));
    assert!(socket.deliver(at(6), None, || text("6")));
    assert!(socket.deliver_transient(&mut unlogged("u")));
    assert!(!socket.deliver_transient(&mut unlogged("dropped")));
    assert!(!session.is_closed(), "it would not be replayed either");
    let expected = [r#"42["t","0.5.0"]"#, "6", r#"42["u","0.6.0"]"#];
    assert_eq!(texts(&session), expected);
}

#[test]
fn transient_events_wait_for_the_replay_and_carry_its_end() {
    let (socket, session) = catching_up(3, 7);
    assert!(!socket.deliver_transient(&mut unlogged("t")));
    socket.answer_at(at(7), text("answer"));
    assert!(!socket.deliver_transient(&mut unlogged("u")));
    assert_eq!(socket.reach(at(6)), behind(6));
    assert_eq!(texts(&session), [""; 0], "the replay comes first");
    assert_eq!(socket.reach(at(8)), LIVE);
    let expected = ["answer", r#"42["t","0.8.0"]"#, r#"42["u","0.8.0"]"#];
    assert_eq!(texts(&session), expected);
}

#[test]
fn held_answers_stand_before_the_first_event_after_them() {
    let (socket, session) = catching_up(3, 7);
    socket.answer_at(at(8), text("8"));
    socket.deliver(at(9), None, never);
    socket.answer_at(at(10), text("10"));
    assert_eq!(socket.replay(at(7), &text("7")), Ok(()));
    assert_eq!(socket.delivered(), at(7));
    assert_eq!(socket.reach(at(8)), behind(8));
    assert_eq!(texts(&session), ["7", "8"]);
    assert_eq!(socket.reach(at(9)), LIVE);
    assert_eq!(
        texts(&session),
        ["10"],
        "nothing owed lies between 9 and 10"
    );
}

#[test]
fn a_closed_socket_takes_nothing_and_forgets_what_waits() {
    let (socket, session) = catching_up(3, 7);
    socket.answer_at(at(8), text("held"));
    socket.deliver_transient(&mut unlogged("held"));
    socket.operation_issued();
    socket.answer_after_issued(text("waiting"));
    socket.stop();
    socket.operation_settled();
    socket.answer_at(at(9), text("late"));
    socket.answer_now(&text("now"));
    socket.answer_after_issued(text("after"));
    assert!(!socket.deliver(at(9), None, never));
    assert!(!socket.deliver_volatile(&mut unlogged("v")));
    assert!(!socket.deliver_transient(&mut unlogged("t")));
    assert_eq!(socket.reach(at(9)), Err(Stalled::Stopped));
    assert!(socket.is_stopped(), "and does not bring it back to life");
    let replayed = socket.replay(at(100), &text("e"));
    assert_eq!(replayed, Err(Stalled::Stopped));
    assert_eq!(socket.delivered(), at(3), "nothing counts any more");
    assert_eq!(texts(&session), [""; 0]);
}

#[test]
fn an_answer_leaves_after_the_operations_issued_before_it() {
    let (socket, session) = live_from(at(0), 10);
    socket.answer_after_issued(text("at once"));
    socket.operation_issued();
    socket.operation_issued();
    socket.answer_after_issued(text("after two"));
    socket.operation_issued();
    socket.answer_after_issued(text("after three"));
    socket.operation_settled();
    assert_eq!(texts(&session), ["at once"]);
    socket.operation_settled();
    assert_eq!(texts(&session), ["after two"]);
    socket.operation_settled();
    assert_eq!(texts(&session), ["after three"]);
}

#[test]
fn too_many_answers_that_wait_close_the_transport() {
    let (socket, session) = live_from(at(0), 10);
    socket.operation_issued();
    for _ in 0..limits::SOCKET_ANSWERS_HELD_MAX {
        socket.answer_after_issued(text("a"));
    }
    assert!(!session.is_closed());
    socket.answer_after_issued(text("a"));
    assert!(session.is_closed());
}

#[test]
fn too_many_held_answers_close_the_transport() {
    let (socket, session) = catching_up(3, 7);
    for _ in 0..limits::SOCKET_ANSWERS_HELD_MAX {
        socket.answer_at(at(8), text("a"));
    }
    assert!(!session.is_closed());
    socket.answer_at(at(8), text("a"));
    assert!(session.is_closed());
}

#[test]
fn a_question_is_answered_once_by_who_was_asked() {
    let (socket, _session) = live_from(at(0), 1000);
    assert!(!socket.take_asked(1), "not asked");
    for number in 1..=limits::SOCKET_REQUESTS_MAX as u64 + 1 {
        socket.deliver(at(number), Some(number), || text("question"));
    }
    assert!(!socket.take_asked(1), "the oldest of too many");
    assert!(socket.take_asked(2) && !socket.take_asked(2));
}

#[test]
fn a_quiet_socket_freezes_with_what_it_has() {
    let frozen = |delivered, asked: &[u64]| {
        Some(Frozen {
            delivered: at(delivered),
            asked: asked.to_vec(),
        })
    };
    let (live, session) = live_from(at(5), 1000);
    live.deliver(at(6), Some(9), || text("question"));
    live.operation_issued();
    assert_eq!(live.freeze(at(7)), None, "an operation is under way");
    live.operation_settled();
    live.answer_opened();
    assert_eq!(live.freeze(at(7)), None, "an answer is due");
    live.answer_closed();
    assert_eq!(
        live.freeze(at(7)),
        frozen(7, &[9]),
        "not owed what it did not get"
    );
    assert_eq!(live.freeze(at(8)), None, "once");
    assert!(live.is_stopped() && !live.deliver(at(8), None, never));
    assert_eq!(texts(&session), ["question"]);

    let (late, _session) = catching_up(3, 7);
    late.replay(at(4), &text("4")).unwrap();
    late.answer_at(at(6), text("held"));
    assert_eq!(late.freeze(at(9)), None, "an answer is held");
    assert_eq!(late.reach(at(6)), behind(6));
    assert_eq!(
        late.freeze(at(9)),
        frozen(6, &[]),
        "the rest is replayed elsewhere"
    );
    let replayed = late.replay(at(7), &text("7"));
    assert_eq!(replayed, Err(Stalled::Stopped));

    let (moved, _session) = live_from(at(5), 10);
    moved.ask_again(vec![9]);
    assert!(moved.take_asked(9) && !moved.take_asked(9));
}

/// Whoever holds a socket, and what it was told.
#[derive(Debug, Default)]
struct Told(parking_lot::Mutex<Vec<bool>>);

impl Holder for Told {
    fn kicked(self: Arc<Self>, close: bool) {
        self.0.lock().push(close);
    }
}

#[test]
fn a_socket_that_the_log_ends_tells_its_client_and_its_holder_once() {
    for early in [true, false] {
        let told = Arc::new(Told::default());
        let holder: Arc<dyn Holder> = Arc::<Told>::clone(&told);
        let (socket, session) = live_from(at(5), 10);
        // It may end before anybody holds it.
        if early {
            socket.kick(true);
            assert_eq!(*told.0.lock(), [false; 0]);
        }
        socket.hold(Arc::downgrade(&holder));
        if !early {
            socket.kick(true);
        }
        assert!(socket.is_stopped() && !socket.deliver(at(6), None, never));
        assert_eq!(texts(&session), ["41"]);
        assert_eq!(*told.0.lock(), [true], "early: {early}");
    }
}
