//! How a node with an empty directory comes into a cluster. (DESIGN, section 8, Founding.)
//!
//! A node that finds every other founding member without a cluster, and of the same mind, stores
//! that it is *ready*. When all are ready, the one with the lowest id makes the cluster's id and is
//! a *member*; the others take the id from it. So whoever meets a cluster that knows its id while
//! its own directory is empty has lost its disk, and is refused: it may have voted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use roomcast_proto::peer as pb;

use super::api::{Config, PeerAddress, StartError};
use super::identity::{Identity, Stage};
use super::peers::{client_over, connect_lazily};
use super::service::Local;
use super::settings::QUESTION_TIMEOUT;
use crate::ids::NodeId;

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(200);
/// What we wait for is logged when it changes, and again after this many rounds.
const REPEAT_ROUNDS: u32 = 50;
/// At a start with data, peers that do not answer within this are not waited for.
const RESTART_QUESTION: Duration = Duration::from_millis(500);

/// `1=host:port,2=host:port`, by id: equal lists have equal text.
pub(crate) fn canonical(members: &[PeerAddress]) -> String {
    let mut members: Vec<&PeerAddress> = members.iter().collect();
    members.sort_by_key(|member| member.id);
    let members: Vec<String> = members
        .iter()
        .map(|m| format!("{}={}", m.id, m.address))
        .collect();
    members.join(",")
}

/// What one round of questions told.
pub(crate) type Answers = Vec<(PeerAddress, Result<pb::IdentifyResponse, String>)>;

/// What to do after a round.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask again; for people: what for.
    Wait(String),
    /// Ask again: a cluster's leader does not know this node's id, so it may be added.
    WaitToBeAdded(String),
    /// Store that we are ready.
    Ready,
    /// Make the cluster's id: all are ready, and we are the lowest.
    Found,
    /// Take a cluster's id, as a founding member.
    Enter {
        /// The cluster.
        cluster_id: String,
    },
    /// Take a cluster's id, as a node that was added.
    Join {
        /// The cluster.
        cluster_id: String,
        /// Its number of groups.
        groups: u32,
    },
    /// A cluster knows our id and our directory is empty.
    Refuse {
        /// The cluster.
        cluster_id: String,
        /// Who says so.
        peer: NodeId,
    },
}

/// What this node is while it decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// Its id.
    pub(crate) node_id: NodeId,
    /// Its `--initial-cluster`, in canonical form.
    pub(crate) initial_cluster: &'a str,
    /// Groups it would found a cluster with.
    pub(crate) groups: u32,
    /// True once it has stored that it is ready.
    pub(crate) ready: bool,
    /// True once a cluster's leader did not know its id. Any other member may not have heard of it
    /// yet, and a node that lost its disk must not pass for a new one.
    pub(crate) was_unknown: bool,
}

/// The founding rule. Pure.
pub(crate) fn decide(me: Candidate<'_>, answers: &Answers) -> Step {
    if let Some(step) = beside_a_cluster(me, answers) {
        return step;
    }
    let mut unready = None;
    for (peer, answer) in answers {
        match obstacle(me, peer, answer) {
            Some(obstacle) => return Step::Wait(obstacle),
            None => {
                let ready = answer.as_ref().is_ok_and(|a| a.stage() == pb::Stage::Ready);
                unready = unready.or((!ready).then_some(peer.id));
            }
        }
    }
    if !me.ready {
        return Step::Ready;
    }
    if let Some(node) = unready {
        return Step::Wait(format!("node {node} to be ready"));
    }
    match answers.iter().map(|(peer, _)| peer.id).min() {
        Some(lowest) if lowest < me.node_id => {
            Step::Wait(format!("node {lowest} to found the cluster"))
        }
        _ => Step::Found,
    }
}

/// What to do when somebody has a cluster; `None` when nobody has.
fn beside_a_cluster(me: Candidate<'_>, answers: &Answers) -> Option<Step> {
    let members = answers.iter().filter_map(|(peer, answer)| match answer {
        Ok(answer) if answer.stage() == pb::Stage::Member && answer.node_id == peer.id => {
            Some((peer, answer))
        }
        _ => None,
    });
    let members: Vec<_> = members.collect();
    if let Some((peer, answer)) = members.iter().find(|(_, answer)| answer.knows_sender) {
        let cluster_id = answer.cluster_id.clone();
        return Some(if me.was_unknown {
            Step::Join {
                cluster_id,
                groups: answer.groups,
            }
        } else if me.ready {
            Step::Enter { cluster_id }
        } else {
            Step::Refuse {
                cluster_id,
                peer: peer.id,
            }
        });
    }
    let (peer, answer) = members
        .iter()
        .find(|(_, answer)| answer.leads)
        .or(members.first())?;
    let (PeerAddress { id, address }, node) = (peer, me.node_id);
    let what = format!(
        "node {node} to be added to cluster {} of node {id} at {address}: roomcast add-node \
         {node}=HOST:PORT --api ADDR",
        answer.cluster_id
    );
    Some(if answer.leads {
        Step::WaitToBeAdded(what)
    } else {
        Step::Wait(what)
    })
}

