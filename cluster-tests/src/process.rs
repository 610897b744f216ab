//! A node as a real child process: started, killed, paused, drained and restarted with the same
//! arguments. Its output goes to a file that is shown when the test that owns it fails.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Lines of a node's output that a failed test prints.
const TAIL_LINES: usize = 60;
/// Step of the bounded wait for an exit.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// What a process is started with, each time it is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Shown in failures.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Output of every start is appended here.
    pub log: PathBuf,
}

/// A child process that is killed when this is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    /// Kept for restarts.
    launch: Launch,
    /// None while it is down.
    child: Option<Child>,
}

/// The `roomcast` program under test: `ROOMCAST_BIN`, or the one that `cargo build` left beside
/// this test's own program.
///
/// # Errors
/// When it is not there.
pub fn roomcast_binary() -> io::Result<PathBuf> {
    let path = match std::env::var_os("ROOMCAST_BIN") {
        Some(path) => PathBuf::from(path),
        None => built_beside(&std::env::current_exe()?),
    };
    if path.is_file() {
        return Ok(path);
    }
    let hint = format!(
        "{} is missing: `cargo build -p roomcast`, or set ROOMCAST_BIN",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, hint))
}

/// Test programs live in `target/<profile>/deps`, programs in `target/<profile>`.
fn built_beside(own: &Path) -> PathBuf {
    let mut folder = own.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap_or(folder);
    }
    folder.join("roomcast")
}

impl NodeProcess {
    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(launch: Launch) -> io::Result<Self> {
        let mut process = Self {
            launch,
            child: None,
        };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again with the same arguments; it must be down.
    ///
    /// # Errors
    /// When it cannot be started.
    ///
    /// # Panics
    /// When it runs.
    pub fn restart(&mut self) -> io::Result<()> {
        assert!(self.child.is_none(), "{} already runs", self.launch.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.launch.log)?;
        let child = Command::new(&self.launch.binary)
            .args(&self.launch.args)
            .envs(self.launch.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it was started and has not been waited for.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it was started and has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Nobody has waited for it: it is a zombie.
        stat.rsplit_once(')')
            .is_none_or(|(_, fields)| fields.trim_start().starts_with('Z'))
    }

    /// `kill -9`, and waits for the end, so that its ports and files are free.
    ///
    /// # Errors
    /// When the signal or the wait fails.
    pub fn kill9(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGSTOP: the process stands still, its sockets stay open.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn wake(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM: asks it to drain and leave.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Waits for the end, at most `within`; `None` when it still runs then.
    ///
    /// # Errors
    /// When the wait fails.
    pub async fn wait_exit(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + within;
        let Some(child) = self.child.as_mut() else {
            return Ok(None);
        };
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }

    /// All output so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.launch.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of the output.
    #[must_use]
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = self.pid() else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process is down",
            ));
        };
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        signal::kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            eprintln!("{}: cannot be killed: {error}", self.launch.name);
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {}: the last lines of its output\n{}",
                self.launch.name,
                self.tail()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Launch {
        Launch {
            name: "shell".to_owned(),
            binary: PathBuf::from("/bin/sh"),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("WORD".to_owned(), "hello".to_owned())],
            log: folder.join("shell.log"),
        }
    }

    #[tokio::test]
    async fn output_of_every_start_is_kept_and_the_exit_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = NodeProcess::start(shell("echo $WORD; exit 3", folder.path())).unwrap();
        let status = process
            .wait_exit(Duration::from_secs(5))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code(), Some(3));
        process.restart().unwrap();
        process
            .wait_exit(Duration::from_secs(5))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(process.output(), "hello\nhello\n");
        process.restart().unwrap();
        while !process.has_ended() {
            tokio::time::sleep(EXIT_POLL).await;
        }
    }

    #[tokio::test]
    async fn a_paused_process_stands_still_and_dies_by_kill() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'exit 7' TERM; while :; do sleep 0.02; done";
        let mut process = NodeProcess::start(shell(script, folder.path())).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        process.pause().unwrap();
        process.terminate().unwrap();
        assert!(
            process
                .wait_exit(Duration::from_millis(200))
                .await
                .unwrap()
                .is_none()
        );
        process.wake().unwrap();
        let status = process
            .wait_exit(Duration::from_secs(5))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code(), Some(7));
        process.restart().unwrap();
        process.pause().unwrap();
        process.kill9().unwrap();
        assert!(!process.is_up());
    }
}
