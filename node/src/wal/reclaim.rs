//! Space. A sealed segment goes when Raft has given up all of its entries and nobody wants one as
//! history. One of which little is wanted is emptied: that little is copied to an archive, so that
//! a namespace that is kept for days does not pin what others wrote beside it.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use super::frame::{HEADER_BYTES, Head, Kind};
use super::index::Slot;
use super::log::Wal;
use super::segment::SegmentId;
use crate::ids::GroupId;

/// Segments whose entries are looked through at once, and as many archives; the next call goes on
/// behind them.
const LOOK_SEGMENTS_MAX: usize = 16;
/// Archives of less than this part of a segment are small.
const SMALL_PART: u64 = 8;
/// So many small archives are made one, though all that they hold is wanted: files must not grow in
/// number for as long as something is kept. A byte is copied a few times for that, as it doubles
/// this often on its way to a large one.
const MERGED_ARCHIVES: usize = 8;

/// Up to where segments and archives have been looked through, each in turn: many archives must
/// not make the segments wait.
#[derive(Debug, Default)]
pub(super) struct LookedAt {
    segments: SegmentId,
    archives: SegmentId,
}

/// What is still wanted of what Raft has given up.
pub(crate) trait Needs {
    /// No entry before this one is wanted.
    fn first(&self, group: GroupId) -> u64;
    /// What is wanted of these entries, in the order of entries and of their parts. `None`: that
    /// cannot be said yet.
    fn wanted(&self, group: GroupId, indexes: RangeInclusive<u64>) -> Option<Vec<Part>>;
    /// An entry's payload without the parts that are not wanted; `None` when it is to be copied as
    /// it is. What was trimmed before may be trimmed again.
    fn trim(&self, payload: &Bytes, parts: &[u32]) -> Option<Bytes>;
}

/// A part of an entry that is wanted: the meaning of its number is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Of the entry.
    pub(crate) index: u64,
    /// Of the part within it.
    pub(crate) number: u32,
    /// About as many as it has in a trimmed payload; not less than half of that with its frame.
    pub(crate) bytes: u32,
}

/// What was made of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    /// Segments that are gone.
    pub(crate) segments: usize,
    /// Bytes of their files.
    pub(crate) bytes: u64,
    /// Bytes that were copied to archives.
    pub(crate) copied: u64,
}

/// What each segment holds.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    segments: BTreeMap<SegmentId, Contents>,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    /// Of its file; 0 until it is sealed.
    bytes: u64,
    /// First and last index by group.
    entries: BTreeMap<GroupId, (u64, u64)>,
    /// It takes entries of earlier segments back: without it they would be believed.
    takes_back: bool,
}

impl Catalog {
    /// A frame was written to a segment.
    pub(super) fn wrote(&mut self, segment: SegmentId, head: &Head) {
        let contents = self.segments.entry(segment).or_default();
        match head.kind {
            Kind::Entry => {
                let range = contents
                    .entries
                    .entry(head.group)
                    .or_insert((head.index, head.index));
                *range = (range.0.min(head.index), range.1.max(head.index));
            }
            Kind::Truncate => contents.takes_back = true,
            // A jump beyond the last entry takes back what was not committed.
            Kind::Purge => contents.takes_back |= head.detail == 1,
            _ => {}
        }
    }

    /// A segment has got its end.
    pub(super) fn sealed(&mut self, segment: SegmentId, bytes: u64) {
        self.segments.entry(segment).or_default().bytes = bytes;
    }

    /// Files and their bytes; of the current one as much as is preallocated.
    pub(super) fn size(&self, segment_bytes: u32) -> (usize, u64) {
        let bytes = |contents: &Contents| match contents.bytes {
            0 => u64::from(segment_bytes),
            bytes => bytes,
        };
        (self.segments.len(), self.segments.values().map(bytes).sum())
    }
}

/// An entry of which something is wanted, and where it stands.
struct Wanted {
    group: GroupId,
    index: u64,
    slot: Slot,
    /// Which of its segment's parts are its own.
    parts: Range<usize>,
}

/// A segment that can go.
struct Removable {
    id: SegmentId,
    contents: Contents,
    wanted: Vec<Wanted>,
    /// Numbers of the wanted parts of all of them.
    parts: Vec<u32>,
    /// Bytes of what is wanted.
    wanted_bytes: u64,
}

