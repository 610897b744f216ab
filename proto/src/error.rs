//! [`DecodeError`]: one variant per way a peer can be wrong. It never quotes what the peer sent
//! beyond a type digit or a reserved name, so that it can be logged without leaking payloads.

/// Why bytes from a peer are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A packet without even its type.
    #[error("empty packet")]
    Empty,
    /// Text that is not UTF-8.
    #[error("text is not utf-8")]
    NotUtf8,

    /// Engine.IO: the first byte is no packet type.
    #[error("unknown engine.io packet type {0:#04x}")]
    UnknownEngineType(u8),
    /// Engine.IO: close, upgrade and noop carry nothing.
    #[error("engine.io packet of this type carries no data")]
    UnexpectedData,
    /// Engine.IO: a `b` packet that is not padded standard base64.
    #[error("binary packet is not base64")]
    Base64,
    /// Engine.IO: the open packet's JSON is not the five members.
    #[error("open packet is malformed")]
    OpenPacket,
    /// Engine.IO: a polling payload with more packets than allowed.
    #[error("payload has more than {max} packets")]
    TooManyPackets {
        /// The limit.
        max: usize,
    },

    /// Socket.IO: the first byte is no packet type.
    #[error("unknown socket.io packet type {0:#04x}")]
    UnknownPacketType(u8),
    /// Socket.IO: a binary packet without `<count>-`.
    #[error("attachment count is malformed")]
    AttachmentCount,
    /// Socket.IO: a binary packet that announces more attachments than allowed.
    #[error("more than {max} attachments")]
    TooManyAttachments {
        /// The limit.
        max: usize,
    },
    /// Socket.IO: a namespace without leading slash, or with a comma or control character.
    #[error("namespace is malformed")]
    Namespace,
    /// Socket.IO: a namespace longer than allowed.
    #[error("namespace is longer than {max} bytes")]
    NamespaceTooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// Socket.IO: an ack id that does not fit 64 bits.
    #[error("ack id is too large")]
    IdOverflow,
    /// Socket.IO: an ACK without the id that it answers.
    #[error("ack without an id")]
    IdMissing,
    /// Socket.IO: an id on a packet that cannot have one.
    #[error("packet of this type has no id")]
    IdUnexpected,
    /// Socket.IO: EVENT, ACK and CONNECT_ERROR need a payload.
    #[error("payload is missing")]
    PayloadMissing,
    /// Socket.IO: DISCONNECT has none.
    #[error("packet of this type has no payload")]
    PayloadUnexpected,
    /// Socket.IO: JSON of another kind than the packet's type asks for.
    #[error("payload is not {expected}")]
    PayloadKind {
        /// What the type asks for.
        expected: &'static str,
    },
    /// JSON that is not well formed, or something after its end.
    #[error("malformed json at line {line}, column {column}")]
    Json {
        /// Line within the JSON text, from 1.
        line: usize,
        /// Column within that line, from 1.
        column: usize,
    },
    /// JSON nested deeper than allowed.
    #[error("json is nested deeper than {max}")]
    TooDeep {
        /// The limit, in arrays and objects around a value.
        max: usize,
    },
    /// Socket.IO: an event whose first element is neither a string nor a number.
    #[error("event name is not a string or a number")]
    EventName,
    /// Socket.IO: an event name that clients and servers keep for themselves.
    #[error("event name {0} is reserved")]
    ReservedEventName(&'static str),
    /// An array with more elements than an event may have.
    #[error("more than {max} arguments")]
    TooManyArguments {
        /// The limit.
        max: usize,
    },
    /// Socket.IO: text while attachments of an earlier packet are still due.
    #[error("text packet while attachments are due")]
    TextAmidAttachments,
    /// Socket.IO: a binary message that no packet announced.
    #[error("binary message without a packet that announced it")]
    BinaryUnexpected,
    /// Socket.IO: a placeholder for an attachment that does not exist.
    #[error("placeholder without its attachment")]
    Placeholder,

    /// Socket.IO over msgpack: a text message.
    #[error("text message where packets are binary")]
    TextUnexpected,
    /// msgpack that ends too early, too late, or is none.
    #[error("malformed msgpack at byte {at}")]
    Msgpack {
        /// Place in the message, from 0.
        at: usize,
    },
    /// msgpack that has no JSON: an unknown extension, or a member's name that is no string or
    /// integer.
    #[error("msgpack value without a json form")]
    MsgpackValue,
    /// Socket.IO over msgpack: a field of the packet's map is missing, of the wrong kind, or there
    /// twice.
    #[error("packet field {0} is missing or malformed")]
    PacketField(&'static str),

    /// An offset that is not the canonical `<epoch>.<index>.<op>`.
    #[error("offset is malformed")]
    Offset,
}
