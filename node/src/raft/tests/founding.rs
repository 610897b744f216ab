//! Nodes that come into a cluster, and those that must not.

use std::sync::Arc;
use std::time::Duration;

use roomcast_proto::peer as pb;

use super::super::founding::{Answers, Candidate, Step, canonical, decide};
use super::super::identity::{Identity, Stage};
use super::super::peers::Peers;
use super::super::start::local;
use super::{Cluster, GROUPS, LIMIT, PeerAddress, Seat, start};
use crate::raft::{StartError, Timings};

const LIST: &str = "1=a:1,2=b:2,3=c:3";

fn peer(id: u64) -> PeerAddress {
    PeerAddress {
        id,
        address: format!("{}:{id}", ["a", "b", "c"][id as usize - 1]),
    }
}

fn me(node_id: u64, ready: bool) -> Candidate<'static> {
    Candidate {
        node_id,
        initial_cluster: LIST,
        groups: 4,
        ready,
        was_unknown: false,
    }
}

fn answer(id: u64, stage: pb::Stage) -> (PeerAddress, Result<pb::IdentifyResponse, String>) {
    let cluster_id = if stage == pb::Stage::Member { "c1" } else { "" };
    let answer = pb::IdentifyResponse {
        node_id: id,
        cluster_id: cluster_id.to_owned(),
        initial_cluster: LIST.to_owned(),
        knows_sender: true,
        stage: stage.into(),
        groups: 4,
        leads: false,
    };
    (peer(id), Ok(answer))
}

