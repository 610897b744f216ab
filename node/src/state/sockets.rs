//! What the server does to many sockets at once: every session in the target rooms at the
//! operation's position, away ones too, whoever owns it.

use bytes::Bytes;
use roomcast_proto::command;

use super::effect::{Effect, OpResult, Refusal};
use super::group::{GroupState, Moment};
use super::lifecycle::Ending;
use super::operations::{bytes16, distinct};
use super::publish::TARGETS_MAX;
use super::records::LifecycleKind;
use crate::ids::SocketId;

/// Memberships that one operation may change, or sessions that it may end: every replica stops for
/// it. As many as the sessions of a full node, which a detachment touches too. Part of the format.
const TOUCHED_MAX: usize = 100_000;
/// Bytes of a session's data: every replica keeps them, and lists show them. Part of the format.
const DATA_BYTES_MAX: usize = 4_096;

impl GroupState {
    pub(super) fn sockets_join(
        &mut self,
        moment: Moment,
        join: &command::SocketsJoin,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let ids = self.selected(join.sockets.as_ref(), &join.rooms)?;
        let mut entered = Vec::with_capacity(ids.len());
        // Whole or not at all: nobody joins when somebody would be in too many rooms.
        for id in ids {
            let session = self.session_by_id(&id).expect("just selected");
            let new = distinct(&join.rooms, |room| !session.is_in(room));
            if !new.is_empty() {
                self.check_room_count(session.open.len() - 1 + new.len())?;
                let new: Vec<String> = new.into_iter().map(str::to_owned).collect();
                entered.push((id, new));
            }
        }
        for (id, new) in entered {
            self.enter(moment.position, &id, &new, effects);
        }
        Ok(OpResult::Done)
    }

    pub(super) fn sockets_leave(
        &mut self,
        moment: Moment,
        leave: &command::SocketsLeave,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let ids = self.selected(leave.sockets.as_ref(), &leave.rooms)?;
        let own = |id: &SocketId| leave.rooms.contains(&id.to_string());
        if ids.iter().any(own) {
            return Err(Refusal::Invalid);
        }
        for id in ids {
            let session = self.session_by_id(&id).expect("just selected");
            let left = distinct(&leave.rooms, |room| session.is_in(room));
            let left: Vec<String> = left.into_iter().map(str::to_owned).collect();
            self.exit(moment.position, &id, &left, effects);
        }
        Ok(OpResult::Done)
    }

    pub(super) fn disconnect_sockets(
        &mut self,
        moment: Moment,
        disconnect: &command::DisconnectSockets,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        for socket in self.selected(disconnect.sockets.as_ref(), &[])? {
            let session = self.session_by_id(&socket).expect("just selected");
            if session.is_connected() {
                effects.push(Effect::Kicked {
                    position: moment.position,
                    socket,
                    owner: session.owner,
                    close: disconnect.close,
                });
            }
            let ending = Ending::Disconnected("server namespace disconnect");
            self.end_session(moment.position, &socket, ending, effects);
        }
        Ok(OpResult::Done)
    }

    pub(super) fn set_data(
        &mut self,
        moment: Moment,
        set: &command::SetData,
    ) -> Result<OpResult, Refusal> {
        let id = SocketId(bytes16(&set.socket_id)?);
        if set.data.len() > DATA_BYTES_MAX {
            return Err(Refusal::Limit);
        }
        let session = self.session_by_id(&id).ok_or(Refusal::Stale)?;
        if *session.namespace != *set.namespace {
            return Err(Refusal::Stale);
        }
        if session.data == set.data {
            return Ok(OpResult::Done);
        }
        // Copied: a slice would keep the whole entry in memory.
        self.session_mut(&id).data = Bytes::copy_from_slice(&set.data);
        self.note_of(moment.position, &id, LifecycleKind::Updated);
        Ok(OpResult::Done)
    }

    /// Whom an operation means; refused when it names or touches too much.
    fn selected(
        &self,
        selector: Option<&command::Selector>,
        rooms: &[String],
    ) -> Result<Vec<SocketId>, Refusal> {
        let selector = selector.ok_or(Refusal::Invalid)?;
        if !selector.namespace.starts_with('/') {
            return Err(Refusal::Invalid);
        }
        for names in [&selector.rooms[..], &selector.except, rooms] {
            self.check_names(names)?;
            if names.len() > TARGETS_MAX {
                return Err(Refusal::Limit);
            }
        }
        let meant = self.targets(&selector.namespace, &selector.rooms, &selector.except);
        if meant.len().saturating_mul(rooms.len().max(1)) > TOUCHED_MAX {
            return Err(Refusal::Limit);
        }
        Ok(meant.into_iter().map(|session| session.id).collect())
    }
}
