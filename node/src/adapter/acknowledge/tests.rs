//! What is said of whom.

use super::*;
use crate::adapter::socket::Reached;
use crate::adapter::testing::{identity, live, session, text};
use crate::engine::SessionHandle;

fn at(index: u64) -> Position {
    Position::new(index, 0)
}

/// Attached at 10, with everything up to `arrived`; the log knows of `told`.
fn arrival(arrived: u64, told: u64) -> Arrival {
    let mut arrival = Arrival::new(at(arrived), at(10));
    arrival.told = at(told);
    arrival
}

#[test]
fn who_lags_is_listed_whenever_the_others_move() {
    assert_eq!(said(&arrival(30, 10), at(20), true), Said::Covered);
    assert_eq!(said(&arrival(20, 10), at(20), true), Said::Covered);
    assert_eq!(said(&arrival(19, 10), at(20), true), Said::Listed);
    assert_eq!(said(&arrival(19, 19), at(20), true), Said::Listed, "again");
}

#[test]
fn who_was_attached_later_is_listed_only_when_there_is_news() {
    assert_eq!(said(&arrival(5, 5), at(9), true), Said::Nothing);
    assert_eq!(said(&arrival(7, 5), at(9), true), Said::Listed);
    assert_eq!(said(&arrival(30, 5), at(9), true), Said::Listed);
    assert_eq!(said(&arrival(30, 9), at(9), true), Said::Nothing);
}

#[test]
fn without_a_move_only_news_is_said() {
    assert_eq!(said(&arrival(30, 20), at(20), false), Said::Nothing);
    assert_eq!(said(&arrival(19, 19), at(20), false), Said::Nothing);
    assert_eq!(said(&arrival(19, 15), at(20), false), Said::Listed);
    assert_eq!(said(&arrival(30, 15), at(20), false), Said::Listed);
}

#[test]
fn a_long_list_is_spread_and_only_its_last_operation_moves_the_others() {
    let (socket, _session) = live(1);
    for (count, sizes) in [
        (0, &[0][..]),
        (1, &[1]),
        (ACKNOWLEDGE_EXCEPT_MAX, &[1000]),
        (ACKNOWLEDGE_EXCEPT_MAX + 1, &[1000, 1]),
        (2 * ACKNOWLEDGE_EXCEPT_MAX + 5, &[1000, 1000, 5]),
    ] {
        let listed = vec![(&socket, at(7)); count];
        let operations = operations(3, at(20), &listed);
        let lengths: Vec<usize> = operations.iter().map(|op| op.except.len()).collect();
        assert_eq!(lengths, sizes);
        let (last, others) = operations.split_last().unwrap();
        assert!(!last.more && others.iter().all(|operation| operation.more));
        assert!(operations.iter().all(|op| op.through == last.through));
    }
}

#[test]
fn a_report_is_of_events_that_are_some_periods_old() {
    let mut reporter = Reporter::default();
    assert_eq!(reporter.period(7, at(50), at(40)), None);
    assert_eq!(reporter.period(7, at(51), at(40)), None);
    // The first is where this life began to look: whatever was before it.
    assert_eq!(reporter.period(7, at(90), at(80)), Some(at(50)));
    assert_eq!(reporter.period(7, at(91), at(80)), Some(at(50)));
    assert_eq!(reporter.period(7, at(92), at(80)), Some(at(50)));
    assert_eq!(reporter.period(7, at(93), at(80)), Some(at(80)));
    assert_eq!(reporter.period(7, at(94), at(99)), Some(at(80)));
    assert_eq!(reporter.period(7, at(95), at(99)), Some(at(80)));
    assert_eq!(reporter.period(7, at(100), at(99)), Some(at(80)));
    // Never beyond what the fan-out knew; and a new life starts anew.
    assert_eq!(reporter.period(7, at(101), at(99)), Some(at(94)));
    assert_eq!(reporter.period(8, at(102), at(99)), None);
}

/// A socket that catches up from 5 since it was resumed at 10, and its session.
fn catching_up() -> (LocalSocket, SessionHandle) {
    let session = session(1000);
    let socket = LocalSocket::catching_up(identity(1), session.clone(), at(5), at(10));
    (socket, session)
}

#[test]
fn a_live_socket_is_owed_nothing_more_up_to_where_the_fan_out_is() {
    let (socket, session) = live(1);
    socket.ponged(session.pushed_count(), at(20));
    assert_eq!(socket.arrival().arrived, at(20));
    // An event is put out and never written: this PONG says nothing of it.
    let written = session.pushed_count();
    socket.deliver(at(30), None, || text("42[]"));
    for progress in [30, 31, 32] {
        socket.ponged(written, at(progress));
        assert_eq!(socket.arrival().arrived, at(20));
    }
    socket.ponged(session.pushed_count(), at(40));
    assert_eq!(socket.arrival().arrived, at(40));
    socket.stop();
    socket.ponged(session.pushed_count(), at(50));
    assert_eq!(socket.arrival().arrived, at(40));
}

#[test]
fn a_socket_that_catches_up_has_what_was_replayed() {
    let (socket, session) = catching_up();
    socket.ponged(session.pushed_count(), at(20));
    assert_eq!(socket.arrival().arrived, at(5));
    let written = session.pushed_count();
    socket.replay(at(7), &text("42[]")).unwrap();
    socket.ponged(written, at(20));
    assert_eq!(socket.arrival().arrived, at(5));
    socket.ponged(session.pushed_count(), at(20));
    assert_eq!(socket.arrival().arrived, at(7));
    assert_eq!(socket.reach(at(12)), Ok(Reached::Live));
    socket.ponged(session.pushed_count(), at(20));
    assert_eq!(socket.arrival().arrived, at(20));
}

#[test]
fn of_a_socket_that_moved_here_nothing_is_known_before_its_first_pong() {
    let (socket, session) = catching_up();
    socket.forget_arrival();
    let arrival = socket.arrival();
    assert_eq!(
        (arrival.arrived, arrival.attached),
        (Position::ZERO, at(10))
    );
    assert_eq!(said(&arrival, at(9), true), Said::Nothing);
    assert_eq!(said(&arrival, at(20), true), Said::Listed);
    socket.ponged(session.pushed_count(), at(20));
    assert_eq!(socket.arrival().arrived, at(5));
}
