//! Sockets and members, as lists show them.

use roomcast_proto::api;

use super::event::text;
use crate::socketio::RemoteSocket;
use crate::state::Member;

/// A socket anywhere in the cluster.
pub(crate) fn remote_socket(socket: RemoteSocket) -> api::RemoteSocket {
    api::RemoteSocket {
        id: socket.id,
        identity: socket.identity,
        data: socket
            .data
            .map_or_else(String::new, |data| data.to_string()),
        rooms: socket.rooms,
        connected: socket.connected,
    }
}

/// A member of a room.
pub(crate) fn member(member: &Member) -> api::members_response::Member {
    api::members_response::Member {
        id: member.id.to_string(),
        away: !member.connected,
        since: member.since_ms,
        identity: member.identity.as_deref().map(str::to_owned),
        data: text(&member.data),
    }
}
