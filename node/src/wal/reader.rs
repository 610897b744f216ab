//! Entries read back from the segments.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::frame::{Claim, HEADER_BYTES, Head, Kind};
use super::index::Slot;
use super::segment::SegmentId;
use crate::ids::GroupId;

/// Segments that are kept open for reading.
const OPEN_FILES_MAX: usize = 64;

/// Open segments, by use.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// With the turn of their last use.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Counts uses.
    turn: u64,
    files: BTreeMap<SegmentId, (u64, Arc<dyn DiskFile>)>,
}

impl Files {
    pub(super) fn put(&self, id: SegmentId, file: Arc<dyn DiskFile>) {
        let Open { turn, files } = &mut *self.open.lock();
        *turn += 1;
        files.insert(id, (*turn, file));
        if files.len() > OPEN_FILES_MAX {
            let oldest = files.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(&oldest) = oldest.map(|(id, _)| id) {
                files.remove(&oldest);
            }
        }
    }

    pub(super) fn forget(&self, id: SegmentId) {
        self.open.lock().files.remove(&id);
    }

    fn get(&self, disk: &dyn Disk, id: SegmentId) -> io::Result<Arc<dyn DiskFile>> {
        let found = {
            let Open { turn, files } = &mut *self.open.lock();
            *turn += 1;
            files.get_mut(&id).map(|(used, file)| {
                *used = *turn;
                Arc::clone(file)
            })
        };
        if let Some(file) = found {
            return Ok(file);
        }
        let file = disk.open(&id.name())?;
        self.put(id, Arc::clone(&file));
        Ok(file)
    }

    /// The payload of an entry and what its frame says. Damage is an error, never served.
    pub(super) fn read(
        &self,
        disk: &dyn Disk,
        group: GroupId,
        index: u64,
        slot: Slot,
    ) -> io::Result<(Head, Bytes)> {
        let place = slot.place;
        let file = self.get(disk, place.segment)?;
        let mut frame = vec![0; HEADER_BYTES + slot.len as usize];
        let read = file.read_at(u64::from(place.offset), &mut frame)?;
        frame.truncate(read);
        let frame = Bytes::from(frame);
        let head = frame.first_chunk::<HEADER_BYTES>().and_then(|header| {
            let claim = Claim::read(header);
            claim.verify(place, header, &frame[HEADER_BYTES..])
        });
        match head {
            Some(head) if (head.kind, head.group, head.index) == (Kind::Entry, group, index) => {
                Ok((head, frame.slice(HEADER_BYTES..)))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is damaged at byte {}: entry {index} of group {group} is not there",
                    place.segment.name(),
                    place.offset
                ),
            )),
        }
    }
}
