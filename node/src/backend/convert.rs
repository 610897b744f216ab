//! What a backend is told, and what it says, in the words of its stream.

use roomcast_proto::api::{self, EmitWithAckResponse, PublishResponse, handshake::Pair, result};
use roomcast_proto::offset::Offset;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::engine::Handshake;
use crate::limits;
use crate::messages;
use crate::socketio::{Admission, Answers, OperationError, Recovery, Refusal, Rejection, Socket};

/// A client's Engine.IO handshake. Headers that are no text lose what is none.
pub(super) fn handshake(handshake: &Handshake) -> api::Handshake {
    let query = handshake.query.iter().map(|(name, value)| Pair {
        name: name.clone(),
        value: value.clone(),
    });
    let headers = handshake.headers.iter().map(|(name, value)| Pair {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    });
    api::Handshake {
        query: query.collect(),
        headers: headers.collect(),
        remote: handshake.remote.to_string(),
    }
}

/// A socket of this node, as its replica knows it.
pub(super) fn remote_socket(socket: &Socket) -> api::RemoteSocket {
    let data: Option<Box<RawValue>> = socket.data();
    api::RemoteSocket {
        id: socket.id().to_owned(),
        identity: socket.identity().map(str::to_owned),
        data: data.map_or_else(String::new, |data| data.get().to_owned()),
        rooms: socket.rooms(),
        connected: !socket.local.is_stopped(),
    }
}

/// What a client's `auth` is as JSON; empty when it has sent none.
pub(super) fn auth(auth: &Value) -> String {
    match auth {
        Value::Null => String::new(),
        auth => auth.to_string(),
    }
}

/// What a backend decided about a connect; `None` when that is no JSON, or too long.
pub(super) fn decision(admission: api::Admission) -> Option<Result<Admission, Rejection>> {
    use api::admission::{Decision, Recovery as Wish};
    match admission.decision? {
        Decision::Accept(accept) => {
            let recovery = match accept.recovery() {
                Wish::Offered => Recovery::Offered,
                Wish::OptIn => Recovery::OptIn,
                Wish::Off => Recovery::Off,
            };
            if accept.data.len() > limits::MEMBER_DATA_BYTES_MAX {
                return None;
            }
            Some(Ok(Admission {
                identity: accept.identity,
                data: json(&accept.data)?,
                recovery,
            }))
        }
        Decision::Reject(reject) => Some(Err(Rejection {
            message: reject.message,
            data: json(&reject.data)?,
        })),
    }
}

/// JSON, or empty; the outer `None` when it is neither.
fn json(text: &str) -> Option<Option<Value>> {
    match text {
        "" => Some(None),
        text => serde_json::from_str(text).ok().map(Some),
    }
}

/// What became of an operation of the log.
pub(super) fn published(fate: Result<(Offset, bool), OperationError>) -> result::Outcome {
    match fate {
        Ok((offset, duplicate)) => result::Outcome::Done(PublishResponse {
            offset: offset.to_string(),
            duplicate,
        }),
        Err(error) => refused(error),
    }
}

/// What became of a question.
pub(super) fn answered(answers: Result<Answers, OperationError>) -> result::Outcome {
    match answers {
        Ok(answers) => {
            let answers: EmitWithAckResponse = messages::answers(answers);
            result::Outcome::Answers(answers)
        }
        Err(error) => refused(error),
    }
}

fn refused(error: OperationError) -> result::Outcome {
    result::Outcome::Error(messages::error_of(&Refusal::from(error)))
}
