//! The judge of a run in one namespace: what was published and acknowledged, who was a member when,
//! what each subscriber received, and the verdict over all of it.
//!
//! It keeps everything and decides nothing while the run goes on: [`Oracle::audit`] looks at the
//! whole, so a fault cannot hide behind the order in which tasks happened to report.

mod audit;
pub mod lifecycle;
mod report;
mod stay;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use self::lifecycle::{Change, Lifecycle};
pub use self::report::Report;
use self::stay::Stay;
use crate::offset::Offset;

/// One published event: publisher and its sequence number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Given by [`Oracle::publisher`].
    pub publisher: u32,
    /// Counted by the publisher.
    pub seq: u32,
}

/// Where an event goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Members of any of these get it,
    pub rooms: Vec<String>,
    /// unless they are members of one of these.
    pub except: Vec<String>,
}

impl Target {
    /// One room.
    #[must_use]
    pub fn room(name: &str) -> Self {
        Self {
            rooms: vec![name.to_owned()],
            except: Vec::new(),
        }
    }
}

/// How a publish ended for its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at this offset.
    Acked(Offset),
    /// Refused by an error that says it was not written.
    Refused,
    /// Nobody told: it may be in the log or not, but not partly.
    Unknown,
}

#[derive(Debug)]
struct Sent {
    target: Target,
    /// The publisher's greatest acknowledged offset when it first sent this: this stands after it.
    after: Option<Offset>,
    outcome: Outcome,
}

/// Joins of one room, none of which was answered.
#[derive(Debug)]
struct Attempts {
    /// Had been received at the first of them: events may come after it.
    after: Offset,
    count: u32,
}

#[derive(Debug)]
struct Subscriber {
    name: String,
    /// Its number in the lifecycle.
    client: usize,
    /// Counts its sessions: a resume keeps it, a fresh session adds one.
    generation: u64,
    /// In the order of arrival.
    received: Vec<(EventId, Offset)>,
    stays: Vec<Stay>,
    /// Joins without an answer so far.
    joining: HashMap<String, Attempts>,
    /// Events whose arguments were not what their publisher sent, or had no offset.
    corrupted: u64,
}

impl Subscriber {
    /// The greatest position received, before everything when there is none.
    fn last(&self) -> Offset {
        self.received
            .iter()
            .map(|(_, offset)| *offset)
            .max()
            .unwrap_or_default()
    }

    fn open_stay(&mut self, room: &str) -> Option<&mut Stay> {
        self.stays
            .iter_mut()
            .find(|stay| stay.room == room && stay.may.before.is_none())
    }
}

#[derive(Debug, Default)]
struct Book {
    sent: HashMap<EventId, Sent>,
    /// Greatest acknowledged offset of each publisher.
    publishers: Vec<Option<Offset>>,
    subscribers: Vec<Subscriber>,
}

/// A handle to the record of a run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    book: Arc<Mutex<Book>>,
    /// What became of the subscribers' sessions.
    pub lifecycle: Lifecycle,
}

impl Oracle {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a publisher.
    #[must_use]
    pub fn publisher(&self) -> u32 {
        let mut book = self.book.lock();
        book.publishers.push(None);
        u32::try_from(book.publishers.len() - 1).expect("tests have few publishers")
    }

    /// An event is about to be sent for the first time.
    pub fn sent(&self, id: EventId, target: Target) {
        let mut book = self.book.lock();
        let after = book.publishers[id.publisher as usize];
        book.sent.insert(
            id,
            Sent {
                target,
                after,
                outcome: Outcome::Unknown,
            },
        );
    }

    /// The publisher knows how it ended.
    pub fn settled(&self, id: EventId, outcome: Outcome) {
        let mut book = self.book.lock();
        if let Outcome::Acked(offset) = outcome {
            let known = &mut book.publishers[id.publisher as usize];
            *known = (*known).max(Some(offset));
        }
        if let Some(sent) = book.sent.get_mut(&id) {
            sent.outcome = outcome;
        }
    }

    /// Registers a subscriber; it is in no room.
    #[must_use]
    pub fn subscriber(&self, name: &str) -> usize {
        let client = self.lifecycle.client(name);
        let mut book = self.book.lock();
        book.subscribers.push(Subscriber {
            name: name.to_owned(),
            client,
            generation: 0,
            received: Vec::new(),
            stays: Vec::new(),
            joining: HashMap::new(),
            corrupted: 0,
        });
        book.subscribers.len() - 1
    }

