//! What touches the process as a whole: log output, the open-files limit, signals, the parent.

use std::io::{IsTerminal, Read};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The variable with the log filter, for example `info,roomcast::raft=debug`.
pub const LOG_VARIABLE: &str = "ROOMCAST_LOG";
/// Set by `roomcast dev` for its children: end when stdin does, because then the parent is gone.
pub const PARENT_VARIABLE: &str = "ROOMCAST_PARENT_PIPE";

const LOG_DEFAULT: &str = "info,openraft=error";

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{LOG_VARIABLE} `{filter}` is no log filter ({source}); right would be: error, warn, info, \
     debug or trace, or a list such as info,roomcast::raft=debug"
)]
pub struct LogError {
    /// What was given.
    filter: String,
    /// What was wrong with it.
    source: tracing_subscriber::filter::ParseError,
}

/// Sends the log to stderr, as text for people.
///
/// # Errors
/// When `ROOMCAST_LOG` is no filter.
pub fn start_log() -> Result<(), LogError> {
    let given = std::env::var(LOG_VARIABLE)
        .ok()
        .filter(|filter| !filter.is_empty());
    let filter = given.unwrap_or_else(|| LOG_DEFAULT.to_owned());
    let parsed = EnvFilter::try_new(&filter).map_err(|source| LogError { filter, source })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Raises the soft limit of open files to the hard one: a connection is a file, and the soft limit
/// is 1,024 on most systems. Answers the limit in force.
#[must_use]
pub fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, "the limit of open files cannot be raised");
            soft
        }
    }
}

/// Ends this process at once when stdin ends, if the parent asked for it. A pipe tells of every
/// way a parent can end, `kill -9` too. Nothing acknowledged is lost: it is on disk.
///
/// # Errors
/// When the watching thread cannot be started.
pub fn end_with_parent() -> std::io::Result<()> {
    if std::env::var_os(PARENT_VARIABLE).is_none_or(|value| value != "1") {
        return Ok(());
    }
    let watch = || {
        let mut byte = [0_u8; 64];
        while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(watch)?;
    Ok(())
}

/// SIGINT and SIGTERM, which mean the same here: end in good order.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Takes over both signals.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn take() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one and names it. Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
