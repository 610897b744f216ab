//! Each kind of fault is planted once and must be found, and only that one.

use super::*;

const fn at(index: u64) -> Offset {
    Offset {
        epoch: 9,
        index,
        op: 0,
    }
}

fn joined(room: &str) -> Fate {
    Fate::Joined(room.to_owned())
}

fn left(room: &str) -> Fate {
    Fate::Left(room.to_owned())
}

/// What a follower is told of ann, who joins `r` and leaves it, joins `s`, is away for a while and
/// goes for good, and of bob, who stays in `r`.
fn story() -> Vec<Message> {
    [
        (10, "ann", Fate::Connected),
        (11, "bob", Fate::Connected),
        (12, "ann", joined("r")),
        (13, "bob", joined("r")),
        (14, "ann", left("r")),
        (15, "ann", joined("s")),
        (16, "ann", Fate::Away),
        (17, "ann", Fate::Back),
        (18, "ann", left("s")),
        (18, "ann", Fate::Disconnected),
    ]
    .map(|(index, id, fate)| Message {
        offset: at(index),
        last: fate != left("s"),
        told: Told::Fate(id.to_owned(), fate),
    })
    .to_vec()
}

/// What the two did themselves.
fn done() -> Lifecycle {
    let lifecycle = Lifecycle::new();
    for (number, id) in ["ann", "bob"].into_iter().enumerate() {
        assert_eq!(lifecycle.client(id), number);
        lifecycle.connected(number, id);
    }
    for (client, change, room, index) in [
        (0, Change::Join, "r", 12),
        (1, Change::Join, "r", 13),
        (0, Change::Leave, "r", 14),
        (0, Change::Join, "s", 15),
    ] {
        lifecycle.asking(client, change, room);
        lifecycle.answered((client, 1), change, room, at(index));
    }
    lifecycle.closing(0);
    lifecycle
}

fn tell(lifecycle: &Lifecycle, messages: Vec<Message>) {
    for Message { offset, last, told } in messages {
        lifecycle.told(offset, last, told);
    }
}

/// The faults that are not zero.
fn faults_of(lifecycle: &Lifecycle) -> Vec<(&'static str, u64)> {
    let faults = lifecycle.audit().faults().into_iter();
    faults.filter(|(_, count)| *count > 0).collect()
}

/// The faults when the story is told like this.
fn faults(change: impl FnOnce(&mut Vec<Message>)) -> Vec<(&'static str, u64)> {
    let (lifecycle, mut messages) = (done(), story());
    change(&mut messages);
    tell(&lifecycle, messages);
    faults_of(&lifecycle)
}

fn message(index: u64, id: &str, fate: Fate) -> Message {
    Message {
        offset: at(index),
        last: true,
        told: Told::Fate(id.to_owned(), fate),
    }
}

#[test]
fn an_exact_story_is_clean() {
    let lifecycle = done();
    tell(&lifecycle, story());
    let report = lifecycle.audit();
    assert!(report.is_clean() && report.has_traffic(), "{report}");
    let counts = (report.connects, report.joins, report.leaves);
    assert_eq!(counts, (2, 3, 2));
    assert_eq!((report.disconnects, report.expiries), (1, 0));
}

#[test]
fn each_thing_that_is_not_told_is_found() {
    for missing in 0..story().len() {
        let found = faults(|story| drop(story.remove(missing)));
        let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
        // What follows from it may be impossible then.
        match &story()[missing].told {
            Told::Fate(_, Fate::Away) => assert_eq!(found, [("doubled", 1)]),
            Told::Fate(_, Fate::Back) => assert_eq!(found, [], "it went while it was away"),
            _ => assert!(kinds.contains(&"lost"), "without {missing}: {found:?}"),
        }
    }
}

#[test]
fn each_thing_that_is_told_again_is_found() {
    for (place, told) in story().into_iter().enumerate() {
        let last = Message { last: true, ..told };
        let again = Message {
            offset: last.offset.next(),
            ..last.clone()
        };
        // At its own position, and at the next.
        let found = faults(|story| {
            story.insert(place, story[place].clone());
            story[place].last = false;
        });
        assert_eq!(found, [("doubled", 1)], "{place} twice at one position");
        if place != 8 {
            let found = faults(|story| story.insert(place + 1, again));
            assert_eq!(found, [("doubled", 1)], "{place} again");
        }
    }
}

