//! The files of the log: their names and headers, and how one is walked through.
//!
//! A segment is preallocated, begins with a header and is filled with frames; a sealed one ends
//! with a [`Kind::Seal`]. The `log-` segments form one sequence; an `archive-` holds entries that
//! were copied out of segments of which little else was wanted.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::disk::{Disk, DiskFile};
use super::frame::{Claim, Frame, HEADER_BYTES, Kind, Place};

/// First bytes of every file.
const MAGIC: &[u8; 8] = b"RCASTLOG";
/// Format of this version.
const VERSION: u32 = 1;
/// Bytes of the header.
pub(super) const SEGMENT_HEADER_BYTES: u32 = 32;
/// Marks the number of an archive.
const ARCHIVE: u32 = 1 << 31;
/// Read at once while walking through a segment.
const WALK_BYTES: usize = 1024 * 1024;
/// The end of a file's name before it has a header; such a file is removed at start.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Number of a segment; archives have the highest bit set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentId(pub(super) u32);

impl SegmentId {
    pub(super) fn archive(number: u32) -> Self {
        Self(number | ARCHIVE)
    }

    pub(super) fn is_archive(self) -> bool {
        self.0 & ARCHIVE != 0
    }

    /// The next of its kind.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Its file's name.
    pub(super) fn name(self) -> String {
        let kind = if self.is_archive() { "archive" } else { "log" };
        format!("{kind}-{:010}", self.0 & !ARCHIVE)
    }

    /// The segment of a file; `None` for other files.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let number: u32 = number.parse().ok()?;
        let id = match kind {
            "log" => Self(number),
            "archive" => Self::archive(number),
            _ => return None,
        };
        (number & ARCHIVE == 0 && id.name() == name).then_some(id)
    }
}

/// Creates a segment with its header, durably: a file of its name has a good header from then on.
pub(super) fn create(
    disk: &dyn Disk,
    id: SegmentId,
    owner: u64,
    bytes: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let unfinished = format!("{}{UNFINISHED}", id.name());
    let file = disk.create(&unfinished, bytes)?;
    let mut header = BytesMut::with_capacity(SEGMENT_HEADER_BYTES as usize);
    header.put_slice(MAGIC);
    header.put_u32_le(VERSION);
    header.put_u32_le(id.0);
    header.put_u64_le(owner);
    header.put_u32_le(0);
    header.put_u32_le(crc32fast::hash(&header));
    file.write_at(0, &[header.freeze()])?;
    file.sync()?;
    disk.rename(&unfinished, &id.name())?;
    disk.sync_names()?;
    Ok(file)
}

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// The file could not be read.
    #[error("{file}: {source}")]
    Io {
        /// Its name.
        file: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Written by a version that this one does not know.
    #[error("{file} has format {version}, this version reads format {VERSION}")]
    Version {
        /// Its name.
        file: String,
        /// What it says.
        version: u32,
    },
    /// Written by another node, or for another cluster.
    #[error("{file} was written by another node or for another cluster")]
    Foreign {
        /// Its name.
        file: String,
    },
    /// Not what was written.
    #[error(
        "{file} is damaged at byte {offset}: {what}. This node's log cannot be trusted: move its \
         data directory away and replace the node by a new id"
    )]
    Damaged {
        /// Its name.
        file: String,
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
}

/// Walks through a segment's frames.
pub(super) struct Walk {
    pub(super) id: SegmentId,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Offset of the next frame.
    offset: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer's first byte.
    buffered_at: u64,
}

/// What stands at the end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Zeros up to the end of the file, or the end itself.
    Clean,
    /// Something that is no frame.
    Torn,
}

impl Walk {
    /// Opens a segment and checks its header.
    pub(super) fn open(disk: &dyn Disk, id: SegmentId, owner: u64) -> Result<Self, SegmentError> {
        let failed = |source| SegmentError::Io {
            file: id.name(),
            source,
        };
        let file = disk.open(&id.name()).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut walk = Self {
            id,
            file,
            len,
            offset: u64::from(SEGMENT_HEADER_BYTES),
            buffer: Vec::new(),
            buffered_at: 0,
        };
        walk.check_header(owner)?;
        Ok(walk)
    }

    pub(super) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Where the next frame begins.
    pub(super) fn place(&self) -> Place {
        Place {
            segment: self.id,
            offset: u32::try_from(self.offset).unwrap_or(u32::MAX),
        }
    }

