//! A room's members at one position, and events for sockets of this node that somebody holds: what
//! a handler needs that tells clients what becomes of a room.

use std::collections::BTreeSet;
use std::sync::Arc;

use roomcast_proto::offset::Offset;
use serde::Serialize;

use super::arguments;
use super::io::Io;
use super::operation::OperationError;
use super::socket::Socket;
use crate::adapter::{Stamped, offset};
use crate::ids::{Position, SocketId};
use crate::state::{
    Event, FollowItem, FollowPage, FollowQuery, GroupState, Member, MembersQuery, Session,
};

/// The members of a room, connected and away, as of one position.
#[derive(Debug)]
pub(crate) struct Roster<'a> {
    view: GroupState,
    epoch: u64,
    namespace: &'a str,
    room: &'a str,
}

impl Io {
    /// The members of a room as this node's replica has them now.
    pub(crate) fn roster<'a>(&'a self, room: &'a str) -> Roster<'a> {
        let group = self.group();
        Roster {
            view: group.view(),
            epoch: group.epoch(),
            namespace: self.namespace(),
            room,
        }
    }

    /// Whether this node has applied an offset; waits for it a moment. Of another log it has none.
    pub(crate) async fn has_applied(&self, offset: Offset) -> bool {
        let group = self.group();
        offset.epoch != group.epoch() || group.history.reaches(offset.index).await
    }

    /// An event to tell sockets one by one.
    ///
    /// # Errors
    /// `Arguments` when they are no JSON.
    pub(crate) fn telling(
        &self,
        name: &str,
        args: impl Serialize,
    ) -> Result<Telling, OperationError> {
        let event = arguments::event(name, &args).map_err(|_| OperationError::Arguments)?;
        let event = Event {
            position: Position::ZERO,
            namespace: Arc::clone(&self.namespace),
            rooms: Vec::new(),
            except: Vec::new(),
            event,
            attachments: Vec::new(),
            wall_ms: 0,
            request: None,
        };
        let (epoch, parser) = (self.group().epoch(), self.adapter.parser());
        Ok(Telling(Stamped::new(Arc::new(event), epoch, parser)))
    }
}

impl Roster<'_> {
    /// Where it was read.
    pub(crate) fn offset(&self) -> Offset {
        offset(self.epoch, self.view.position())
    }

    /// Of whom something became in the room behind an offset, up to here; nothing when that is not
    /// kept any more.
    pub(crate) fn touched(&self, after: Offset) -> Option<BTreeSet<SocketId>> {
        if after.epoch != self.epoch {
            return None;
        }
        let query = FollowQuery {
            namespace: self.namespace,
            rooms: &[self.room.to_owned()],
            events: false,
            lifecycle: true,
            // One page: what is kept is bounded.
            limit: usize::MAX - 1,
            bytes_max: 0,
        };
        let cursor = self
            .view
            .follow_cursor(Position::new(after.index, after.op));
        let FollowPage::Told { items, .. } = self.view.follow_page(&query, cursor) else {
            return None;
        };
        let touched = items.iter().filter_map(|item| match item {
            FollowItem::Record(record) => Some(record.socket),
            FollowItem::Event(_) => None,
        });
        Some(touched.collect())
    }

    /// All of them, by id.
    pub(crate) fn members(&self) -> Vec<Member> {
        let query = MembersQuery {
            namespace: self.namespace,
            room: Some(self.room),
            after: None,
            limit: usize::MAX,
            include_away: true,
        };
        self.view.members(&query).members
    }

    /// One of them.
    pub(crate) fn member(&self, id: &SocketId) -> Option<Member> {
        let is_meant =
            |session: &&Session| *session.namespace == *self.namespace && session.is_in(self.room);
        let session = self.view.session_by_id(id).filter(is_meant)?;
        Some(session.as_member())
    }
}

/// An event that is not logged, for sockets of this node: encoded once, and in each socket's stream
/// where it is told, after the answers and events of before.
#[derive(Debug)]
pub(crate) struct Telling(Stamped);

impl Telling {
    /// Tells a socket of the namespace. False if it did not get it, or not yet: its outbox is full,
    /// it catches up, or it has gone.
    pub(crate) fn tell(&mut self, socket: &Socket) -> bool {
        socket.local.deliver_transient(&mut self.0)
    }
}

impl Socket {
    /// This connection of its session: a resume is another one.
    pub(crate) fn life(&self) -> (SocketId, u64) {
        (self.local.id, self.local.generation)
    }

    /// Whether every operation that was issued for it has a fate.
    pub(crate) fn is_settled(&self) -> bool {
        self.local.is_settled()
    }

    /// Whether nothing will be delivered to it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.local.is_stopped()
    }
}
