//! The one writer of the log: takes everything that waits, writes it at once, syncs once, and tells
//! all who waited. Nobody waits for a timer: what comes while the disk is busy is the next batch.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::disk::DiskFile;
use super::frame::Place;
use super::log::Shared;
use super::segment::{self, SegmentId};
use super::tail::{Batch, Chunk};

/// See the module's text.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The segment that is written to; `None` until its first frame.
    current: Option<(SegmentId, Arc<dyn DiskFile>)>,
    /// Time per batch.
    seconds: metrics::Histogram,
    bytes: metrics::Counter,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            current: None,
            seconds: crate::metrics::log_write_seconds(),
            bytes: crate::metrics::log_bytes_written(),
        }
    }

    /// Runs until the log is closed, or the disk fails.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.shared.next_batch() {
            if self.step(batch).is_err() {
                return;
            }
        }
    }

    /// Writes one batch. After an error the log is closed: what was written cannot be trusted, and
    /// trying again would lie.
    pub(super) fn step(&mut self, batch: Batch) -> io::Result<()> {
        let began = Instant::now();
        let written = self.write(&batch.chunks);
        let mut told = batch.done;
        match &written {
            Ok(Some(end)) => {
                self.shared.synced(*end);
                self.seconds.record(began.elapsed().as_secs_f64());
            }
            Ok(None) => {}
            Err(error) => told.extend(self.shared.failed(error).done),
        }
        for done in told {
            done(match &written {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
        written.map(drop)
    }

    /// Writes and syncs; answers with the end of what was written.
    fn write(&mut self, chunks: &[Chunk]) -> io::Result<Option<Place>> {
        let mut end = None;
        for chunk in chunks {
            let file = self.file(chunk)?;
            file.write_at(u64::from(chunk.place.offset), &chunk.pieces)?;
            let bytes: usize = chunk.pieces.iter().map(|piece| piece.len()).sum();
            self.bytes.increment(bytes as u64);
            let offset = chunk.place.offset + u32::try_from(bytes).unwrap_or(u32::MAX);
            let place = Place {
                offset,
                ..chunk.place
            };
            self.shared.written(place);
            end = Some(place);
            if chunk.seals {
                // The preallocated rest is given back.
                file.truncate(u64::from(offset))?;
                file.sync()?;
                self.current = None;
            }
        }
        if let Some((_, file)) = &self.current {
            file.sync()?;
        }
        Ok(end)
    }

    fn file(&mut self, chunk: &Chunk) -> io::Result<Arc<dyn DiskFile>> {
        let id = chunk.place.segment;
        match &self.current {
            Some((current, file)) if *current == id => Ok(Arc::clone(file)),
            _ => {
                let shared = &self.shared;
                let bytes = u64::from(shared.options.segment_bytes);
                let file = segment::create(&*shared.disk, id, shared.options.owner, bytes)?;
                shared.files.put(id, Arc::clone(&file));
                self.current = Some((id, Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}
