//! What the server does to many sockets, by the reference model: one session after the other.

use roomcast::ids::{Position, SocketId};
use roomcast::state::{OpResult, Refusal};
use roomcast_proto::command;

use crate::model::Model;

impl Model {
    /// Whom an operation means, connected or not.
    pub(crate) fn selected(&self, selector: Option<&command::Selector>) -> Vec<SocketId> {
        let selector = selector.expect("a selector");
        let mut ids = Vec::new();
        for (id, session) in &self.sessions {
            let rooms = session.rooms();
            let in_any = |names: &[String]| names.iter().any(|name| rooms.contains(name));
            let meant = selector.rooms.is_empty() || in_any(&selector.rooms);
            if session.namespace == selector.namespace && meant && !in_any(&selector.except) {
                ids.push(*id);
            }
        }
        ids
    }

    pub(crate) fn sockets_join(
        &mut self,
        at: Position,
        join: &command::SocketsJoin,
    ) -> Result<OpResult, Refusal> {
        let mut after = self.sessions.clone();
        for id in self.selected(join.sockets.as_ref()) {
            let session = after.get_mut(&id).expect("selected");
            let count = session.intervals.len();
            for room in &join.rooms {
                if !session.rooms().contains(room) {
                    session.intervals.push((room.clone(), at, None));
                }
            }
            let too_many = session.rooms().len() - 1 > self.settings.rooms_per_socket_max as usize;
            if session.intervals.len() > count && too_many {
                return Err(Refusal::Limit);
            }
        }
        self.sessions = after;
        Ok(OpResult::Done)
    }

    pub(crate) fn sockets_leave(
        &mut self,
        at: Position,
        leave: &command::SocketsLeave,
    ) -> Result<OpResult, Refusal> {
        let ids = self.selected(leave.sockets.as_ref());
        if ids.iter().any(|id| leave.rooms.contains(&id.to_string())) {
            return Err(Refusal::Invalid);
        }
        for id in ids {
            let session = self.sessions.get_mut(&id).expect("selected");
            for (room, _, to) in &mut session.intervals {
                if to.is_none() && leave.rooms.contains(room) {
                    *to = Some(at);
                }
            }
        }
        Ok(OpResult::Done)
    }
}