/// Why this answer does not allow founding.
fn obstacle(
    me: Candidate<'_>,
    peer: &PeerAddress,
    answer: &Result<pb::IdentifyResponse, String>,
) -> Option<String> {
    let PeerAddress { id, address } = peer;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return Some(format!("node {id} at {address} to answer ({e})")),
    };
    if answer.node_id != *id {
        return Some(format!(
            "{address} to be node {id}: node {} answers there",
            answer.node_id
        ));
    }
    if answer.initial_cluster != me.initial_cluster {
        return Some(format!(
            "node {id} to have the same initial cluster: it has {}, this node has {}",
            answer.initial_cluster, me.initial_cluster
        ));
    }
    if answer.groups != me.groups {
        return Some(format!(
            "node {id} to have the same number of groups: it has {}, this node has {}",
            answer.groups, me.groups
        ));
    }
    None
}

/// Asks every other node of `--initial-cluster` once.
pub(crate) async fn ask(config: &Config, local: &Local, limit: Duration) -> Answers {
    let others = config
        .initial_cluster
        .iter()
        .filter(|peer| peer.id != config.node_id);
    let question = pb::IdentifyRequest {
        from: config.node_id,
        initial_cluster: local.initial_cluster.clone(),
    };
    join_all(others.map(|peer| {
        let question = question.clone();
        async move {
            let answer = tokio::time::timeout(limit, ask_one(&peer.address, question)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (peer.clone(), answer)
        }
    }))
    .await
}

async fn ask_one(
    address: &str,
    question: pb::IdentifyRequest,
) -> Result<pb::IdentifyResponse, String> {
    let channel = connect_lazily(address).ok_or("the address is not usable")?;
    match client_over(channel).identify(question).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(innermost(&status)),
    }
}

/// The transport's own words are in the cause.
fn innermost(status: &tonic::Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    match std::ptr::eq(
        error as *const _ as *const (),
        status as *const _ as *const (),
    ) {
        true => status.message().to_owned(),
        false => error.to_string(),
    }
}

/// Brings a node with data, or without, into its cluster; waits for the others as long as it takes.
pub(crate) async fn enter(
    config: &Config,
    local: &Arc<Local>,
    stored: Option<Identity>,
) -> Result<Identity, StartError> {
    let mut identity = match stored {
        Some(identity) if identity.stage == Stage::Member => {
            check_cluster(config, local, &identity).await?;
            return Ok(identity);
        }
        stored => stored,
    };
    let mut was_unknown = false;
    let mut waiting = Waiting::default();
    loop {
        let me = Candidate {
            node_id: config.node_id,
            initial_cluster: &local.initial_cluster,
            groups: local.standing.lock().1,
            ready: identity.is_some(),
            was_unknown,
        };
        let answers = ask(config, local, QUESTION_TIMEOUT).await;
        match decide(me, &answers) {
            Step::Wait(what) => waiting.says(what),
            Step::WaitToBeAdded(what) => {
                was_unknown = true;
                waiting.says(what);
            }
            Step::Ready => {
                let ready = Identity::ready(me.node_id, me.groups, &config.initial_cluster);
                ready.store(&config.data_dir)?;
                local.standing.lock().0 = pb::Stage::Ready;
                identity = Some(ready);
                continue;
            }
            Step::Found => {
                let cluster_id = cluster_id(config);
                tracing::info!(cluster = cluster_id, "founding a cluster");
                return member(config, identity, cluster_id);
            }
            Step::Enter { cluster_id } => return member(config, identity, cluster_id),
            Step::Join { cluster_id, groups } => {
                let added = Identity::added(config.node_id, groups, cluster_id);
                added.store(&config.data_dir)?;
                return Ok(added);
            }
            Step::Refuse { cluster_id, peer } => {
                return Err(known_id(config, cluster_id, peer));
            }
        }
        tokio::time::sleep(ROUND).await;
    }
}

fn member(
    config: &Config,
    ready: Option<Identity>,
    cluster_id: String,
) -> Result<Identity, StartError> {
    let ready = ready.expect("founding and entering come after ready");
    let identity = Identity {
        stage: Stage::Member,
        cluster_id,
        ..ready
    };
    identity.store(&config.data_dir)?;
    Ok(identity)
}

fn cluster_id(config: &Config) -> String {
    config
        .entropy
        .bits128()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn known_id(config: &Config, cluster: String, peer: NodeId) -> StartError {
    let own = config
        .initial_cluster
        .iter()
        .find(|m| m.id == config.node_id);
    StartError::KnownIdEmptyDir {
        node: config.node_id,
        cluster,
        peer: format!("node {peer}"),
        dir: config.data_dir.clone(),
        address: own.map_or("HOST:PORT".to_owned(), |own| own.address.clone()),
    }
}

/// A directory that was moved here from another cluster must not answer in this one.
async fn check_cluster(
    config: &Config,
    local: &Local,
    identity: &Identity,
) -> Result<(), StartError> {
    for (peer, answer) in ask(config, local, RESTART_QUESTION).await {
        if let Ok(answer) = answer
            && answer.stage() == pb::Stage::Member
            && answer.cluster_id != identity.cluster_id
        {
            return Err(StartError::OtherCluster {
                dir: config.data_dir.clone(),
                ours: identity.cluster_id.clone(),
                theirs: answer.cluster_id,
                node: peer.id,
                address: peer.address,
            });
        }
    }
    Ok(())
}

/// Says what a node waits for, not too often.
#[derive(Debug, Default)]
struct Waiting {
    /// What was said last.
    what: String,
    /// Rounds since.
    rounds: u32,
}

impl Waiting {
    fn says(&mut self, what: String) {
        self.rounds += 1;
        if self.what != what || self.rounds >= REPEAT_ROUNDS {
            tracing::info!(what, "waiting for");
            *self = Self { what, rounds: 0 };
        }
    }
}