    /// A subscriber got a session that is not a resumed one: nothing is owed to the old session
    /// after what was received. Returns the number of the new one, from 1.
    pub fn fresh(&self, subscriber: usize, id: &str) -> u64 {
        let mut book = self.book.lock();
        let subscriber = &mut book.subscribers[subscriber];
        self.lifecycle.connected(subscriber.client, id);
        let reached = subscriber.last().next();
        for stay in &mut subscriber.stays {
            stay.cut(reached);
        }
        for (room, attempts) in subscriber.joining.drain() {
            subscriber
                .stays
                .push(Stay::possible(room, attempts.after, Some(reached)));
        }
        subscriber.generation += 1;
        subscriber.generation
    }

    /// A join is about to be sent.
    pub fn joining(&self, subscriber: usize, room: &str) {
        let mut book = self.book.lock();
        let subscriber = &mut book.subscribers[subscriber];
        self.lifecycle.asking(subscriber.client, Change::Join, room);
        let last = subscriber.last();
        let first = Attempts {
            after: last,
            count: 0,
        };
        subscriber
            .joining
            .entry(room.to_owned())
            .or_insert(first)
            .count += 1;
    }

    /// A join of session `generation` was acknowledged at `offset`.
    pub fn joined(&self, subscriber: usize, generation: u64, room: &str, offset: Offset) {
        let mut book = self.book.lock();
        let subscriber = &mut book.subscribers[subscriber];
        let session = (subscriber.client, generation);
        self.lifecycle.answered(session, Change::Join, room, offset);
        if subscriber.generation != generation {
            return;
        }
        // The only attempt is the one that worked: nothing of the room before it.
        let unanswered = subscriber
            .joining
            .remove(room)
            .filter(|attempts| attempts.count > 1);
        let possible = unanswered.map_or(offset, |attempts| attempts.after);
        match subscriber.open_stay(room) {
            Some(stay) if stay.must.before.is_none() => return,
            // A leave without an answer: from here on the new stay is the one that counts.
            Some(stay) => stay.may.before = Some(offset),
            None => {}
        }
        subscriber.stays.push(Stay::certain(room, offset, possible));
    }

    /// A leave is about to be sent.
    pub fn leaving(&self, subscriber: usize, room: &str) {
        let mut book = self.book.lock();
        let subscriber = &mut book.subscribers[subscriber];
        self.lifecycle
            .asking(subscriber.client, Change::Leave, room);
        let reached = subscriber.last().next();
        if let Some(stay) = subscriber.open_stay(room) {
            stay.must.before = Some(reached);
        }
    }

    /// A leave of session `generation` was acknowledged at `offset`.
    pub fn left(&self, subscriber: usize, generation: u64, room: &str, offset: Offset) {
        let mut book = self.book.lock();
        let subscriber = &mut book.subscribers[subscriber];
        let session = (subscriber.client, generation);
        self.lifecycle
            .answered(session, Change::Leave, room, offset);
        if subscriber.generation != generation {
            return;
        }
        if let Some(stay) = subscriber.open_stay(room) {
            stay.must.before = Some(offset);
            stay.may.before = Some(offset);
        }
    }

    /// A subscriber goes for good. Not for who is owed events still.
    pub fn closing(&self, subscriber: usize) {
        let client = self.book.lock().subscribers[subscriber].client;
        self.lifecycle.closing(client);
    }

    /// An event arrived.
    pub fn received(&self, subscriber: usize, id: EventId, offset: Offset) {
        self.book.lock().subscribers[subscriber]
            .received
            .push((id, offset));
    }

    /// Something arrived that no publisher sent like this.
    pub fn corrupted(&self, subscriber: usize) {
        self.book.lock().subscribers[subscriber].corrupted += 1;
    }

    /// How many events a subscriber has received.
    #[must_use]
    pub fn received_count(&self, subscriber: usize) -> usize {
        self.book.lock().subscribers[subscriber].received.len()
    }

    /// How many publishes were acknowledged.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        let book = self.book.lock();
        book.sent
            .values()
            .filter(|sent| matches!(sent.outcome, Outcome::Acked(_)))
            .count()
    }

    /// The verdict over everything so far. While events are on their way they count as lost.
    #[must_use]
    pub fn audit(&self) -> Report {
        audit::audit(&self.book.lock())
    }
}

#[cfg(test)]
mod tests;