/// Sealed segments and what they hold.
type Sealed = Vec<(SegmentId, Contents)>;

impl Removable {
    fn new(id: SegmentId, contents: Contents) -> Self {
        Self {
            id,
            contents,
            wanted: Vec::new(),
            parts: Vec::new(),
            wanted_bytes: 0,
        }
    }

    /// An entry with at least one wanted part.
    fn want(&mut self, group: GroupId, slot: Slot, parts: &[Part]) {
        let Some(Part { index, .. }) = parts.first() else {
            return;
        };
        let first = self.parts.len();
        self.parts.extend(parts.iter().map(|part| part.number));
        self.wanted.push(Wanted {
            group,
            index: *index,
            slot,
            parts: first..self.parts.len(),
        });
        let bytes: u64 = parts.iter().map(|part| u64::from(part.bytes)).sum();
        let bytes = bytes.min(u64::from(slot.len));
        // Whatever the estimate says, an archive whose entries are all wanted is not worth another.
        let bytes = match self.id.is_archive() {
            true => bytes.max(u64::from(slot.len) / 2),
            false => bytes,
        };
        self.wanted_bytes += HEADER_BYTES as u64 + bytes;
    }

    /// What is wanted, with the numbers of its parts.
    fn with_parts(&self) -> impl Iterator<Item = (&Wanted, &[u32])> {
        let parts = |wanted: &Wanted| &self.parts[wanted.parts.clone()];
        self.wanted
            .iter()
            .map(move |wanted| (wanted, parts(wanted)))
    }

    fn gain(&self) -> u64 {
        self.contents.bytes.saturating_sub(self.wanted_bytes)
    }
}

impl Wal {
    /// Removes what nobody needs any more. Blocks.
    ///
    /// # Errors
    /// The disk: nothing that is needed was touched.
    pub(crate) fn reclaim(&self, needs: &dyn Needs) -> io::Result<Reclaimed> {
        let mut looked_at = self.shared.reclaiming.lock();
        let LookedAt { segments, archives } = &mut *looked_at;
        let (given_up, archived) = self.given_up();
        let small_bytes = u64::from(self.shared.options.segment_bytes) / SMALL_PART;
        let (mut removable, _) = self.removable(needs, given_up, segments, 0);
        let (emptied, small) = self.removable(needs, archived, archives, small_bytes);
        removable.extend(emptied);
        let (whole, mut partly): (Vec<_>, Vec<_>) = removable
            .into_iter()
            .partition(|segment| segment.wanted.is_empty());
        let merges = small.len() >= MERGED_ARCHIVES;
        // Copying is worth it for what one full segment gives back that can go, not for every
        // little gain of archives.
        let gain: u64 = partly.iter().map(Removable::gain).sum();
        let mut copied = 0;
        if merges || gain >= u64::from(self.shared.options.segment_bytes) / 2 {
            partly.extend(small.into_iter().filter(|_| merges));
            copied = self.archive(&partly, needs)?;
        } else {
            partly.clear();
        }
        let gone: Vec<_> = whole.into_iter().chain(partly).collect();
        self.remove(&gone)?;
        Ok(Reclaimed {
            segments: gone.len(),
            bytes: gone.iter().map(|segment| segment.contents.bytes).sum(),
            copied,
        })
    }

