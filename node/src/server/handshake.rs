//! A request to the Engine.IO path: refused with the reference's codes, or upgraded and handed to
//! the engine. The HTTP side of the connection ends there; nothing of it stays in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use roomcast_proto::engineio::{HandshakeError, Query, RequestKind, Target, Transport};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tracing::debug;

use super::client_port::Shared;
use super::respond;
use crate::engine::open::WebSocketConnection;
use crate::engine::{Handshake, Refused, Sid};
use crate::limits;

/// Transports a handshake may ask for. Polling comes with the forwarding of requests between nodes:
/// without that it would need sticky sessions.
const ENABLED: [Transport; 1] = [Transport::WebSocket];

/// Why a handshake gets no session.
enum Rejection {
    /// For good: the reference's codes.
    Bad(HandshakeError),
    /// For now: 503.
    Later(Refused),
}

impl From<HandshakeError> for Rejection {
    fn from(error: HandshakeError) -> Self {
        Self::Bad(error)
    }
}

/// Answers a request to the Engine.IO path.
pub(super) fn handle(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let counters = shared.engine.counters();
    match upgrade(shared, remote, request) {
        Ok(response) => response,
        Err(Rejection::Bad(error)) => {
            counters.handshake_bad();
            debug!(%remote, code = error.code(), %error, "handshake is bad");
            respond::bad_handshake(&error)
        }
        Err(Rejection::Later(refused)) => {
            counters.handshake_refused();
            debug!(%remote, reason = %refused.reason, "handshake refused for now");
            respond::refused(&refused)
        }
    }
}

fn upgrade(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    let query = Query::parse(request.uri().query().unwrap_or(""))?;
    verify(shared, &query, kind(&request))?;
    shared.admit().map_err(Rejection::Later)?;
    let permit = shared.session_permit().ok_or_else(|| {
        Rejection::Later(Refused {
            retry_after_s: limits::RETRY_AFTER_S,
            reason: "too many sessions".to_owned(),
        })
    })?;
    let handshake = Handshake::new(query.rest, request.headers(), remote);
    shared
        .engine
        .acceptor()
        .authorize(&handshake)
        .map_err(|forbidden| HandshakeError::Forbidden(forbidden.message.into()))?;
    let mut response =
        create_response_with_body(&request, Body::empty).map_err(|_| HandshakeError::BadRequest)?;
    if let Some(protocol) = first_protocol(request.headers()) {
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let on_upgrade = hyper::upgrade::on(&mut request);
    let owner = Arc::clone(shared);
    shared
        .tasks
        .spawn(async move { serve(owner, on_upgrade, handshake, permit).await });
    Ok(response)
}

fn verify(shared: &Shared, query: &Query, kind: RequestKind) -> Result<(), HandshakeError> {
    let target = query.verify(kind, &ENABLED).inspect_err(|_| {
        if query.transport.as_deref() == Some(Transport::Polling.name()) {
            shared.tell_of_polling();
        }
    })?;
    let Target::Existing { sid, .. } = target else {
        return Ok(());
    };
    // A session that began over WebSocket has its one transport; nothing else can be asked of it.
    let known = Sid::parse(&sid).and_then(|sid| shared.engine.registry().get(&sid));
    Err(known.map_or(HandshakeError::UnknownSid, |_| HandshakeError::BadRequest))
}

fn kind<B>(request: &Request<B>) -> RequestKind {
    let asks_for_websocket = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    match (request.method() == Method::GET, asks_for_websocket) {
        (false, _) => RequestKind::Other,
        (true, true) => RequestKind::Upgrade,
        (true, false) => RequestKind::Get,
    }
}

/// The reference's WebSocket library takes the first subprotocol that a client offers; a browser
/// refuses a connection on which none was chosen.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').next()?.trim();
    if first.is_empty() {
        None
    } else {
        HeaderValue::from_str(first).ok()
    }
}

/// Waits for the upgraded connection and runs its session. The permit lives as long as the session.
async fn serve(
    shared: Arc<Shared>,
    on_upgrade: OnUpgrade,
    handshake: Handshake,
    _permit: OwnedSemaphorePermit,
) {
    let upgraded = match tokio::time::timeout(limits::UPGRADE_DEADLINE, on_upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => return debug!(%error, "client left during the upgrade"),
        Err(_) => return debug!("client left during the upgrade"),
    };
    match take_stream(upgraded) {
        Ok((stream, received)) => {
            let (read, write) = stream.into_split();
            let connection = WebSocketConnection {
                read,
                write,
                received,
            };
            shared.engine.serve_websocket(connection, handshake).await;
        }
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(*upgraded));
            let connection = WebSocketConnection {
                read,
                write,
                received: Bytes::new(),
            };
            Box::pin(shared.engine.serve_websocket(connection, handshake)).await;
        }
    }
}

/// The TCP stream under an upgraded connection, and what was read ahead of it; or the connection as
/// it is, when something else carries it.
fn take_stream(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Box<Upgraded>> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(Box::new)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}
