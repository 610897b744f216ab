//! `roomcast dev` from outside: what it prints, and that it never leaves a node behind.

// `allow-unwrap-in-tests` knows test functions only, not what they share.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `roomcast dev`, killed when dropped.
struct Dev {
    process: Child,
    /// What it prints, line by line.
    lines: Receiver<String>,
    port: u16,
}

impl Dev {
    fn start(data_dir: &Path, more: &[&str]) -> Self {
        let port = free_base();
        let mut process = command(data_dir, port, more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = sync_channel(1_000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            lines,
            port,
        }
    }

    /// Waits for a line that contains `words`.
    fn line(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {words:?}: {error}; seen: {seen:#?}"),
            }
        }
    }

    /// The pid of a node, from a line that tells it.
    fn pid(&self, words: &str) -> Pid {
        let line = self.line(words);
        let pid = line
            .split("pid ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        Pid::from_raw(pid.unwrap().parse().unwrap())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process
            .kill()
            .expect("a child that was not waited for can be signalled");
        self.process.wait().expect("it is our child");
    }
}

fn command(data_dir: &Path, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command
        .args(["dev", "--port", &port.to_string(), "--data-dir"])
        .arg(data_dir)
        .args(more);
    command
}

/// A port P such that all ports of a three-node cluster are free.
fn free_base() -> u16 {
    for _ in 0..1_000 {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let base = 10_000 + free % 20_000;
        let mut offsets = (0..4).flat_map(|i| [i, 1_000 + i, 2_000 + i]);
        if offsets.all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok()) {
            return base;
        }
    }
    panic!("no free range of ports");
}

/// True while the process runs; one that ended and that nobody has waited for does not.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn three_nodes(dev: &Dev) -> [Pid; 3] {
    [1, 2, 3].map(|id| {
        let pid = dev.pid(&format!("node {id}    http://127.0.0.1:{}/", dev.port + id));
        assert!(runs(pid));
        pid
    })
}

#[test]
fn nodes_end_when_their_parent_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path(), &[]);
    let pids = three_nodes(&dev);
    dev.process.kill().unwrap();
    dev.process.wait().unwrap();
    eventually("the nodes have ended", || {
        pids.iter().all(|pid| !runs(*pid))
    });
}

#[test]
fn nodes_end_in_good_order_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path(), &[]);
    let pids = three_nodes(&dev);
    dev.line("Ctrl-C ends all");
    // Nodes take over the signal within this time; before, it ends them just as well.
    std::thread::sleep(Duration::from_millis(300));
    kill(
        Pid::from_raw(dev.process.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    dev.line("SIGTERM: the nodes drain and end");
    assert!(dev.process.wait().unwrap().success());
    assert!(pids.iter().all(|pid| !runs(*pid)), "it waited for them");
}

#[test]
fn a_killed_node_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &["--restart", "100ms"]);
    let [_, second, third] = three_nodes(&dev);
    kill(second, Signal::SIGKILL).unwrap();
    dev.line(&format!(
        "node 2 (pid {second}) ended: killed by signal 9 (SIGKILL)"
    ));
    dev.line("it is started again in 100ms; by hand, that would be:");
    dev.line("serve --mode development --node-id 2 ");
    let again = dev.pid("node 2 runs again: ");
    assert!(again != second && runs(again) && runs(third));
}

#[test]
fn a_killed_node_stays_down_when_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path(), &["--no-restart"]);
    for pid in three_nodes(&dev) {
        kill(pid, Signal::SIGKILL).unwrap();
        dev.line("it stays down; to start it again:");
    }
    assert!(
        dev.process.try_wait().unwrap().is_none(),
        "nodes started by hand still have it"
    );
}

#[test]
fn nodes_that_never_stay_up_end_it_with_their_last_words() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("node-1"),
        "a file where the node's directory belongs",
    )
    .unwrap();
    let mut dev = Dev::start(dir.path(), &["--nodes", "1", "--restart", "10ms"]);
    dev.line("node 1 (pid ");
    dev.line("data_dir (flag --data-dir) `");
    dev.line("it stays down; to start it again:");
    assert_eq!(dev.process.wait().unwrap().code(), Some(1));
}

#[test]
fn taken_ports_and_other_sizes_are_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_base();
    let _taken = TcpListener::bind(("127.0.0.1", port + 2_002)).unwrap();
    let output = command(dir.path(), port, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let words = format!("127.0.0.1:{} for node 2's peers: ", port + 2_002);
    assert!(text.contains(&words), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    std::fs::write(dir.path().join("nodes"), "5\n").unwrap();
    let output = command(dir.path(), free_base(), &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("holds a cluster of 5 nodes; give --nodes 5, or another"),
        "{text}"
    );
}
