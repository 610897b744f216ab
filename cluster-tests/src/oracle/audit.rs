//! From the record of a run to its verdict.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::report::Report;
use super::{Book, EventId, Outcome, Sent, Subscriber};
use crate::offset::Offset;

/// Where each event stands, as far as anybody was told.
type Log = BTreeMap<Offset, EventId>;

pub(super) fn audit(book: &Book) -> Report {
    let mut report = Report {
        subscribers: book.subscribers.len() as u64,
        ..Report::default()
    };
    count_outcomes(book, &mut report);
    let log = agree(book, &mut report);
    causality(book, &mut report);
    let mut undelivered = HashSet::new();
    for subscriber in &book.subscribers {
        report.deliveries += subscriber.received.len() as u64;
        report.corrupted += subscriber.corrupted;
        check_arrivals(book, subscriber, &mut report);
        check_owed(book, subscriber, &log, &mut undelivered, &mut report);
    }
    report.undelivered = undelivered.len() as u64;
    report
}

fn count_outcomes(book: &Book, report: &mut Report) {
    for sent in book.sent.values() {
        report.published += 1;
        match sent.outcome {
            Outcome::Acked(_) => report.acknowledged += 1,
            Outcome::Refused => report.refused += 1,
            Outcome::Unknown => report.unknown += 1,
        }
    }
}

/// One event, one offset, one log: for acknowledgements and every subscriber alike.
fn agree(book: &Book, report: &mut Report) -> Log {
    let acks = book
        .sent
        .iter()
        .filter_map(|(id, sent)| match sent.outcome {
            Outcome::Acked(offset) => Some((*id, offset, "the acknowledgement")),
            Outcome::Refused | Outcome::Unknown => None,
        });
    let arrivals = book.subscribers.iter().flat_map(|subscriber| {
        subscriber
            .received
            .iter()
            .map(|(id, offset)| (*id, *offset, subscriber.name.as_str()))
    });
    let mut log = Log::new();
    let mut places: HashMap<EventId, Offset> = HashMap::new();
    let mut epoch = None;
    for (id, offset, witness) in acks.chain(arrivals) {
        let place = *places.entry(id).or_insert(offset);
        let event = *log.entry(offset).or_insert(id);
        let known_epoch = *epoch.get_or_insert(offset.epoch);
        if place != offset || event != id || known_epoch != offset.epoch {
            report.disagreed += 1;
            report.example(|| {
                format!("{id:?} at {offset} by {witness}, known at {place}; {event:?} there")
            });
        }
    }
    log
}

/// What was sent after an acknowledgement stands after it.
fn causality(book: &Book, report: &mut Report) {
    for (id, sent) in &book.sent {
        let Outcome::Acked(offset) = sent.outcome else {
            continue;
        };
        if sent.after.is_some_and(|after| offset <= after) {
            report.reordered += 1;
            report.example(|| {
                format!(
                    "{id:?} at {offset} was sent after {:?} was known",
                    sent.after
                )
            });
        }
    }
}

/// Order, duplicates, and the right to have each event at all.
fn check_arrivals(book: &Book, subscriber: &Subscriber, report: &mut Report) {
    let name = &subscriber.name;
    let mut seen = HashSet::new();
    let mut last: Option<Offset> = None;
    for (id, offset) in &subscriber.received {
        if !seen.insert(*id) {
            report.duplicated += 1;
            report.example(|| format!("{name} received {id:?} again, at {offset}"));
            continue;
        }
        if last.is_some_and(|last| *offset <= last) {
            report.reordered += 1;
            report.example(|| format!("{name} received {id:?} at {offset} after {last:?}"));
        }
        last = last.max(Some(*offset));
        match book.sent.get(id) {
            None
            | Some(Sent {
                outcome: Outcome::Refused,
                ..
            }) => {
                report.phantom += 1;
                report.example(|| format!("{name} received {id:?}, which was not written"));
            }
            Some(sent) if !is_allowed(subscriber, sent, *offset) => {
                report.misplaced += 1;
                report.example(|| format!("{name} received {id:?} at {offset} without membership"));
            }
            Some(_) => {}
        }
    }
}

/// Everything owed was received. Neighbours that are missing are told as one hole.
fn check_owed(
    book: &Book,
    subscriber: &Subscriber,
    log: &Log,
    undelivered: &mut HashSet<EventId>,
    report: &mut Report,
) {
    let received: HashSet<EventId> = subscriber.received.iter().map(|(id, _)| *id).collect();
    let mut hole: Vec<(Offset, EventId)> = Vec::new();
    for (offset, id) in log {
        let Some(sent) = book.sent.get(id) else {
            continue;
        };
        if received.contains(id) {
            describe(subscriber, &mut hole, report);
        } else if is_owed(subscriber, sent, *offset) {
            report.lost += 1;
            hole.push((*offset, *id));
            if matches!(sent.outcome, Outcome::Acked(_)) {
                undelivered.insert(*id);
            }
        }
    }
    describe(subscriber, &mut hole, report);
}

fn describe(subscriber: &Subscriber, hole: &mut Vec<(Offset, EventId)>, report: &mut Report) {
    if let (Some((from, first)), Some((to, last))) = (hole.first(), hole.last()) {
        let (name, count) = (&subscriber.name, hole.len());
        report.example(|| {
            format!(
                "{name} did not receive {count} events, {first:?} at {from} to {last:?} at {to}"
            )
        });
    }
    hole.clear();
}

fn certain(subscriber: &Subscriber, rooms: &[String], offset: Offset) -> bool {
    let holds = |stay: &super::Stay| rooms.contains(&stay.room) && stay.must.holds(offset);
    subscriber.stays.iter().any(holds)
}

fn possible(subscriber: &Subscriber, rooms: &[String], offset: Offset) -> bool {
    let holds = |stay: &super::Stay| rooms.contains(&stay.room) && stay.may.holds(offset);
    let joining = |(room, attempts): (&String, &super::Attempts)| {
        rooms.contains(room) && attempts.after < offset
    };
    subscriber.stays.iter().any(holds) || subscriber.joining.iter().any(joining)
}

fn is_owed(subscriber: &Subscriber, sent: &Sent, offset: Offset) -> bool {
    let target = &sent.target;
    certain(subscriber, &target.rooms, offset) && !possible(subscriber, &target.except, offset)
}

fn is_allowed(subscriber: &Subscriber, sent: &Sent, offset: Offset) -> bool {
    let target = &sent.target;
    possible(subscriber, &target.rooms, offset) && !certain(subscriber, &target.except, offset)
}
