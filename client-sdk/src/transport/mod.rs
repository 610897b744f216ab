//! What carries Engine.IO packets: two halves of messages, whatever is underneath.
//!
//! The connection task knows this trait only, so polling or a simulated network can take the
//! place of [`websocket`]. A transport never reconnects and knows nothing of Socket.IO.

pub(crate) mod websocket;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};

use crate::endpoint::Endpoint;

/// One message of the transport: an Engine.IO text packet, or the bytes of a binary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A text packet, type character included.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// Why a transport could not be opened, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    /// The server closed it.
    #[error("closed by the server ({code:?} {word})")]
    Closed {
        /// The close code, if a close frame was received.
        code: Option<u16>,
        /// Its reason.
        word: String,
    },
    /// The server answered the handshake with an HTTP error.
    #[error("refused with http status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// Its `Retry-After`, if in seconds.
        retry_after: Option<Duration>,
    },
    /// The network or the peer's framing failed.
    #[error("{0}")]
    Failed(String),
}

impl TransportError {
    /// The end without a close frame.
    pub(crate) fn end() -> Self {
        Self::Closed {
            code: None,
            word: String::new(),
        }
    }
}

/// The receiving half. Its end is a close without a close frame.
pub(crate) type Reader = Pin<Box<dyn Stream<Item = Result<Message, TransportError>> + Send>>;
/// The sending half. Closing it says goodbye; dropping both halves does not.
pub(crate) type Writer = Pin<Box<dyn Sink<Message, Error = TransportError> + Send>>;

/// Opens transports.
pub(crate) trait Connector: Send + Sync + 'static {
    /// Opens one to `endpoint`, up to and without the Engine.IO open packet.
    fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<(Reader, Writer), TransportError>> + Send;
}
