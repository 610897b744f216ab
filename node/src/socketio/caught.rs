//! Panics of the application: each is its own socket's matter, logged and counted.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::metrics;

/// Runs a handler; `None` when it panicked.
pub(super) async fn caught<T>(
    handler: &'static str,
    running: impl Future<Output = T>,
) -> Option<T> {
    let ended = AssertUnwindSafe(running).catch_unwind().await.ok();
    if ended.is_none() {
        metrics::handler_panics(handler).increment(1);
        tracing::error!(handler, "a handler panicked");
    }
    ended
}
