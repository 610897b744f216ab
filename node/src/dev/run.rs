//! Puts a development cluster together and tells the user what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::balancer::{Backend, Balancer};
use super::children::{ChildEvent, Keeper, Stop};
use super::plan::{NodePlan, Plan};
use crate::api::client::{self, Asked};
use crate::config::{DevConfig, parse};
use crate::ids::NodeId;
use crate::process::EndSignals;

/// How often every node's `/readyz` is asked.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How long it has to answer: below the interval, so that a paused node delays no probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);
/// Events of children that may wait to be told.
const EVENTS_MAX: usize = 64;

/// Why a development cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Somebody uses our ports.
    #[error(
        "ports are taken; stop what uses them or give another --port:\n  {}", .0.join("\n  ")
    )]
    PortsTaken(Vec<String>),
    /// The directory has a cluster of another size.
    #[error(
        "{} holds a cluster of {count} nodes; give --nodes {count}, or another --data-dir",
        .data_dir.display()
    )]
    OtherSize {
        /// The directory.
        data_dir: PathBuf,
        /// Nodes of the cluster in it.
        count: String,
    },
    /// The data directory cannot be made or read.
    #[error("the data directory {} cannot be used", .data_dir.display())]
    DataDir {
        /// The directory.
        data_dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No node stayed up.
    #[error("no node stays up; their logs say why")]
    AllDown,
}

/// Runs a development cluster until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or none of its nodes stays up.
pub async fn run(config: DevConfig) -> Result<(), DevError> {
    let system = |what| move |source| DevError::System { what, source };
    let program = std::env::current_exe().map_err(system("this program's path is unknown"))?;
    let mut signals = EndSignals::take().map_err(system("signals cannot be handled"))?;
    let plan = Plan::new(&config);
    let taken = plan.taken_ports();
    if !taken.is_empty() {
        return Err(DevError::PortsTaken(taken));
    }
    prepare(&plan, &config)?;
    let listener = TcpListener::bind(plan.balancer).await;
    let listener = listener.map_err(system("the balancer's port cannot be opened"))?;

    let stop = Stop::default();
    let (events, mut told) = mpsc::channel(EVENTS_MAX);
    let keepers = start(&plan, &config, &program, &stop, &events);
    drop(events);
    let backends: Arc<[Backend]> = plan
        .nodes
        .iter()
        .map(|node| Backend::new(node.client))
        .collect();
    let balancer = Balancer::new(Arc::clone(&backends));
    let mut console = Console::new(&plan, &config, program);

    let telling = async {
        while let Some((id, event)) = told.recv().await {
            console.tell(id, &event);
        }
    };
    let work = async {
        let balancing = balancer.run(listener, stop.gently.clone());
        let living = live(keepers, &config, &stop);
        tokio::join!(living, balancing, probe(&backends, &plan, &stop), telling).0
    };
    tokio::select! {
        outcome = work => outcome,
        never = end(&mut signals, &stop) => match never {},
    }
}

fn start(
    plan: &Plan,
    config: &DevConfig,
    program: &Path,
    stop: &Stop,
    events: &mpsc::Sender<(NodeId, ChildEvent)>,
) -> JoinSet<()> {
    let mut keepers = JoinSet::new();
    for node in plan.nodes.clone() {
        let keeper = Keeper {
            program: program.to_owned(),
            plan: node,
            restart: config.restart,
            events: events.clone(),
            stop: stop.clone(),
        };
        keepers.spawn(keeper.keep());
    }
    keepers
}

/// Waits until every node is down for good, then ends the rest. With restarting off, that is only
/// when asked to: nodes started by hand still stand behind the balancer.
async fn live(mut keepers: JoinSet<()>, config: &DevConfig, stop: &Stop) -> Result<(), DevError> {
    while let Some(ended) = keepers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the task of a node failed");
        }
    }
    if config.restart.is_none() {
        stop.gently.cancelled().await;
    }
    let asked = stop.gently.is_cancelled();
    stop.gently.cancel();
    if asked {
        Ok(())
    } else {
        Err(DevError::AllDown)
    }
}

/// The first signal ends everything in good order, the second one at once.
async fn end(signals: &mut EndSignals, stop: &Stop) -> Infallible {
    let name = signals.next().await;
    say(&format!(
        "{name}: the nodes drain and end; once more to kill them"
    ));
    stop.gently.cancel();
    signals.next().await;
    stop.now.cancel();
    std::future::pending().await
}

