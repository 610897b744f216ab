//! openraft's types to protobuf and back. A message that lacks a required part is the peer's fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use roomcast_proto::peer as pb;
use tonic::Status;

use super::types::{
    Content, LeaderId, LogEntry, LogId, Membership, PeerNode, SnapshotMeta, StoredMembership,
    TypeConfig, Vote, log_id,
};

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is missing"))
}

/// The node id of a committed leader is not part of a log id: one leader per term.
pub(crate) fn log_id_to_wire(id: &LogId) -> pb::LogId {
    pb::LogId {
        term: id.leader_id.term,
        node_id: 0,
        index: id.index,
    }
}

pub(crate) fn log_id_from_wire(id: &pb::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn vote_to_wire(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_wire(vote: Option<pb::Vote>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    let leader_id = LeaderId {
        term: vote.term,
        voted_for: vote.node_id,
    };
    Ok(Vote {
        leader_id,
        committed: vote.committed,
    })
}

pub(crate) fn membership_to_wire(membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter();
    pb::Membership {
        configs: configs
            .map(|voters| pb::membership::Config {
                voters: voters.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| {
                (
                    *id,
                    pb::Node {
                        peer_addr: node.address.clone(),
                    },
                )
            })
            .collect(),
    }
}

pub(crate) fn membership_from_wire(membership: pb::Membership) -> Result<Membership, Status> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .into_iter()
        .map(|c| c.voters.into_iter().collect())
        .collect();
    let nodes: BTreeMap<u64, PeerNode> = membership
        .nodes
        .into_iter()
        .map(|(id, node)| {
            (
                id,
                PeerNode {
                    address: node.peer_addr,
                },
            )
        })
        .collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// Copies no payload.
pub(crate) fn entry_to_wire(entry: &LogEntry) -> pb::Entry {
    let payload = match &entry.content {
        Content::Blank => None,
        Content::Command(command) => Some(pb::entry::Payload::Command(command.clone())),
        Content::Membership(membership) => Some(pb::entry::Payload::Membership(
            membership_to_wire(membership),
        )),
    };
    pb::Entry {
        log_id: Some(log_id_to_wire(&entry.log_id)),
        payload,
    }
}

pub(crate) fn entry_from_wire(entry: pb::Entry) -> Result<LogEntry, Status> {
    let log_id = log_id_from_wire(&entry.log_id.ok_or_else(|| missing("log_id"))?);
    let content = match entry.payload {
        None => Content::Blank,
        Some(pb::entry::Payload::Command(command)) => Content::Command(command),
        Some(pb::entry::Payload::Membership(membership)) => {
            Content::Membership(Arc::new(membership_from_wire(membership)?))
        }
    };
    Ok(LogEntry { log_id, content })
}

pub(crate) fn append_to_wire(
    header: pb::Header,
    group: u32,
    request: &AppendEntriesRequest<TypeConfig>,
) -> pb::AppendRequest {
    pb::AppendRequest {
        header: Some(header),
        group,
        vote: Some(vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_wire),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(entry_to_wire).collect(),
    }
}

pub(crate) fn append_from_wire(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(request.vote)?,
        prev_log_id: request.prev_log_id.as_ref().map(log_id_from_wire),
        leader_commit: request.leader_commit.as_ref().map(log_id_from_wire),
        entries: request
            .entries
            .into_iter()
            .map(entry_from_wire)
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn outcome_to_wire(result: StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Outcome;
    let (outcome, matching, vote) = match result {
        Ok(matching) => (Outcome::Success, matching, None),
        Err(StreamAppendError::Conflict(at)) => (Outcome::Conflict, Some(at), None),
        Err(StreamAppendError::HigherVote(vote)) => (Outcome::HigherVote, None, Some(vote)),
    };
    pb::AppendResponse {
        outcome: outcome.into(),
        matching: matching.as_ref().map(log_id_to_wire),
        vote: vote.as_ref().map(vote_to_wire),
    }
}

pub(crate) fn outcome_from_wire(
    response: &pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use pb::append_response::Outcome;
    let matching = response.matching.as_ref().map(log_id_from_wire);
    match response.outcome() {
        Outcome::Success | Outcome::PartialSuccess => Ok(Ok(matching)),
        Outcome::Conflict => {
            let at = matching.ok_or_else(|| missing("conflicting log_id"))?;
            Ok(Err(StreamAppendError::Conflict(at)))
        }
        Outcome::HigherVote => Ok(Err(StreamAppendError::HigherVote(vote_from_wire(
            response.vote,
        )?))),
    }
}

pub(crate) fn vote_request_from_wire(
    request: &pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Status> {
    let last = request.last_log_id.as_ref().map(log_id_from_wire);
    let mut vote = VoteRequest::new(vote_from_wire(request.vote)?, last);
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

pub(crate) fn vote_response_to_wire(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_wire),
    }
}

pub(crate) fn vote_response_from_wire(
    response: &pb::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, Status> {
    let last = response.last_log_id.as_ref().map(log_id_from_wire);
    Ok(VoteResponse::new(
        vote_from_wire(response.vote)?,
        last,
        response.granted,
    ))
}

pub(crate) fn transfer_from_wire(
    request: &pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    let last = request.last_log_id.as_ref().map(log_id_from_wire);
    Ok(TransferLeaderRequest::new(
        vote_from_wire(request.from_leader)?,
        request.to_node,
        last,
    ))
}

pub(crate) fn snapshot_meta_to_wire(meta: &SnapshotMeta) -> pb::SnapshotMeta {
    pb::SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
        snapshot_id: String::new(),
    }
}

pub(crate) fn snapshot_meta_from_wire(meta: pb::SnapshotMeta) -> Result<SnapshotMeta, Status> {
    let membership = membership_from_wire(meta.membership.unwrap_or_default())?;
    let membership_at = meta.membership_log_id.as_ref().map(log_id_from_wire);
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_from_wire),
        last_membership: StoredMembership::new(membership_at, membership),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn entries_survive_the_wire() {
        let nodes = BTreeMap::from([(
            7,
            PeerNode {
                address: "h:1".to_owned(),
            },
        )]);
        let membership = Membership::new(vec![BTreeSet::from([7])], nodes).unwrap();
        let contents = [
            Content::Blank,
            Content::Command(Bytes::from_static(b"")),
            Content::Command(Bytes::from_static(b"x")),
            Content::Membership(Arc::new(membership)),
        ];
        for content in contents {
            let entry = LogEntry {
                log_id: log_id(3, 9),
                content,
            };
            let back = entry_from_wire(entry_to_wire(&entry)).unwrap();
            assert!(back.log_id == entry.log_id && back.content == entry.content);
        }
    }

    #[test]
    fn a_message_without_its_vote_is_the_peers_fault() {
        let refused = append_from_wire(pb::AppendRequest::default()).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
