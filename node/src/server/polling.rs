//! Requests of sessions on polling: bodies, statuses and headers. What they mean is the engine's.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue, SET_COOKIE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use roomcast_proto::engineio::HandshakeError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::client_port::Shared;
use super::compression::{Coding, compress};
use super::handshake::Rejection;
use crate::engine::{Forwarded, Handshake, Owners, Polling, Refused, RequestError, Sid};
use crate::{limits, metrics};

/// Opens a session; its first payload answers the handshake.
pub(super) async fn open(
    shared: &Shared,
    handshake: Handshake,
    permit: OwnedSemaphorePermit,
    accepted: Option<Coding>,
) -> Result<Response<Body>, Rejection> {
    let (polling, session) = shared.engine.open_polling(handshake);
    shared.tasks.spawn(async move {
        session.await;
        drop(permit);
    });
    let cookie = shared.http.cookie(&polling.session().sid());
    let mut response = get(shared, &Owner::Here(polling), String::new(), accepted).await?;
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Where a session is.
pub(super) enum Owner {
    /// On this node.
    Here(Polling),
    /// On the node that its sid names.
    Other(Arc<dyn Owners>, Sid),
}

/// Answers a GET or a POST of a session; `stamp` is the query's `t`.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    owner: &Owner,
    stamp: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    match *request.method() {
        Method::GET => get(shared, owner, stamp, Coding::accepted(request.headers())).await,
        Method::POST => post(shared, owner, request).await,
        _ => Ok(empty(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

async fn get(
    shared: &Shared,
    owner: &Owner,
    stamp: String,
    accepted: Option<Coding>,
) -> Result<Response<Body>, Rejection> {
    let payload = match owner {
        Owner::Here(polling) => polling.get(stamp).await,
        Owner::Other(owners, sid) => owners.forward(*sid, Forwarded::Get(stamp)).await,
    };
    match payload {
        Ok(payload) => Ok(answer_get(shared, payload, accepted).await),
        Err(error) => refuse(error),
    }
}

async fn answer_get(shared: &Shared, payload: Bytes, accepted: Option<Coding>) -> Response<Body> {
    const KIND: &str = "text/plain; charset=UTF-8";
    let Some(coding) = shared.http.compression.coding(accepted, payload.len()) else {
        return answer(payload, KIND);
    };
    let mut response = answer(compress(coding, &payload).await, KIND);
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    response
}

async fn post(
    shared: &Shared,
    owner: &Owner,
    request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    let polling = match owner {
        Owner::Here(polling) => polling,
        Owner::Other(owners, sid) => return forward(shared, &**owners, *sid, request).await,
    };
    let upload = match polling.post() {
        Ok(upload) => upload,
        Err(error) => return refuse(error),
    };
    if is_binary(&request) {
        // Dropping the upload ends the session. Binary payloads are of version 3.
        metrics::protocol_errors("content_type").increment(1);
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    let received = tokio::select! {
        biased;
        () = upload.session_over() => return Err(HandshakeError::UnknownSid.into()),
        received = receive(request, shared.engine.max_payload()) => received,
    };
    match received {
        Ok(body) => handled(upload.handle(body).await),
        Err(ReceiveError::TooLarge) => {
            upload.refuse();
            metrics::protocol_errors("too_large").increment(1);
            Ok(empty(StatusCode::PAYLOAD_TOO_LARGE))
        }
        // The connection is gone: nobody reads this.
        Err(ReceiveError::Cut) => Ok(empty(StatusCode::BAD_REQUEST)),
    }
}

/// A POST for another node's session. Its body is received here, as slowly as the client sends it.
async fn forward(
    shared: &Shared,
    owners: &dyn Owners,
    sid: Sid,
    request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    let received = if is_binary(&request) {
        metrics::protocol_errors("content_type").increment(1);
        Err(ReceiveError::Cut)
    } else {
        let receiving = receive(request, shared.engine.max_payload());
        let received = timeout(limits::FORWARD_RECEIVE_DEADLINE, receiving).await;
        received.unwrap_or(Err(ReceiveError::Cut))
    };
    match received {
        Ok(body) => {
            let answered = owners.forward(sid, Forwarded::Post(body)).await;
            handled(answered.map(|_| ()))
        }
        Err(ReceiveError::TooLarge) => {
            metrics::protocol_errors("too_large").increment(1);
            Ok(empty(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Err(ReceiveError::Cut) => match owners.forward(sid, Forwarded::BrokenPost).await {
            Ok(_) => Ok(empty(StatusCode::BAD_REQUEST)),
            Err(error) => refuse(error),
        },
    }
}

fn is_binary<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value == "application/octet-stream")
}

fn handled(outcome: Result<(), RequestError>) -> Result<Response<Body>, Rejection> {
    match outcome {
        Ok(()) => Ok(answer(Bytes::from_static(b"ok"), "text/html")),
        Err(error) => refuse(error),
    }
}

/// Why a body was not received.
enum ReceiveError {
    /// It is larger than allowed.
    TooLarge,
    /// Its connection ended or failed.
    Cut,
}

async fn receive(request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, ReceiveError> {
    let waits = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        // A client that waits for our word has not sent anything yet.
        if !waits {
            discard(body).await;
        }
        return Err(ReceiveError::TooLarge);
    }
    let reserved = usize::try_from(announced).unwrap_or(bytes_max);
    let mut received = BytesMut::with_capacity(reserved.min(limits::READ_RESERVE_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReceiveError::Cut)?.into_data() else {
            continue;
        };
        if received.len() + data.len() > bytes_max {
            discard(body).await;
            return Err(ReceiveError::TooLarge);
        }
        received.extend_from_slice(&data);
    }
    Ok(received.freeze())
}

/// Reads some of a body that is not wanted: unread bytes would reset the answer away.
async fn discard(mut body: Incoming) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > limits::CLOSE_LINGER_BYTES_MAX {
                return;
            }
        }
    };
    // What was not read in that time is cut off.
    timeout(limits::CLOSE_LINGER_DEADLINE, reading).await.ok();
}

fn refuse(error: RequestError) -> Result<Response<Body>, Rejection> {
    match error {
        RequestError::Overlap => {
            metrics::protocol_errors("overlap").increment(1);
            Ok(empty(StatusCode::BAD_REQUEST))
        }
        error => Err(rejection(error)),
    }
}

/// What a request that gets nothing of its session is told. An upgrade that overlaps with another
/// does not concern the session.
pub(super) fn rejection(error: RequestError) -> Rejection {
    match error {
        RequestError::Unknown | RequestError::Repeated => HandshakeError::UnknownSid.into(),
        RequestError::Upgraded | RequestError::Overlap => HandshakeError::BadRequest.into(),
        RequestError::Overloaded => Rejection::Later(Refused {
            retry_after_s: limits::RETRY_AFTER_S,
            reason: error.to_string(),
        }),
    }
}

fn answer(body: Bytes, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal without words; its connection ends, as there may be bytes left on it.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
