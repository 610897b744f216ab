//! What programs send as JSON, and the messages that it stands for.

use roomcast_proto::api;
use serde::Deserialize;

use super::text::{Raw, decoded, written};
use crate::socketio::Refusal;

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Class {
    #[default]
    Logged,
    Volatile,
    Transient,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    event: String,
    args: Option<Raw>,
    #[serde(default)]
    attachments: Vec<String>,
    key: Option<String>,
    #[serde(default)]
    class: Class,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBatch {
    pub(super) publishes: Vec<Publish>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmitWithAck {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    event: String,
    args: Option<Raw>,
    #[serde(default)]
    attachments: Vec<String>,
    #[serde(default)]
    timeout_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSideEmit {
    #[serde(default)]
    namespace: String,
    event: String,
    args: Option<Raw>,
    #[serde(default)]
    with_ack: bool,
    #[serde(default)]
    timeout_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketsJoin {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    join: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketsLeave {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    leave: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectSockets {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    close: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetData {
    #[serde(default)]
    namespace: String,
    socket: String,
    data: Option<Raw>,
}

fn event(
    name: String,
    args: Option<Raw>,
    attachments: &[String],
) -> Result<Option<api::Event>, Refusal> {
    Ok(Some(api::Event {
        name,
        args: written(args),
        attachments: decoded(attachments)?,
    }))
}

fn target(rooms: Vec<String>, except: Vec<String>) -> Option<api::Target> {
    Some(api::Target { rooms, except })
}

impl TryFrom<Publish> for api::PublishRequest {
    type Error = Refusal;

    fn try_from(publish: Publish) -> Result<Self, Refusal> {
        let class = match publish.class {
            Class::Logged => api::Class::Logged,
            Class::Volatile => api::Class::Volatile,
            Class::Transient => api::Class::Transient,
        };
        Ok(Self {
            namespace: publish.namespace,
            target: target(publish.rooms, publish.except),
            event: event(publish.event, publish.args, &publish.attachments)?,
            class: class.into(),
            key: publish.key,
        })
    }
}

impl TryFrom<EmitWithAck> for api::EmitWithAckRequest {
    type Error = Refusal;

    fn try_from(emit: EmitWithAck) -> Result<Self, Refusal> {
        Ok(Self {
            namespace: emit.namespace,
            target: target(emit.rooms, emit.except),
            event: event(emit.event, emit.args, &emit.attachments)?,
            timeout_ms: emit.timeout_ms,
        })
    }
}

impl TryFrom<ServerSideEmit> for api::ServerSideEmitRequest {
    type Error = Refusal;

    fn try_from(emit: ServerSideEmit) -> Result<Self, Refusal> {
        Ok(Self {
            namespace: emit.namespace,
            event: event(emit.event, emit.args, &[])?,
            with_ack: emit.with_ack,
            timeout_ms: emit.timeout_ms,
        })
    }
}

impl From<SocketsJoin> for api::SocketsJoinRequest {
    fn from(join: SocketsJoin) -> Self {
        Self {
            namespace: join.namespace,
            target: target(join.rooms, join.except),
            rooms: join.join,
        }
    }
}

impl From<SocketsLeave> for api::SocketsLeaveRequest {
    fn from(leave: SocketsLeave) -> Self {
        Self {
            namespace: leave.namespace,
            target: target(leave.rooms, leave.except),
            rooms: leave.leave,
        }
    }
}

impl From<DisconnectSockets> for api::DisconnectSocketsRequest {
    fn from(disconnect: DisconnectSockets) -> Self {
        Self {
            namespace: disconnect.namespace,
            target: target(disconnect.rooms, disconnect.except),
            close: disconnect.close,
        }
    }
}

impl From<SetData> for api::SetDataRequest {
    fn from(set: SetData) -> Self {
        Self {
            namespace: set.namespace,
            socket: set.socket,
            data: written(set.data),
        }
    }
}
