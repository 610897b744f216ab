//! What one group's log holds and where: marks, one slot of 12 bytes per entry, terms by runs, and
//! a tail of entries in memory. The payloads of older entries are in the segments.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::frame::Place;
use super::segment::SegmentId;

/// Term and index of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// A vote as it was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavedVote {
    pub(crate) term: u64,
    pub(crate) voted_for: u64,
    pub(crate) committed: bool,
}

/// Where a group's log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    /// The last entry that Raft gave up; history may still be there.
    pub(crate) purged: Option<EntryId>,
    /// The last entry; the last purged one when there is none behind it.
    pub(crate) last: Option<EntryId>,
    /// Entries up to here are committed. May lag behind.
    pub(crate) committed: Option<EntryId>,
    /// The last saved vote.
    pub(crate) vote: Option<SavedVote>,
}

impl Marks {
    /// The index of the next entry.
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// The first index that Raft still may ask for.
    pub(crate) fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }
}

/// An entry as it is kept: the meaning of `kind` and `payload` is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: EntryId,
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

/// Where a frame stands, and the length of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) len: u32,
}

impl Slot {
    /// No entry: purged and not wanted.
    const NONE: Self = Self {
        place: Place {
            segment: SegmentId(u32::MAX),
            offset: u32::MAX,
        },
        len: 0,
    };

    /// Whether the log is written up to `written`, which is behind this; archives always are.
    fn is_written(&self, written: Place) -> bool {
        self.place.segment.is_archive() || self.place < written
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) marks: Marks,
    /// From `first` on, without gaps up to the last entry; purged ones may be [`Slot::NONE`].
    slots: VecDeque<Slot>,
    first: u64,
    /// Wanted entries before `first`.
    older: BTreeMap<u64, Slot>,
    /// First index of each run of one term, ascending; of what was removed it may know too much.
    terms: VecDeque<(u64, u64)>,
    /// The newest entries, up to the last one.
    cache: VecDeque<Record>,
    cache_bytes: usize,
}

impl Index {
    /// Adds the next entry.
    pub(super) fn push(&mut self, id: EntryId, slot: Slot) {
        if self.slots.is_empty() {
            self.first = id.index;
        }
        debug_assert_eq!(self.first + self.slots.len() as u64, id.index);
        self.slots.push_back(slot);
        if self.terms.back().is_none_or(|(_, term)| *term != id.term) {
            self.terms.push_back((id.index, id.term));
        }
        self.marks.last = Some(id);
    }

    /// Keeps the newest entry in memory.
    pub(super) fn cache(&mut self, record: Record) {
        self.cache_bytes += record.payload.len();
        self.cache.push_back(record);
    }

    /// Lets the oldest cached entries go until no more than `bytes_max` are left; those that are
    /// not written stay, they are nowhere else.
    pub(super) fn evict(&mut self, bytes_max: usize, written: Place) {
        while self.cache_bytes > bytes_max
            && let Some(oldest) = self.cache.front()
            && self
                .slot(oldest.id.index)
                .is_none_or(|slot| slot.is_written(written))
        {
            self.cache_bytes -= oldest.payload.len();
            self.cache.pop_front();
        }
    }

    /// Removes the entries from `next` on.
    pub(super) fn truncate(&mut self, next: u64) {
        while self
            .cache
            .back()
            .is_some_and(|record| record.id.index >= next)
        {
            let gone = self.cache.pop_back();
            self.cache_bytes -= gone.map_or(0, |record| record.payload.len());
        }
        let keep = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.truncate(keep);
        self.older.split_off(&next);
        while self.terms.back().is_some_and(|(from, _)| *from >= next) {
            self.terms.pop_back();
        }
        let before = next.checked_sub(1);
        let last = before.and_then(|index| {
            Some(EntryId {
                term: self.term(index)?,
                index,
            })
        });
        self.marks.last = last.max(self.marks.purged);
        self.marks.committed = self.marks.committed.min(self.marks.last);
    }

    /// As [`Index::truncate`], with the term of the entry before `next` as the log says it: that
    /// entry may be in a segment that is gone.
    pub(super) fn restore_truncated(&mut self, next: u64, term: u64) {
        self.truncate(next);
        let Some(index) = next.checked_sub(1) else {
            return;
        };
        if self.term(index) != Some(term) {
            self.terms.push_back((index, term));
        }
        self.marks.last = Some(EntryId { term, index }).max(self.marks.purged);
    }

    /// Raft gives up what is up to `upto`. A jump beyond the last entry (a snapshot was installed)
    /// leaves of it what is surely committed.
    pub(super) fn purge(&mut self, upto: EntryId) {
        // What was given up before is committed too; some of it may have been backfilled.
        let committed = self.marks.committed.max(self.marks.purged);
        let committed = committed.map_or(0, |id| id.index + 1);
        self.marks.purged = self.marks.purged.max(Some(upto));
        // By index alone: an uncommitted entry of a later term may stand before it.
        if self.marks.last.map(|last| last.index) >= Some(upto.index) {
            return;
        }
        self.truncate(committed.min(self.marks.next()));
        self.set_aside();
        self.marks.last = Some(upto);
        self.terms.push_back((upto.index, upto.term));
    }

    /// Takes over what a segment's start says. Entries between what is known and that are in
    /// segments that are gone: nobody wants them.
    pub(super) fn adopt(&mut self, marks: Marks) {
        if self.marks.last != marks.last {
            self.set_aside();
            self.terms
                .extend(marks.last.map(|last| (last.index, last.term)));
        }
        self.marks = marks;
    }

