//! The verdict over a run: counts, and the first faults in words.

use std::fmt;

/// Faults described in words at most; all are counted.
const EXAMPLES_MAX: usize = 12;

/// Counts of a run. The faults are what a correct server has none of.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Events that publishers sent.
    pub published: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of these, refused for certain.
    pub refused: u64,
    /// Of these, without an answer.
    pub unknown: u64,
    /// Subscribers.
    pub subscribers: u64,
    /// Events received by all of them.
    pub deliveries: u64,
    /// Owed to a member and not received.
    pub lost: u64,
    /// Acknowledged events that a member they are owed to did not receive.
    pub undelivered: u64,
    /// Received again by the same subscriber.
    pub duplicated: u64,
    /// Received after an event that stands later in the log; also a publish that was sent after the
    /// acknowledgement of another one and stands before it.
    pub reordered: u64,
    /// An event with two offsets, an offset with two events, or an offset of another log.
    pub disagreed: u64,
    /// Received by somebody who was no member at its position.
    pub misplaced: u64,
    /// Received although never sent, or refused as not written.
    pub phantom: u64,
    /// Received with other arguments than sent.
    pub corrupted: u64,
    /// The first faults in words.
    pub examples: Vec<String>,
}

impl Report {
    /// The faults with their names.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("acknowledged but undelivered", self.undelivered),
            ("duplicated", self.duplicated),
            ("out of order", self.reordered),
            ("disagreed", self.disagreed),
            ("misplaced", self.misplaced),
            ("phantom", self.phantom),
            ("corrupted", self.corrupted),
        ]
    }

    /// Whether there is no fault.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults().iter().all(|(_, count)| *count == 0)
    }

    /// Prints the counts and demands zero faults and some traffic.
    ///
    /// # Panics
    /// When there is a fault, or when nothing was acknowledged or delivered.
    pub fn assert_clean(&self, title: &str) {
        println!("{title}: {self}");
        assert!(
            self.is_clean(),
            "{title}: {self}\n{}",
            self.examples.join("\n")
        );
        assert!(
            self.acknowledged > 0,
            "{title}: nothing was acknowledged: {self}"
        );
        assert!(
            self.deliveries > 0,
            "{title}: nothing was delivered: {self}"
        );
    }

    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} published, {} acknowledged, {} refused, {} unknown; \
             {} deliveries to {} subscribers",
            self.published,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.deliveries,
            self.subscribers
        )?;
        for (name, count) in self.faults() {
            write!(f, "; {count} {name}")?;
        }
        Ok(())
    }
}