    fn check_header(&mut self, owner: u64) -> Result<(), SegmentError> {
        let size = SEGMENT_HEADER_BYTES as usize;
        let header = self.bytes(0, size)?.to_vec();
        let u32_at =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or([0; 4]));
        let file = self.id.name();
        if header.len() < size
            || header[..8] != *MAGIC
            || crc32fast::hash(&header[..size - 4]) != u32_at(size - 4)
        {
            return Err(self.damaged(0, "its header is not one"));
        }
        if u32_at(8) != VERSION {
            let version = u32_at(8);
            return Err(SegmentError::Version { file, version });
        }
        if header[16..24] != owner.to_le_bytes() {
            return Err(SegmentError::Foreign { file });
        }
        if u32_at(12) != self.id.0 {
            return Err(self.damaged(12, "its header names another segment"));
        }
        Ok(())
    }

    /// The next frame, or how the frames end.
    pub(super) fn next(&mut self) -> Result<Result<(Place, Frame), End>, SegmentError> {
        let place = self.place();
        let Some((frame, len)) = self.frame_at(place)? else {
            return Ok(Err(self.end()?));
        };
        self.offset += len as u64;
        Ok(Ok((place, frame)))
    }

    fn frame_at(&mut self, place: Place) -> Result<Option<(Frame, usize)>, SegmentError> {
        let offset = u64::from(place.offset);
        let Ok(header) = <[u8; HEADER_BYTES]>::try_from(self.bytes(offset, HEADER_BYTES)?) else {
            return Ok(None);
        };
        let claim = Claim::read(&header);
        if !claim.is_possible() {
            return Ok(None);
        }
        let payload = self.bytes(offset + HEADER_BYTES as u64, claim.len)?;
        let Some(head) = claim.verify(place, &header, payload) else {
            return Ok(None);
        };
        let payload = Bytes::copy_from_slice(payload);
        Ok(Some((Frame { head, payload }, HEADER_BYTES + claim.len)))
    }

    /// What follows the last good frame.
    fn end(&mut self) -> Result<End, SegmentError> {
        let mut at = self.offset;
        while at < self.len {
            let some = self.bytes(at, WALK_BYTES)?;
            if some.iter().any(|byte| *byte != 0) {
                return Ok(End::Torn);
            }
            at += some.len() as u64;
        }
        Ok(End::Clean)
    }

    /// Whether a later frame says that this offset was durable before it was written: what is bad
    /// there was good once.
    pub(super) fn was_durable(&mut self, bad: Place) -> Result<bool, SegmentError> {
        for offset in bad.offset + 1..u32::try_from(self.len).unwrap_or(u32::MAX) {
            let place = Place { offset, ..bad };
            // Nearly always decided by the kind: marks are rare among arbitrary bytes.
            if self.bytes(u64::from(offset) + 8, 1)? != [Kind::Mark as u8] {
                continue;
            }
            if let Some((frame, _)) = self.frame_at(place)?
                && frame.head.kind == Kind::Mark
                && frame.head.index > u64::from(bad.offset)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Up to `len` bytes at `offset`; fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], SegmentError> {
        let buffered = self.buffered_at..self.buffered_at + self.buffer.len() as u64;
        if !(buffered.contains(&offset) && offset + len as u64 <= buffered.end) {
            let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.buffer.resize(rest.min(len.max(WALK_BYTES)), 0);
            let read = self.file.read_at(offset, &mut self.buffer);
            let read = read.map_err(|source| SegmentError::Io {
                file: self.id.name(),
                source,
            })?;
            self.buffer.truncate(read);
            self.buffered_at = offset;
        }
        let from = usize::try_from(offset - self.buffered_at).unwrap_or(usize::MAX);
        let to = (from + len).min(self.buffer.len());
        Ok(&self.buffer[from.min(to)..to])
    }

    /// Damage in this segment.
    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> SegmentError {
        SegmentError::Damaged {
            file: self.id.name(),
            offset,
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for id in [SegmentId(0), SegmentId(4_000_000), SegmentId::archive(12)] {
            assert_eq!(SegmentId::of(&id.name()), Some(id));
        }
        for other in [
            "log-1",
            "log-9999999999",
            "log-0000000001.unfinished",
            "log-0000000001.bak",
        ] {
            assert_eq!(SegmentId::of(other), None);
        }
    }
}
