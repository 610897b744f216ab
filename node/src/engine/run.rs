//! The task of a session: reading, writing and the heartbeat run side by side in it, so that
//! neither a slow client nor a busy handler stops the others. Ends the session exactly once.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use roomcast_proto::engineio::Packet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::close::CloseReason;
use super::frames::Frames;
use super::handler::{Handler, Message};
use super::heartbeat::{Beat, Heartbeat};
use super::moving::depart;
use super::outbox::Batch;
use super::registry::Registry;
use super::session::SessionHandle;
use super::transport::{FrameSink, PacketSource};
use crate::{limits, metrics};

/// What a session's task owns.
pub(crate) struct SessionTask<S, K> {
    /// What others hold.
    pub(crate) handle: SessionHandle,
    /// The reading half of the transport.
    pub(crate) source: S,
    /// The writing half of the transport.
    pub(crate) sink: K,
    /// The upper floor.
    pub(crate) handler: Box<dyn Handler>,
    /// Where the session is found while it lives.
    pub(crate) registry: Arc<Registry>,
}

impl<S: PacketSource, K: FrameSink> SessionTask<S, K> {
    /// Runs the session to its end: transport closed, handler told, registry left. Or until it goes
    /// on at another node.
    pub(crate) async fn run(mut self, heartbeat: Heartbeat) {
        let _leave = Leave {
            handle: self.handle.clone(),
            registry: Arc::clone(&self.registry),
        };
        let heartbeat = Mutex::new(heartbeat);
        let mut batch = Batch::new();
        loop {
            // Biased: an end that was asked for comes first, then what is cheap; a client that
            // floods us comes last and yields by itself.
            let reason = tokio::select! {
                biased;
                reason = self.handle.closing() => reason,
                to = self.handle.departing() => {
                    let (handle, handler) = (&self.handle, &mut *self.handler);
                    if !depart(handle, handler, &heartbeat, &mut batch, to).await {
                        continue;
                    }
                    self.registry.note_moved(handle.sid());
                    handle.begin_close(CloseReason::Moved);
                    return;
                }
                reason = beat(&self.handle, &heartbeat) => reason,
                reason = write(&self.handle, &mut self.sink, &mut batch) => reason,
                reason = read(&self.handle, &mut self.source, &mut *self.handler, &heartbeat) => {
                    reason
                }
            };
            return self.end(reason, batch).await;
        }
    }

    async fn end(&mut self, reason: CloseReason, mut batch: Batch) {
        let reason = self.handle.begin_close(reason);
        debug!(sid = ?self.handle.sid(), reason = reason.label(), "session closes");
        let (outbox, counters) = (self.handle.outbox(), self.handle.counters());
        if !self.sink.flushes(reason) {
            outbox.discard();
            batch.truncate(self.sink.boundary());
        }
        let deadline = self.sink.close_deadline();
        let (source, sink) = (&mut self.source, &mut self.sink);
        let transport = async {
            if !reason.says_goodbye() {
                return;
            }
            let goodbye = async {
                while !batch.is_empty() || outbox.try_take(&mut batch, 0) {
                    let written = sink.write(&mut batch).await?;
                    counters.written(written.frames, written.bytes);
                }
                sink.close(reason).await
            };
            if let Ok(Ok(())) = timeout(deadline, goodbye).await {
                // Running out of time is as good as the client's end of stream.
                timeout(limits::CLOSE_LINGER_DEADLINE, source.linger())
                    .await
                    .ok();
            }
        };
        tokio::join!(transport, self.handler.on_close(reason));
    }
}

/// Takes the session out of the registry at the end of its task, a panic in the handler included.
struct Leave {
    handle: SessionHandle,
    registry: Arc<Registry>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.registry.remove(&self.handle.sid());
        let reason = self.handle.finish_close(CloseReason::TransportError);
        self.handle.outbox().discard();
        self.handle.counters().session_closed(reason);
    }
}

