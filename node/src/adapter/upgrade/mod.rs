//! Upgrades from polling whose WebSocket landed on another node than their session: the session
//! moves there, or its bytes are carried. One stream per upgrade, on the connection of forwarded
//! requests; it ends with the move, or with the WebSocket.
//!
//! Reading order: what both sides share (here), [`owner`], [`arrival`].

mod arrival;
mod owner;

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomcast_proto::peer::{ForwardOutcome, MovedPacket, MovedSession};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

pub(super) use arrival::begin;
pub(super) use owner::serve;

use crate::engine::moving::{Due, MovingSession};
use crate::engine::{Frames, RequestError};
use crate::limits;

/// What an owner answers to a request that it does not take.
pub(super) fn outcome_of(error: RequestError) -> ForwardOutcome {
    match error {
        RequestError::Upgraded => ForwardOutcome::Upgraded,
        RequestError::Overlap => ForwardOutcome::Overlap,
        RequestError::Unknown | RequestError::Repeated | RequestError::Overloaded => {
            ForwardOutcome::Unknown
        }
    }
}

/// What an owner's answer means here.
pub(super) fn read_outcome(outcome: ForwardOutcome) -> Result<(), RequestError> {
    match outcome {
        ForwardOutcome::Done => Ok(()),
        ForwardOutcome::Upgraded => Err(RequestError::Upgraded),
        ForwardOutcome::Overlap => Err(RequestError::Overlap),
        ForwardOutcome::Unknown | ForwardOutcome::Unspecified => Err(RequestError::Unknown),
    }
}

fn to_wire(session: &MovingSession) -> MovedSession {
    let packets = session.unwritten.iter().map(|frames| {
        let (text, attachments) = frames.packets();
        MovedPacket {
            text: text.clone(),
            attachments: attachments.to_vec(),
        }
    });
    let (left, ping_unanswered) = match session.due {
        Due::Ping(left) => (left, false),
        Due::Pong(left) => (left, true),
    };
    MovedSession {
        packets: packets.collect(),
        heartbeat_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        ping_unanswered,
        joined: session.joined,
        client: session.state.clone(),
    }
}

fn from_wire(session: MovedSession) -> MovingSession {
    let left = Duration::from_millis(session.heartbeat_ms);
    let packets = session.packets.into_iter();
    MovingSession {
        unwritten: packets
            .map(|packet| Frames::with_attachments(packet.text, packet.attachments))
            .collect(),
        due: match session.ping_unanswered {
            true => Due::Pong(left),
            false => Due::Ping(left),
        },
        joined: session.joined,
        state: session.client,
    }
}

/// Runs both directions of a carried WebSocket; when one has ended, the other has little time left.
async fn carry_both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let late = tokio::select! {
        () = &mut one => timeout(limits::CARRY_END_DEADLINE, other).await,
        () = &mut other => timeout(limits::CARRY_END_DEADLINE, one).await,
    };
    if late.is_err() {
        tracing::debug!("a carried connection is cut off");
    }
}

/// Sends what arrives on a byte stream, in pieces, until it ends or nobody takes them.
async fn send_bytes<M>(
    mut read: impl AsyncRead + Unpin,
    to: &mpsc::Sender<M>,
    message: impl Fn(Bytes) -> M,
) {
    loop {
        let mut piece = BytesMut::with_capacity(limits::CARRY_CHUNK_BYTES);
        match read.read_buf(&mut piece).await {
            Ok(1..) if to.send(message(piece.freeze())).await.is_ok() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Writes pieces to a byte stream until there are no more.
async fn write_bytes(
    mut write: impl AsyncWrite + Unpin,
    mut pieces: impl Stream<Item = Bytes> + Unpin,
) {
    while let Some(piece) = pieces.next().await {
        if let Err(error) = write.write_all(&piece).await {
            return tracing::debug!(%error, "a carried connection is gone");
        }
    }
    if let Err(error) = write.shutdown().await {
        tracing::debug!(%error, "a carried connection was gone before its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_comes_over_the_wire_as_it_was() {
        for due in [
            Due::Ping(Duration::from_millis(1234)),
            Due::Pong(Duration::from_millis(7)),
        ] {
            let session = MovingSession {
                unwritten: vec![
                    Frames::text(Bytes::from_static(b"42[]")),
                    Frames::binary(Bytes::from_static(b"\x00")),
                    Frames::with_attachments("451-[]".into(), vec![Bytes::from_static(b"\x01")]),
                ],
                due,
                joined: true,
                state: Bytes::from_static(b"state"),
            };
            let came = from_wire(to_wire(&session));
            assert_eq!((came.due, came.joined), (due, true));
            assert_eq!(came.state, session.state);
            for (came, was) in came.unwritten.iter().zip(&session.unwritten) {
                assert_eq!(came.websocket(), was.websocket());
            }
            assert_eq!(came.unwritten.len(), 3);
        }
    }
}
