//! One call of a socket to a backend: it is opened, its operations are carried out as they come,
//! and it ends once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roomcast_proto::api::{from_backend, to_backend};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::hub::Hub;
use super::operator::Operator;
use super::registry::{Backend, Way};
use super::routes::{Replies, Unopened, What};
use super::stream::BackendStream;
use super::tunnel::OpenTunnel;
use crate::{limits, metrics};

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The backend is gone, and surely has not read it.
    NotWritten,
    /// The backend is gone, and may have acted.
    Lost,
    /// The backend had too many calls for too long, and has not read it.
    Overloaded,
    /// The backend took too long, and may have acted.
    TimedOut,
}

impl From<Unopened> for Unanswered {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Overloaded => Self::Overloaded,
            Unopened::Gone => Self::NotWritten,
        }
    }
}

/// Asks a backend, with the time that one call may take.
pub(super) async fn ask(
    hub: &Hub,
    backend: &Arc<Backend>,
    message: to_backend::Message,
    operator: &Operator,
) -> Result<from_backend::Message, Unanswered> {
    let kind = kind(&message);
    let started = Instant::now();
    let counted = Counted::new(Arc::clone(backend));
    let mut opened = false;
    let exchanged = exchange(hub, backend, message, operator, &mut opened);
    let answered = timeout(hub.config.call_timeout, exchanged).await;
    drop(counted);
    let answered = answered.unwrap_or(Err(match opened {
        true => Unanswered::TimedOut,
        false => Unanswered::Overloaded,
    }));
    let result = match answered {
        Ok(_) => "done",
        Err(Unanswered::NotWritten | Unanswered::Lost) => "lost",
        Err(Unanswered::Overloaded) => "overloaded",
        Err(Unanswered::TimedOut) => "timeout",
    };
    metrics::backend_calls(kind, result).increment(1);
    metrics::backend_call_seconds().record(started.elapsed().as_secs_f64());
    answered
}

async fn exchange(
    hub: &Hub,
    backend: &Backend,
    message: to_backend::Message,
    operator: &Operator,
    opened: &mut bool,
) -> Result<from_backend::Message, Unanswered> {
    let place = timeout(limits::BACKEND_WINDOW_DEADLINE, backend.window.acquire());
    let place = place.await.map_err(|_| Unanswered::Overloaded)?;
    let _place = place.map_err(|_| Unanswered::NotWritten)?;
    if backend.is_gone() {
        return Err(Unanswered::NotWritten);
    }
    let line = match &backend.way {
        Way::Here(stream) => Line::Here(Arc::clone(stream)),
        Way::Elsewhere(tunnel) => {
            let stream = tunnel.stream(&hub.adapter, backend.gone());
            Line::Elsewhere(stream.await?)
        }
    };
    let (replies, mut came) = mpsc::channel(limits::BACKEND_CALL_QUEUE_MAX);
    let _open = line.open(message, replies).await?;
    *opened = true;
    while let Some(reply) = came.recv().await {
        match reply.what {
            What::Message(from_backend::Message::Operation(operation)) => {
                operator.run(operation).await;
            }
            What::Message(answer) => return Ok(answer),
            What::Overloaded => return Err(Unanswered::Overloaded),
            What::Lost { written: false } => return Err(Unanswered::NotWritten),
            What::Lost { written: true } => return Err(Unanswered::Lost),
        }
    }
    Err(Unanswered::Lost)
}

/// The stream that a call goes over.
enum Line {
    Here(Arc<BackendStream>),
    Elsewhere(Arc<OpenTunnel>),
}

impl Line {
    async fn open(
        self,
        message: to_backend::Message,
        replies: Replies,
    ) -> Result<OpenCall, Unopened> {
        // The replies are this call's alone: nobody looks at their number.
        let number = match &self {
            Self::Here(stream) => stream.open(message, 0, replies).await?,
            Self::Elsewhere(tunnel) => tunnel.open(message, 0, replies).await?,
        };
        Ok(OpenCall { line: self, number })
    }
}

/// Closed when nobody waits any more.
struct OpenCall {
    line: Line,
    number: u64,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        match &self.line {
            Line::Here(stream) => stream.close(self.number),
            Line::Elsewhere(tunnel) => tunnel.close(self.number),
        }
    }
}

/// Counts an open call.
struct Counted(Arc<Backend>);

impl Counted {
    fn new(backend: Arc<Backend>) -> Self {
        backend.open.fetch_add(1, Ordering::Relaxed);
        metrics::backend_calls_open().increment(1.0);
        Self(backend)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        metrics::backend_calls_open().decrement(1.0);
    }
}

fn kind(message: &to_backend::Message) -> &'static str {
    match message {
        to_backend::Message::Admit(_) => "admit",
        to_backend::Message::Connected(_) => "connected",
        to_backend::Message::Event(_) => "event",
        to_backend::Message::Disconnected(_) => "disconnected",
        to_backend::Message::Expired(_) => "expired",
        to_backend::Message::Welcome(_) | to_backend::Message::Result(_) => "other",
    }
}