fn waits(step: Step, what: &str) {
    match step {
        Step::Wait(text) => assert!(text.contains(what), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_lists_have_equal_text() {
    assert_eq!(canonical(&[peer(3), peer(1), peer(2)]), LIST);
}

#[test]
fn a_cluster_is_founded_only_when_all_are_ready_and_by_the_lowest() {
    use pb::Stage::{Empty, Ready};
    let of = |a, b| vec![answer(2, a), answer(3, b)];
    assert_eq!(decide(me(1, false), &of(Empty, Empty)), Step::Ready);
    assert_eq!(decide(me(1, false), &of(Ready, Empty)), Step::Ready);
    waits(decide(me(1, true), &of(Ready, Empty)), "node 3 to be ready");
    assert_eq!(decide(me(1, true), &of(Ready, Ready)), Step::Found);
    let others = vec![answer(1, Ready), answer(3, Ready)];
    waits(decide(me(2, true), &others), "node 1 to found");
    assert_eq!(decide(me(1, true), &Vec::new()), Step::Found, "alone");
}

#[test]
fn whoever_is_of_another_mind_is_waited_for() {
    use pb::Stage::Empty;
    let with = |change: fn(&mut pb::IdentifyResponse)| -> Answers {
        let mut changed = answer(3, Empty);
        change(changed.1.as_mut().unwrap());
        vec![answer(2, Empty), changed]
    };
    waits(
        decide(me(1, false), &with(|a| a.initial_cluster = "x".into())),
        "the same initial",
    );
    waits(
        decide(me(1, false), &with(|a| a.groups = 5)),
        "number of groups",
    );
    waits(
        decide(me(1, false), &with(|a| a.node_id = 7)),
        "node 7 answers there",
    );
    let silent = vec![answer(2, Empty), (peer(3), Err("refused".to_owned()))];
    waits(
        decide(me(1, false), &silent),
        "node 3 at c:3 to answer (refused)",
    );
}

#[test]
fn a_known_id_with_an_empty_directory_is_refused_and_a_ready_one_enters() {
    use pb::Stage::{Empty, Member};
    let answers = vec![answer(1, Member), answer(3, Empty)];
    let refused = Step::Refuse {
        cluster_id: "c1".to_owned(),
        peer: 1,
    };
    assert_eq!(decide(me(2, false), &answers), refused);
    let enters = Step::Enter {
        cluster_id: "c1".to_owned(),
    };
    assert_eq!(decide(me(2, true), &answers), enters);
}

#[test]
fn only_an_id_that_a_leader_did_not_know_is_new() {
    use pb::Stage::Member;
    let mut answers = vec![answer(1, Member), answer(3, Member)];
    let change = |answers: &mut Answers, place: usize, knows: bool, leads: bool| {
        let answer = answers[place].1.as_mut().unwrap();
        (answer.knows_sender, answer.leads) = (knows, leads);
    };
    change(&mut answers, 0, false, false);
    change(&mut answers, 1, false, false);
    waits(decide(me(2, false), &answers), "roomcast add-node 2=");
    change(&mut answers, 1, false, true);
    assert!(matches!(
        decide(me(2, false), &answers),
        Step::WaitToBeAdded(_)
    ));
    change(&mut answers, 0, true, false);
    assert!(
        matches!(decide(me(2, false), &answers), Step::Refuse { .. }),
        "one knows it"
    );
    let was_unknown = Candidate {
        was_unknown: true,
        ..me(2, false)
    };
    let joins = Step::Join {
        cluster_id: "c1".to_owned(),
        groups: 4,
    };
    assert_eq!(
        decide(was_unknown, &answers),
        joins,
        "it was added meanwhile"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster_is_founded_before_every_founding_member_answers() {
    let mut cluster = Cluster::seats(3).await;
    let (members, timings) = (cluster.members(), cluster.timings);
    let seats = cluster.seats.clone();
    let early = |seat: Seat| {
        let members = members.clone();
        tokio::spawn(async move { start(&seat, members, timings).await })
    };
    let (one, two) = (early(seats[0].clone()), early(seats[1].clone()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!one.is_finished() && !two.is_finished());
    cluster.start_one(2).await.unwrap();
    for (place, started) in [(0, one), (1, two)] {
        let node = tokio::time::timeout(LIMIT, started).await.unwrap().unwrap();
        cluster.nodes[place] = Some(node.unwrap());
    }
    let id = cluster.node(0).consensus.cluster_id().to_owned();
    assert_eq!(id.len(), 32);
    assert!(
        cluster
            .running_nodes()
            .all(|node| node.consensus.cluster_id() == id)
    );
    cluster.propose(0, "founded").await;
    cluster.applied(0, 1).await;
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_is_refused_with_what_to_do() {
    let mut cluster = Cluster::running(3).await;
    cluster.kill(2).await;
    std::fs::remove_dir_all(&cluster.seats[2].dir).unwrap();
    let refused = cluster.start_one(2).await.unwrap_err();
    assert!(matches!(
        refused,
        StartError::KnownIdEmptyDir { node: 3, .. }
    ));
    let text = refused.to_string();
    assert!(text.contains("roomcast remove-node 3") && text.contains("roomcast add-node"));
    cluster.kill_all().await;
}

#[test]
fn a_node_with_a_cluster_is_a_member_before_anybody_can_ask() {
    let members = [peer(1), peer(2), peer(3)];
    let ready = Identity::ready(2, 4, &members);
    let identity = Identity {
        stage: Stage::Member,
        cluster_id: "c1".to_owned(),
        ..ready.clone()
    };
    let config = super::config(2, "unused".into(), members.to_vec(), Timings::regional());
    let standing = |stored: Option<&Identity>| {
        let local = local(&config, Arc::new(Peers::new(2, &members, 1)), stored);
        (
            local.standing.lock().0,
            local.founders.get().map_or(0, Vec::len),
        )
    };
    assert_eq!(standing(None), (pb::Stage::Empty, 0));
    assert_eq!(standing(Some(&ready)), (pb::Stage::Ready, 0));
    assert_eq!(standing(Some(&identity)), (pb::Stage::Member, 3));
}

/// All members start at once, so that none of them has a leader to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_is_noticed_in_a_cluster_that_starts() {
    let mut cluster = Cluster::running(3).await;
    cluster.propose(0, "kept").await;
    cluster.applied(0, 1).await;
    cluster.kill_all().await;
    std::fs::remove_dir_all(&cluster.seats[0].dir).unwrap();
    let members = cluster.members();
    let starts = cluster
        .seats
        .iter()
        .map(|seat| start(seat, members.clone(), cluster.timings));
    let mut started = futures_util::future::join_all(starts).await.into_iter();
    let refused = started.next().unwrap().err().unwrap();
    assert!(
        matches!(refused, StartError::KnownIdEmptyDir { node: 1, .. }),
        "{refused}"
    );
    for (place, node) in started.enumerate() {
        cluster.nodes[place + 1] = Some(node.unwrap());
    }
    cluster.leader(0).await;
    cluster.applied(0, 1).await;
    cluster.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_node_or_cluster_or_process_is_refused() {
    let mut cluster = Cluster::running(1).await;
    let mut other = Cluster::seats(2).await;
    other.start_all().await;

    let seat = cluster.seats[0].clone();
    let members = cluster.members();
    let elsewhere = Seat::new(1, seat.dir.clone()).await;
    let twice = start(&elsewhere, members.clone(), cluster.timings)
        .await
        .err()
        .unwrap();
    assert!(matches!(twice, StartError::Locked(_)), "{twice}");
    cluster.kill(0).await;

    let seat5 = Seat {
        id: 5,
        ..seat.clone()
    };
    let five = PeerAddress {
        id: 5,
        address: seat.address.clone(),
    };
    let renamed = start(&seat5, vec![five], cluster.timings)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            renamed,
            StartError::OtherNode {
                stored: 1,
                configured: 5,
                ..
            }
        ),
        "{renamed}"
    );

    let mut mixed = members;
    mixed.push(PeerAddress {
        id: 2,
        address: other.seats[1].address.clone(),
    });
    let foreign = start(&seat, mixed, cluster.timings).await.err().unwrap();
    assert!(
        matches!(foreign, StartError::OtherCluster { node: 2, .. }),
        "{foreign}"
    );

    std::fs::remove_dir_all(seat.dir.join("log")).unwrap();
    let halved = cluster.start_one(0).await.unwrap_err();
    assert!(matches!(halved, StartError::LogMissing(_)), "{halved}");
    other.kill_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_added_takes_part_and_one_that_was_removed_does_not_count() {
    let mut cluster = Cluster::running(3).await;
    for group in 0..GROUPS {
        cluster.propose(group, "before").await;
    }
    let new = Seat::new(4, cluster.seats[0].dir.with_file_name("node4")).await;
    let address = PeerAddress {
        id: 4,
        address: new.address.clone(),
    };
    let mut known = cluster.members();
    known.push(address.clone());
    let (seat, timings) = (new.clone(), cluster.timings);
    let joining = tokio::spawn(async move { start(&seat, known, timings).await });
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!joining.is_finished(), "it waits to be added");

    // One node leads both groups.
    let leader = cluster.leader(0).await;
    let leader_id = cluster.seats[leader].id;
    let other = cluster.leader(1).await;
    if other != leader {
        cluster
            .node(other)
            .consensus
            .transfer_leader(1, leader_id)
            .await
            .unwrap();
    }
    let status = || cluster.node(leader).consensus.status(1).leading;
    super::until("one node leads both groups", status).await;
    let adding = cluster.node(leader).consensus.add_node(&address);
    tokio::time::timeout(LIMIT, adding).await.unwrap().unwrap();
    let node = tokio::time::timeout(LIMIT, joining)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    cluster.seats.push(new);
    cluster.nodes.push(Some(node));
    cluster.propose(0, "after").await;
    cluster.applied(0, 2).await;
    cluster.assert_equal(0);
    assert_eq!(cluster.node(leader).consensus.members().len(), 4);

    let gone = (0..3).find(|place| *place != leader).unwrap();
    let gone_id = cluster.seats[gone].id;
    cluster.kill(gone).await;
    let removing = cluster.node(leader).consensus.remove_node(gone_id);
    tokio::time::timeout(LIMIT, removing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(cluster.node(leader).consensus.members().len(), 3);
    cluster.kill_all().await;
}
