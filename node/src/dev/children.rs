//! One node as a child process: started, watched, started again, ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::NodePlan;
use crate::config::keys::{FILE_KEY, KEYS};
use crate::ids::NodeId;
use crate::process::PARENT_VARIABLE;

/// How long a child may take to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// A child that ends by itself sooner than this after its start has failed to start.
const QUICK: Duration = Duration::from_secs(10);
/// Failures to start in a row after which it is left alone.
const QUICK_ENDS_MAX: u32 = 3;
/// Bytes of a log's end that are looked at.
const TAIL_BYTES: u64 = 4 << 10;
/// Lines of a log's end that are shown.
const TAIL_LINES: usize = 5;

/// What happens to a child, for whoever tells the user.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// It runs.
    Started(u32),
    /// It cannot even be started.
    NotStarted(io::Error),
    /// It ended without being asked to.
    Ended {
        /// The process that ended.
        pid: u32,
        /// How it ended, in words.
        how: String,
        /// The last lines of its log, when it ended by itself.
        tail: String,
        /// When it is started again, if at all.
        again: Option<Duration>,
    },
}

/// When to end: in good order, then at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Children get SIGTERM and time.
    pub(crate) gently: CancellationToken,
    /// Children are killed.
    pub(crate) now: CancellationToken,
}

/// Keeps one node running.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// This program.
    pub(crate) program: PathBuf,
    /// The node.
    pub(crate) plan: NodePlan,
    /// How long after its death it is started again; `None`: not at all.
    pub(crate) restart: Option<Duration>,
    /// Where its life is told; full: the teller is slow, and waiting for it is right.
    pub(crate) events: mpsc::Sender<(NodeId, ChildEvent)>,
    /// When to end.
    pub(crate) stop: Stop,
}

impl Keeper {
    /// Runs the node until it is to stop, or stays down.
    pub(crate) async fn keep(self) {
        let mut quick_ends = 0;
        while !self.stop.gently.is_cancelled() {
            let started = Instant::now();
            let mut child = match self.start() {
                Ok(child) => child,
                Err(error) => return self.tell(ChildEvent::NotStarted(error)).await,
            };
            let pid = child.id().expect("nobody has waited for it");
            // Waiting would close it otherwise, and the child would take that for our end.
            let _pipe = child.stdin.take();
            self.tell(ChildEvent::Started(pid)).await;
            let status = tokio::select! {
                biased;
                status = child.wait() => status,
                () = self.stop.gently.cancelled() => return self.end(child, pid).await,
            };
            let (how, by_itself) = words(&status);
            let quick = by_itself && started.elapsed() < QUICK;
            quick_ends = if quick { quick_ends + 1 } else { 0 };
            let again = self.restart.filter(|_| quick_ends < QUICK_ENDS_MAX);
            let tail = if by_itself {
                tail(&self.plan.log)
            } else {
                String::new()
            };
            self.tell(ChildEvent::Ended {
                pid,
                how,
                tail,
                again,
            })
            .await;
            let Some(pause) = again else { return };
            tokio::select! {
                biased;
                () = self.stop.gently.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts the process. Its standard input is a pipe that we hold and that closes with us; it
    /// has a process group of its own, so that Ctrl-C reaches it through us only.
    fn start(&self) -> io::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.plan.log)?;
        let mut command = Command::new(&self.program);
        for key in KEYS.iter().chain([&FILE_KEY]) {
            command.env_remove(key.variable());
        }
        command
            .args(&self.plan.arguments)
            .env(PARENT_VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn end(&self, mut child: Child, pid: u32) {
        signal(pid, Signal::SIGTERM);
        tokio::select! {
            biased;
            status = child.wait() => return report(self.plan.id, &status),
            () = self.stop.now.cancelled() => {}
            () = tokio::time::sleep(END_TIMEOUT) => {
                tracing::warn!(node = self.plan.id, pid, "does not end; killing it");
            }
        }
        signal(pid, Signal::SIGKILL);
        report(self.plan.id, &child.wait().await);
    }

    async fn tell(&self, event: ChildEvent) {
        if self.events.send((self.plan.id, event)).await.is_err() {
            tracing::debug!(node = self.plan.id, "nobody listens any more");
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let raw = i32::try_from(pid).expect("process ids fit 31 bits");
    if let Err(error) = kill(Pid::from_raw(raw), signal) {
        tracing::debug!(%error, pid, %signal, "the signal was not delivered");
    }
}

fn report(node: NodeId, status: &io::Result<ExitStatus>) {
    let (how, _) = words(status);
    tracing::debug!(node, how, "a node ended");
}

/// How it ended, and whether by itself rather than by a signal.
fn words(status: &io::Result<ExitStatus>) -> (String, bool) {
    match status {
        Ok(status) => match status.signal() {
            Some(number) => {
                let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
                (format!("killed by signal {number} ({name})"), false)
            }
            None => (format!("exit code {}", status.code().unwrap_or(-1)), true),
        },
        Err(error) => (format!("lost: {error}"), true),
    }
}

/// The last lines of a log; empty when there are none.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
