//! Each kind of fault is planted once and must be found, and only that one.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;

const fn at(index: u64) -> Offset {
    Offset {
        epoch: 9,
        index,
        op: 0,
    }
}

const fn id(seq: u32) -> EventId {
    EventId { publisher: 0, seq }
}

/// Two subscribers in room `r` from offset 10 on; events 0 to 4 acknowledged at 11 to 15.
fn run() -> Oracle {
    let oracle = Oracle::new();
    assert_eq!(oracle.publisher(), 0);
    for (number, name) in ["ann", "bob"].into_iter().enumerate() {
        assert_eq!(oracle.subscriber(name), number);
        assert_eq!(oracle.fresh(number, name), 1);
        oracle.joining(number, "r");
        oracle.joined(number, 1, "r", at(10));
    }
    for seq in 0..5 {
        oracle.sent(id(seq), Target::room("r"));
        oracle.settled(id(seq), Outcome::Acked(at(11 + u64::from(seq))));
    }
    oracle
}

fn deliver(oracle: &Oracle, subscriber: usize, seqs: impl IntoIterator<Item = u32>) {
    for seq in seqs {
        oracle.received(subscriber, id(seq), at(11 + u64::from(seq)));
    }
}

/// The faults that are not zero.
fn faults(oracle: &Oracle) -> Vec<(&'static str, u64)> {
    oracle
        .audit()
        .faults()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn a_clean_run_is_clean() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    let report = oracle.audit();
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.published, report.acknowledged, report.deliveries),
        (5, 5, 10)
    );
    report.assert_clean("clean");
}

#[test]
fn a_loss_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, [0, 1, 3, 4]);
    assert_eq!(
        faults(&oracle),
        [("lost", 1), ("acknowledged but undelivered", 1)]
    );
}

#[test]
fn a_loss_at_the_end_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..4);
    assert_eq!(
        faults(&oracle),
        [("lost", 1), ("acknowledged but undelivered", 1)]
    );
}

#[test]
fn a_duplicate_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, [0, 1, 2, 2, 3, 4]);
    assert_eq!(faults(&oracle), [("duplicated", 1)]);
}

#[test]
fn a_publish_that_is_twice_in_the_log_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.received(0, id(4), at(16));
    assert_eq!(faults(&oracle), [("duplicated", 1), ("disagreed", 1)]);
}

#[test]
fn a_reorder_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, [0, 2, 1, 3, 4]);
    assert_eq!(faults(&oracle), [("out of order", 1)]);
}

#[test]
fn two_orders_are_found_even_if_each_looks_right() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..3);
    oracle.received(1, id(4), at(14));
    oracle.received(1, id(3), at(15));
    assert_eq!(faults(&oracle), [("disagreed", 2)]);
}

#[test]
fn another_logs_epoch_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..4);
    oracle.received(
        1,
        id(4),
        Offset {
            epoch: 10,
            index: 15,
            op: 0,
        },
    );
    assert_eq!(faults(&oracle), [("disagreed", 1)]);
}

#[test]
fn a_publish_overtaken_by_its_successor_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.sent(id(5), Target::room("elsewhere"));
    oracle.settled(id(5), Outcome::Acked(at(9)));
    assert_eq!(faults(&oracle), [("out of order", 1)]);
}

#[test]
fn events_before_the_join_and_after_the_leave_are_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..3);
    oracle.leaving(1, "r");
    oracle.left(1, 1, "r", Offset { op: 5, ..at(13) });
    assert_eq!(faults(&oracle), []);
    deliver(&oracle, 1, [3]);
    assert_eq!(faults(&oracle), [("misplaced", 1)]);
    oracle.sent(id(5), Target::room("r"));
    oracle.settled(id(5), Outcome::Unknown);
    oracle.received(0, id(5), at(8));
    assert_eq!(faults(&oracle), [("out of order", 1), ("misplaced", 2)]);
}

#[test]
fn a_join_that_was_tried_twice_may_have_worked_the_first_time() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    let cid = oracle.subscriber("cid");
    let generation = oracle.fresh(cid, "cid");
    oracle.joining(cid, "r");
    deliver(&oracle, cid, [3]);
    assert_eq!(faults(&oracle), []);
    oracle.joining(cid, "r");
    oracle.joined(cid, generation, "r", Offset { op: 5, ..at(14) });
    assert_eq!(
        faults(&oracle),
        [("lost", 1), ("acknowledged but undelivered", 1)]
    );
    deliver(&oracle, cid, [4]);
    assert_eq!(faults(&oracle), []);
}

