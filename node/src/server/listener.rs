//! Accepting connections: a backlog for the return of a dead node's clients, a limit with a polite
//! answer, and patience when the system has run out of something.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::respond;
use crate::limits;
use crate::shutdown::Tasks;

/// Binds a listener that can be bound again at once after a restart, with a long backlog.
///
/// # Errors
/// What the system says; the caller names the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    // Every connection inherits it.
    socket.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Limits of the connections that are served at once.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimit {
    /// One permit per connection.
    served: Arc<Semaphore>,
    /// One permit per connection that is being told of the limit.
    refusing: Arc<Semaphore>,
}

impl ConnectionLimit {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            served: Arc::new(Semaphore::new(connections_max)),
            refusing: Arc::new(Semaphore::new(limits::REFUSALS_IN_FLIGHT_MAX)),
        }
    }
}

/// A connection with its place under the limit.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) remote: SocketAddr,
    /// Held while the connection counts against the limit.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Accepts until told to stop. `serve` is spawned for each connection; one over the limit is
/// answered with 503 and counted by `refused`.
pub(super) async fn accept_loop<S, F>(
    listener: TcpListener,
    limit: ConnectionLimit,
    tasks: Tasks,
    serve: S,
    refused: impl Fn(),
) where
    S: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (first_pause, longest_pause) = limits::ACCEPT_BACKOFF;
    let mut pause = first_pause;
    loop {
        let accepted = tokio::select! {
            biased;
            () = tasks.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept");
                if sleep_or_stop(pause, &tasks).await {
                    return;
                }
                pause = (pause * 2).min(longest_pause);
                continue;
            }
        };
        pause = first_pause;
        // Small frames leave at once; coalescing is the writer's work.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%remote, %error, "connection is gone already");
            continue;
        }
        match Arc::clone(&limit.served).try_acquire_owned() {
            Ok(permit) => {
                tasks.spawn(serve(Accepted {
                    stream,
                    remote,
                    permit,
                }));
            }
            Err(_) => {
                refused();
                refuse(stream, &limit, &tasks);
            }
        }
    }
}

/// Errors of a connection that died in the queue, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn sleep_or_stop(pause: Duration, tasks: &Tasks) -> bool {
    tokio::select! {
        biased;
        () = tasks.stopping() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

/// Tells a connection that there is no place, or drops it when too many are being told.
fn refuse(mut stream: TcpStream, limit: &ConnectionLimit, tasks: &Tasks) {
    let Ok(permit) = Arc::clone(&limit.refusing).try_acquire_owned() else {
        return;
    };
    tasks.spawn(async move {
        let _permit = permit;
        let tell = async {
            stream.write_all(respond::OVER_LIMIT).await?;
            stream.shutdown().await?;
            // The request is read and dropped: closing over unread bytes would reset the answer
            // away.
            let mut rest = [0; 512];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(limits::CLOSE_LINGER_DEADLINE, tell).await {
            debug!(%error, "refused connection failed");
        }
    });
}
