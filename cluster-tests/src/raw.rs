//! A reconnecting client on the raw wire that keeps its session as the stock client does: the pid
//! of the last CONNECT, and the offset of the last event that was handed over.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::{CallError, Event, Monitor, Signal, Tap};
use crate::wire::{Frame, Packet, Wire, event, prefix};

/// Calls in line at most; more wait.
const CALLS_MAX: usize = 1024;
/// Pause between attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// What a client is made with.
#[derive(Debug, Clone)]
pub struct RawSpec {
    /// Tried in turn, one step further at each attempt.
    pub endpoints: Vec<SocketAddr>,
    /// With its leading slash.
    pub namespace: String,
    /// CONNECT's payload, under pid and offset.
    pub auth: Map<String, Value>,
}

impl RawSpec {
    /// The main namespace, nothing in auth.
    #[must_use]
    pub fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self {
            endpoints,
            namespace: "/".to_owned(),
            auth: Map::new(),
        }
    }
}

type Answer = oneshot::Sender<Result<Value, CallError>>;

enum Command {
    Emit {
        event: String,
        args: Vec<Value>,
        answer: Option<Answer>,
    },
    Cut,
    Close,
}

/// Why a connection was given up.
enum End {
    /// The client comes back.
    Gone(String),
    /// `41`: it does not.
    Dismissed,
    /// The test said so.
    Closed,
}

/// A handle; the client ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct RawClient {
    commands: mpsc::Sender<Command>,
    monitor: Arc<Monitor>,
}

impl RawClient {
    /// Starts connecting.
    #[must_use]
    pub fn start(spec: RawSpec, tap: Tap) -> Self {
        let (commands, inbox) = mpsc::channel(CALLS_MAX);
        let monitor = Monitor::new(tap);
        let task = Task {
            spec,
            monitor: Arc::clone(&monitor),
            inbox,
            attempt: 0,
            pid: None,
            offset: None,
            calls: HashMap::new(),
            next_id: 0,
        };
        tokio::spawn(task.run());
        Self { commands, monitor }
    }

    pub(crate) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    pub(crate) async fn call(
        &self,
        event: &str,
        args: Vec<Value>,
        wait: Duration,
    ) -> Result<Value, CallError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Emit {
            event: event.to_owned(),
            args,
            answer: Some(answer),
        })
        .await;
        match timeout(wait, answered).await {
            Ok(answer) => answer.unwrap_or(Err(CallError::NotConnected)),
            Err(_) => Err(CallError::Timeout),
        }
    }

    pub(crate) async fn emit(&self, event: &str, args: Vec<Value>) {
        self.send(Command::Emit {
            event: event.to_owned(),
            args,
            answer: None,
        })
        .await;
    }

    pub(crate) async fn cut(&self) {
        self.send(Command::Cut).await;
    }

    pub(crate) async fn close(&self) {
        self.send(Command::Close).await;
    }

    /// A client that was closed takes no commands: its calls fail by their dropped answer.
    async fn send(&self, command: Command) {
        let _closed = self.commands.send(command).await.is_err();
    }
}

