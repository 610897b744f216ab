//! A small HTTP client for our own ports: operators' commands and readiness probes.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens there, or the name is unknown.
    #[error("{address} does not answer")]
    Connect {
        /// Who was asked.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection ended within the exchange.
    #[error("{address} broke off its answer")]
    Broken {
        /// Who was asked.
        address: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{address} did not answer within {} s", .after.as_secs_f32())]
    Timeout {
        /// Who was asked.
        address: String,
        /// How long it had.
        after: Duration,
    },
}

/// What is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Path and query.
    pub path: &'a str,
    /// With it, a POST of JSON; else a GET.
    pub body: Option<&'a serde_json::Value>,
    /// Who asks.
    pub token: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// A GET of somebody unknown.
    #[must_use]
    pub fn get(path: &'a str) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

/// Asks once.
///
/// # Errors
/// When there is no whole answer within `timeout`; any status is an answer.
pub async fn request(
    address: &str,
    asked: Asked<'_>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), RequestError> {
    match tokio::time::timeout(timeout, exchange(address, asked)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RequestError::Timeout {
            address: address.to_owned(),
            after: timeout,
        }),
    }
}

async fn exchange(
    address: &str,
    Asked { path, body, token }: Asked<'_>,
) -> Result<(StatusCode, Bytes), RequestError> {
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| RequestError::Broken {
        address: address.to_owned(),
        source,
    };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| RequestError::Connect {
            address: address.to_owned(),
            source,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let mut request = Request::builder().uri(path).header(header::HOST, address);
    if body.is_some() {
        request = request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let bytes = body.map_or_else(Bytes::new, |json| Bytes::from(json.to_string()));
    let request = request
        .body(Full::new(bytes))
        .map_err(|error| broken(error.into()))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here, not in a task of its own: it ends with this exchange.
    tokio::pin!(connection, answer);
    let mut driving = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut answer => return outcome.map_err(broken),
            ended = &mut connection, if driving => {
                driving = false;
                if let Err(error) = ended {
                    return Err(broken(error.into()));
                }
            }
        }
    }
}
