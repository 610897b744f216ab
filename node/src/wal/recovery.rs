//! Reads the log back at start. Strict: whatever was once durable must be there as it was written,
//! or the log is refused, with file and offset. Only the end of the newest segment may be torn;
//! it is cut off.

use std::collections::BTreeSet;
use std::io;

use bytes::BytesMut;

use super::disk::Disk;
use super::frame::{Frame, HEADER_BYTES, Head, Kind, Place};
use super::index::{EntryId, Index, SavedVote, Slot};
use super::log::Options;
use super::reclaim::Catalog;
use super::segment::{End, SegmentError, SegmentId, UNFINISHED, Walk};
use super::tail::decode_marks;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The directory.
    #[error("{0}")]
    Disk(io::Error),
    /// One of its files.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A file that belongs to the log is not there.
    #[error(
        "{file} is missing: part of this node's log is gone. Move its data directory away and \
         replace the node by a new id"
    )]
    Missing {
        /// Its name.
        file: String,
    },
    /// An entry that was not given up is in no file.
    #[error(
        "entry {index} of group {group} is in no file: part of this node's log is gone. Move its \
         data directory away and replace the node by a new id"
    )]
    MissingEntry {
        /// Whose.
        group: usize,
        /// Which one.
        index: u64,
    },
}

/// What was found.
pub(super) struct Found {
    /// One per group.
    pub(super) groups: Vec<Index>,
    /// The segments that belong to the log, the next one included.
    pub(super) segments: BTreeSet<SegmentId>,
    /// The segment to go on with, a new one.
    pub(super) next: SegmentId,
    /// Sealed segments.
    pub(super) catalog: Catalog,
    /// A torn end was cut off.
    pub(super) torn: bool,
}

/// Opens what is on the disk; every segment is sealed afterwards.
pub(super) fn recover(disk: &dyn Disk, options: &Options) -> Result<Found, OpenError> {
    let mut present = BTreeSet::new();
    for name in disk.list().map_err(OpenError::Disk)? {
        match SegmentId::of(&name) {
            Some(id) => drop(present.insert(id)),
            None if name.ends_with(UNFINISHED) => disk.remove(&name).map_err(OpenError::Disk)?,
            None => {}
        }
    }
    let newest = present.iter().rev().find(|id| !id.is_archive()).copied();
    let segments = belonging(disk, options, newest, &present)?;
    let mut scan = Scan {
        disk,
        options,
        groups: (0..options.groups).map(|_| Index::default()).collect(),
        catalog: Catalog::default(),
        torn: false,
        next: newest.map_or(SegmentId(0), SegmentId::next),
        before: None,
    };
    for id in segments.iter().filter(|id| !id.is_archive()) {
        scan.log_segment(*id, Some(*id) == newest)?;
    }
    for id in segments.iter().filter(|id| id.is_archive()) {
        scan.archive(*id)?;
    }
    scan.check()?;
    // Not before everything was found to be right: a damaged list must not cost a file.
    remove(disk, present.difference(&segments)).map_err(OpenError::Disk)?;
    let next = scan.next;
    Ok(Found {
        groups: scan.groups,
        segments: segments.into_iter().chain([next]).collect(),
        next,
        catalog: scan.catalog,
        torn: scan.torn,
    })
}

/// Removes what a crash left of a removal, or of an archive that was not finished.
fn remove<'a>(
    disk: &dyn Disk,
    mut leftovers: impl Iterator<Item = &'a SegmentId>,
) -> io::Result<()> {
    leftovers.try_for_each(|id| disk.remove(&id.name()))?;
    disk.sync_names()
}

