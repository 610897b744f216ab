//! The server under the routes: HTTP/1 and HTTP/2 on one port, without TLS. Which one a client
//! speaks is told by its first bytes.

use axum::Router;
use axum::serve::Listener as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use super::listener::ApiListener;
use crate::limits;

/// Serves until `stop`, then finishes the answers under way.
pub async fn serve(mut listener: ApiListener, router: Router, stop: CancellationToken) {
    let builder = builder();
    let connections = GracefulShutdown::new();
    loop {
        let (stream, remote) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%remote, error, "a connection to the API port failed");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// A program that holds a stream open is asked now and then whether it is still there.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::API_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::API_KEEPALIVE_TIMEOUT);
    builder
}
