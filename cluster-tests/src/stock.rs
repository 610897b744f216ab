//! Clients as their registries have them, the official `socket.io-client` before all: one process
//! with any number of clients of one package, told what to do over its stdin and heard over its
//! stdout.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::client::{CallError, Event, Monitor, Signal, Tap};
use crate::package::Package;

/// Commands in line at most; more wait.
const COMMANDS_MAX: usize = 4096;
/// The client's own timer decides; this one ends a call whose client process died.
const EXTRA_WAIT: Duration = Duration::from_secs(5);

/// What a client is made with.
#[derive(Debug, Clone)]
pub struct StockSpec {
    /// The server or a balancer.
    pub addr: SocketAddr,
    /// With its leading slash.
    pub namespace: String,
    /// CONNECT's payload.
    pub auth: Map<String, Value>,
    /// Options as the package takes them, over those of the driver.
    pub options: Map<String, Value>,
}

impl StockSpec {
    /// The main namespace, nothing in auth.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            namespace: "/".to_owned(),
            auth: Map::new(),
            options: Map::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Desk {
    monitors: HashMap<u32, Arc<Monitor>>,
    calls: HashMap<u32, oneshot::Sender<Result<Value, CallError>>>,
}

/// The process; it ends when this is dropped.
#[derive(Debug)]
pub struct StockDriver {
    /// What it drives.
    package: Package,
    commands: mpsc::Sender<Value>,
    desk: Arc<Mutex<Desk>>,
    numbers: AtomicU32,
    _process: Child,
}

impl StockDriver {
    /// Starts the official client's process.
    ///
    /// # Errors
    /// When Node or its packages are missing.
    pub fn start() -> io::Result<Arc<Self>> {
        Self::of(Package::SocketIoClient)
    }

    /// Starts the process of any package.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn of(package: Package) -> io::Result<Arc<Self>> {
        let mut process = package
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let desk = Arc::new(Mutex::new(Desk::default()));
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        tokio::spawn(write_commands(stdin, inbox));
        tokio::spawn(read_reports(stdout, Arc::clone(&desk)));
        Ok(Arc::new(Self {
            package,
            commands,
            desk,
            numbers: AtomicU32::new(1),
            _process: process,
        }))
    }

    /// What it drives.
    #[must_use]
    pub fn package(&self) -> Package {
        self.package
    }

    /// A new client on a connection of its own.
    pub async fn open(self: &Arc<Self>, spec: StockSpec, tap: Tap) -> StockSocket {
        let manager = self.number();
        self.open_on(manager, spec, tap).await
    }

    /// A client for another namespace on the connection of `socket`.
    pub async fn open_beside(
        self: &Arc<Self>,
        socket: &StockSocket,
        namespace: &str,
        tap: Tap,
    ) -> StockSocket {
        let spec = StockSpec {
            namespace: namespace.to_owned(),
            ..StockSpec::new(socket.addr)
        };
        self.open_on(socket.manager, spec, tap).await
    }

    async fn open_on(self: &Arc<Self>, manager: u32, spec: StockSpec, tap: Tap) -> StockSocket {
        let number = self.number();
        let monitor = Monitor::new(tap);
        self.desk
            .lock()
            .monitors
            .insert(number, Arc::clone(&monitor));
        let (driver, addr) = (Arc::clone(self), spec.addr);
        self.send(json!({
            "do": "open", "socket": number, "manager": manager, "url": format!("http://{addr}"),
            "namespace": spec.namespace, "auth": spec.auth, "options": spec.options,
        }))
        .await;
        StockSocket {
            driver,
            number,
            manager,
            addr,
            monitor,
        }
    }

    fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A process that died takes no commands: its calls run into their deadline.
    async fn send(&self, command: Value) {
        let _died = self.commands.send(command).await.is_err();
    }
}

/// One client in that process.
#[derive(Debug, Clone)]
pub struct StockSocket {
    driver: Arc<StockDriver>,
    number: u32,
    manager: u32,
    addr: SocketAddr,
    monitor: Arc<Monitor>,
}

impl StockSocket {
    pub(crate) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    pub(crate) async fn call(
        &self,
        event: &str,
        args: Vec<Value>,
        wait: Duration,
    ) -> Result<Value, CallError> {
        let call = self.driver.number();
        let (answer, answered) = oneshot::channel();
        self.driver.desk.lock().calls.insert(call, answer);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.driver
            .send(json!({
                "do": "emit", "socket": self.number, "event": event, "args": args,
                "call": call, "wait": wait_ms,
            }))
            .await;
        match timeout(wait + EXTRA_WAIT, answered).await {
            Ok(answer) => answer.unwrap_or(Err(CallError::Lost)),
            Err(_) => Err(CallError::Timeout),
        }
    }

    pub(crate) async fn emit(&self, event: &str, args: Vec<Value>) {
        self.driver
            .send(json!({
                "do": "emit", "socket": self.number, "event": event, "args": args, "call": null,
            }))
            .await;
    }

    pub(crate) async fn cut(&self) {
        self.driver
            .send(json!({ "do": "cut", "socket": self.number }))
            .await;
    }

    pub(crate) async fn close(&self) {
        self.driver
            .send(json!({ "do": "close", "socket": self.number }))
            .await;
    }
}

async fn write_commands(mut stdin: ChildStdin, mut inbox: mpsc::Receiver<Value>) {
    while let Some(command) = inbox.recv().await {
        let line = format!("{command}\n");
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_reports(stdout: ChildStdout, desk: Arc<Mutex<Desk>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Vec<Value>>(&line) {
            Ok(report) => deal(report, &desk),
            Err(error) => eprintln!("a driver printed {line:?}: {error}"),
        }
    }
}

fn deal(mut report: Vec<Value>, desk: &Mutex<Desk>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    report.resize(5, Value::Null);
    let number = report[1]
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0);
    let kind = text(&report[0]);
    if matches!(kind.as_str(), "answer" | "failed") {
        let Some(call) = desk.lock().calls.remove(&number) else {
            return;
        };
        let answer = match kind.as_str() {
            "answer" => Ok(report.swap_remove(2)),
            _ if text(&report[2]).contains("timed out") => Err(CallError::Timeout),
            _ => Err(CallError::Lost),
        };
        let _caller_left = call.send(answer).is_err();
        return;
    }
    let Some(monitor) = desk.lock().monitors.get(&number).cloned() else {
        return;
    };
    let flag = report[3].as_bool().unwrap_or(false);
    let signal = match kind.as_str() {
        "connected" => Signal::Connected {
            id: text(&report[2]),
            recovered: flag,
            resume: Value::Null,
        },
        "disconnected" => {
            let reason = text(&report[2]);
            let returns = flag || reason == "io client disconnect";
            Signal::Disconnected { reason, returns }
        }
        "error" => Signal::ConnectError {
            message: text(&report[2]),
            returns: flag,
        },
        "event" => Signal::Event(Event {
            name: text(&report[2]),
            args: match report[3].take() {
                Value::Array(args) => args,
                _ => Vec::new(),
            },
            offset: report[4].as_str().map(ToOwned::to_owned),
        }),
        other => return eprintln!("a driver reported {other:?}"),
    };
    monitor.signal(&signal);
}