/// Sends PINGs and ends the session when a deadline passes.
async fn beat(handle: &SessionHandle, heartbeat: &Mutex<Heartbeat>) -> CloseReason {
    let mut timer = pin!(sleep_until(Instant::now()));
    loop {
        let due = heartbeat.lock().next(Instant::now(), handle.is_joined());
        match due {
            Beat::Close(reason) => return reason,
            Beat::Ping => {
                let written = handle.outbox().push_ping(Frames::heartbeat(b"2"));
                heartbeat.lock().pinged(written);
            }
            Beat::Sleep(until) => {
                timer.as_mut().reset(until);
                poll_fn(|cx| {
                    handle.outbox().register_task(cx);
                    if heartbeat.lock().take_moved() {
                        return Poll::Ready(());
                    }
                    timer.as_mut().poll(cx)
                })
                .await;
            }
        }
    }
}

/// Writes what the outbox holds; ends when the transport fails.
async fn write(
    handle: &SessionHandle,
    sink: &mut impl FrameSink,
    batch: &mut Batch,
) -> CloseReason {
    loop {
        if let Err(error) = write_once(handle, sink, batch).await {
            debug!(sid = ?handle.sid(), %error, "write failed");
            return CloseReason::TransportError;
        }
    }
}

async fn write_once(
    handle: &SessionHandle,
    sink: &mut impl FrameSink,
    batch: &mut Batch,
) -> io::Result<()> {
    let outbox = handle.outbox();
    sink.ready().await;
    if batch.is_empty() && !outbox.try_take(batch, 0) {
        sink.flush().await?;
        outbox.take(batch).await;
    } else {
        outbox.try_take(batch, sink.boundary());
    }
    let written = sink.write(batch).await?;
    outbox.written(written);
    handle.counters().written(written.frames, written.bytes);
    Ok(())
}

/// Reads packets and hands messages up, one at a time.
async fn read(
    handle: &SessionHandle,
    source: &mut impl PacketSource,
    handler: &mut dyn Handler,
    heartbeat: &Mutex<Heartbeat>,
) -> CloseReason {
    loop {
        let packet = match source.next(handle.outbox()).await {
            Ok(packet) => packet,
            Err(error) => {
                debug!(sid = ?handle.sid(), %error, "no more packets");
                if let Some(kind) = error.fault() {
                    metrics::protocol_errors(kind).increment(1);
                }
                return error.close_reason();
            }
        };
        let handled = match packet {
            Packet::Message(text) => deliver(handle, handler, heartbeat, Message::Text(text)).await,
            Packet::Binary(bytes) => {
                deliver(handle, handler, heartbeat, Message::Binary(bytes)).await
            }
            Packet::Pong(_) => ponged(handle, handler, heartbeat).await,
            Packet::Noop => Ok(()),
            Packet::Close => Err(CloseReason::ClientClosed),
            // In version 4 only the server pings, and only a client under upgrade sends the others.
            Packet::Ping(_) | Packet::Open(_) | Packet::Upgrade => {
                metrics::protocol_errors("engineio").increment(1);
                Err(CloseReason::ParseError)
            }
        };
        if let Err(reason) = handled {
            return reason;
        }
        // Many messages of one read would otherwise keep the other futures and tasks waiting.
        tokio::task::coop::consume_budget().await;
    }
}

async fn deliver(
    handle: &SessionHandle,
    handler: &mut dyn Handler,
    heartbeat: &Mutex<Heartbeat>,
    message: Message,
) -> Result<(), CloseReason> {
    handle.counters().message_received(message.len());
    heartbeat.lock().handler_entered();
    let handled = handler.on_message(message).await;
    if heartbeat.lock().handler_left() {
        heartbeat.lock().judge_again(Instant::now());
        handle.outbox().wake_task();
    }
    handled
}

async fn ponged(
    handle: &SessionHandle,
    handler: &mut dyn Handler,
    heartbeat: &Mutex<Heartbeat>,
) -> Result<(), CloseReason> {
    let arrived = heartbeat.lock().ponged(Instant::now());
    handle.outbox().wake_task();
    match arrived {
        Some(arrived) => handler.on_arrived(arrived).await,
        None => Ok(()),
    }
}
