//! Archives: files of entries that Raft has given up and that are wanted as history. Some are
//! copied out of segments that can go; others were never in this log and come from another replica.
//! An archive belongs to the log once a frame of the log says so: what a crash left of one before
//! that is removed at start.

use std::io;
use std::iter::Peekable;

use bytes::{Bytes, BytesMut};

use super::disk::DiskFile;
use super::frame::{HEADER_BYTES, Head, Kind, Place};
use super::index::{Record, Slot};
use super::log::{GroupLog, Wal};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentId};
use crate::ids::GroupId;

/// Indexes looked up under one lock.
const LOOK_UP_COUNT: usize = 1024;

/// An archive that belongs to the log.
pub(super) struct Archived {
    /// Where its entries stand, in their order.
    pub(super) entries: Vec<(Head, Slot)>,
    /// Bytes of its file.
    pub(super) bytes: u64,
}

impl Wal {
    /// Stores entries of a group as history, in ascending order, each of which some replica has
    /// applied. Of those that Raft has not given up here, or that are here already, nothing is
    /// stored. Returns what is durable now: entries, and their bytes. Blocks.
    ///
    /// # Errors
    /// The disk: what was stored before stays.
    pub(crate) fn backfill(&self, group: GroupId, records: &[Record]) -> io::Result<(usize, u64)> {
        let _alone = self.shared.reclaiming.lock();
        let log = self.group(group);
        let indexes: Vec<u64> = records.iter().map(|record| record.id.index).collect();
        let lacking = log.lacking(&indexes);
        let first = log.marks().first();
        let is_hole = |index: &u64| *index < first && lacking.binary_search(index).is_ok();
        let holes = records.iter().filter(|record| is_hole(&record.id.index));
        let frames = holes.map(|record| {
            let head = Head {
                kind: Kind::Entry,
                detail: record.kind,
                group,
                term: record.id.term,
                index: record.id.index,
            };
            Ok((head, record.payload.clone()))
        });
        let mut frames = frames.peekable();
        let (mut count, mut bytes) = (0, 0);
        let mut id = self.next_archive();
        while frames.peek().is_some() {
            let archived = self.write_archive(id, &mut frames)?;
            count += archived.entries.len();
            bytes += archived.bytes;
            let mut index = self.shared.groups[group as usize].lock();
            for (head, slot) in archived.entries {
                index.put(head.index, slot);
            }
            id = id.next();
        }
        Ok((count, bytes))
    }

    /// The number of a new archive. The caller is the only one who makes archives.
    pub(super) fn next_archive(&self) -> SegmentId {
        let tail = self.shared.tail.lock();
        let newest = tail.segments.iter().rev().find(|id| id.is_archive());
        newest.map_or(SegmentId::archive(0), |id| id.next())
    }

    /// Writes an archive with as many frames as fit, at least one, and makes it a part of the log.
    pub(super) fn write_archive(
        &self,
        id: SegmentId,
        frames: &mut Peekable<impl Iterator<Item = io::Result<(Head, Bytes)>>>,
    ) -> io::Result<Archived> {
        let shared = &self.shared;
        let file = segment::create(&*shared.disk, id, shared.options.owner, 0)?;
        let mut place = Place {
            segment: id,
            offset: SEGMENT_HEADER_BYTES,
        };
        let mut entries = Vec::new();
        let fits = |place: Place, payload: &Bytes| {
            let frames = 2 * HEADER_BYTES as u64 + payload.len() as u64;
            u64::from(place.offset) + frames <= u64::from(shared.options.segment_bytes)
        };
        while let Some(frame) = frames.next_if(|frame| {
            let payload = frame.as_ref().map(|(_, payload)| payload);
            entries.is_empty() || payload.map_or(true, |payload| fits(place, payload))
        }) {
            let (head, payload) = frame?;
            let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
            entries.push((head, Slot { place, len }));
            write_frame(&*file, &mut place, &head, payload)?;
        }
        write_frame(&*file, &mut place, &Head::of(Kind::Seal, 0), Bytes::new())?;
        file.sync()?;
        let bytes = u64::from(place.offset);
        shared.put_durably(|tail| {
            tail.put(Head::of(Kind::Archived, u64::from(id.0)), &Bytes::new());
            tail.segments.insert(id);
            entries
                .iter()
                .for_each(|(head, _)| tail.catalog.wrote(id, head));
            tail.catalog.sealed(id, bytes);
        })?;
        Ok(Archived { entries, bytes })
    }
}

impl GroupLog {
    /// Which of these entries are not here, in the order asked for.
    pub(crate) fn lacking(&self, indexes: &[u64]) -> Vec<u64> {
        let mut lacking = Vec::new();
        for some in indexes.chunks(LOOK_UP_COUNT) {
            let entries = self.index().lock();
            let not_here = |index: &u64| entries.slot(*index).is_none();
            lacking.extend(some.iter().copied().filter(not_here));
        }
        lacking
    }
}

fn write_frame(
    file: &dyn DiskFile,
    place: &mut Place,
    head: &Head,
    payload: Bytes,
) -> io::Result<()> {
    let mut header = BytesMut::with_capacity(HEADER_BYTES);
    head.encode(*place, &payload, &mut header);
    let bytes = header.len() + payload.len();
    file.write_at(u64::from(place.offset), &[header.freeze(), payload])?;
    place.offset += u32::try_from(bytes).map_err(io::Error::other)?;
    Ok(())
}
