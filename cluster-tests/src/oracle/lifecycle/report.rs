//! The verdict on a lifecycle in numbers, and the first faults in words.

use std::fmt;

/// Faults described in words at most; all are counted.
const EXAMPLES_MAX: usize = 12;

/// Counts of a run. The faults are what a correct server has none of.
#[derive(Debug, Clone, Default)]
pub struct LifecycleReport {
    /// Streams that the follower had, one after the other.
    pub streams: u64,
    /// Sessions that clients know of.
    pub sessions: u64,
    /// Sessions told of whose clients never learned that they had them.
    pub unclaimed: u64,
    /// New sessions told.
    pub connects: u64,
    /// Memberships told.
    pub joins: u64,
    /// Ends of memberships told.
    pub leaves: u64,
    /// Departures told.
    pub aways: u64,
    /// Returns told.
    pub backs: u64,
    /// Ends of sessions told, but for the next.
    pub disconnects: u64,
    /// Ends by the resume window told.
    pub expiries: u64,
    /// Happened and not told.
    pub lost: u64,
    /// Told again.
    pub doubled: u64,
    /// Told at a position that does not come after what was told, of a session before its beginning
    /// or after its end, or of a member that is none.
    pub reordered: u64,
    /// Told, and nobody did it.
    pub phantom: u64,
    /// Times that the follower was told that something is not kept any more.
    pub gaps: u64,
    /// The first faults in words.
    pub examples: Vec<String>,
}

impl LifecycleReport {
    /// The faults with their names.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 5] {
        [
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("out of order", self.reordered),
            ("phantom", self.phantom),
            ("gaps", self.gaps),
        ]
    }

    /// Whether there is no fault.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults().iter().all(|(_, count)| *count == 0)
    }

    /// Whether clients came, joined, left and went.
    #[must_use]
    pub fn has_traffic(&self) -> bool {
        let ends = self.disconnects + self.expiries;
        [self.connects, self.joins, self.leaves, ends]
            .iter()
            .all(|count| *count > 0)
    }

    /// Prints the counts and demands zero faults and some traffic.
    ///
    /// # Panics
    /// When there is a fault, or when one of the things to tell never happened.
    pub fn assert_clean(&self, title: &str) {
        println!("{title}: {self}");
        let examples = self.examples.join("\n");
        assert!(self.is_clean(), "{title}: {self}\n{examples}");
        assert!(self.has_traffic(), "{title}: nothing happened: {self}");
    }

    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for LifecycleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions and {} unclaimed, followed in {} streams: {} connects, {} joins, \
             {} leaves, {} aways, {} backs, {} disconnects, {} expiries",
            self.sessions,
            self.unclaimed,
            self.streams,
            self.connects,
            self.joins,
            self.leaves,
            self.aways,
            self.backs,
            self.disconnects,
            self.expiries
        )?;
        for (name, count) in self.faults() {
            write!(f, "; {count} {name}")?;
        }
        Ok(())
    }
}
