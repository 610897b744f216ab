//! What may be read: from this node's replica, in pages.

use roomcast_proto::api::{
    FetchSocketsRequest, FetchSocketsResponse, HistoryRequest, HistoryResponse, MembersRequest,
    MembersResponse, RoomsRequest, RoomsResponse, history_request::From, history_response::Logged,
    rooms_response::Room,
};

use super::{Operations, check_lengths, check_names, refused};
use crate::limits;
use crate::messages;
use crate::socketio::{HistoryFrom, Refusal};

/// About what a member takes in an answer beside its identity and data.
const MEMBER_BYTES: usize = 128;

impl Operations {
    /// A page of the sockets that a target means.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn fetch_sockets(
        &self,
        request: FetchSocketsRequest,
    ) -> Result<FetchSocketsResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let target = messages::target(request.target)?;
        check_names(&io, &target)?;
        let after = after_socket(&request.after)?;
        let limit = messages::limit(request.limit, limits::SOCKETS_PAGE_MAX)?;
        let (sockets, next) = io.publish(target).fetch_page(after, limit);
        Ok(FetchSocketsResponse {
            sockets: sockets.into_iter().map(messages::remote_socket).collect(),
            next: next.map_or_else(String::new, |id| id.to_string()),
        })
    }

    /// A page of a room's members, and how many there are.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn members(&self, request: MembersRequest) -> Result<MembersResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let room = messages::room(request.room)?;
        check_lengths(&io, [&room].into_iter())?;
        let after = after_socket(&request.after)?;
        let limit = match request.limit {
            Some(0) => 0,
            limit => messages::limit(limit.unwrap_or(0), limits::MEMBERS_PAGE_MAX)?,
        };
        let (page, offset) = io.members(&room, after, limit, request.away);
        let (mut members, mut bytes, mut next) = (Vec::new(), 0, page.next);
        let mut last = None;
        for member in &page.members {
            let identity = member.identity.as_deref().map_or(0, str::len);
            bytes += MEMBER_BYTES + identity + member.data.len();
            if bytes > limits::PAGE_BYTES_MAX && last.is_some() {
                next = last;
                break;
            }
            last = Some(member.id);
            members.push(messages::member(member));
        }
        Ok(MembersResponse {
            count: page.count as u64,
            members,
            next: next.map_or_else(String::new, |id| id.to_string()),
            offset: offset.to_string(),
        })
    }

    /// A page of a namespace's rooms.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn rooms(&self, request: RoomsRequest) -> Result<RoomsResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let limit = messages::limit(request.limit, limits::SOCKETS_PAGE_MAX)?;
        let after = (!request.after.is_empty()).then_some(request.after.as_str());
        let mut rooms = io.rooms(after, limit + 1);
        let more = rooms.len() > limit;
        rooms.truncate(limit);
        let last = rooms.last().filter(|_| more);
        let next = last.map_or_else(String::new, |(name, _)| name.to_string());
        let rooms = rooms.into_iter().map(|(name, count)| Room {
            name: name.to_string(),
            count: count as u64,
        });
        Ok(RoomsResponse {
            rooms: rooms.collect(),
            next,
        })
    }

    /// A page of a room's history.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn history(
        &self,
        request: HistoryRequest,
    ) -> Result<HistoryResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let room = messages::room(request.room)?;
        check_lengths(&io, [&room].into_iter())?;
        let limit = messages::limit(request.limit, limits::HISTORY_PAGE_MAX)?;
        let from = match request.from {
            None => HistoryFrom::Oldest,
            Some(From::After(after)) => HistoryFrom::After(messages::offset("after", &after)?),
            Some(From::Last(count)) => HistoryFrom::Last(count as usize),
        };
        let page = io.history(&room, from, limit).await;
        let page = page.map_err(|error| refused(&io, error, "the page cannot be read"))?;
        let events = page.events.into_iter().map(|(offset, event)| Logged {
            offset,
            event: Some(messages::event_of(&event.event, event.attachments)),
            at: event.wall_ms,
        });
        Ok(HistoryResponse {
            events: events.collect(),
            complete: page.complete,
            more: page.more,
            offset: page.offset,
        })
    }
}

fn after_socket(after: &str) -> Result<Option<crate::ids::SocketId>, Refusal> {
    match after {
        "" => Ok(None),
        after => messages::socket_id("after", after).map(Some),
    }
}
