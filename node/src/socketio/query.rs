//! What may be read: sockets, rooms, members and history, from this node's replica at a stated
//! position.

use std::sync::Arc;

use roomcast_proto::offset::Offset;
use serde_json::Value;

use super::broadcast::Broadcast;
use super::io::Io;
use super::operation::OperationError;
use super::socket::Socket;
use crate::adapter::offset;
use crate::ids::{Position, SocketId};
use crate::limits;
use crate::state::{self, Event, MembersPage, MembersQuery, Session};

/// About what a socket takes in a list beside its identity, data and rooms.
const SOCKET_BYTES: usize = 128;

/// Where a page of history starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryFrom {
    /// The oldest event that is kept.
    Oldest,
    /// The first event after an offset.
    After(Offset),
    /// So many events before the end.
    Last(usize),
}

/// A page of a room's history, oldest event first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// Events and their offsets.
    pub events: Vec<(String, Event)>,
    /// False if and only if an event of this room after the start has been dropped.
    pub complete: bool,
    /// The limit cut the page.
    pub more: bool,
    /// Where the next page or a live view starts.
    pub offset: String,
}

/// A socket anywhere in the cluster, as the replicated state knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSocket {
    /// Its id, the name of its own room: `io.to(&socket.id)` reaches it.
    pub id: String,
    /// Who it is, when the application said so.
    pub identity: Option<String>,
    /// The data that the application gave it.
    pub data: Option<Value>,
    /// Its rooms, its own included, in order.
    pub rooms: Vec<String>,
    /// False while its connection is gone and its resume window runs.
    pub connected: bool,
}

impl RemoteSocket {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            identity: session.identity.as_deref().map(str::to_owned),
            data: serde_json::from_slice(&session.data).ok(),
            rooms: session.rooms().map(ToString::to_string).collect(),
            connected: session.is_connected(),
        }
    }
}

impl Broadcast {
    /// The sockets that an event would reach or wait for now, by id, away ones too: a read of this
    /// node's replica, without a question to any other node. It costs time and memory for each of
    /// them; [`Io::members`] has pages.
    #[must_use]
    pub fn fetch_sockets(&self) -> Vec<RemoteSocket> {
        let (view, target) = (self.origin.group.view(), &self.target);
        let meant = view.targets(&self.origin.namespace, &target.rooms, &target.except);
        meant.into_iter().map(RemoteSocket::of).collect()
    }
}

impl Broadcast {
    /// A page of [`Broadcast::fetch_sockets`]: `limit` of them at most after the id `after`, and at
    /// most [`limits::PAGE_BYTES_MAX`] of them beyond the first. Also what to ask the next page
    /// `after`, when there is one.
    #[must_use]
    pub fn fetch_page(
        &self,
        after: Option<SocketId>,
        limit: usize,
    ) -> (Vec<RemoteSocket>, Option<SocketId>) {
        let (view, target) = (self.origin.group.view(), &self.target);
        let names = (&target.rooms[..], &target.except[..]);
        let namespace = &self.origin.namespace;
        let meant = view.targets_page(namespace, names, after, limit.saturating_add(1));
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
        for session in meant {
            bytes += session_bytes(session);
            let full = page.len() == limit || bytes > limits::PAGE_BYTES_MAX;
            if full && last.is_some() {
                return (page, last);
            }
            last = Some(session.id);
            page.push(RemoteSocket::of(session));
        }
        (page, None)
    }
}

/// About what a socket takes in a list.
fn session_bytes(session: &Session) -> usize {
    let identity = session.identity.as_deref().map_or(0, str::len);
    let rooms: usize = session.rooms().map(|room| room.len() + 3).sum();
    SOCKET_BYTES + identity + session.data.len() + rooms
}

impl Io {
    /// Whether this node may speak for the namespace: what it reads is not older than its lease,
    /// and what it is given can be proposed.
    pub(crate) fn is_available(&self) -> bool {
        self.group().holds_lease()
    }

    /// Largest event, payload and attachments together.
    pub(crate) fn event_bytes_max(&self) -> usize {
        self.group().event_bytes_max()
    }

    /// Longest name of a room, in bytes.
    pub(crate) fn room_name_bytes_max(&self) -> usize {
        self.group().view().settings().room_name_bytes_max as usize
    }

