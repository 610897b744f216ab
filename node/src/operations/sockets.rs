//! What is done to sockets, wherever they are.

use bytes::Bytes;
use roomcast_proto::api::{
    DisconnectSocketsRequest, OperationResponse, SetDataRequest, SocketsJoinRequest,
    SocketsLeaveRequest, Target,
};

use super::{Operations, check_lengths, check_names, refused};
use crate::messages;
use crate::socketio::{Broadcast, Io, Operation, OperationError, Refusal};

/// Why apply refuses a join that was checked here.
const JOIN_INVALID: &str =
    "a socket would be in too many rooms, or more than 100,000 memberships would change";
/// Why apply refuses a leave that was checked here.
const LEAVE_INVALID: &str =
    "one of the rooms is a socket's own, or more than 100,000 memberships would change";
/// Why apply refuses a disconnect that was checked here.
const DISCONNECT_INVALID: &str = "more than 100,000 sessions would end";

impl Operations {
    /// Makes sockets join rooms.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn sockets_join(
        &self,
        request: SocketsJoinRequest,
    ) -> Result<OperationResponse, Refusal> {
        let (io, sockets) = self.selected(request.namespace, request.target)?;
        let rooms = messages::names(request.rooms)?;
        check_lengths(&io, rooms.iter())?;
        done(&io, sockets.sockets_join(rooms), JOIN_INVALID).await
    }

    /// Makes sockets leave rooms.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn sockets_leave(
        &self,
        request: SocketsLeaveRequest,
    ) -> Result<OperationResponse, Refusal> {
        let (io, sockets) = self.selected(request.namespace, request.target)?;
        let rooms = messages::names(request.rooms)?;
        check_lengths(&io, rooms.iter())?;
        done(&io, sockets.sockets_leave(rooms), LEAVE_INVALID).await
    }

    /// Ends sessions.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn disconnect_sockets(
        &self,
        request: DisconnectSocketsRequest,
    ) -> Result<OperationResponse, Refusal> {
        let (io, sockets) = self.selected(request.namespace, request.target)?;
        let operation = sockets.disconnect_sockets(request.close);
        done(&io, operation, DISCONNECT_INVALID).await
    }

    /// Replaces a socket's data.
    ///
    /// # Errors
    /// Why not; `not_found` when there is no such socket.
    pub(crate) async fn set_data(
        &self,
        request: SetDataRequest,
    ) -> Result<OperationResponse, Refusal> {
        let io = self.io(request.namespace)?;
        let socket = messages::socket_id("socket", &request.socket)?;
        let data = messages::data(request.data)?;
        let operation = io.set_data_raw(socket, Bytes::from(data));
        match operation.start().await {
            Ok((offset, _)) => Ok(OperationResponse {
                offset: offset.to_string(),
            }),
            Err(OperationError::Gone) => Err(messages::not_found("there is no such socket")),
            Err(error) => Err(refused(&io, error, "data is too long")),
        }
    }

    fn selected(
        &self,
        namespace: String,
        target: Option<Target>,
    ) -> Result<(Io, Broadcast), Refusal> {
        let io = self.io(namespace)?;
        let target = messages::target(target)?;
        check_names(&io, &target)?;
        let sockets = io.publish(target);
        Ok((io, sockets))
    }
}

async fn done(
    io: &Io,
    operation: Operation,
    invalid: &'static str,
) -> Result<OperationResponse, Refusal> {
    match operation.start().await {
        Ok((offset, _)) => Ok(OperationResponse {
            offset: offset.to_string(),
        }),
        Err(error) => Err(refused(io, error, invalid)),
    }
}