    /// The next entry does not follow the last one.
    fn set_aside(&mut self) {
        let kept = self.slots.drain(..).enumerate();
        let kept = kept.map(|(at, slot)| (self.first + at as u64, slot));
        self.older
            .extend(kept.filter(|(_, slot)| *slot != Slot::NONE));
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Replaces where an entry stands.
    pub(super) fn put(&mut self, index: u64, slot: Slot) {
        match self.at(index).and_then(|at| self.slots.get_mut(at)) {
            Some(place) => *place = slot,
            None => drop(self.older.insert(index, slot)),
        }
    }

    /// Forgets an entry that Raft gave up and nobody wants.
    pub(super) fn forget(&mut self, index: u64) {
        debug_assert!(index < self.marks.first());
        self.older.remove(&index);
        if let Some(slot) = self.at(index).and_then(|at| self.slots.get_mut(at)) {
            *slot = Slot::NONE;
        }
        while self
            .cache
            .front()
            .is_some_and(|record| record.id.index <= index)
        {
            let gone = self.cache.pop_front();
            self.cache_bytes -= gone.map_or(0, |record| record.payload.len());
        }
        while self.slots.front() == Some(&Slot::NONE) {
            self.slots.pop_front();
            self.first += 1;
        }
        while self
            .terms
            .get(1)
            .is_some_and(|(from, _)| *from <= self.first)
            && self.older.is_empty()
        {
            self.terms.pop_front();
        }
    }

    /// Where among the slots an index is, or would be.
    fn at(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first)?).ok()
    }

    /// Where an entry stands.
    pub(super) fn slot(&self, index: u64) -> Option<Slot> {
        let slot = self
            .at(index)
            .and_then(|at| self.slots.get(at))
            .or_else(|| self.older.get(&index));
        slot.copied().filter(|slot| *slot != Slot::NONE)
    }

    /// An entry, if it is in memory.
    pub(super) fn cached(&self, index: u64) -> Option<&Record> {
        let first = self.cache.front()?.id.index;
        self.cache
            .get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// The term of an entry that is or was here.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        let behind = self.terms.partition_point(|(from, _)| *from <= index);
        Some(self.terms.get(behind.checked_sub(1)?)?.1)
    }

    /// Bytes in memory: of the index, and of entries.
    pub(super) fn memory_bytes(&self) -> usize {
        let older = self.older.len() * (size_of::<u64>() + size_of::<Slot>());
        self.slots.capacity() * size_of::<Slot>() + older + self.cache_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId { term, index }
    }

    fn slot(offset: u32) -> Slot {
        let segment = SegmentId(1);
        Slot {
            place: Place { segment, offset },
            len: 1,
        }
    }

    fn filled(indexes: std::ops::Range<u64>) -> Index {
        let mut index = Index::default();
        for n in indexes {
            let entry = id(1 + n / 4, n);
            index.push(entry, slot(u32::try_from(n).unwrap()));
            index.cache(Record {
                id: entry,
                kind: 1,
                payload: Bytes::from_static(b"12345678"),
            });
        }
        index
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 12);
    }

    #[test]
    fn entries_are_found_truncated_and_written_anew() {
        let mut index = filled(0..10);
        assert_eq!(index.term(3), Some(1));
        assert_eq!(index.term(4), Some(2));
        index.truncate(6);
        assert_eq!(index.marks.last, Some(id(2, 5)));
        assert_eq!((index.slot(5), index.slot(6)), (Some(slot(5)), None));
        assert!(index.cached(5).is_some() && index.cached(6).is_none());
        index.push(id(9, 6), slot(60));
        assert_eq!((index.term(6), index.slot(6)), (Some(9), Some(slot(60))));
        index.truncate(0);
        assert_eq!(index.marks.last, None);
    }

    #[test]
    fn what_is_not_written_stays_in_memory() {
        let mut index = filled(0..10);
        index.evict(0, slot(4).place);
        assert!(index.cached(3).is_none() && index.cached(4).is_some());
        index.evict(16, slot(100).place);
        assert!(index.cached(7).is_none() && index.cached(8).is_some());
    }

    #[test]
    fn purged_entries_stay_until_they_are_forgotten() {
        let mut index = filled(0..10);
        index.purge(id(2, 6));
        assert_eq!((index.marks.first(), index.marks.last), (7, Some(id(3, 9))));
        assert!(index.slot(2).is_some());
        for n in [0, 1, 3, 5] {
            index.forget(n);
        }
        assert!(index.slot(2).is_some() && index.slot(3).is_none() && index.slot(4).is_some());
        index.put(2, slot(77));
        assert_eq!(index.slot(2), Some(slot(77)));
    }

    #[test]
    fn a_jump_keeps_what_is_committed_and_goes_on_behind_it() {
        let mut index = filled(0..10);
        index.marks.committed = Some(id(1, 2));
        index.purge(id(7, 50));
        assert!(index.slot(2).is_some() && index.slot(3).is_none());
        assert_eq!((index.marks.next(), index.term(50)), (51, Some(7)));
        index.push(id(7, 51), slot(1));
        assert_eq!(index.slot(51), Some(slot(1)));
        assert!(index.slot(9).is_none() && index.slot(1).is_some());
        // What was backfilled below the first jump stays at the next one.
        index.put(30, slot(2));
        index.purge(id(8, 90));
        assert!(index.slot(30).is_some() && index.slot(1).is_some() && index.slot(51).is_none());
        assert_eq!((index.marks.next(), index.slot(90)), (91, None));
    }
}