    /// As [`Broadcast::fetch_sockets`], for the whole namespace.
    #[must_use]
    pub fn fetch_sockets(&self) -> Vec<RemoteSocket> {
        self.everyone().fetch_sockets()
    }

    /// Rooms that have members, with their counts, away ones too, in the order of their names; the
    /// sockets' own are left out. At most `limit` of them after the name `after`.
    #[must_use]
    pub fn rooms(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, usize)> {
        self.group().view().rooms(self.namespace(), after, limit)
    }

    /// The members of a room, `limit` of them after `after`; with `away`, those in their resume
    /// window as well. Also the offset at which this was read.
    #[must_use]
    pub fn members(
        &self,
        room: &str,
        after: Option<SocketId>,
        limit: usize,
        away: bool,
    ) -> (MembersPage, Offset) {
        let group = self.group();
        let view = group.view();
        let page = view.members(&MembersQuery {
            namespace: self.namespace(),
            room: Some(room),
            after,
            limit,
            include_away: away,
        });
        (page, offset(group.epoch(), view.position()))
    }

    /// A page of a room's history: at most `limit` events, and at most
    /// [`limits::PAGE_BYTES_MAX`] of them beyond the first.
    ///
    /// A start that this node has not applied yet is waited for: the page never ends before what
    /// its reader has seen.
    ///
    /// # Errors
    /// `Unavailable` when this node lags behind the start for too long, or when neither it nor a
    /// peer can read the events.
    pub async fn history(
        &self,
        room: &str,
        from: HistoryFrom,
        limit: usize,
    ) -> Result<HistoryPage, OperationError> {
        let group = self.group();
        let epoch = group.epoch();
        let from = match from {
            HistoryFrom::Oldest => state::HistoryFrom::Oldest,
            HistoryFrom::Last(count) => state::HistoryFrom::Last(count),
            // An offset of another log says nothing about this one: everything is later.
            HistoryFrom::After(after) if after.epoch != epoch => state::HistoryFrom::Oldest,
            HistoryFrom::After(after) => {
                state::HistoryFrom::After(Position::new(after.index, after.op))
            }
        };
        if let state::HistoryFrom::After(after) = from
            && !group.history.reaches(after.index).await
        {
            return Err(OperationError::Unavailable);
        }
        let page = group
            .view()
            .room_events(self.namespace(), room, from, limit);
        let mut events = Vec::with_capacity(page.positions.len());
        let mut bytes = 0;
        let mut cut = None;
        'read: for chunk in page.positions.chunks(limits::HISTORY_READ_EVENTS) {
            let read = group.history.events(chunk).await.map_err(|error| {
                tracing::warn!(group = group.id, %error, "a history page cannot be read");
                OperationError::Unavailable
            })?;
            for event in read {
                bytes +=
                    event.event.len() + event.attachments.iter().map(|a| a.len()).sum::<usize>();
                if bytes > limits::PAGE_BYTES_MAX && !events.is_empty() {
                    cut = events
                        .last()
                        .map(|(_, event): &(String, Event)| event.position);
                    break 'read;
                }
                events.push((offset(epoch, event.position).to_string(), event));
            }
        }
        Ok(HistoryPage {
            events,
            complete: page.complete,
            more: page.more || cut.is_some(),
            offset: offset(epoch, cut.unwrap_or(page.through)).to_string(),
        })
    }
}

impl Socket {
    /// Whether a room is some socket's own.
    #[must_use]
    pub fn is_socket_room(&self, room: &str) -> bool {
        let id = SocketId::parse(room);
        id.is_some_and(|id| self.group.view().session_by_id(&id).is_some())
    }

    /// As [`Io::members`], in its namespace.
    #[must_use]
    pub fn members(
        &self,
        room: &str,
        after: Option<SocketId>,
        limit: usize,
        away: bool,
    ) -> (MembersPage, Offset) {
        self.io().members(room, after, limit, away)
    }

    /// As [`Io::history`], in its namespace.
    ///
    /// # Errors
    /// The same.
    pub async fn history(
        &self,
        room: &str,
        from: HistoryFrom,
        limit: usize,
    ) -> Result<HistoryPage, OperationError> {
        self.io().history(room, from, limit).await
    }
}
