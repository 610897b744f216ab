//! The reading half: bytes of a connection to Engine.IO packets.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;

use bytes::{BufMut, Bytes};
use roomcast_proto::DecodeError;
use roomcast_proto::engineio::Packet;
use roomcast_proto::websocket::{Decoder, Event, Limits};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::engine::frames::Frames;
use crate::engine::outbox::Outbox;
use crate::engine::transport::{PacketSource, TransportError};
use crate::limits;

/// Reads one connection.
#[derive(Debug)]
pub(crate) struct WebSocketSource<R> {
    /// The reading half of the byte stream.
    io: R,
    /// Bytes to messages.
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin + Send> WebSocketSource<R> {
    /// `received` is what arrived behind the handshake.
    pub(crate) fn new(io: R, max_payload: usize, received: &[u8]) -> Self {
        let limits = Limits {
            message_bytes_max: max_payload,
            fragments_max: limits::FRAGMENTS_MAX,
            reserve_bytes_max: limits::READ_RESERVE_BYTES_MAX,
        };
        Self {
            io,
            decoder: Decoder::new(limits, received),
        }
    }

    /// The stream, and what was read of it and not decoded; between two messages.
    pub(crate) fn into_parts(self) -> (R, Bytes) {
        (self.io, self.decoder.rest())
    }

    /// Reads what is there into the decoder.
    async fn fill(&mut self) -> Result<(), TransportError> {
        if let Some((message, len)) = self.decoder.direct(limits::READ_CHUNK_BYTES) {
            // Cancel safe: bytes that were read are in the message when the future is ready, and
            // only then.
            let len = self.io.read_buf(&mut message.limit(len)).await?;
            self.decoder.filled(len);
            return if len == 0 {
                Err(TransportError::Ended)
            } else {
                Ok(())
            };
        }
        match read_chunk(&mut self.io, |bytes| self.decoder.feed(bytes)).await? {
            0 => Err(TransportError::Ended),
            _ => Ok(()),
        }
    }
}

impl<R: AsyncRead + Unpin + Send> PacketSource for WebSocketSource<R> {
    async fn next(&mut self, outbox: &Outbox) -> Result<Packet, TransportError> {
        loop {
            match self.decoder.next()? {
                None => self.fill().await?,
                Some(Event::Text(text)) => return packet(text),
                Some(Event::Binary(bytes)) => return Ok(Packet::Binary(bytes)),
                Some(Event::Ping(payload)) => outbox.push_pong(Frames::websocket_pong(&payload)),
                Some(Event::Pong) => {}
                Some(Event::Close) => return Err(TransportError::ClosedByPeer),
            }
        }
    }

    async fn linger(&mut self) {
        let mut total = 0;
        while let Ok(len @ 1..) = read_chunk(&mut self.io, |_| ()).await {
            total += len;
            if total > limits::CLOSE_LINGER_BYTES_MAX {
                return;
            }
        }
    }
}

fn packet(text: Bytes) -> Result<Packet, TransportError> {
    Packet::decode_text(text).map_err(|error| match error {
        DecodeError::NotUtf8 => TransportError::NotUtf8,
        error => error.into(),
    })
}

/// Reads once, into a buffer on the stack that lives only while there is something to read.
async fn read_chunk<R: AsyncRead + Unpin>(
    io: &mut R,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut chunk = [const { MaybeUninit::uninit() }; limits::READ_CHUNK_BYTES];
        let mut buffer = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        take(buffer.filled());
        Ok(buffer.filled().len()).into()
    })
    .await
}
