//! One open transport: which packets go out, and what each packet that comes in means.

use bytes::Bytes;
use futures_util::StreamExt;
use roomcast_proto::engineio;
use roomcast_proto::socketio::{self, Assembled, Assembler, Limits, Packet};
use tokio::time::Instant;

use crate::connection::heartbeat::Heartbeat;
use crate::connection::writing::{Sockets, Writing};
use crate::event::DisconnectReason;
use crate::options::ClientOptions;
use crate::transport::{Message, Reader, TransportError, Writer};
use crate::wire;

/// An open transport and what is on its way through it.
pub(crate) struct Live {
    /// What comes in.
    pub(crate) reader: Reader,
    /// What goes out.
    pub(crate) writing: Writing,
    /// When the server counts as gone.
    pub(crate) heartbeat: Heartbeat,
    /// Frozen by the application: neither read nor written any more.
    pub(crate) is_stalled: bool,
    /// Where this transport leads to.
    pub(crate) endpoint: String,
    /// A namespace was granted on it.
    pub(crate) has_connected: bool,
    /// Puts packets and their attachments together.
    assembler: Assembler,
    /// What is taken from the server.
    limits: Limits,
}

impl Live {
    /// Takes over a transport whose open packet was read.
    pub(crate) fn new(
        transport: (Reader, Writer),
        open: &engineio::OpenPacket,
        endpoint: String,
        options: &ClientOptions,
    ) -> Self {
        let event_bytes_max = options.message_bytes_max.saturating_mul(2);
        Self {
            reader: transport.0,
            writing: Writing::new(transport.1),
            heartbeat: Heartbeat::new(open, Instant::now()),
            is_stalled: false,
            endpoint,
            has_connected: false,
            assembler: Assembler::new(event_bytes_max),
            limits: wire::limits(options.attachments_max),
        }
    }

    /// Queues the CONNECT of every socket that waits for one.
    pub(crate) fn connect_wanted(&mut self, sockets: &Sockets) {
        for socket in sockets {
            if let Some(connect) = socket.take_connect() {
                self.writing.push(connect);
            }
        }
    }

    /// Writes all that is queued.
    pub(crate) async fn flush(&mut self, sockets: &Sockets) -> Result<(), TransportError> {
        self.writing.flush(sockets).await
    }

    /// Says goodbye on the transport and waits for the server's. Closing a TCP connection with
    /// unread bytes would reset it, and the server might lose our last packets.
    pub(crate) async fn close(&mut self) -> Result<(), TransportError> {
        self.writing.close().await?;
        while let Some(Ok(_)) = self.reader.next().await {}
        Ok(())
    }

    /// Writes what there is to write, waits for the transport, or for the next message.
    /// Completes when the transport failed or the server sent or did something that matters.
    pub(crate) async fn next(&mut self, sockets: &Sockets) -> Incoming {
        let is_behind = self.writing.is_behind();
        let is_inbox_full = sockets.iter().any(|core| core.is_inbox_full());
        let may_read = !self.is_stalled && !is_behind && !is_inbox_full;
        let may_write = !self.is_stalled;
        // A ping may be unread while reading is stopped, so the silence proves nothing then. A
        // stalled transport on the other hand is to be found dead, that is its purpose.
        let may_expire = may_read || self.is_stalled;
        let deadline = self.heartbeat.deadline();
        let write = async {
            match self.writing.flush(sockets).await {
                Ok(()) if is_behind => Incoming::Written,
                Ok(()) => std::future::pending().await,
                Err(error) => Incoming::Failed(error),
            }
        };
        tokio::select! { biased;
            incoming = write, if may_write => incoming,
            message = self.reader.next(), if may_read => match message {
                Some(Ok(message)) => Incoming::Message(message),
                Some(Err(error)) => Incoming::Failed(error),
                None => Incoming::Failed(TransportError::end()),
            },
            () = tokio::time::sleep_until(deadline), if may_expire => Incoming::Silence,
        }
    }

    /// Takes one message. An error ends the transport.
    pub(crate) fn receive(
        &mut self,
        message: Message,
        sockets: &Sockets,
    ) -> Result<(), DisconnectReason> {
        let assembled = match message {
            Message::Binary(bytes) => self.assembler.binary(bytes).map_err(parse_error)?,
            Message::Text(text) => {
                match engineio::Packet::decode_text(text).map_err(parse_error)? {
                    engineio::Packet::Message(text) => self.receive_text(text)?,
                    engineio::Packet::Binary(bytes) => {
                        self.assembler.binary(bytes).map_err(parse_error)?
                    }
                    engineio::Packet::Ping(data) => {
                        self.heartbeat.ping(Instant::now());
                        let pong = engineio::Packet::Pong(data).encode_text();
                        self.writing.push(pong);
                        None
                    }
                    engineio::Packet::Noop => None,
                    engineio::Packet::Close => {
                        return Err(DisconnectReason::TransportClose {
                            code: None,
                            word: String::new(),
                        });
                    }
                    engineio::Packet::Open(_)
                    | engineio::Packet::Pong(_)
                    | engineio::Packet::Upgrade => {
                        return Err(parse_error("packet that a server does not send here"));
                    }
                }
            }
        };
        match assembled {
            None => Ok(()),
            Some(Assembled::Whole {
                packet,
                attachments,
            }) => self.route(packet, attachments, sockets),
            Some(Assembled::TooLarge { bytes, .. }) => {
                Err(parse_error(format!("packet of {bytes} bytes")))
            }
        }
    }

    fn receive_text(&mut self, text: Bytes) -> Result<Option<Assembled>, DisconnectReason> {
        let packet = socketio::decode(text, &self.limits).map_err(parse_error)?;
        self.assembler.text(packet).map_err(parse_error)
    }

    /// Gives a whole packet to its socket; one for a namespace without a socket is of no concern.
    fn route(
        &mut self,
        packet: Packet,
        attachments: Vec<Bytes>,
        sockets: &Sockets,
    ) -> Result<(), DisconnectReason> {
        let namespace = packet.namespace();
        let Some(socket) = sockets.iter().find(|core| core.namespace() == namespace) else {
            tracing::debug!(%namespace, "packet for a namespace without a socket");
            return Ok(());
        };
        let taken = match packet {
            Packet::Connect { auth, .. } => {
                self.has_connected = true;
                socket.on_connect(auth.as_deref(), &self.endpoint)
            }
            Packet::Disconnect { .. } => {
                socket.on_server_disconnect();
                Ok(())
            }
            Packet::Event { id, data, .. } => socket.on_event(id, &data, attachments),
            Packet::Ack { id, data, .. } => socket.on_ack(id, &data, attachments),
            Packet::ConnectError { data, .. } => socket.on_connect_error(&data),
        };
        taken.map_err(parse_error)
    }
}

/// What ended a wait on a transport.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message.
    Message(Message),
    /// Everything was written, while reading had stopped for that.
    Written,
    /// The transport ended.
    Failed(TransportError),
    /// No ping in time.
    Silence,
}

/// The one place where a peer's mistake becomes a reason.
fn parse_error(error: impl ToString) -> DisconnectReason {
    DisconnectReason::ParseError(error.to_string())
}

impl From<TransportError> for DisconnectReason {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Closed { code, word } => Self::TransportClose { code, word },
            error => Self::TransportError(error.to_string()),
        }
    }
}
