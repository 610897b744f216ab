//! The writing half: finished frames to one vectored write. Copies nothing.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::engine::close::CloseReason;
use crate::engine::frames::Frames;
use crate::engine::outbox::{Batch, Written};
use crate::engine::transport::FrameSink;
use crate::limits;

/// Writes one connection.
#[derive(Debug)]
pub(crate) struct WebSocketSink<W> {
    /// The writing half of the byte stream.
    io: W,
    /// Bytes of the batch's first frame that are written already.
    front_written: usize,
}

impl<W: AsyncWrite + Unpin + Send> WebSocketSink<W> {
    pub(crate) fn new(io: W) -> Self {
        Self {
            io,
            front_written: 0,
        }
    }

    /// The stream; between two frames.
    pub(crate) fn into_inner(self) -> W {
        debug_assert_eq!(self.front_written, 0, "a frame is half written");
        self.io
    }

    /// Removes what `len` more bytes complete.
    fn advance(&mut self, batch: &mut Batch, len: usize) -> Written {
        let mut written = Written::default();
        self.front_written += len;
        while let Some(front) = batch.front()
            && self.front_written >= front.len()
        {
            self.front_written -= front.len();
            if !front.is_control() {
                written.frames += 1;
                written.bytes += front.len();
            }
            batch.pop_front();
        }
        written
    }
}

impl<W: AsyncWrite + Unpin + Send> FrameSink for WebSocketSink<W> {
    async fn write(&mut self, batch: &mut Batch) -> io::Result<Written> {
        debug_assert!(
            !batch.is_empty(),
            "nothing to write would look like a closed connection"
        );
        let len = poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); limits::WRITE_BATCH_FRAMES_MAX];
            let mut skip = self.front_written;
            let mut count = 0;
            for (slice, frames) in slices.iter_mut().zip(batch.iter()) {
                *slice = IoSlice::new(&frames.websocket()[skip..]);
                skip = 0;
                count += 1;
            }
            Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
        })
        .await?;
        if len == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(self.advance(batch, len))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.io.flush().await
    }

    fn boundary(&self) -> usize {
        usize::from(self.front_written > 0)
    }

    async fn close(&mut self, reason: CloseReason) -> io::Result<()> {
        if self.front_written == 0 {
            let (code, word) = reason.websocket();
            self.io
                .write_all(Frames::websocket_close(code, word).websocket())
                .await?;
        }
        self.io.shutdown().await
    }
}
