//! The log's record format. A frame is a header of 32 bytes and a payload, little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the payload |
//! | 4..8 | CRC-32 of the rest of header and payload, seeded with segment and offset |
//! | 8 | kind |
//! | 9 | detail: of an entry its content, of a vote whether it is committed |
//! | 10..12 | zero |
//! | 12..16 | group |
//! | 16..24 | term |
//! | 24..32 | index |
//! | 32.. | payload |
//!
//! The seed makes a frame valid in its own place only: what an earlier file left on the disk, or a
//! write that went astray, is never taken for one.

use bytes::{BufMut, Bytes, BytesMut};

use super::segment::SegmentId;
use crate::ids::GroupId;

/// Bytes before a payload.
pub(super) const HEADER_BYTES: usize = 32;
/// Largest payload; a larger length is damage and must not be allocated.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An entry of a group's log.
    Entry = 1,
    /// A group's entries from `index` on are gone.
    Truncate = 2,
    /// A group's entries up to (term, index) are purged.
    Purge = 3,
    /// A group's vote: term, whom for in `index`, `detail` 1 when committed.
    Vote = 4,
    /// A group is committed up to (term, index).
    Committed = 5,
    /// The segment ends; `index` is the next one.
    Seal = 6,
    /// Everything before offset `index` of this segment was durable before this was written.
    Mark = 7,
    /// At a segment's start: what the segments before it say of a group.
    State = 8,
    /// At a segment's start: the segments that exist, this one included.
    Segments = 9,
    /// Segment `index` is no longer needed and may be missing.
    Dropped = 10,
    /// Archive `index` belongs to the log from now on.
    Archived = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Entry,
        Self::Truncate,
        Self::Purge,
        Self::Vote,
        Self::Committed,
        Self::Seal,
        Self::Mark,
        Self::State,
        Self::Segments,
        Self::Dropped,
        Self::Archived,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) detail: u8,
    pub(super) group: GroupId,
    pub(super) term: u64,
    pub(super) index: u64,
}

impl Head {
    /// Of a kind that says no more than `index`.
    pub(super) fn of(kind: Kind, index: u64) -> Self {
        Self {
            kind,
            detail: 0,
            group: 0,
            term: 0,
            index,
        }
    }

    /// Appends the header of a frame at this place.
    pub(super) fn encode(&self, place: Place, payload: &[u8], to: &mut BytesMut) {
        let start = to.len();
        let len = u32::try_from(payload.len()).expect("callers keep to PAYLOAD_BYTES_MAX");
        to.put_u32_le(len);
        to.put_u32_le(0);
        to.put_u8(self.kind as u8);
        to.put_u8(self.detail);
        to.put_u16_le(0);
        to.put_u32_le(self.group);
        to.put_u64_le(self.term);
        to.put_u64_le(self.index);
        let checksum = checksum(place, &to[start..], payload);
        to[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: SegmentId,
    pub(super) offset: u32,
}

/// Length and checksum that a header claims, and what it says when it is a header at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// Bytes of the payload.
    pub(super) len: usize,
    checksum: u32,
    head: Option<Head>,
}

impl Claim {
    /// Reads a header; what it says is true once [`Claim::verify`] has seen the payload.
    pub(super) fn read(header: &[u8; HEADER_BYTES]) -> Self {
        let u32_at =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or([0; 4]));
        let u64_at =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or([0; 8]));
        Self {
            len: u32_at(0) as usize,
            checksum: u32_at(4),
            head: Kind::of(header[8]).map(|kind| Head {
                kind,
                detail: header[9],
                group: u32_at(12),
                term: u64_at(16),
                index: u64_at(24),
            }),
        }
    }

    /// Whether a payload of this length may exist.
    pub(super) fn is_possible(&self) -> bool {
        self.head.is_some() && self.len <= PAYLOAD_BYTES_MAX
    }

    /// The head, if header and payload are what was written at this place.
    pub(super) fn verify(
        &self,
        place: Place,
        header: &[u8; HEADER_BYTES],
        payload: &[u8],
    ) -> Option<Head> {
        let is_right =
            payload.len() == self.len && checksum(place, header, payload) == self.checksum;
        self.head.filter(|_| is_right)
    }
}

fn checksum(place: Place, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.segment.0.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(&header[..4]);
    hasher.update(&header[8..]);
    hasher.update(payload);
    hasher.finalize()
}

/// A frame read back.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) head: Head,
    pub(super) payload: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let head = Head {
            kind: Kind::Entry,
            detail: 1,
            group: 3,
            term: 4,
            index: 5,
        };
        let place = Place {
            segment: SegmentId(7),
            offset: 96,
        };
        let mut bytes = BytesMut::new();
        head.encode(place, b"payload", &mut bytes);
        bytes.extend_from_slice(b"payload");
        let read = |bytes: &[u8], place| {
            let header: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().unwrap();
            let claim = Claim::read(&header);
            let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + claim.len);
            claim.verify(place, &header, payload.unwrap_or_default())
        };
        assert_eq!(read(&bytes, place), Some(head));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged, place), None, "bit {bit}");
        }
        for other in [
            Place {
                offset: 97,
                ..place
            },
            Place {
                segment: SegmentId(8),
                ..place
            },
        ] {
            assert_eq!(read(&bytes, other), None);
        }
    }
}