struct Task {
    spec: RawSpec,
    monitor: Arc<Monitor>,
    inbox: mpsc::Receiver<Command>,
    attempt: usize,
    pid: Option<String>,
    offset: Option<String>,
    calls: HashMap<u64, Answer>,
    next_id: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            match self.connect().await {
                Ok(mut wire) => {
                    let end = self.live(&mut wire).await;
                    if self.ended(end, &mut wire).await {
                        return;
                    }
                }
                Err(Some(message)) => {
                    self.monitor.signal(&Signal::ConnectError {
                        message,
                        returns: true,
                    });
                }
                Err(None) => return,
            }
            if self.pause().await {
                return;
            }
        }
    }

    /// `Err(None)`: refused by `44`, which is for good.
    async fn connect(&mut self) -> Result<Wire, Option<String>> {
        let addr = self.spec.endpoints[self.attempt % self.spec.endpoints.len()];
        self.attempt += 1;
        let mut wire = Wire::connect(addr, "")
            .await
            .map_err(|error| Some(error.to_string()))?;
        let mut auth = self.spec.auth.clone();
        for (key, value) in [("pid", &self.pid), ("offset", &self.offset)] {
            if let Some(value) = value {
                auth.insert(key.to_owned(), json!(value));
            }
        }
        let answer = wire
            .connect_namespace(&self.spec.namespace, &Value::Object(auth))
            .await;
        let answer = answer.map_err(|error| Some(error.to_string()))?;
        match answer.kind {
            '0' => {
                self.connected(&answer);
                Ok(wire)
            }
            '4' => {
                let message = format!("44 {}", answer.data);
                self.monitor.signal(&Signal::ConnectError {
                    message,
                    returns: false,
                });
                Err(None)
            }
            _ => Err(Some(format!("{answer:?} before CONNECT"))),
        }
    }

    fn connected(&mut self, answer: &Packet) {
        let pid = answer.text("/pid").map(ToOwned::to_owned);
        let recovered = pid.is_some() && pid == self.pid;
        // As the stock client does, the offset of an earlier session is kept and sent with the new
        // pid.
        self.pid = pid;
        let id = answer.text("/sid").unwrap_or_default().to_owned();
        let resume = answer.data.get("resume").cloned().unwrap_or_default();
        self.monitor.signal(&Signal::Connected {
            id,
            recovered,
            resume,
        });
    }

    async fn live(&mut self, wire: &mut Wire) -> End {
        let silence = wire.silence();
        let mut deadline = Instant::now() + silence;
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    None | Some(Command::Close) => return End::Closed,
                    Some(Command::Cut) => return End::Gone("cut".to_owned()),
                    Some(Command::Emit { event: name, args, answer }) => {
                        if !self.write(wire, &name, &args, answer).await {
                            return End::Gone("write failed".to_owned());
                        }
                    }
                },
                frame = wire.recv() => {
                    deadline = Instant::now() + silence;
                    if let Some(end) = self.frame(wire, frame).await {
                        return end;
                    }
                }
                () = sleep_until(deadline) => return End::Gone("ping timeout".to_owned()),
            }
        }
    }

    async fn write(
        &mut self,
        wire: &mut Wire,
        name: &str,
        args: &[Value],
        answer: Option<Answer>,
    ) -> bool {
        let id = answer.map(|answer| {
            self.next_id += 1;
            self.calls.insert(self.next_id, answer);
            self.next_id
        });
        let (text, attachments) = event(&self.spec.namespace, id, name, args);
        wire.send_all(text, attachments).await
    }

    async fn frame(&mut self, wire: &mut Wire, frame: Frame) -> Option<End> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Binary(_) => return Some(End::Gone("binary without a header".to_owned())),
            Frame::Closed { code, word } => {
                let code = code.map(|code| code.to_string()).unwrap_or_default();
                return Some(End::Gone(format!("transport close {code} {word}")));
            }
        };
        if text == "2" {
            let sent = wire.send("3".to_owned()).await;
            return (!sent).then(|| End::Gone("write failed".to_owned()));
        }
        let Some(mut packet) = Packet::parse(&text) else {
            return Some(End::Gone(format!("parse error: {text}")));
        };
        if let Err(error) = wire.attachments(&mut packet).await {
            return Some(End::Gone(error.to_string()));
        }
        match packet.kind {
            '1' => return Some(End::Dismissed),
            '2' | '5' => self.event(packet),
            '3' | '6' => self.acknowledged(&packet),
            _ => return Some(End::Gone(format!("unexpected packet: {text}"))),
        }
        None
    }

    /// The offset moves after the event was handed over, from any trailing text.
    fn event(&mut self, packet: Packet) {
        let Value::Array(mut args) = packet.data else {
            return;
        };
        let trailing = args
            .last()
            .filter(|_| args.len() > 1 && packet.id.is_none());
        let offset = trailing.and_then(Value::as_str).map(ToOwned::to_owned);
        if offset.is_some() {
            args.pop();
        }
        let name = args.remove(0).as_str().unwrap_or_default().to_owned();
        let event = Event {
            name,
            args,
            offset: offset.clone(),
        };
        self.monitor.signal(&Signal::Event(event));
        if self.pid.is_some() && offset.is_some() {
            self.offset = offset;
        }
    }

    fn acknowledged(&mut self, packet: &Packet) {
        let answer = packet.id.and_then(|id| self.calls.remove(&id));
        if let Some(answer) = answer {
            let value = packet.data.get(0).cloned().unwrap_or_default();
            let _caller_left = answer.send(Ok(value)).is_err();
        }
    }

    /// Whether that was the last connection.
    async fn ended(&mut self, end: End, wire: &mut Wire) -> bool {
        for (_, answer) in self.calls.drain() {
            let _caller_left = answer.send(Err(CallError::Lost)).is_err();
        }
        let (reason, returns) = match end {
            End::Gone(reason) => (reason, true),
            End::Dismissed => ("io server disconnect".to_owned(), false),
            End::Closed => {
                wire.send(format!("41{}", prefix(&self.spec.namespace)))
                    .await;
                ("io client disconnect".to_owned(), false)
            }
        };
        let over = !returns;
        // Only what the server did makes a client stuck.
        let returns = returns || reason == "io client disconnect";
        self.monitor
            .signal(&Signal::Disconnected { reason, returns });
        over
    }

    /// Refuses calls until it is time for the next attempt; true when the client was closed.
    async fn pause(&mut self) -> bool {
        let over = sleep(RETRY_PAUSE);
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    None | Some(Command::Close) => return true,
                    Some(Command::Cut) => {}
                    Some(Command::Emit { answer, .. }) => {
                        if let Some(answer) = answer {
                            let _caller_left = answer.send(Err(CallError::NotConnected)).is_err();
                        }
                    }
                },
                () = &mut over => return false,
            }
        }
    }
}
