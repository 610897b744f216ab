//! Space. A sealed segment goes when Raft has given up all of its entries and nobody wants one as
//! history. One of which little is wanted is emptied: that little is copied to an archive, so that
//! a namespace that is kept for days does not pin what others wrote beside it.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::frame::{HEADER_BYTES, Head, Kind};
use super::index::Slot;
use super::log::Wal;
use super::segment::SegmentId;
use crate::ids::GroupId;

/// Segments whose entries are looked through at once; the next call goes on behind them.
const LOOK_SEGMENTS_MAX: usize = 16;

/// What is still wanted of what Raft has given up.
pub(crate) trait Needs {
    /// No entry before this one is wanted.
    fn first(&self, group: GroupId) -> u64;
    /// Whether this entry is.
    fn needs(&self, group: GroupId, index: u64) -> bool;
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

/// A wanted entry and where it stands.
struct Wanted {
    group: GroupId,
    index: u64,
    slot: Slot,
}

/// A segment that can go.
struct Removable {
    id: SegmentId,
    contents: Contents,
    wanted: Vec<Wanted>,
}

impl Removable {
    fn wanted_bytes(&self) -> u64 {
        let bytes = |wanted: &Wanted| HEADER_BYTES as u64 + u64::from(wanted.slot.len);
        self.wanted.iter().map(bytes).sum()
    }

    fn gain(&self) -> u64 {
        self.contents.bytes.saturating_sub(self.wanted_bytes())
    }
}

impl Wal {
    /// Removes what nobody needs any more. Blocks.
    ///
    /// # Errors
    /// The disk: nothing that is needed was touched.
    pub(crate) fn reclaim(&self, needs: &dyn Needs) -> io::Result<Reclaimed> {
        let mut looked_at = self.shared.reclaiming.lock();
        let removable = self.removable(needs, &mut looked_at);
        let (whole, mut partly): (Vec<_>, Vec<_>) = removable
            .into_iter()
            .partition(|segment| segment.wanted.is_empty());
        // Copying is worth it for a segment's worth of space, not for every little gain.
        let gain: u64 = partly.iter().map(Removable::gain).sum();
        let mut copied = 0;
        if gain >= u64::from(self.shared.options.segment_bytes) {
            copied = self.archive(&partly)?;
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

    /// Segments of which nothing, or little, is wanted. Looks through some of them, from behind
    /// `looked_at` on and around.
    fn removable(&self, needs: &dyn Needs, looked_at: &mut SegmentId) -> Vec<Removable> {
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
        let mut given_up: Vec<_> = sealed
            .into_iter()
            .filter(|(_, contents)| given_up(contents))
            .collect();
        let first = given_up.partition_point(|(id, _)| *id <= *looked_at);
        given_up.rotate_left(first);
        let mut looks = 0;
        let mut removable = Vec::new();
        for (id, contents) in given_up {
            let mut ranges = contents.entries.iter();
            let has_wanted = ranges.any(|(group, (_, last))| needs.first(*group) <= *last);
            if has_wanted && looks == LOOK_SEGMENTS_MAX {
                continue;
            }
            let mut wanted = Vec::new();
            if has_wanted {
                (looks, *looked_at) = (looks + 1, id);
                wanted = self.wanted(id, &contents, needs);
            }
            let segment = Removable {
                id,
                contents,
                wanted,
            };
            if segment.wanted_bytes() * 2 <= segment.contents.bytes {
                removable.push(segment);
            }
        }
        removable
    }

    fn wanted(&self, id: SegmentId, contents: &Contents, needs: &dyn Needs) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (&group, &(first, last)) in &contents.entries {
            let from = first.max(needs.first(group));
            for index in (from..=last).filter(|index| needs.needs(group, *index)) {
                let slot = self.shared.groups[group as usize].lock().slot(index);
                if let Some(slot) = slot.filter(|slot| slot.place.segment == id) {
                    wanted.push(Wanted { group, index, slot });
                }
            }
        }
        wanted
    }

    /// Copies what is wanted of these segments to archives, which belong to the log from then on.
    fn archive(&self, segments: &[Removable]) -> io::Result<u64> {
        let mut id = self.next_archive();
        let mut copied = 0;
        let mut rest: Vec<&Wanted> = segments
            .iter()
            .flat_map(|segment| &segment.wanted)
            .collect();
        // In the order of the log, whatever segments they come from.
        rest.sort_by_key(|wanted| (wanted.group, wanted.index));
        let mut rest = rest.as_slice();
        while !rest.is_empty() {
            let lengths = rest.iter().map(|wanted| u64::from(wanted.slot.len));
            let count = self.fitting(lengths);
            let (some, later) = rest.split_at(count);
            copied += self.write_archive(id, some)?;
            (id, rest) = (id.next(), later);
        }
        Ok(copied)
    }

    fn write_archive(&self, id: SegmentId, wanted: &[&Wanted]) -> io::Result<u64> {
        let shared = &self.shared;
        let frames = wanted.iter().map(|wanted| {
            let (group, index) = (wanted.group, wanted.index);
            shared.files.read(&*shared.disk, group, index, wanted.slot)
        });
        let archived = self.archive_frames(id, frames)?;
        for (wanted, (_, slot)) in wanted.iter().zip(archived.entries) {
            let mut index = shared.groups[wanted.group as usize].lock();
            if index.slot(wanted.index) == Some(wanted.slot) {
                index.put(wanted.index, slot);
            }
        }
        Ok(archived.bytes)
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
