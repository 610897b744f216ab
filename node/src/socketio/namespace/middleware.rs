//! Middlewares: `tower` layers around a namespace's connects and events, and async functions that
//! become such layers.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use tower::util::{BoxCloneSyncService, ServiceExt};
use tower::{Layer, Service};

use super::call::{Call, Connect};
use crate::adapter::Answer;
use crate::socketio::handler::{Admission, Rejection};
use crate::socketio::refusal::Refusal;

/// Decides about connects.
pub(super) type ConnectService = BoxCloneSyncService<Connect, Admission, Rejection>;
/// Carries events to their handlers.
pub(super) type EventService = BoxCloneSyncService<Call, Option<Answer>, Refusal>;

/// What a connect middleware goes on with.
pub type ConnectNext = Next<Connect, Admission, Rejection>;
/// What an event middleware goes on with.
pub type EventNext = Next<Call, Option<Answer>, Refusal>;

/// The rest of the way behind a middleware; see [`from_fn`].
pub struct Next<Request, Response, Error>(BoxCloneSyncService<Request, Response, Error>);

impl<Request, Response, Error> Next<Request, Response, Error> {
    /// Goes on. A middleware that does not refuses, answers, or drops what came.
    ///
    /// # Errors
    /// What the rest of the way refused.
    pub async fn run(self, request: Request) -> Result<Response, Error> {
        self.0.oneshot(request).await
    }
}

impl<Request, Response, Error> fmt::Debug for Next<Request, Response, Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// Makes a middleware of an async function, as the `use` of Socket.IO takes one.
///
/// ```
/// use roomcast::{Call, Connect, ConnectNext, EventNext, Namespace, Refusal, Rejection, from_fn};
///
/// let chat = Namespace::new()
///     .connect_layer(from_fn(|mut connect: Connect, next: ConnectNext| async move {
///         let name = connect.auth["name"].as_str().ok_or(Rejection::new("who are you?"))?;
///         connect.admission.identity = Some(name.to_owned());
///         next.run(connect).await
///     }))
///     .event_layer(from_fn(|call: Call, next: EventNext| async move {
///         if call.socket.identity() == Some("guest") && call.event.name == "publish" {
///             return Err(Refusal::forbidden("guests only listen"));
///         }
///         next.run(call).await
///     }));
/// ```
pub fn from_fn<F>(middleware: F) -> FromFnLayer<F> {
    FromFnLayer(middleware)
}

/// The layer of a function; see [`from_fn`].
#[derive(Clone)]
pub struct FromFnLayer<F>(F);

impl<F> fmt::Debug for FromFnLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFnLayer")
    }
}

impl<F: Clone, S> Layer<S> for FromFnLayer<F> {
    type Service = FromFn<F, S>;

    fn layer(&self, inner: S) -> Self::Service {
        FromFn {
            middleware: self.0.clone(),
            inner,
        }
    }
}

/// A function with what is behind it.
#[derive(Clone)]
pub struct FromFn<F, S> {
    middleware: F,
    inner: S,
}

impl<F, S> fmt::Debug for FromFn<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F, S, Request, R> Service<Request> for FromFn<F, S>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    F: Fn(Request, Next<Request, S::Response, S::Error>) -> R,
    R: Future<Output = Result<S::Response, S::Error>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // What is behind is asked by `Next::run`, if the function goes on at all.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> R {
        let next = Next(BoxCloneSyncService::new(self.inner.clone()));
        (self.middleware)(request, next)
    }
}

/// Puts a layer around a service; its errors become the service's own.
pub(super) fn wrap<L, Request, Response, Error>(
    layer: &L,
    inner: BoxCloneSyncService<Request, Response, Error>,
) -> BoxCloneSyncService<Request, Response, Error>
where
    L: Layer<BoxCloneSyncService<Request, Response, Error>>,
    L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Error: Into<Error>,
    <L::Service as Service<Request>>::Future: Send + 'static,
    Request: 'static,
    Response: 'static,
    Error: 'static,
{
    BoxCloneSyncService::new(layer.layer(inner).map_err(Into::into))
}
