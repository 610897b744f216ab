//! The end of the log in memory: frames get their place here, in the order in which they will be on
//! disk, and wait for the writer. Held for a copy of a small payload at most.

use std::collections::BTreeSet;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{HEADER_BYTES, Head, Kind, Place};
use super::index::{EntryId, Marks, SavedVote, Slot};
use super::reclaim::Catalog;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentId};
use crate::ids::GroupId;

/// A smaller payload is copied behind its header, a larger one is written from where it is.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Told when what was queued with it, and everything before, is durable, or will never be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Frames of one segment that are written at once.
pub(super) struct Chunk {
    pub(super) place: Place,
    /// Its bytes, in order.
    pub(super) pieces: Vec<Bytes>,
    /// Small frames that are not a piece yet.
    open: BytesMut,
    /// Set on the last chunk of a segment.
    pub(super) seals: bool,
}

impl Chunk {
    fn at(place: Place) -> Self {
        Self {
            place,
            pieces: Vec::new(),
            open: BytesMut::new(),
            seals: false,
        }
    }

    fn put(&mut self, place: Place, head: &Head, payload: &Bytes) {
        head.encode(place, payload, &mut self.open);
        if payload.len() <= COPY_BYTES_MAX {
            self.open.extend_from_slice(payload);
        } else {
            self.close();
            self.pieces.push(payload.clone());
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(self.open.split().freeze());
        }
    }
}

/// What the writer takes at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) chunks: Vec<Chunk>,
    pub(super) done: Vec<Done>,
}

/// See the module's text.
pub(super) struct Tail {
    segment_bytes: u32,
    /// Where the next frame goes.
    next: Place,
    batch: Batch,
    /// Bytes that wait.
    pub(super) waiting_bytes: usize,
    /// Marks of every group as of the next frame.
    pub(super) marks: Vec<Marks>,
    /// The segments that belong to the log, the current one included.
    pub(super) segments: BTreeSet<SegmentId>,
    /// What they hold.
    pub(super) catalog: Catalog,
    /// Everything of the current segment before it is durable.
    pub(super) synced: Place,
    /// The last [`Kind::Mark`] said this.
    marked: Place,
    /// Nothing is taken any more.
    pub(super) closed: bool,
}

impl Tail {
    /// Goes on in `segment`, a new one, which is the last of `segments`.
    pub(super) fn new(
        segment_bytes: u32,
        segment: SegmentId,
        segments: BTreeSet<SegmentId>,
        marks: Vec<Marks>,
        catalog: Catalog,
    ) -> Self {
        let next = Place {
            segment,
            offset: SEGMENT_HEADER_BYTES,
        };
        let mut tail = Self {
            segment_bytes,
            next,
            batch: Batch::default(),
            waiting_bytes: 0,
            marks,
            segments,
            catalog,
            synced: next,
            marked: next,
            closed: false,
        };
        tail.begin_segment();
        tail
    }

    /// Queues a frame.
    pub(super) fn put(&mut self, head: Head, payload: &Bytes) -> Slot {
        let len = u32::try_from(HEADER_BYTES + payload.len()).unwrap_or(u32::MAX);
        if self.batch.chunks.is_empty() {
            self.mark_synced();
        }
        self.make_room(len);
        let slot = self.write(head, payload);
        self.catalog.wrote(slot.place.segment, &head);
        slot
    }

    /// Queues a change of a group's marks; the caller has made it in its index.
    pub(super) fn put_mark(&mut self, group: GroupId, head: Head, marks: Marks) {
        self.marks[group as usize] = marks;
        self.put(head, &Bytes::new());
    }

    /// Whom to tell when what was queued is durable.
    pub(super) fn tell(&mut self, done: Done) {
        self.batch.done.push(done);
    }

    /// Takes everything that waits.
    pub(super) fn take(&mut self) -> Batch {
        self.waiting_bytes = 0;
        let mut batch = std::mem::take(&mut self.batch);
        batch.chunks.iter_mut().for_each(Chunk::close);
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.chunks.is_empty() && self.batch.done.is_empty()
    }

    /// Says how much is durable, for recovery to tell a torn end from later damage.
    pub(super) fn mark_synced(&mut self) {
        if self.synced.segment == self.next.segment && self.synced > self.marked {
            self.marked = self.synced;
            let offset = u64::from(self.synced.offset);
            self.make_room(HEADER_BYTES as u32);
            self.write(Head::of(Kind::Mark, offset), &Bytes::new());
        }
    }

