//! The parser: how packets are laid out in messages. Both sides of a connection must use the same
//! one, and nothing on the wire says which. (Socket.IO documentation, "Custom parser".)

use bytes::Bytes;

use crate::engineio::Messages;
use crate::error::DecodeError;
use crate::socketio::binary::{Assembled, Assembler};
use crate::socketio::decode::{Limits, decode};
use crate::socketio::encode;
use crate::socketio::msgpack;

/// The parsers that Roomcast knows. What they carry is the same: JSON with placeholders, and
/// attachments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parser {
    /// What clients use unless they are told otherwise: text, and a binary message per attachment.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`: one binary message, which holds the attachments.
    Msgpack,
}

/// An event on its way to a client.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// A checked JSON array: the name, then the arguments.
    pub data: &'a [u8],
    /// Becomes the last argument; see [`encode::event`].
    pub offset: Option<&'a str>,
    /// Present when an ack is wanted.
    pub id: Option<u64>,
    /// What the placeholders in `data` stand for.
    pub attachments: &'a [Bytes],
}

impl Parser {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Msgpack];

    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }

    /// An event.
    #[must_use]
    pub fn event(self, event: &Outgoing<'_>) -> Messages {
        match self {
            Self::Json => Messages {
                text: encode::event(
                    event.namespace,
                    event.data,
                    event.offset,
                    event.id,
                    event.attachments.len(),
                ),
                binary: event.attachments.to_vec(),
            },
            Self::Msgpack => binary(msgpack::encode::event(event)),
        }
    }

    /// The answer to event `id`: a checked JSON array, and what its placeholders stand for.
    #[must_use]
    pub fn ack(self, namespace: &str, id: u64, data: &[u8], attachments: &[Bytes]) -> Messages {
        match self {
            Self::Json => Messages {
                text: encode::ack(namespace, id, data, attachments.len()),
                binary: attachments.to_vec(),
            },
            Self::Msgpack => binary(msgpack::encode::ack(namespace, id, data, attachments)),
        }
    }

    /// The server's CONNECT; see [`encode::connect`].
    #[must_use]
    pub fn connect(
        self,
        namespace: &str,
        sid: &str,
        pid: Option<&str>,
        resume_json: Option<&[u8]>,
    ) -> Messages {
        match self {
            Self::Json => encode::connect(namespace, sid, pid, resume_json).into(),
            Self::Msgpack => binary(msgpack::encode::connect(namespace, sid, pid, resume_json)),
        }
    }

    /// CONNECT_ERROR; see [`encode::connect_error`].
    #[must_use]
    pub fn connect_error(
        self,
        namespace: &str,
        message: &str,
        data_json: Option<&[u8]>,
    ) -> Messages {
        match self {
            Self::Json => encode::connect_error(namespace, message, data_json).into(),
            Self::Msgpack => binary(msgpack::encode::connect_error(
                namespace, message, data_json,
            )),
        }
    }

    /// DISCONNECT; see [`encode::disconnect`].
    #[must_use]
    pub fn disconnect(self, namespace: &str) -> Messages {
        match self {
            Self::Json => encode::disconnect(namespace).into(),
            Self::Msgpack => binary(msgpack::encode::disconnect(namespace)),
        }
    }
}

fn binary(message: Bytes) -> Messages {
    Messages {
        text: Bytes::new(),
        binary: vec![message],
    }
}

/// Makes packets of one connection's messages.
#[derive(Debug)]
pub struct Decoder {
    parser: Parser,
    limits: Limits,
    event_bytes_max: usize,
    /// Where a text packet waits for its attachments.
    assembler: Assembler,
}

impl Decoder {
    /// The parser of the connection.
    #[must_use]
    pub const fn parser(&self) -> Parser {
        self.parser
    }

    /// The message whose attachments are due and those that came, to go on with another decoder:
    /// given to it in the same order they make the same state. `None` when there is none, or when
    /// what came was too large and is not kept.
    #[must_use]
    pub fn partial(&self) -> Option<Messages> {
        let (packet, attachments) = self.assembler.partial()?;
        let packet = encode::packet(packet);
        Some(Messages {
            // Without Engine.IO's type.
            text: packet.slice(packet.len().min(1)..),
            binary: attachments.to_vec(),
        })
    }

    /// For one connection. `event_bytes_max` bounds payload and attachments of a packet together.
    #[must_use]
    pub fn new(parser: Parser, limits: Limits, event_bytes_max: usize) -> Self {
        Self {
            parser,
            limits,
            event_bytes_max,
            assembler: Assembler::new(event_bytes_max),
        }
    }

    /// Takes the content of a text message; yields a packet unless attachments are due.
    ///
    /// # Errors
    /// Any [`DecodeError`] that is named for Socket.IO. The reference closes the connection on all.
    pub fn text(&mut self, message: Bytes) -> Result<Option<Assembled>, DecodeError> {
        match self.parser {
            Parser::Json => self.assembler.text(decode(message, &self.limits)?),
            Parser::Msgpack => Err(DecodeError::TextUnexpected),
        }
    }

    /// Takes a binary message; yields a packet unless more attachments are due.
    ///
    /// # Errors
    /// As [`Decoder::text`].
    pub fn binary(&mut self, message: Bytes) -> Result<Option<Assembled>, DecodeError> {
        match self.parser {
            Parser::Json => self.assembler.binary(message),
            Parser::Msgpack => {
                msgpack::decode::decode(&message, &self.limits, self.event_bytes_max).map(Some)
            }
        }
    }

    /// True while attachments are due.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.assembler.is_pending()
    }
}
