//! Engine.IO over WebSocket: one packet per frame, binary frames raw. (Engine.IO v4, "WebSocket".)

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};

use crate::endpoint::Endpoint;
use crate::options::ClientOptions;
use crate::transport::{Connector, Message, Reader, TransportError, Writer};

/// The read buffer; the library's default of 128 KiB is zeroed before every read.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// Opens WebSockets.
#[derive(Debug)]
pub(crate) struct WebSocketConnector {
    /// Added to the URL.
    query: Vec<(String, String)>,
    /// Added to the request.
    headers: HeaderMap,
    /// The largest message taken.
    message_bytes_max: usize,
}

impl WebSocketConnector {
    /// Takes what concerns the handshake from the options.
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self {
            query: options.query.clone(),
            headers: options.headers.iter().cloned().collect(),
            message_bytes_max: options.message_bytes_max,
        }
    }
}

impl Connector for WebSocketConnector {
    async fn connect(&self, endpoint: &Endpoint) -> Result<(Reader, Writer), TransportError> {
        let mut request = endpoint
            .handshake_url(&self.query)
            .into_client_request()
            .map_err(transport_error)?;
        request.headers_mut().extend(self.headers.clone());
        let stream = TcpStream::connect(endpoint.authority())
            .await
            .map_err(|error| TransportError::Failed(error.to_string()))?;
        // Events are small and awaited; a stack without the option is slower, not wrong.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        let (socket, _) = client_async_with_config(request, stream, Some(config))
            .await
            .map_err(transport_error)?;
        let (sink, stream) = socket.split();
        let reader = stream.filter_map(|frame| future::ready(received(frame)));
        let writer = sink
            .sink_map_err(transport_error)
            .with(|message| future::ready(frame_of(message)));
        Ok((Box::pin(reader), Box::pin(writer)))
    }
}

/// What a received frame is to us; WebSocket's own pings and pongs are nothing.
fn received(frame: Result<Frame, Error>) -> Option<Result<Message, TransportError>> {
    match frame {
        Ok(Frame::Text(text)) => Some(Ok(Message::Text(text.into()))),
        Ok(Frame::Binary(bytes)) => Some(Ok(Message::Binary(bytes))),
        Ok(Frame::Close(frame)) => {
            let (code, word) = frame.map_or((None, String::new()), |frame| {
                (Some(u16::from(frame.code)), frame.reason.to_string())
            });
            Some(Err(TransportError::Closed { code, word }))
        }
        Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => None,
        Err(error) => Some(Err(transport_error(error))),
    }
}

fn frame_of(message: Message) -> Result<Frame, TransportError> {
    match message {
        Message::Binary(bytes) => Ok(Frame::Binary(bytes)),
        Message::Text(text) => match Utf8Bytes::try_from(text) {
            Ok(text) => Ok(Frame::Text(text)),
            Err(error) => Err(TransportError::Failed(error.to_string())),
        },
    }
}

fn transport_error(error: Error) -> TransportError {
    match error {
        Error::Http(response) => TransportError::Refused {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
        },
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => TransportError::end(),
        error => TransportError::Failed(error.to_string()),
    }
}

/// `Retry-After` in seconds; the form with a date is not ours.
fn retry_after(headers: &HeaderMap<http::HeaderValue>) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn text_that_is_not_utf8_is_not_sent() {
        let message = Message::Text(Bytes::from_static(&[0xff]));
        assert!(frame_of(message).is_err());
    }

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "2".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(2)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        headers.insert(RETRY_AFTER, date.parse().unwrap());
        assert_eq!(retry_after(&headers), None);
    }
}
