//! The words of the outer doors (`roomcast_proto::api`) and ours, one into the other: what comes in
//! is checked here, with a message that names the field, whichever door it came through.

mod answers;
mod event;
mod follow;
mod lists;
mod refusal;
mod target;

pub(crate) use answers::{answers, server_answers};
pub(crate) use event::{Payload, event_of, handled_event_of, json, payload};
pub(crate) use follow::followed;
pub(crate) use lists::{member, remote_socket};
pub(crate) use refusal::{error_of, http_status, not_found, refusal_status, unauthenticated};
pub(crate) use target::{
    Class, class, data, limit, names, namespace, offset, room, socket_id, target, timeout,
};

#[cfg(test)]
mod tests;
