//! A request to the Engine.IO path: refused with the reference's codes, answered as polling, or
//! upgraded and handed to the engine. The HTTP side of an upgraded connection ends there; nothing
//! of it stays in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use roomcast_proto::engineio::{HandshakeError, Query, RequestKind, Target, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tracing::debug;

use super::client_port::Shared;
use super::compression::Coding;
use super::polling::Owner;
use super::{polling, respond};
use crate::engine::moving::RemoteSession;
use crate::engine::open::WebSocketConnection;
use crate::engine::{Handshake, Polling, Refused, Sid};
use crate::limits;

/// Transports a request may speak.
const ENABLED: [Transport; 2] = [Transport::Polling, Transport::WebSocket];

/// Why a handshake gets no session.
pub(super) enum Rejection {
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
pub(super) async fn handle(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(response) = shared.http.preflight(&request) {
        return response;
    }
    let counters = shared.engine.counters();
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match answer(shared, remote, request).await {
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
    };
    shared.http.cors.allow(origin, response.headers_mut());
    response
}

async fn answer(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    let query = Query::parse(request.uri().query().unwrap_or(""))?;
    if is_jsonp(&query) {
        return Err(HandshakeError::BadRequest.into());
    }
    let kind = kind(&request);
    match query.verify(kind, &ENABLED)? {
        Target::New { transport } => {
            let handshake = Handshake::new(query.rest, request.headers(), remote);
            let permit = admit(shared, &handshake)?;
            match transport {
                Transport::WebSocket => {
                    let session = Wanted::New(handshake, permit);
                    upgrade(shared, request, session)
                }
                Transport::Polling => {
                    let coding = Coding::accepted(request.headers());
                    polling::open(shared, handshake, permit, coding).await
                }
            }
        }
        Target::Existing { sid, transport } => {
            let sid = Sid::parse(&sid).ok_or(HandshakeError::UnknownSid)?;
            let owner = match &shared.owners {
                Some(owners) if sid.node() != shared.engine.node() => {
                    Owner::Other(Arc::clone(owners), sid)
                }
                _ => Owner::Here(shared.engine.polling(&sid).map_err(polling::rejection)?),
            };
            match (transport, kind) {
                (Transport::WebSocket, RequestKind::Upgrade) => match owner {
                    Owner::Here(polling) => upgrade(shared, request, Wanted::Upgrade(polling)),
                    Owner::Other(owners, sid) => {
                        let permit = admit_session(shared)?;
                        let owner = owners.upgrade(sid).await.map_err(polling::rejection)?;
                        upgrade(
                            shared,
                            request,
                            Wanted::UpgradeElsewhere(sid, owner, permit),
                        )
                    }
                },
                (Transport::Polling, RequestKind::Get | RequestKind::Other) => {
                    let stamp = stamp(&query);
                    polling::handle(shared, &owner, stamp, request).await
                }
                _ => Err(HandshakeError::BadRequest.into()),
            }
        }
    }
}

/// The client's `t`, when it tells one GET from the next: some clients send the second of their
/// clock.
fn stamp(query: &Query) -> String {
    let tells = |stamp: &&str| {
        stamp.len() <= limits::STAMP_BYTES_MAX && stamp.bytes().any(|byte| !byte.is_ascii_digit())
    };
    query.get("t").filter(tells).unwrap_or_default().to_owned()
}

/// Polling by `<script>` elements is for browsers of version 3; a client that asks for it could do
/// nothing with another answer.
fn is_jsonp(query: &Query) -> bool {
    query.transport.as_deref() == Some(Transport::Polling.name()) && query.get("j").is_some()
}

/// A place for a new session, when the node takes one of this client.
fn admit(shared: &Shared, handshake: &Handshake) -> Result<OwnedSemaphorePermit, Rejection> {
    let permit = admit_session(shared)?;
    let authorized = shared.engine.acceptor().authorize(handshake);
    authorized.map_err(|forbidden| HandshakeError::Forbidden(forbidden.message.into()))?;
    Ok(permit)
}

/// A place for a session, when the node takes one.
fn admit_session(shared: &Shared) -> Result<OwnedSemaphorePermit, Rejection> {
    shared.admit().map_err(Rejection::Later)?;
    shared.session_permit().ok_or_else(|| {
        Rejection::Later(Refused {
            retry_after_s: limits::RETRY_AFTER_S,
            reason: "too many sessions".to_owned(),
        })
    })
}

/// What an upgraded connection is for.
enum Wanted {
    /// A session of its own; the permit lives as long as that.
    New(Handshake, OwnedSemaphorePermit),
    /// To take this one over.
    Upgrade(Polling),
    /// To take one over that this owner has; the permit is for the case that it moves here.
    UpgradeElsewhere(Sid, Box<dyn RemoteSession>, OwnedSemaphorePermit),
}

fn upgrade(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    wanted: Wanted,
) -> Result<Response<Body>, Rejection> {
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
        .spawn(async move { serve(owner, on_upgrade, wanted).await });
    Ok(response)
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

/// Waits for the upgraded connection and runs its session, or brings it to the session it is for.
async fn serve(shared: Arc<Shared>, on_upgrade: OnUpgrade, wanted: Wanted) {
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
            run(&shared, connection, wanted).await;
        }
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(*upgraded));
            let connection = WebSocketConnection {
                read,
                write,
                received: Bytes::new(),
            };
            Box::pin(run(&shared, connection, wanted)).await;
        }
    }
}

async fn run<R, W>(shared: &Shared, connection: WebSocketConnection<R, W>, wanted: Wanted)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    match wanted {
        Wanted::New(handshake, _permit) => {
            shared.engine.serve_websocket(connection, handshake).await;
        }
        Wanted::Upgrade(polling) => {
            let upgrade = shared.engine.upgrade_polling(&polling, connection);
            // Boxed: the size of a WebSocket session's task is memory of every session.
            Box::pin(upgrade).await;
        }
        Wanted::UpgradeElsewhere(sid, owner, _permit) => {
            let upgrade = shared.engine.upgrade_elsewhere(sid, connection, owner);
            Box::pin(upgrade).await;
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