/// The segments that belong to the log.
fn belonging(
    disk: &dyn Disk,
    options: &Options,
    newest: Option<SegmentId>,
    present: &BTreeSet<SegmentId>,
) -> Result<BTreeSet<SegmentId>, OpenError> {
    let Some(newest) = newest else {
        return match present.first() {
            // Archives alone: the log they belong to is gone.
            Some(_) => Err(OpenError::Missing {
                file: SegmentId(0).name(),
            }),
            None => Ok(BTreeSet::new()),
        };
    };
    let mut belonging = roll(disk, options, newest)?;
    if belonging.is_empty() && newest.0 > 0 {
        // A crash came between its creation and its first write.
        belonging = roll(disk, options, SegmentId(newest.0 - 1))?;
    }
    belonging.insert(newest);
    if let Some(missing) = belonging.difference(present).next() {
        let file = missing.name();
        return Err(OpenError::Missing { file });
    }
    Ok(belonging)
}

/// The segments that a segment's frames say there are; none when it says nothing.
fn roll(
    disk: &dyn Disk,
    options: &Options,
    id: SegmentId,
) -> Result<BTreeSet<SegmentId>, OpenError> {
    let mut walk = Walk::open(disk, id, options.owner)?;
    let mut segments = BTreeSet::new();
    loop {
        let (_, frame) = match walk.next()? {
            Ok(found) => found,
            Err(end) => {
                refuse_damage(&mut walk, &end)?;
                return Ok(segments);
            }
        };
        let named = u32::try_from(frame.head.index).map(SegmentId);
        match (frame.head.kind, named) {
            (Kind::Segments, _) => {
                let ids = frame.payload.chunks_exact(4);
                let ids =
                    ids.map(|id| SegmentId(u32::from_le_bytes(id.try_into().unwrap_or([0; 4]))));
                segments = ids.collect();
            }
            (Kind::Dropped, Ok(id)) => drop(segments.remove(&id)),
            (Kind::Archived, Ok(id)) => drop(segments.insert(id)),
            (Kind::Seal, _) => return Ok(segments),
            _ => {}
        }
    }
}

/// Refuses an end that was no end: a later frame says that what stands there was durable.
fn refuse_damage(walk: &mut Walk, end: &End) -> Result<(), SegmentError> {
    let place = walk.place();
    if *end == End::Torn && walk.was_durable(place)? {
        let what = "a frame that was durable is not what was written";
        return Err(walk.damaged(u64::from(place.offset), what));
    }
    Ok(())
}

/// Refuses a segment that ends without its seal.
fn refuse_unsealed(walk: &Walk, end: Option<End>) -> Result<(), SegmentError> {
    let at = u64::from(walk.place().offset);
    match end {
        Some(_) => Err(walk.damaged(at, "a frame is not what was written")),
        None => Ok(()),
    }
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    options: &'a Options,
    groups: Vec<Index>,
    catalog: Catalog,
    torn: bool,
    next: SegmentId,
    /// The log segment that was read before.
    before: Option<SegmentId>,
}