/// Makes the directory, and puts the logs of the previous run aside.
fn prepare(plan: &Plan, config: &DevConfig) -> Result<(), DevError> {
    let data_dir = &config.data_dir;
    let unusable = |source| DevError::DataDir {
        data_dir: data_dir.clone(),
        source,
    };
    if let Err(count) = plan.claim(data_dir).map_err(unusable)? {
        return Err(DevError::OtherSize {
            data_dir: data_dir.clone(),
            count,
        });
    }
    for node in plan.nodes.iter().filter(|node| node.log.exists()) {
        std::fs::rename(&node.log, node.log.with_extension("log.old")).map_err(unusable)?;
    }
    Ok(())
}

/// Keeps what the balancer knows of readiness up to date, and tells the user of changes.
async fn probe(backends: &[Backend], plan: &Plan, stop: &Stop) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut all_ready = false;
    loop {
        tokio::select! {
            biased;
            () = stop.gently.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let answers = join_all(backends.iter().map(is_ready)).await;
        if stop.gently.is_cancelled() {
            return;
        }
        for ((backend, ready), node) in backends.iter().zip(answers).zip(&plan.nodes) {
            if backend.set_ready(ready) && all_ready {
                say(&format!(
                    "node {} is {}",
                    node.id,
                    if ready { "ready" } else { "not ready" }
                ));
            }
        }
        if !all_ready && backends.iter().all(Backend::is_ready) {
            all_ready = true;
            say(&format!("ready: open http://{}/", plan.balancer));
        }
    }
}

async fn is_ready(backend: &Backend) -> bool {
    let address = backend.address.to_string();
    let answer = client::request(&address, Asked::get("/readyz"), PROBE_TIMEOUT).await;
    answer.is_ok_and(|(status, _)| status.is_success())
}

/// Tells the user on standard output.
#[derive(Debug)]
struct Console<'a> {
    plan: &'a Plan,
    config: &'a DevConfig,
    program: PathBuf,
    /// Nodes whose first start is under way.
    starting: BTreeSet<NodeId>,
    /// Process ids of first starts, until all are there and are told in order.
    started: BTreeMap<NodeId, u32>,
}

impl<'a> Console<'a> {
    fn new(plan: &'a Plan, config: &'a DevConfig, program: PathBuf) -> Self {
        let starting = plan.nodes.iter().map(|node| node.id).collect();
        Self {
            plan,
            config,
            program,
            starting,
            started: BTreeMap::new(),
        }
    }

    fn tell(&mut self, id: NodeId, event: &ChildEvent) {
        let node = self
            .plan
            .nodes
            .iter()
            .find(|node| node.id == id)
            .expect("only ours report");
        let first = self.starting.remove(&id);
        match event {
            ChildEvent::Started(pid) if first => {
                self.started.insert(id, *pid);
            }
            ChildEvent::Started(pid) => say(&format!("node {id} runs again: pid {pid}")),
            ChildEvent::NotStarted(error) => say(&format!("node {id} cannot be started: {error}")),
            ChildEvent::Ended {
                pid,
                how,
                tail,
                again,
            } => {
                say(&format!("node {id} (pid {pid}) ended: {how}"));
                if !tail.is_empty() {
                    say(&format!("  {}", tail.replace('\n', "\n  ")));
                }
                match again {
                    Some(pause) => {
                        let pause = parse::show_duration(*pause);
                        say(&format!(
                            "  it is started again in {pause}; by hand, that would be:"
                        ));
                    }
                    None => say("  it stays down; to start it again:"),
                }
                say(&format!("  {}", node.command_line(&self.program)));
            }
        }
        if first && self.starting.is_empty() {
            self.introduce();
        }
    }

    /// Tells what runs where, once every node has been started.
    fn introduce(&self) {
        let Plan { balancer, nodes } = self.plan;
        say(&format!(
            "Roomcast, a development cluster of {} nodes",
            nodes.len()
        ));
        say(&format!("  data      {}", self.config.data_dir.display()));
        say(&format!(
            "  balancer  http://{balancer}/  (round robin, no stickiness)"
        ));
        for node in nodes {
            let NodePlan {
                id,
                client,
                api,
                log,
                ..
            } = node;
            let Some(pid) = self.started.get(id) else {
                continue;
            };
            let log = log.display();
            say(&format!(
                "  node {id}    http://{client}/  api http://{api}  pid {pid}  log {log}"
            ));
        }
        let restart = match self.config.restart {
            Some(pause) => format!("it is started again after {}", parse::show_duration(pause)),
            None => "it stays down".to_owned(),
        };
        say(&format!(
            "Kill a node with `kill -9 PID`: {restart}. Ctrl-C ends all."
        ));
    }
}

/// A line on standard output; a closed one is no reason to end.
fn say(line: &str) {
    if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
        tracing::debug!(%error, line, "standard output is closed");
    }
}
