//! One open transport: which packets go out, and what each packet that comes in means.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use roomcast_proto::engineio;
use roomcast_proto::socketio::{self, Assembled, Assembler, Limits, Packet};
use tokio::time::Instant;

use crate::connection::heartbeat::Heartbeat;
use crate::event::DisconnectReason;
use crate::options::ClientOptions;
use crate::socket_core::SocketCore;
use crate::transport::{Message, Reader, TransportError, Writer};
use crate::wire;

/// The sockets of a client, in the order in which they were made.
pub(crate) type Sockets = [Arc<SocketCore>];

/// An open transport and what is on its way through it.
pub(crate) struct Live {
    /// What comes in.
    pub(crate) reader: Reader,
    /// What goes out.
    pub(crate) writer: Writer,
    /// When the server counts as gone.
    pub(crate) heartbeat: Heartbeat,
    /// Frozen by the application: neither read nor written any more.
    pub(crate) is_stalled: bool,
    /// Where this transport leads to.
    pub(crate) endpoint: String,
    /// A namespace was granted on it.
    pub(crate) has_connected: bool,
    /// Messages to be written before the next packet of a socket: control packets, and the
    /// rest of a packet with attachments. Bounded by one packet per socket and the pongs.
    writing: VecDeque<Message>,
    /// The socket whose turn it is to send.
    turn: usize,
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
            writer: transport.1,
            heartbeat: Heartbeat::new(open, Instant::now()),
            is_stalled: false,
            endpoint,
            has_connected: false,
            writing: VecDeque::new(),
            turn: 0,
            assembler: Assembler::new(event_bytes_max),
            limits: wire::limits(options.attachments_max),
        }
    }

    /// Queues the CONNECT of every socket that waits for one.
    pub(crate) fn connect_wanted(&mut self, sockets: &Sockets) {
        for socket in sockets {
            if let Some(connect) = socket.take_connect() {
                self.writing.push_back(Message::Text(connect));
            }
        }
    }

    /// Writes all that is queued.
    pub(crate) async fn flush(&mut self, sockets: &Sockets) -> Result<(), TransportError> {
        loop {
            std::future::poll_fn(|cx| self.writer.as_mut().poll_ready(cx)).await?;
            match next_message(&mut self.writing, &mut self.turn, sockets) {
                Some(message) => self.writer.as_mut().start_send(message)?,
                None => return self.writer.flush().await,
            }
        }
    }

    /// Says goodbye on the transport and waits for the server's. Closing a TCP connection with
    /// unread bytes would reset it, and the server might lose our last packets.
    pub(crate) async fn close(&mut self) -> Result<(), TransportError> {
        self.writer.close().await?;
        while let Some(Ok(_)) = self.reader.next().await {}
        Ok(())
    }

    /// Writes what there is to write, waits for the transport, or for the next message.
    /// Completes when the transport failed or the server sent or did something that matters.
    pub(crate) async fn next(&mut self, sockets: &Sockets) -> Incoming {
        let may_read = !self.is_stalled && !sockets.iter().any(|core| core.is_inbox_full());
        let may_write = !self.is_stalled;
        // A ping may be unread while reading is stopped, so the silence proves nothing then. A
        // stalled transport on the other hand is to be found dead, that is its purpose.
        let may_expire = may_read || self.is_stalled;
        let (writer, writing, turn) = (&mut self.writer, &mut self.writing, &mut self.turn);
        tokio::select! { biased;
            Err(error) = std::future::poll_fn(|cx| poll_write(writer, writing, turn, sockets, cx)),
                if may_write => Incoming::Failed(error),
            message = self.reader.next(), if may_read => match message {
                Some(Ok(message)) => Incoming::Message(message),
                Some(Err(error)) => Incoming::Failed(error),
                None => Incoming::Failed(TransportError::Closed { code: None, word: String::new() }),
            },
            () = tokio::time::sleep_until(self.heartbeat.deadline()), if may_expire => {
                Incoming::Silence
            }
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
                        self.writing.push_back(Message::Text(pong));
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
    /// The transport ended.
    Failed(TransportError),
    /// No ping in time.
    Silence,
}

/// Hands messages to the transport for as long as it takes them; a packet leaves its socket's
/// queue only when the transport is ready for it. Ready only with an error.
fn poll_write(
    writer: &mut Writer,
    writing: &mut VecDeque<Message>,
    turn: &mut usize,
    sockets: &Sockets,
    cx: &mut Context<'_>,
) -> Poll<Result<Infallible, TransportError>> {
    loop {
        if let Err(error) = ready!(writer.as_mut().poll_ready(cx)) {
            return Poll::Ready(Err(error));
        }
        let sent = match next_message(writing, turn, sockets) {
            Some(message) => writer.as_mut().start_send(message),
            None => match ready!(writer.as_mut().poll_flush(cx)) {
                // The task is woken when a socket has something new.
                Ok(()) => return Poll::Pending,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = sent {
            return Poll::Ready(Err(error));
        }
    }
}

/// Control packets first, then one packet of each socket in turn.
fn next_message(
    writing: &mut VecDeque<Message>,
    turn: &mut usize,
    sockets: &Sockets,
) -> Option<Message> {
    if let Some(message) = writing.pop_front() {
        return Some(message);
    }
    for _ in sockets {
        let socket = &sockets[*turn % sockets.len()];
        *turn = (*turn + 1) % sockets.len();
        if let Some(packet) = socket.next_packet() {
            writing.extend(packet.attachments.into_iter().map(Message::Binary));
            return Some(Message::Text(packet.text));
        }
    }
    None
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
