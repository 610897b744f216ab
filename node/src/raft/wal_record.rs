//! What the log file holds of an entry and of a vote: the disk format of `raft-log`'s records, and
//! what happens when a batch of them is on stable storage.

use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::IOFlushed;
use prost::Message;
use raft_log::codeq::{Decode, Encode};
use roomcast_proto::peer as pb;
use tokio::sync::oneshot;

use super::api::FatalHook;
use super::convert::{membership_from_wire, membership_to_wire};
use super::settings::MESSAGE_BYTES_MAX;
use super::types::{Content, LeaderId, TypeConfig, Vote};

/// First byte of a payload on disk.
const KIND_BLANK: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// The log file's types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WalTypes;

impl raft_log::Types for WalTypes {
    /// Term, index.
    type LogId = (u64, u64);
    type LogPayload = WalPayload;
    type Vote = WalVote;
    type Callback = Flushed;
    type UserData = ();

    fn log_index(log_id: &(u64, u64)) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &WalPayload) -> u64 {
        match &payload.0 {
            Content::Command(command) => command.len() as u64,
            Content::Blank | Content::Membership(_) => 1,
        }
    }
}

/// An entry's payload on disk: kind, length, bytes; the record around it has a checksum.
#[derive(Debug, Clone)]
pub(crate) struct WalPayload(pub(crate) Content);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Command(command) => write!(f, "command of {} bytes", command.len()),
            Self::Membership(membership) => write!(f, "{membership}"),
        }
    }
}

impl Encode for WalPayload {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let membership;
        let (kind, bytes): (u8, &[u8]) = match &self.0 {
            Content::Blank => (KIND_BLANK, &[]),
            Content::Command(command) => (KIND_COMMAND, command),
            Content::Membership(m) => {
                membership = membership_to_wire(m).encode_to_vec();
                (KIND_MEMBERSHIP, &membership)
            }
        };
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        writer.write_all(&[kind])?;
        writer.write_all(&len.to_be_bytes())?;
        writer.write_all(bytes)?;
        Ok(1 + 4 + bytes.len())
    }
}

impl Decode for WalPayload {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let mut head = [0; 5];
        reader.read_exact(&mut head)?;
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if len > MESSAGE_BYTES_MAX {
            // The checksum comes after the payload: a damaged length must not allocate gigabytes.
            return Err(damaged(format!("a payload of {len} bytes")));
        }
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes)?;
        let content = match head[0] {
            KIND_BLANK => Content::Blank,
            KIND_COMMAND => Content::Command(Bytes::from(bytes)),
            KIND_MEMBERSHIP => {
                let wire = pb::Membership::decode(bytes.as_slice()).map_err(damaged)?;
                Content::Membership(Arc::new(membership_from_wire(wire).map_err(damaged)?))
            }
            kind => return Err(damaged(format!("payload kind {kind}"))),
        };
        Ok(Self(content))
    }
}

fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged log record: {what}"),
    )
}

/// A vote on disk. Ordered as votes of one node may follow each other: by term, then committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalVote(pub(crate) Vote);

impl PartialOrd for WalVote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |vote: &Self| (vote.0.leader_id.term, vote.0.committed);
        match key(self).cmp(&key(other)) {
            // One term, two candidates: openraft never saves the second one.
            Ordering::Equal if self != other => None,
            order => Some(order),
        }
    }
}

impl Encode for WalVote {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let leader = (self.0.leader_id.term, self.0.leader_id.voted_for);
        Ok(leader.encode(&mut writer)? + Encode::encode(&self.0.committed, &mut writer)?)
    }
}

impl Decode for WalVote {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let (term, voted_for) = <(u64, u64)>::decode(&mut reader)?;
        let committed = <bool as Decode>::decode(&mut reader)?;
        Ok(Self(Vote {
            leader_id: LeaderId { term, voted_for },
            committed,
        }))
    }
}

/// Whom to tell when a batch is on stable storage. Runs on the log's own thread.
pub(crate) struct Flushed {
    /// Who waits.
    pub(crate) waiter: Waiter,
    /// Told when the disk failed: a failed fsync is never retried, the pages may be gone.
    pub(crate) on_fatal: FatalHook,
}

/// Who waits for a batch.
pub(crate) enum Waiter {
    /// openraft, for appended entries.
    Append(IOFlushed<TypeConfig>),
    /// A caller of this process.
    Caller(oneshot::Sender<io::Result<()>>),
}

impl raft_log::Callback for Flushed {
    fn send(self, result: Result<(), io::Error>) {
        if let Err(e) = &result {
            (self.on_fatal)(&format!("the log could not be written: {e}"));
        }
        match self.waiter {
            Waiter::Append(flushed) => flushed.io_completed(result),
            // A caller that no longer waits is being dropped with its node.
            Waiter::Caller(caller) => drop(caller.send(result)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_the_disk_and_damage_is_refused() {
        for content in [Content::Blank, Content::Command(Bytes::from_static(b"abc"))] {
            let mut disk = Vec::new();
            let written = WalPayload(content.clone()).encode(&mut disk).unwrap();
            assert_eq!(written, disk.len());
            assert!(WalPayload::decode(disk.as_slice()).unwrap().0 == content);
            disk[0] = 9;
            assert!(WalPayload::decode(disk.as_slice()).is_err());
            disk[0] = KIND_COMMAND;
            disk[1] = 0xff;
            assert!(
                WalPayload::decode(disk.as_slice()).is_err(),
                "an absurd length"
            );
        }
    }

    #[test]
    fn votes_of_one_node_only_go_up() {
        let vote = |term, voted_for, committed| {
            WalVote(Vote {
                leader_id: LeaderId { term, voted_for },
                committed,
            })
        };
        assert!(vote(1, 1, false) < vote(1, 1, true));
        assert!(vote(1, 2, true) < vote(2, 1, false));
        assert_eq!(vote(1, 1, false).partial_cmp(&vote(1, 2, false)), None);
    }
}
