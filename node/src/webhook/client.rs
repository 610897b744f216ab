//! Requests to applications: signed, tried again while it helps, and over by a deadline.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::Rng;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::signature::Signer;
use crate::config::WebhooksConfig;
use crate::{limits, metrics};

const USER_AGENT: &str = concat!("roomcast/", env!("CARGO_PKG_VERSION"));
/// The first pause between attempts; each later one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why there is no answer to use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// The application answered with this status, and another attempt would not change it.
    Refused(StatusCode, Bytes),
    /// No attempt was answered by the deadline; the application may have acted on one.
    Failed,
    /// Too many requests are under way: none was made.
    Overloaded,
}

/// Makes the requests of all webhooks of a node.
#[derive(Debug)]
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    signer: Signer,
    timeout: Duration,
    /// One permit per request under way; never closed.
    running: Arc<Semaphore>,
}

impl Client {
    /// # Errors
    /// When an application is reached over TLS and this machine has no root certificates.
    pub(super) fn new(config: &WebhooksConfig) -> std::io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::WEBHOOK_IDLE_TIMEOUT)
            .build(secured(config, connector)?);
        Ok(Self {
            http,
            signer: Signer::new(&config.secrets),
            timeout: config.timeout,
            running: Arc::new(Semaphore::new(limits::WEBHOOKS_RUNNING_MAX)),
        })
    }

    /// Delivers a message of a kind, and takes the answer's body. Every attempt bears the same id.
    pub(super) async fn deliver(
        &self,
        url: &Uri,
        kind: &'static str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Undelivered> {
        let delivered = self.attempts(url, &body, deadline).await;
        let outcome = match &delivered {
            Ok(_) => "answered",
            Err(Undelivered::Refused(..)) => "refused",
            Err(Undelivered::Failed) => "failed",
            Err(Undelivered::Overloaded) => "overloaded",
        };
        metrics::webhooks(kind, outcome).increment(1);
        delivered
    }

    async fn attempts(
        &self,
        url: &Uri,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Undelivered> {
        let id = format!("msg_{:032x}", rand::rng().random::<u128>());
        let mut pause = PAUSE_MIN;
        loop {
            // For one attempt at a time: an application that is down must not starve the others.
            let permit = tokio::time::timeout_at(deadline, self.running.acquire()).await;
            let permit = permit.map_err(|_| Undelivered::Overloaded)?;
            let until = deadline.min(Instant::now() + self.timeout);
            let attempt = tokio::time::timeout_at(until, self.attempt(url, &id, body)).await;
            drop(permit);
            let why = match attempt {
                Ok(Ok((status, answer))) if status.is_success() => return Ok(answer),
                Ok(Ok((status, answer))) if is_final(status) => {
                    return Err(Undelivered::Refused(status, answer));
                }
                Ok(Ok((status, _))) => format!("status {status}"),
                Ok(Err(error)) => error,
                Err(_) => "no answer in time".to_owned(),
            };
            metrics::webhook_retries().increment(1);
            tracing::warn!(%url, why, "a webhook's attempt failed");
            // Spread, so that a restarted application is not met by everybody at once.
            let spread = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            if Instant::now() + spread >= deadline {
                return Err(Undelivered::Failed);
            }
            tokio::time::sleep(spread).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(
        &self,
        url: &Uri,
        id: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        let signed = self.signer.headers(id, unix_seconds(), body);
        request.headers_mut().extend(signed);
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), limits::WEBHOOK_ANSWER_BYTES_MAX);
        let answer = answer.collect().await.map_err(|error| error.to_string())?;
        Ok((status, answer.to_bytes()))
    }
}

/// Whether another attempt would be answered alike: not when the application is overloaded, slow or
/// broken.
fn is_final(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !passing.contains(&status)
}

/// Root certificates are read only when a URL needs them.
fn secured(
    config: &WebhooksConfig,
    connector: HttpConnector,
) -> std::io::Result<HttpsConnector<HttpConnector>> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let provider = rustls::crypto::ring::default_provider();
    let secured = |hook: &crate::config::Webhook| hook.url.scheme_str() == Some("https");
    let builder = if config.hooks.iter().any(secured) {
        builder.with_provider_and_native_roots(provider)?
    } else {
        let roots = rustls::RootCertStore::empty();
        let provided = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        builder.with_tls_config(provided.with_root_certificates(roots).with_no_client_auth())
    };
    Ok(builder
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector))
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// An error with what caused it: the client's own words say only where it was.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