    /// Files of the log, and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        let bytes = self.shared.options.segment_bytes;
        self.shared.tail.lock().catalog.size(bytes)
    }

    /// Segments, and archives, of which Raft wants nothing, in their order.
    fn given_up(&self) -> (Sealed, Sealed) {
        let sealed: Vec<_> = {
            let tail = self.shared.tail.lock();
            let oldest = tail.segments.first().copied();
            let durable = tail.synced.segment;
            let all = tail.catalog.segments.iter();
            all.filter(|(id, contents)| {
                let may_go = !contents.takes_back || Some(**id) == oldest;
                contents.bytes > 0 && may_go && (id.is_archive() || **id < durable)
            })
            .map(|(id, contents)| (*id, contents.clone()))
            .collect()
        };
        let given_up = |contents: &Contents| {
            contents
                .entries
                .iter()
                .all(|(group, (_, last))| self.group(*group).marks().first() > *last)
        };
        let given_up = sealed
            .into_iter()
            .filter(|(_, contents)| given_up(contents));
        given_up.partition(|(id, _)| !id.is_archive())
    }

    /// Those of which nothing, or little, is wanted, and those of fewer bytes than `small` of which
    /// more is. Looks through some of them, from behind `looked_at` on and around.
    fn removable(
        &self,
        needs: &dyn Needs,
        mut given_up: Sealed,
        looked_at: &mut SegmentId,
        small: u64,
    ) -> (Vec<Removable>, Vec<Removable>) {
        let first = given_up.partition_point(|(id, _)| *id <= *looked_at);
        given_up.rotate_left(first);
        let mut looks = 0;
        let (mut removable, mut full) = (Vec::new(), Vec::new());
        for (id, contents) in given_up {
            let mut ranges = contents.entries.iter();
            let has_wanted = ranges.any(|(group, (_, last))| needs.first(*group) <= *last);
            if has_wanted && looks == LOOK_SEGMENTS_MAX {
                continue;
            }
            let mut segment = Removable::new(id, contents);
            if has_wanted {
                (looks, *looked_at) = (looks + 1, id);
                if !self.look(&mut segment, needs) {
                    continue;
                }
            }
            if segment.wanted_bytes * 2 <= segment.contents.bytes {
                removable.push(segment);
            } else if segment.contents.bytes < small {
                full.push(segment);
            }
        }
        (removable, full)
    }

    /// Finds what is wanted of a segment; false when that cannot be said yet.
    fn look(&self, segment: &mut Removable, needs: &dyn Needs) -> bool {
        for (group, (first, last)) in segment.contents.entries.clone() {
            let first = first.max(needs.first(group));
            if first > last {
                continue;
            }
            let Some(parts) = needs.wanted(group, first..=last) else {
                return false;
            };
            for parts in parts.chunk_by(|part, next| part.index == next.index) {
                let slot = self.shared.groups[group as usize]
                    .lock()
                    .slot(parts[0].index);
                if let Some(slot) = slot.filter(|slot| slot.place.segment == segment.id) {
                    segment.want(group, slot, parts);
                }
            }
        }
        true
    }

    /// Copies what is wanted of these segments to archives, which belong to the log from then on.
    fn archive(&self, segments: &[Removable], needs: &dyn Needs) -> io::Result<u64> {
        let shared = &self.shared;
        let mut rest: Vec<_> = segments.iter().flat_map(Removable::with_parts).collect();
        // In the order of the log, whatever segments they come from.
        rest.sort_by_key(|(wanted, _)| (wanted.group, wanted.index));
        let frames = rest.iter().map(|(wanted, parts)| {
            let (group, index) = (wanted.group, wanted.index);
            let (head, payload) = shared
                .files
                .read(&*shared.disk, group, index, wanted.slot)?;
            let trimmed = needs.trim(&payload, parts);
            Ok((head, trimmed.unwrap_or(payload)))
        });
        let mut frames = frames.peekable();
        let mut wanted = rest.iter().map(|(wanted, _)| wanted);
        let mut id = self.next_archive();
        let mut copied = 0;
        while frames.peek().is_some() {
            let archived = self.write_archive(id, &mut frames)?;
            copied += archived.bytes;
            for ((_, slot), wanted) in archived.entries.into_iter().zip(&mut wanted) {
                let mut index = shared.groups[wanted.group as usize].lock();
                if index.slot(wanted.index) == Some(wanted.slot) {
                    index.put(wanted.index, slot);
                }
            }
            id = id.next();
        }
        Ok(copied)
    }

    fn remove(&self, gone: &[Removable]) -> io::Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        for segment in gone {
            for (&group, &(first, last)) in &segment.contents.entries {
                for index in first..=last {
                    let mut entries = shared.groups[group as usize].lock();
                    if entries
                        .slot(index)
                        .is_some_and(|slot| slot.place.segment == segment.id)
                    {
                        entries.forget(index);
                    }
                }
            }
        }
        // The files go only once the log says that they may be missing.
        shared.put_durably(|tail| {
            for segment in gone {
                tail.put(
                    Head::of(Kind::Dropped, u64::from(segment.id.0)),
                    &Bytes::new(),
                );
                tail.segments.remove(&segment.id);
                tail.catalog.segments.remove(&segment.id);
            }
        })?;
        for segment in gone {
            shared.files.forget(segment.id);
            shared.disk.remove(&segment.id.name())?;
        }
        shared.disk.sync_names()
    }
}