    /// Begins the next segment when a frame of `len` bytes and a seal do not fit any more. A frame
    /// larger than a segment gets one of its own.
    fn make_room(&mut self, len: u32) {
        let end = self
            .next
            .offset
            .saturating_add(len)
            .saturating_add(HEADER_BYTES as u32);
        let is_new = self.batch_begins_segment();
        if end <= self.segment_bytes || is_new {
            return;
        }
        let next = self.next.segment.next();
        self.write(Head::of(Kind::Seal, u64::from(next.0)), &Bytes::new());
        if let Some(chunk) = self.batch.chunks.last_mut() {
            chunk.seals = true;
        }
        self.catalog
            .sealed(self.next.segment, u64::from(self.next.offset));
        self.next = Place {
            segment: next,
            offset: SEGMENT_HEADER_BYTES,
        };
        self.segments.insert(next);
        self.begin_segment();
    }

    fn batch_begins_segment(&self) -> bool {
        let checkpoint = self.checkpoint_bytes();
        self.next.offset <= SEGMENT_HEADER_BYTES + checkpoint + HEADER_BYTES as u32
    }

    /// A segment begins with what the ones before it say, so that they can go.
    fn begin_segment(&mut self) {
        let mut segments = BytesMut::with_capacity(4 * self.segments.len());
        self.segments
            .iter()
            .for_each(|segment| segments.put_u32_le(segment.0));
        let segments = segments.freeze();
        self.write(Head::of(Kind::Segments, 0), &segments);
        for group in 0..self.marks.len() {
            let state = encode_marks(&self.marks[group]);
            let head = Head {
                group: u32::try_from(group).unwrap_or(u32::MAX),
                ..Head::of(Kind::State, 0)
            };
            self.write(head, &state);
        }
    }

    fn checkpoint_bytes(&self) -> u32 {
        let states = self.marks.len() * (HEADER_BYTES + MARKS_BYTES);
        let segments = HEADER_BYTES + 4 * self.segments.len();
        u32::try_from(states + segments).unwrap_or(u32::MAX / 2)
    }

    fn write(&mut self, head: Head, payload: &Bytes) -> Slot {
        let place = self.next;
        let chunks = &mut self.batch.chunks;
        if chunks
            .last()
            .is_none_or(|chunk| chunk.place.segment != place.segment)
        {
            chunks.push(Chunk::at(place));
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.put(place, &head, payload);
        }
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.next.offset += HEADER_BYTES as u32 + len;
        self.waiting_bytes += HEADER_BYTES + payload.len();
        Slot { place, len }
    }
}

/// Bytes of a group's marks in a [`Kind::State`].
const MARKS_BYTES: usize = 4 * 18;

fn encode_marks(marks: &Marks) -> Bytes {
    let mut bytes = BytesMut::with_capacity(MARKS_BYTES);
    let mut put = |flags: u8, a: u64, b: u64| {
        bytes.put_u8(flags);
        bytes.put_u8(0);
        bytes.put_u64_le(a);
        bytes.put_u64_le(b);
    };
    for id in [marks.purged, marks.last, marks.committed] {
        put(
            u8::from(id.is_some()),
            id.map_or(0, |id| id.term),
            id.map_or(0, |id| id.index),
        );
    }
    match marks.vote {
        Some(vote) => put(1 + u8::from(vote.committed), vote.term, vote.voted_for),
        None => put(0, 0, 0),
    }
    bytes.freeze()
}

/// What [`encode_marks`] wrote; `None` for anything else.
pub(super) fn decode_marks(bytes: &[u8]) -> Option<Marks> {
    if bytes.len() != MARKS_BYTES {
        return None;
    }
    let field = |n: usize| {
        let at = n * 18;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or([0; 8]));
        (bytes[at], word(at + 2), word(at + 10))
    };
    let id = |n: usize| match field(n) {
        (0, ..) => None,
        (_, term, index) => Some(EntryId { term, index }),
    };
    let vote = match field(3) {
        (0, ..) => None,
        (flags, term, voted_for) => Some(SavedVote {
            term,
            voted_for,
            committed: flags == 2,
        }),
    };
    Some(Marks {
        purged: id(0),
        last: id(1),
        committed: id(2),
        vote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_as_they_were() {
        let id = |n| EntryId {
            term: n,
            index: n * 7,
        };
        let vote = SavedVote {
            term: 9,
            voted_for: 2,
            committed: true,
        };
        for marks in [
            Marks::default(),
            Marks {
                purged: Some(id(1)),
                last: Some(id(4)),
                committed: Some(id(3)),
                vote: Some(vote),
            },
            Marks {
                vote: Some(SavedVote {
                    committed: false,
                    ..vote
                }),
                ..Marks::default()
            },
        ] {
            assert_eq!(decode_marks(&encode_marks(&marks)), Some(marks));
        }
        assert_eq!(decode_marks(b"short"), None);
    }
}
