//! What the server does to many sockets at once, wherever they are: operations of the log, on every
//! session that is in the target rooms at their position, away ones too.

use bytes::Bytes;
use roomcast_proto::command::{
    DisconnectSockets, Selector, SetData, SocketsJoin, SocketsLeave, op::Kind,
};
use serde::Serialize;

use super::broadcast::Broadcast;
use super::io::Io;
use super::operation::{Operation, OperationError};
use super::socket::Socket;
use super::target::{Origin, Rooms};
use crate::ids::SocketId;

impl Broadcast {
    /// Makes the sockets join rooms: all of them, or none when one would be in too many rooms
    /// (`Invalid`, as when more than 100,000 memberships would change). Awaited, it is committed
    /// and applied on this node.
    pub fn sockets_join(self, rooms: impl Rooms) -> Operation {
        let rooms = rooms.into_names();
        self.select(|sockets| Kind::SocketsJoin(SocketsJoin { sockets, rooms }))
    }

    /// Makes the sockets leave rooms; `Invalid` when one of these rooms is a socket's own, or when
    /// more than 100,000 memberships would change.
    pub fn sockets_leave(self, rooms: impl Rooms) -> Operation {
        let rooms = rooms.into_names();
        self.select(|sockets| Kind::SocketsLeave(SocketsLeave { sockets, rooms }))
    }

    /// Ends the sessions, 100,000 at most; with `close`, the connections that carry them, too.
    /// Those that are away cannot resume. Disconnect handlers run where the sockets are, once each.
    pub fn disconnect_sockets(self, close: bool) -> Operation {
        self.select(|sockets| Kind::DisconnectSockets(DisconnectSockets { sockets, close }))
    }

    fn select(self, kind: impl FnOnce(Option<Selector>) -> Kind) -> Operation {
        let Self { origin, target, .. } = self;
        let selector = Selector {
            namespace: origin.namespace.to_string(),
            rooms: target.rooms,
            except: target.except,
        };
        Operation::new(origin.group, origin.socket, kind(Some(selector)))
    }
}

impl Io {
    /// As [`Broadcast::sockets_join`], for the whole namespace.
    pub fn sockets_join(&self, rooms: impl Rooms) -> Operation {
        self.everyone().sockets_join(rooms)
    }

    /// As [`Broadcast::sockets_leave`], for the whole namespace.
    pub fn sockets_leave(&self, rooms: impl Rooms) -> Operation {
        self.everyone().sockets_leave(rooms)
    }

    /// As [`Broadcast::disconnect_sockets`], for the whole namespace.
    pub fn disconnect_sockets(&self, close: bool) -> Operation {
        self.everyone().disconnect_sockets(close)
    }

    /// Replaces the data of a socket, which lists show: at most 4,096 bytes of JSON. It fails with
    /// `Gone` when there is no such socket, away ones included.
    pub fn set_data(&self, socket: SocketId, data: impl Serialize) -> Operation {
        set_data(self.everyone().origin, socket, &data)
    }

    /// As [`Io::set_data`], with JSON text, which is not looked at; empty is no data.
    pub(crate) fn set_data_raw(&self, socket: SocketId, data: Bytes) -> Operation {
        set_data_raw(self.everyone().origin, socket, data)
    }
}

impl Socket {
    /// Replaces its data, as [`Io::set_data`].
    pub fn set_data(&self, data: impl Serialize) -> Operation {
        set_data(self.own().origin, self.local.id, &data)
    }
}

fn set_data(origin: Origin, socket: SocketId, data: &impl Serialize) -> Operation {
    match serde_json::to_vec(data) {
        Ok(data) => set_data_raw(origin, socket, data.into()),
        Err(_) => Operation::refused(origin.group, OperationError::Arguments),
    }
}

fn set_data_raw(origin: Origin, socket: SocketId, data: Bytes) -> Operation {
    let set = SetData {
        namespace: origin.namespace.to_string(),
        socket_id: socket.0.to_vec().into(),
        data,
    };
    Operation::new(origin.group, origin.socket, Kind::SetData(set))
}