impl Scan<'_> {
    fn log_segment(&mut self, id: SegmentId, is_newest: bool) -> Result<(), OpenError> {
        let mut walk = Walk::open(self.disk, id, self.options.owner)?;
        let follows = self.before.is_none_or(|before| before.next() == id);
        let is_first = self.before.is_none();
        self.before = Some(id);
        let known = follows && !is_first;
        match self.read(&mut walk, |scan, place, frame| {
            scan.frame(place, frame, known)
        })? {
            Some(end) if is_newest => self.newest_ends(&mut walk, &end),
            end => Ok(refuse_unsealed(&walk, end)?),
        }
    }

    /// Takes in the frames of a segment up to its seal, or to what stands there instead.
    fn read(
        &mut self,
        walk: &mut Walk,
        mut take: impl FnMut(&mut Self, Place, &Frame) -> Result<(), String>,
    ) -> Result<Option<End>, SegmentError> {
        loop {
            let (place, frame) = match walk.next()? {
                Ok(found) => found,
                Err(end) => return Ok(Some(end)),
            };
            if frame.head.kind == Kind::Seal {
                self.sealed(place);
                return Ok(None);
            }
            take(self, place, &frame)
                .map_err(|what| walk.damaged(u64::from(place.offset), what))?;
        }
    }

    /// A segment ends with a seal here.
    fn sealed(&mut self, seal: Place) {
        let bytes = u64::from(seal.offset) + HEADER_BYTES as u64;
        self.catalog.sealed(seal.segment, bytes);
    }

    /// Cuts off what is torn, and seals: nothing is ever written into an old segment, so what stood
    /// behind a torn end can never be taken for good.
    fn newest_ends(&mut self, walk: &mut Walk, end: &End) -> Result<(), OpenError> {
        let place = walk.place();
        refuse_damage(walk, end)?;
        if *end == End::Torn {
            tracing::warn!(file = %walk.id.name(), offset = place.offset, "cut a torn end off");
            self.torn = true;
        }
        let seal = || {
            let file = walk.file();
            file.truncate(u64::from(place.offset))?;
            let mut frame = BytesMut::with_capacity(HEADER_BYTES);
            Head::of(Kind::Seal, u64::from(self.next.0)).encode(place, &[], &mut frame);
            file.write_at(u64::from(place.offset), &[frame.freeze()])?;
            file.sync()
        };
        seal().map_err(OpenError::Disk)?;
        self.sealed(place);
        Ok(())
    }

    /// Takes one frame in; `known` when everything before it was read.
    fn frame(&mut self, place: Place, frame: &Frame, known: bool) -> Result<(), String> {
        let head = frame.head;
        let id = EntryId {
            term: head.term,
            index: head.index,
        };
        self.catalog.wrote(place.segment, &head);
        match head.kind {
            Kind::Segments | Kind::Mark | Kind::Dropped | Kind::Archived | Kind::Seal => {
                return Ok(());
            }
            _ => {}
        }
        let group = self.groups.get_mut(head.group as usize);
        let group = group.ok_or_else(|| format!("group {} is unknown", head.group))?;
        match head.kind {
            Kind::Entry => {
                let before = group.marks.last.map(|last| last.index);
                if let Some(before) = before
                    && head.index != before + 1
                {
                    return Err(format!("entry {} follows entry {before}", head.index));
                }
                let len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
                group.push(id, Slot { place, len });
            }
            Kind::Truncate => group.restore_truncated(head.index, head.term),
            Kind::Purge => group.purge(id),
            Kind::Vote => {
                group.marks.vote = Some(SavedVote {
                    term: head.term,
                    voted_for: head.index,
                    committed: head.detail == 1,
                });
            }
            Kind::Committed => group.marks.committed = Some(id).min(group.marks.last),
            Kind::State => {
                let marks = decode_marks(&frame.payload).ok_or("its marks are not readable")?;
                let same = (group.marks.last, group.marks.vote) == (marks.last, marks.vote);
                if known && !same {
                    return Err(format!("{marks:?} follow {:?}", group.marks));
                }
                group.adopt(marks);
            }
            Kind::Segments | Kind::Mark | Kind::Dropped | Kind::Archived | Kind::Seal => {}
        }
        Ok(())
    }

    /// Raft must find every entry that it has not given up.
    fn check(&self) -> Result<(), OpenError> {
        for (group, index) in self.groups.iter().enumerate() {
            let marks = index.marks;
            if let Some(index) = (marks.first()..marks.next()).find(|at| index.slot(*at).is_none())
            {
                return Err(OpenError::MissingEntry { group, index });
            }
        }
        Ok(())
    }

    fn archive(&mut self, id: SegmentId) -> Result<(), OpenError> {
        let mut walk = Walk::open(self.disk, id, self.options.owner)?;
        let end = self.read(&mut walk, |scan, place, frame| {
            let (group, index) = (frame.head.group, frame.head.index);
            let len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
            if let Some(entries) = scan.groups.get_mut(group as usize) {
                entries.put(index, Slot { place, len });
                scan.catalog.wrote(id, &frame.head);
            }
            Ok(())
        })?;
        Ok(refuse_unsealed(&walk, end)?)
    }
}
