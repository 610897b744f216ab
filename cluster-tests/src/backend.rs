//! A backend that serves `/app` by itself: it admits everybody who does not ask to be refused,
//! takes numbers and remembers them, and dials the next node when its stream ends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use roomcast_proto::api::admission::{Accept, Decision, Reject};
use roomcast_proto::api::backend_client::BackendClient;
use roomcast_proto::api::operation::{Join, What};
use roomcast_proto::api::{
    Admission, Done, Event, FromBackend, Hello, Operation, Registration, ToBackend, done,
    from_backend, result, to_backend,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// The namespace that it serves.
pub const NAMESPACE: &str = "/app";
/// The event whose first argument is a number: it is remembered, then answered by itself.
pub const TAKE: &str = "take";
/// The event that it never answers.
pub const KEEP: &str = "keep";
/// Member of a client's `auth`: it is refused with the `message` and the `data` in it.
pub const REFUSE: &str = "refuse";

/// Pause before the next node is dialled.
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// Time that a node has to answer a dial.
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// Messages that wait for its stream.
const QUEUE: usize = 256;

/// What a backend has done.
#[derive(Debug, Default)]
pub struct Record {
    /// Numbers, in no order.
    pub taken: BTreeSet<u64>,
    /// Sockets that it was told of, and whether they were known.
    pub connected: Vec<(String, bool)>,
    /// Times that it was welcome, and by which node.
    pub welcomes: Vec<u64>,
    /// Offsets of its operations that it has heard of.
    pub offsets: Vec<String>,
}

/// A running backend; it dies when this is dropped.
#[derive(Debug)]
pub struct TestBackend {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl TestBackend {
    /// Dials the API ports in turn, from the first on.
    #[must_use]
    pub fn start(nodes: Vec<SocketAddr>) -> Self {
        Self::with_window(nodes, 0)
    }

    /// One that takes so many calls at once.
    #[must_use]
    pub fn with_window(nodes: Vec<SocketAddr>, window: u32) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let task = tokio::spawn(run(nodes, window, Arc::clone(&record)));
        Self { record, task }
    }

    /// Looks at what it has done.
    pub fn with<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.record.lock())
    }

    /// Ends it as a process that is killed: its stream breaks.
    pub fn kill(&self) {
        self.task.abort();
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn run(nodes: Vec<SocketAddr>, window: u32, record: Arc<Mutex<Record>>) {
    for node in nodes.iter().cycle() {
        if let Err(status) = serve(*node, window, &record).await {
            println!("a backend's stream to {node} ended: {status}");
        }
        sleep(DIAL_PAUSE).await;
    }
}

/// Serves until the stream ends.
async fn serve(node: SocketAddr, window: u32, record: &Mutex<Record>) -> Result<(), Status> {
    let dialling = BackendClient::connect(format!("http://{node}"));
    let dialled = tokio::time::timeout(DIAL_WITHIN, dialling).await;
    let dialled = dialled.map_err(|_| Status::deadline_exceeded("the dial"))?;
    let mut client = dialled.map_err(|error| Status::unavailable(error.to_string()))?;
    let (said, saying) = mpsc::channel(QUEUE);
    let hello = Hello {
        name: "test".to_owned(),
        namespaces: vec![Registration {
            namespace: NAMESPACE.to_owned(),
            admits: true,
            ..Registration::default()
        }],
        window,
    };
    say(&said, from_backend::Message::Hello(hello)).await?;
    let mut heard: Streaming<ToBackend> = client
        .serve(ReceiverStream::new(saying))
        .await?
        .into_inner();
    while let Some(message) = heard.message().await? {
        let call = message.call;
        let Some(message) = message.message else {
            continue;
        };
        for answer in answers(call, message, record) {
            say(&said, answer).await?;
        }
    }
    Ok(())
}

async fn say(
    said: &mpsc::Sender<FromBackend>,
    message: from_backend::Message,
) -> Result<(), Status> {
    let message = FromBackend {
        message: Some(message),
    };
    let sent = said.send(message).await;
    sent.map_err(|_| Status::unavailable("the stream is gone"))
}

/// What is said to a message; a number is remembered before its sender can know.
fn answers(
    call: u64,
    message: to_backend::Message,
    record: &Mutex<Record>,
) -> Vec<from_backend::Message> {
    let done = |outcome| from_backend::Message::Done(Done { call, outcome });
    match message {
        to_backend::Message::Welcome(welcome) => {
            record.lock().welcomes.push(welcome.node_id);
            Vec::new()
        }
        to_backend::Message::Admit(admit) => {
            let decision = Some(decision(&admit.auth));
            vec![from_backend::Message::Admission(Admission {
                call,
                decision,
            })]
        }
        to_backend::Message::Connected(connected) => {
            let socket = connected.socket.unwrap_or_default().id;
            record.lock().connected.push((socket, connected.known));
            let join = Operation {
                call,
                number: call,
                what: Some(What::Join(Join {
                    rooms: vec!["all".to_owned()],
                })),
                ..Operation::default()
            };
            vec![from_backend::Message::Operation(join), done(None)]
        }
        to_backend::Message::Event(event) => {
            let Event { name, args, .. } = event.event.unwrap_or_default();
            if name == KEEP {
                return Vec::new();
            }
            let number: Result<[u64; 1], _> = serde_json::from_str(&args);
            if let Ok([number]) = number {
                record.lock().taken.insert(number);
            }
            let answer = done::Answer {
                args,
                attachments: Vec::new(),
            };
            vec![done(Some(done::Outcome::Answer(answer)))]
        }
        to_backend::Message::Disconnected(_) | to_backend::Message::Expired(_) => vec![done(None)],
        to_backend::Message::Result(result) => {
            if let Some(result::Outcome::Done(published)) = result.outcome {
                record.lock().offsets.push(published.offset);
            }
            Vec::new()
        }
    }
}

/// Whoever does not ask to be refused is welcome.
fn decision(auth: &str) -> Decision {
    let auth: Value = serde_json::from_str(auth).unwrap_or_default();
    match &auth[REFUSE] {
        Value::Null => Decision::Accept(Accept::default()),
        refuse => Decision::Reject(Reject {
            message: refuse["message"].as_str().unwrap_or_default().to_owned(),
            data: refuse.get("data").map(Value::to_string).unwrap_or_default(),
        }),
    }
}
