//! What came back of questions.

use roomcast_proto::api;

use super::event::text;
use crate::socketio::{Answers, ServerAnswers};

/// The answers of sockets.
pub(crate) fn answers(answers: Answers) -> api::EmitWithAckResponse {
    let given = answers.answers.into_iter();
    api::EmitWithAckResponse {
        answers: given
            .map(|(socket, answer)| api::emit_with_ack_response::Answer {
                socket: socket.to_string(),
                args: text(&answer.data),
                attachments: answer.attachments,
            })
            .collect(),
        missing: answers.missing.iter().map(ToString::to_string).collect(),
    }
}

/// The answers of other nodes.
pub(crate) fn server_answers(answers: &ServerAnswers) -> api::ServerSideEmitResponse {
    let given = answers.answers.iter();
    api::ServerSideEmitResponse {
        answers: given
            .map(|(&node_id, data)| api::server_side_emit_response::Answer {
                node_id,
                args: text(data),
            })
            .collect(),
        missing: answers.missing.clone(),
    }
}
