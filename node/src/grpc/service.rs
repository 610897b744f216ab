//! One function per call.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use roomcast_proto::api::api_server::Api;
use roomcast_proto::api::{
    DisconnectSocketsRequest, EmitWithAckRequest, EmitWithAckResponse, FetchSocketsRequest,
    FetchSocketsResponse, FollowRequest, Followed, HistoryRequest, HistoryResponse, MembersRequest,
    MembersResponse, OperationResponse, PublishBatchRequest, PublishBatchResponse, PublishRequest,
    PublishResponse, RoomsRequest, RoomsResponse, ServerSideEmitRequest, ServerSideEmitResponse,
    SetDataRequest, SocketsJoinRequest, SocketsLeaveRequest, StatusRequest, StatusResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::api::{StatusSource, status_json};
use crate::messages;
use crate::metrics;
use crate::operations::Operations;
use crate::socketio::{Follow, Refusal};

/// See the module's text.
pub(super) struct Service {
    pub(super) operations: Arc<Operations>,
    pub(super) status: Arc<dyn StatusSource>,
}

/// What a call comes to, counted.
fn told<T>(method: &'static str, outcome: Result<T, Refusal>) -> Result<Response<T>, Status> {
    let outcome = outcome.map(Response::new).map_err(|refusal| {
        refusal.count();
        messages::refusal_status(&refusal)
    });
    let code = outcome.as_ref().err().map_or(Code::Ok, Status::code);
    metrics::grpc_calls(method, format!("{code:?}")).increment(1);
    outcome
}

type FollowStream = BoxStream<'static, Result<Followed, Status>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Api for Service {
    type FollowStream = FollowStream;

    async fn publish(&self, request: Request<PublishRequest>) -> Answer<PublishResponse> {
        let published = self.operations.publish(request.into_inner());
        told("Publish", published.await)
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Answer<PublishBatchResponse> {
        let publishes = request.into_inner().publishes.into_iter().map(Ok);
        let published = self.operations.publish_batch(publishes.collect());
        told("PublishBatch", published.await)
    }

    async fn emit_with_ack(
        &self,
        request: Request<EmitWithAckRequest>,
    ) -> Answer<EmitWithAckResponse> {
        let asked = self.operations.emit_with_ack(request.into_inner());
        told("EmitWithAck", asked.await)
    }

    async fn sockets_join(
        &self,
        request: Request<SocketsJoinRequest>,
    ) -> Answer<OperationResponse> {
        let joined = self.operations.sockets_join(request.into_inner());
        told("SocketsJoin", joined.await)
    }

    async fn sockets_leave(
        &self,
        request: Request<SocketsLeaveRequest>,
    ) -> Answer<OperationResponse> {
        let left = self.operations.sockets_leave(request.into_inner());
        told("SocketsLeave", left.await)
    }

    async fn disconnect_sockets(
        &self,
        request: Request<DisconnectSocketsRequest>,
    ) -> Answer<OperationResponse> {
        let ended = self.operations.disconnect_sockets(request.into_inner());
        told("DisconnectSockets", ended.await)
    }

    async fn set_data(&self, request: Request<SetDataRequest>) -> Answer<OperationResponse> {
        let set = self.operations.set_data(request.into_inner());
        told("SetData", set.await)
    }

    async fn fetch_sockets(
        &self,
        request: Request<FetchSocketsRequest>,
    ) -> Answer<FetchSocketsResponse> {
        let page = self.operations.fetch_sockets(request.into_inner());
        told("FetchSockets", page)
    }

    async fn members(&self, request: Request<MembersRequest>) -> Answer<MembersResponse> {
        told("Members", self.operations.members(request.into_inner()))
    }

    async fn rooms(&self, request: Request<RoomsRequest>) -> Answer<RoomsResponse> {
        told("Rooms", self.operations.rooms(request.into_inner()))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Answer<HistoryResponse> {
        let page = self.operations.history(request.into_inner());
        told("History", page.await)
    }

    async fn server_side_emit(
        &self,
        request: Request<ServerSideEmitRequest>,
    ) -> Answer<ServerSideEmitResponse> {
        let emitted = self.operations.server_side_emit(request.into_inner());
        told("ServerSideEmit", emitted.await)
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusResponse> {
        let json = status_json(&*self.status, request.into_inner().namespace).await;
        told("Status", Ok(StatusResponse { json }))
    }

    async fn follow(&self, request: Request<FollowRequest>) -> Answer<Self::FollowStream> {
        let follow = self.operations.follow(request.into_inner());
        told("Follow", follow.map(stream))
    }
}

/// Goes on until the follower leaves, or cannot be told more: then it comes back with its offset.
fn stream(follow: Follow) -> FollowStream {
    let told = stream::unfold(Some(follow), |follow| async {
        let mut follow = follow?;
        match follow.next().await {
            Ok(followed) => Some((Ok(messages::followed(followed)), Some(follow))),
            Err(error) => Some((Err(messages::refusal_status(&error.into())), None)),
        }
    });
    told.boxed()
}
