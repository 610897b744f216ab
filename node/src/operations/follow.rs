//! A namespace's events and what becomes of its sockets, as a stream.

use roomcast_proto::api::FollowRequest;

use super::{Operations, check_lengths, refused};
use crate::limits;
use crate::messages;
use crate::socketio::{Follow, FollowOptions, Refusal};

impl Operations {
    /// Follows a namespace; the follower is told for as long as it is kept.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn follow(&self, request: FollowRequest) -> Result<Follow, Refusal> {
        let io = self.io(request.namespace)?;
        if !request.events && !request.lifecycle {
            return Err(Refusal::invalid(
                "neither events nor lifecycle is asked for",
            ));
        }
        if request.rooms.len() > limits::FOLLOW_ROOMS_MAX {
            let max = limits::FOLLOW_ROOMS_MAX;
            return Err(Refusal::invalid(format!("rooms has at most {max} names")));
        }
        check_lengths(&io, request.rooms.iter())?;
        let after = match request.after.as_str() {
            "" => None,
            after => Some(messages::offset("after", after)?),
        };
        let options = FollowOptions {
            rooms: request.rooms,
            after,
            events: request.events,
            lifecycle: request.lifecycle,
        };
        let follow = io.follow(options);
        follow.map_err(|error| refused(&io, error, "this cannot be followed"))
    }
}