#[test]
fn events_missed_before_an_acknowledged_leave_are_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..2);
    oracle.leaving(1, "r");
    assert_eq!(faults(&oracle), [], "the leave may have worked at once");
    oracle.left(1, 1, "r", Offset { op: 5, ..at(13) });
    assert_eq!(
        faults(&oracle),
        [("lost", 1), ("acknowledged but undelivered", 1)]
    );
}

#[test]
fn a_fresh_session_is_owed_nothing_of_the_old_one_but_nothing_twice_either() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..2);
    assert_eq!(oracle.fresh(1, "bob again"), 2);
    oracle.joined(1, 1, "r", at(10));
    oracle.joining(1, "r");
    assert_eq!(faults(&oracle), [], "the join is not answered");
    oracle.joined(1, 2, "r", Offset { op: 5, ..at(13) });
    assert_eq!(
        faults(&oracle),
        [("lost", 2), ("acknowledged but undelivered", 2)]
    );
    deliver(&oracle, 1, [3, 4]);
    assert_eq!(faults(&oracle), []);
    deliver(&oracle, 1, [0]);
    assert_eq!(faults(&oracle), [("duplicated", 1)]);
}

#[test]
fn a_hole_before_the_end_of_a_session_is_found() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, [0, 2]);
    let _generation = oracle.fresh(1, "bob again");
    assert_eq!(
        faults(&oracle),
        [("lost", 1), ("acknowledged but undelivered", 1)]
    );
}

#[test]
fn excepted_members_are_owed_nothing_and_allowed_nothing() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.joining(1, "quiet");
    oracle.joined(1, 1, "quiet", at(20));
    let target = Target {
        rooms: vec!["r".to_owned()],
        except: vec!["quiet".to_owned()],
    };
    oracle.sent(id(5), target);
    oracle.settled(id(5), Outcome::Acked(at(21)));
    oracle.received(0, id(5), at(21));
    assert_eq!(faults(&oracle), []);
    oracle.received(1, id(5), at(21));
    assert_eq!(faults(&oracle), [("misplaced", 1)]);
}

#[test]
fn an_unanswered_publish_reaches_all_or_none() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.sent(id(5), Target::room("r"));
    assert_eq!(faults(&oracle), []);
    oracle.received(0, id(5), at(16));
    assert_eq!(faults(&oracle), [("lost", 1)]);
    oracle.received(1, id(5), at(16));
    assert_eq!(faults(&oracle), []);
}

#[test]
fn refused_and_unsent_events_are_phantoms() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.sent(id(5), Target::room("r"));
    oracle.settled(id(5), Outcome::Refused);
    oracle.received(0, id(5), at(16));
    oracle.received(0, id(6), at(17));
    let found = faults(&oracle);
    assert!(found.contains(&("phantom", 2)), "{found:?}");
}

#[test]
fn corruption_is_counted() {
    let oracle = run();
    deliver(&oracle, 0, 0..5);
    deliver(&oracle, 1, 0..5);
    oracle.corrupted(1);
    assert_eq!(faults(&oracle), [("corrupted", 1)]);
}

/// Random memberships over a random log, delivered exactly; then one random fault.
#[test]
fn any_single_change_to_an_exact_delivery_is_found() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let oracle = Oracle::new();
        let publisher = oracle.publisher();
        let (joined, left) = (rng.random_range(1..40), rng.random_range(41..80));
        let ann = oracle.subscriber("ann");
        let generation = oracle.fresh(ann, "ann");
        oracle.joining(ann, "a");
        oracle.joined(ann, generation, "a", at(joined));
        let mut owed = Vec::new();
        for seq in 0..40u32 {
            let place = at(u64::from(seq) * 2 + 2);
            let room = ["a", "b"][rng.random_range(0..2)];
            let event = EventId { publisher, seq };
            oracle.sent(event, Target::room(room));
            oracle.settled(event, Outcome::Acked(place));
            if room == "a" && place > at(joined) && place < at(left) {
                owed.push((event, place));
            }
        }
        let exact = owed.clone();
        let fault = rng.random_range(0..3);
        if exact.len() < 3 {
            continue;
        }
        let spot = rng.random_range(0..owed.len() - 1);
        match fault {
            0 => drop(owed.remove(spot)),
            1 => owed.insert(spot, exact[spot]),
            _ => owed[spot..].shuffle(&mut rng),
        }
        let changed = owed != exact;
        for (event, place) in owed {
            oracle.received(ann, event, place);
        }
        oracle.leaving(ann, "a");
        oracle.left(ann, generation, "a", at(left));
        let report = oracle.audit();
        assert_eq!(report.is_clean(), !changed, "seed {seed}: {report}");
    }
}
