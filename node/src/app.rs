//! Wires one node together, runs it, and ends it in order.

use crate::config::ServeConfig;
use crate::process::EndSignals;

/// Why a node ended against its will.
pub type AppError = Box<dyn std::error::Error + Send + Sync>;

/// Runs one node until it is asked to end.
///
/// # Errors
/// When it cannot start, or something it cannot live without fails.
pub async fn serve(config: ServeConfig) -> Result<(), AppError> {
    let mut signals = EndSignals::take()?;
    tracing::info!(node = config.node_id, mode = ?config.mode, "started");
    let name = signals.next().await;
    tracing::info!(signal = name, "ending");
    Ok(())
}
