//! A backend whose stream ends at this node: its window, its numbers, and what is on its way to it.

use std::future::ready;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt};
use roomcast_proto::api::{Result as Outcome, ToBackend, from_backend, to_backend};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::routes::{Replies, Reply, Routes, Unopened, What, is_told_anyway};
use crate::limits;

/// What a backend is sent.
pub(super) type Sent = BoxStream<'static, Result<ToBackend, Status>>;

/// See the module's text.
#[derive(Debug)]
pub(super) struct BackendStream {
    out: mpsc::Sender<Result<ToBackend, Status>>,
    routes: Arc<Routes>,
    /// One permit per open call; closed when no new ones are taken.
    window: Arc<Semaphore>,
    /// Cancelled when the stream ends.
    ended: CancellationToken,
}

impl BackendStream {
    /// A stream whose window is shut, and what is to be sent.
    pub(super) fn new() -> (Arc<Self>, Sent) {
        let (out, sent) = mpsc::channel(limits::BACKEND_QUEUE_MAX);
        let stream = Arc::new(Self {
            out,
            routes: Arc::new(Routes::default()),
            window: Arc::new(Semaphore::new(0)),
            ended: CancellationToken::new(),
        });
        let routes = Arc::clone(&stream.routes);
        let sent = ReceiverStream::new(sent).filter(move |sent| {
            let waited_for = match sent {
                Ok(ToBackend { call, message }) if *call > 0 => {
                    routes.written(*call) || message.as_ref().is_none_or(is_told_anyway)
                }
                _ => true,
            };
            ready(waited_for)
        });
        let sent = sent.take_until(stream.ended.clone().cancelled_owned());
        (stream, sent.boxed())
    }

    /// Calls may come from now on, so many at once.
    pub(super) fn open_window(&self, window: u32) {
        self.window.add_permits(window as usize);
    }

    /// Opens a call, once the window has a place for it. `call` is the number by which whoever
    /// waits at `replies` knows it; the backend's is returned. Dropped before, it leaves nothing.
    pub(super) async fn open(
        &self,
        message: to_backend::Message,
        call: u64,
        replies: Replies,
    ) -> Result<u64, Unopened> {
        let place = Arc::clone(&self.window).acquire_owned();
        let place = match timeout(limits::BACKEND_WINDOW_DEADLINE, place).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Unopened::Gone),
            Err(_) => return Err(Unopened::Overloaded),
        };
        let room = tokio::select! {
            biased;
            () = self.ended.cancelled() => return Err(Unopened::Gone),
            room = self.out.reserve() => room.map_err(|_| Unopened::Gone)?,
        };
        let number = self.routes.open(call, replies, Some(place));
        let number = number.ok_or(Unopened::Gone)?;
        room.send(Ok(ToBackend {
            call: number,
            message: Some(message),
        }));
        Ok(number)
    }

    /// Nobody waits for the call any more; its place is free.
    pub(super) fn close(&self, number: u64) {
        self.routes.close(number);
    }

    /// The outcome of an operation.
    pub(super) async fn outcome(&self, outcome: Outcome) {
        let message = ToBackend {
            call: 0,
            message: Some(to_backend::Message::Result(outcome)),
        };
        self.send(Ok(message)).await;
    }

    /// Brings what the backend said to whoever waits for it; what nobody waits for, back.
    pub(super) async fn said(
        &self,
        number: u64,
        message: from_backend::Message,
    ) -> Result<(), from_backend::Message> {
        let waiting = match message {
            from_backend::Message::Operation(_) => self.routes.waiting(number),
            _ => self.routes.close(number),
        };
        let Some((call, replies)) = waiting else {
            return Err(message);
        };
        let what = What::Message(message);
        if replies.send(Reply { call, what }).await.is_err() {
            tracing::debug!(call, "an answer of a backend came too late");
        }
        Ok(())
    }

    /// No new calls; returns when the open ones have ended.
    pub(super) async fn settle(&self) {
        self.window.close();
        tokio::select! {
            () = self.routes.idle() => {}
            () = self.ended.cancelled() => {}
        }
    }

    /// Ends the stream: what is open is lost.
    pub(super) fn end(&self) {
        self.window.close();
        self.routes.end();
        self.ended.cancel();
    }

    /// Says why, then ends.
    pub(super) async fn refuse(&self, status: Status) {
        self.send(Err(status)).await;
        self.window.close();
        self.routes.end();
    }

    /// Waits for the end of the stream.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Calls that are open.
    pub(super) fn open_calls(&self) -> usize {
        self.routes.count()
    }

    /// Sends when there is room; false once the stream has ended.
    pub(super) async fn send(&self, message: Result<ToBackend, Status>) -> bool {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            sent = self.out.send(message) => sent.is_ok(),
        }
    }
}
