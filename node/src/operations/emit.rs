//! Events that are answered: by sockets, or by the application on other nodes.

use roomcast_proto::api::{
    EmitWithAckRequest, EmitWithAckResponse, ServerSideEmitRequest, ServerSideEmitResponse,
};

use super::{Operations, check_names, refused};
use crate::limits;
use crate::messages;
use crate::socketio::{Code, Refusal};

/// Why apply refuses what was checked here.
const INVALID: &str = "the cluster has as many namespaces as it may have";

impl Operations {
    /// Asks the connected members, and waits for their answers.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn emit_with_ack(
        &self,
        request: EmitWithAckRequest,
    ) -> Result<EmitWithAckResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let target = messages::target(request.target)?;
        check_names(&io, &target)?;
        let timeout = messages::timeout(request.timeout_ms)?;
        let event = messages::payload(request.event)?;
        let broadcast = io.publish(target).timeout(timeout);
        let asked = broadcast.emit_with_ack_raw(event.json, event.attachments);
        match asked.await {
            Ok(answers) => Ok(messages::answers(answers)),
            Err(error) => Err(refused(&io, error, INVALID)),
        }
    }

    /// Sends an event to the application on the other nodes.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn server_side_emit(
        &self,
        request: ServerSideEmitRequest,
    ) -> Result<ServerSideEmitResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let timeout = messages::timeout(request.timeout_ms)?;
        let event = messages::payload(request.event)?;
        if !event.attachments.is_empty() {
            return Err(Refusal::invalid("an event for servers has no attachments"));
        }
        if event.json.len() > limits::SERVER_EVENT_BYTES_MAX {
            let max = limits::SERVER_EVENT_BYTES_MAX;
            let message = format!("an event for servers has at most {max} bytes");
            return Err(Refusal::new(Code::TooLarge, message));
        }
        if !request.with_ack {
            io.server_side_emit_raw(event.json)?;
            return Ok(ServerSideEmitResponse::default());
        }
        let answers = io.server_side_emit_with_ack_raw(event.json, timeout);
        Ok(messages::server_answers(&answers.await?))
    }
}