#[test]
fn an_offset_that_comes_again_after_its_last_message_is_found() {
    let found = faults(|story| {
        let twice = story[2..4].to_vec();
        story.splice(4..4, twice);
    });
    assert_eq!(found, [("doubled", 2), ("out of order", 1)]);
    let found = faults(|story| story[3].offset = at(12));
    assert!(found.contains(&("out of order", 1)), "{found:?}");
    // An offset that never becomes whole.
    assert_eq!(faults(|story| story[4].last = false), [("out of order", 1)]);
    let found = faults(|story| {
        let mark = Message {
            told: Told::Mark,
            ..story[4].clone()
        };
        story.insert(4, mark);
    });
    assert_eq!(found, [("out of order", 1)], "it was marked already");
}

#[test]
fn a_mark_where_the_follower_goes_on_is_no_fault() {
    let found = faults(|story| {
        let mark = Message {
            told: Told::Mark,
            ..story[4].clone()
        };
        story.insert(5, mark);
    });
    assert_eq!(found, []);
}

#[test]
fn another_position_than_the_answer_said_is_found() {
    let found = faults(|story| {
        story[3].offset = Offset { op: 1, ..at(13) };
    });
    assert_eq!(found, [("lost", 1), ("phantom", 1)]);
}

#[test]
fn things_before_the_beginning_and_after_the_end_are_found() {
    let found = faults(|story| {
        story.swap(0, 2);
        let (first, third) = (story[0].offset, story[2].offset);
        (story[0].offset, story[2].offset) = (third, first);
        story[0].offset = at(9);
    });
    assert!(found.contains(&("out of order", 1)) || found.contains(&("out of order", 2)));
    let found = faults(|story| story.push(message(19, "ann", Fate::Away)));
    assert_eq!(found, [("out of order", 1)]);
    let found = faults(|story| story[9] = message(18, "ann", Fate::Expired));
    assert_eq!(found, [("out of order", 1)], "it was not away");
}

#[test]
fn what_nobody_did_is_found() {
    let found = faults(|story| story.push(message(19, "bob", joined("s"))));
    assert_eq!(found, [("phantom", 1)]);
    let found = faults(|story| story.push(message(19, "bob", left("r"))));
    assert_eq!(found, [("phantom", 1)]);
    let found = faults(|story| {
        story.push(Message {
            last: false,
            ..message(19, "bob", left("r"))
        });
        story.push(message(19, "bob", Fate::Disconnected));
    });
    assert_eq!(found, [("phantom", 1)], "bob is there");
    let found = faults(|story| story.push(message(19, "bob", Fate::Away)));
    assert_eq!(found, [("lost", 1)], "bob is there, and not away");
}

#[test]
fn an_unanswered_attempt_explains_one_thing_and_not_two() {
    let lifecycle = done();
    tell(&lifecycle, story());
    lifecycle.asking(1, Change::Join, "s");
    assert_eq!(faults_of(&lifecycle), []);
    tell(&lifecycle, vec![message(19, "bob", joined("s"))]);
    assert_eq!(faults_of(&lifecycle), []);
    lifecycle.asking(1, Change::Leave, "s");
    tell(&lifecycle, vec![message(20, "bob", left("s"))]);
    assert_eq!(faults_of(&lifecycle), []);
    tell(&lifecycle, vec![message(21, "bob", joined("s"))]);
    assert_eq!(faults_of(&lifecycle), [("phantom", 1)]);
}

#[test]
fn a_session_that_nobody_knows_must_be_explained_and_end() {
    let lifecycle = done();
    tell(&lifecycle, story());
    tell(&lifecycle, vec![message(19, "cid", Fate::Connected)]);
    assert_eq!(faults_of(&lifecycle), [("lost", 1), ("phantom", 1)]);
    lifecycle.unanswered(1);
    assert_eq!(faults_of(&lifecycle), [("lost", 1)]);
    tell(&lifecycle, vec![message(20, "cid", Fate::Away)]);
    tell(&lifecycle, vec![message(21, "cid", Fate::Expired)]);
    assert_eq!(faults_of(&lifecycle), []);
    assert_eq!(lifecycle.audit().unclaimed, 1);
}

#[test]
fn the_session_before_a_fresh_one_must_end() {
    let lifecycle = done();
    tell(&lifecycle, story());
    lifecycle.connected(1, "bob again");
    tell(&lifecycle, vec![message(19, "bob again", Fate::Connected)]);
    assert_eq!(faults_of(&lifecycle), [("lost", 1)]);
    let mut end = message(20, "bob", left("r"));
    end.last = false;
    tell(
        &lifecycle,
        vec![end, message(20, "bob", Fate::Disconnected)],
    );
    assert_eq!(faults_of(&lifecycle), []);
}

#[test]
fn a_gap_is_found() {
    let found = faults(|story| {
        story.push(Message {
            offset: at(30),
            last: true,
            told: Told::Gap,
        });
    });
    assert_eq!(found, [("gaps", 1)]);
}
