//! One HTTP request on a connection of its own: health, readiness, status, metrics, long-polling.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request that takes longer has failed: a paused node accepts and never answers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or it broke.
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    /// The answer was not HTTP.
    #[error("http failed")]
    Protocol(#[from] hyper::Error),
    /// The request could not be built.
    #[error("bad request")]
    Request(#[from] hyper::http::Error),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Status code and body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The whole body, lossily as text.
    pub body: String,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
}

/// GET.
///
/// # Errors
/// When there is no answer.
pub async fn get(addr: SocketAddr, path: &str) -> Result<Answer, HttpError> {
    get_within(addr, path, REQUEST_TIMEOUT).await
}

/// GET of something that lets its client wait.
///
/// # Errors
/// When there is no answer in time.
pub async fn get_within(
    addr: SocketAddr,
    path: &str,
    within: Duration,
) -> Result<Answer, HttpError> {
    let request = Request::get(path).body(Full::default())?;
    send(addr, request, within).await
}

/// POST with a JSON body.
///
/// # Errors
/// When there is no answer.
pub async fn post(addr: SocketAddr, path: &str, body: &str) -> Result<Answer, HttpError> {
    post_as(addr, path, "application/json", body).await
}

/// POST with a body of the type that is given.
///
/// # Errors
/// When there is no answer.
pub async fn post_as(
    addr: SocketAddr,
    path: &str,
    content_type: &str,
    body: &str,
) -> Result<Answer, HttpError> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::post(path)
        .header("content-type", content_type)
        .body(body)?;
    send(addr, request, REQUEST_TIMEOUT).await
}

async fn send(
    addr: SocketAddr,
    request: Request<Full<Bytes>>,
    within: Duration,
) -> Result<Answer, HttpError> {
    timeout(within, exchange(addr, request))
        .await
        .map_err(|_| HttpError::Timeout)?
}

async fn exchange(
    addr: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let host = HeaderValue::from_str(&addr.to_string()).map_err(hyper::http::Error::from)?;
    request.headers_mut().insert(HOST, host);
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(ToOwned::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            retry_after,
        })
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// Sum of all samples of a metric whose labels contain every one of `labels` (`name="value"`).
#[must_use]
pub fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
        let matches =
            series_name == name && labels.iter().all(|label| series_labels.contains(label));
        matches.then(|| value.parse::<f64>().ok()).flatten()
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_series_that_match() {
        let text = "# HELP a_total x\na_total{r=\"x\",n=\"1\"} 2\na_total{r=\"x\"} 3\n\
                    a_total{r=\"y\"} 5\na_totals 7\nb 1.5\n";
        assert_eq!(metric(text, "a_total", &["r=\"x\""]), 5.0);
        assert_eq!(metric(text, "a_total", &[]), 10.0);
        assert_eq!(metric(text, "b", &[]), 1.5);
        assert_eq!(metric(text, "c", &[]), 0.0);
    }
}
