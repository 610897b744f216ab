//! A program that follows a namespace's lifecycle over gRPC as one should: it goes on behind the
//! last offset that it was told whole, at the next node, whenever its stream ends or says nothing
//! any more, and now and then of its own accord. All that it is told goes to the judge.

use std::net::SocketAddr;
use std::time::Duration;

use roomcast_proto::api::api_client::ApiClient;
use roomcast_proto::api::followed::What;
use roomcast_proto::api::lifecycle::Kind;
use roomcast_proto::api::{self, FollowRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::offset::Offset;
use crate::oracle::lifecycle::{Fate, Lifecycle, Told};

/// A node marks its place every 3 s: one that is silent for so long is as good as dead.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// Time that a node has to begin a stream.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// Pause before the next node is asked.
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// When the first stream must have begun.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// What to follow, and where.
#[derive(Debug, Clone)]
pub struct FollowerSpec {
    /// API ports; the first one serves first.
    pub nodes: Vec<SocketAddr>,
    /// With its leading slash.
    pub namespace: String,
    /// How long it stays with a node that serves it well.
    pub stay: Duration,
}

/// A running follower; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    /// Index of the node that serves it.
    serving: watch::Receiver<Option<usize>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Begins now, and returns when it has: nothing that happens later may be missing.
    ///
    /// # Panics
    /// When no node lets it begin.
    pub async fn start(spec: FollowerSpec, lifecycle: &Lifecycle) -> Self {
        let (report, mut serving) = watch::channel(None);
        let task = Task {
            spec,
            lifecycle: lifecycle.clone(),
            after: String::new(),
            open: Vec::new(),
            report,
        };
        let task = tokio::spawn(task.run());
        let begun = serving.wait_for(Option::is_some);
        let begun = matches!(timeout(STARTED_WITHIN, begun).await, Ok(Ok(_)));
        assert!(begun, "no node can be followed");
        Self { serving, task }
    }

    /// Index of the node that serves it, or did last.
    #[must_use]
    pub fn node(&self) -> Option<usize> {
        *self.serving.borrow()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    spec: FollowerSpec,
    lifecycle: Lifecycle,
    /// Told whole up to here.
    after: String,
    /// Told of the next offset: told again if the stream ends before its last message.
    open: Vec<(Offset, bool, Told)>,
    report: watch::Sender<Option<usize>>,
}

impl Task {
    async fn run(mut self) {
        let nodes = self.spec.nodes.clone();
        for (index, node) in nodes.iter().enumerate().cycle() {
            // Why a stream ended is the node's affair, as long as another one goes on.
            let _ended = self.follow(index, *node).await.is_err();
            self.open.clear();
            sleep(DIAL_PAUSE).await;
        }
    }

    /// Follows one node until its stream ends, or it is time to go.
    async fn follow(&mut self, index: usize, node: SocketAddr) -> Result<(), Status> {
        let mut stream = timeout(DIAL_WITHIN, self.dial(node))
            .await
            .map_err(late)??;
        let leave_at = Instant::now() + self.spec.stay;
        let mut has_begun = false;
        loop {
            let silent_at = Instant::now() + SILENCE_MAX;
            let next = timeout_at(silent_at.min(leave_at), stream.message()).await;
            let Some(followed) = next.map_err(late)?? else {
                return Ok(());
            };
            if !std::mem::replace(&mut has_begun, true) {
                self.lifecycle.followed();
            }
            self.tell(followed);
            self.report
                .send_if_modified(|serving| serving.replace(index) != Some(index));
        }
    }

    async fn dial(&self, node: SocketAddr) -> Result<Streaming<api::Followed>, Status> {
        dial(node, &self.spec.namespace, &self.after).await
    }

    /// Keeps what is told of an offset until it is whole.
    fn tell(&mut self, followed: api::Followed) {
        let api::Followed { offset, last, what } = followed;
        let at = Offset::parse(&offset).expect("an offset is told");
        let told = read(what.expect("something is told"));
        self.open.push((at, last, told));
        if last {
            for (at, last, told) in self.open.drain(..) {
                self.lifecycle.told(at, last, told);
            }
            self.after = offset;
        }
    }
}

/// What one node tells behind an offset, so many things of it or fewer if no more come in time.
///
/// # Errors
/// When the stream does not begin, or breaks.
pub async fn read_behind(
    node: SocketAddr,
    namespace: &str,
    after: Offset,
    count: usize,
) -> Result<Vec<(Offset, Told)>, Status> {
    let mut stream = dial(node, namespace, &after.to_string()).await?;
    let mut all = Vec::new();
    let late_at = Instant::now() + SILENCE_MAX;
    while all.len() < count {
        let Ok(followed) = timeout_at(late_at, stream.message()).await else {
            break;
        };
        let Some(api::Followed { offset, what, .. }) = followed? else {
            break;
        };
        let at = Offset::parse(&offset).expect("an offset is told");
        match read(what.expect("something is told")) {
            Told::Mark => {}
            told => all.push((at, told)),
        }
    }
    Ok(all)
}

async fn dial(
    node: SocketAddr,
    namespace: &str,
    after: &str,
) -> Result<Streaming<api::Followed>, Status> {
    let dialled = ApiClient::connect(format!("http://{node}")).await;
    let mut client = dialled.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = FollowRequest {
        namespace: namespace.to_owned(),
        after: after.to_owned(),
        lifecycle: true,
        ..FollowRequest::default()
    };
    Ok(client.follow(request).await?.into_inner())
}

fn late(_: tokio::time::error::Elapsed) -> Status {
    Status::deadline_exceeded("nothing is told")
}

fn read(what: What) -> Told {
    let record = match what {
        What::Lifecycle(record) => record,
        What::Gap(_) => return Told::Gap,
        What::Mark(_) => return Told::Mark,
        What::Event(_) => panic!("nobody asked for events"),
    };
    let fate = match record.kind() {
        Kind::Connected => Fate::Connected,
        Kind::Joined => Fate::Joined(record.room),
        Kind::Left => Fate::Left(record.room),
        Kind::Away => Fate::Away,
        Kind::Back => Fate::Back,
        Kind::Disconnected => Fate::Disconnected,
        Kind::Expired => Fate::Expired,
        Kind::Updated => Fate::Updated,
        Kind::Unknown => panic!("an unknown kind is told: {}", record.socket),
    };
    Told::Fate(record.socket, fate)
}
