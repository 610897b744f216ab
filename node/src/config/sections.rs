//! The `[cluster]` and `[engine]` sections as typed values.

use std::time::Duration;

use roomcast_proto::command;
use roomcast_proto::socketio::Parser;

use super::reader::{Reader, Wrong};

/// Framing around an event within a message: packet type, namespace, target, ack id, quotes.
const FRAMING_BYTES: u64 = 64 << 10;

const DAY: Duration = Duration::from_secs(86_400);

/// What this node proposes for the replicated settings. Apply never reads it (DESIGN, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// How long events are kept, per namespace, in log time.
    pub retention: Duration,
    /// How long events are kept that every session has acknowledged, in log time.
    pub retention_min: Duration,
    /// Bytes of events kept, per namespace.
    pub retention_bytes: u64,
    /// Events kept, per namespace.
    pub retention_count: u64,
    /// How long an away session can be resumed, in log time.
    pub resume_window: Duration,
    /// How long an idempotency key counts, in log time.
    pub key_window: Duration,
    /// Idempotency keys of a namespace; the oldest goes first.
    pub keys_max: u32,
    /// Largest event with its attachments, in bytes; at most 4,000,000 (DESIGN, P11).
    pub event_bytes_max: u32,
    /// Rooms of one socket, its own id's room included.
    pub rooms_per_socket_max: u32,
    /// Longest room name, in bytes; not below 22, since a socket's id is a room.
    pub room_name_bytes_max: u32,
    /// Namespaces of one group that have a session, a kept event or a key.
    pub namespaces_max: u32,
    /// How long a durable subscriber may be away, in log time.
    pub subscriber_window: Duration,
    /// Events kept for one durable subscriber beyond retention.
    pub subscriber_events: u64,
    /// Bytes of those events.
    pub subscriber_bytes: u64,
    /// Durable subscribers of a namespace.
    pub subscribers_max: u32,
    /// Records of what became of sessions that a group keeps.
    pub lifecycle_records: u32,
    /// How long a silent incarnation keeps its sessions (DESIGN, section 4, Leases).
    pub lease: Duration,
}

impl ClusterSettings {
    /// The form that is proposed.
    #[must_use]
    pub fn to_proto(&self) -> command::Settings {
        let ms = |value: Duration| {
            u64::try_from(value.as_millis()).expect("every duration here has an upper bound")
        };
        command::Settings {
            retention_ms: ms(self.retention),
            retention_min_ms: ms(self.retention_min),
            retention_bytes: self.retention_bytes,
            retention_count: self.retention_count,
            resume_window_ms: ms(self.resume_window),
            key_window_ms: ms(self.key_window),
            keys_max: self.keys_max,
            event_bytes_max: self.event_bytes_max,
            rooms_per_socket_max: self.rooms_per_socket_max,
            room_name_bytes_max: self.room_name_bytes_max,
            lease_ms: ms(self.lease),
            namespaces_max: self.namespaces_max,
            subscriber_window_ms: ms(self.subscriber_window),
            subscriber_events: self.subscriber_events,
            subscriber_bytes: self.subscriber_bytes,
            subscribers_max: self.subscribers_max,
            lifecycle_records: Some(self.lifecycle_records),
        }
    }

    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let second = Duration::from_secs(1);
        let retention = reader.duration("retention", second..=365 * DAY);
        let retention_min = reader.duration("retention-min", second..=365 * DAY);
        let retention_bytes = reader.bytes("retention-bytes", 1 << 10..=1 << 40);
        let retention_count = reader.number("retention-count", 1..=100_000_000);
        let resume_window = reader.duration("resume-window", second..=30 * DAY);
        let key_window = reader.duration("key-window", second..=DAY);
        let keys_max = reader.small("keys-max", 1..=10_000_000);
        let event_bytes_max = reader.bytes("event-bytes-max", 1 << 10..=4_000_000);
        let rooms_per_socket_max = reader.small("rooms-per-socket-max", 1..=100_000);
        let room_name_bytes_max = reader.small("room-name-bytes-max", 22..=1_024);
        let namespaces_max = reader.small("namespaces-max", 1..=1_000_000);
        let subscriber_window = reader.duration("subscriber-window", second..=365 * DAY);
        let subscriber_events = reader.number("subscriber-events", 1..=100_000_000);
        let subscriber_bytes = reader.bytes("subscriber-bytes", 1 << 10..=1 << 40);
        let subscribers_max = reader.small("subscribers-max", 1..=100_000);
        let lifecycle_records = reader.small("lifecycle-records", 0..=1_000_000);
        let lease = reader.duration("lease", second..=Duration::from_secs(60));
        Some(Self {
            retention: retention?,
            retention_min: retention_min?,
            retention_bytes: retention_bytes?,
            retention_count: retention_count?,
            resume_window: resume_window?,
            key_window: key_window?,
            keys_max: keys_max?,
            event_bytes_max: u32::try_from(event_bytes_max?).expect("at most 4,000,000"),
            rooms_per_socket_max: rooms_per_socket_max?,
            room_name_bytes_max: room_name_bytes_max?,
            namespaces_max: namespaces_max?,
            subscriber_window: subscriber_window?,
            subscriber_events: subscriber_events?,
            subscriber_bytes: subscriber_bytes?,
            subscribers_max: subscribers_max?,
            lifecycle_records: lifecycle_records?,
            lease: lease?,
        })
    }
}

/// Limits and timings of this node's sessions and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// How all clients of this node speak.
    pub parser: Parser,
    /// From a PONG to the next PING.
    pub ping_interval: Duration,
    /// From a PING to the latest PONG.
    pub ping_timeout: Duration,
    /// Largest message of a client, in bytes; larger closes the connection.
    pub max_payload: usize,
    /// Unsent bytes at which a session counts as a slow consumer.
    pub outbox_bytes_max: usize,
    /// Unsent frames at which a session counts as a slow consumer.
    pub outbox_frames_max: usize,
    /// Sessions of this node; above, a handshake gets 503 and goes elsewhere.
    pub sessions_max: usize,
    /// How long a session may live without joining a namespace.
    pub connect_timeout: Duration,
    /// Sessions closed per second while draining.
    pub drain_pace: u32,
    /// How long draining may take.
    pub drain_timeout: Duration,
}

impl EngineConfig {
    /// `None` after noting what was refused.
    pub(crate) fn read(reader: &mut Reader, event_bytes_max: Option<u32>) -> Option<Self> {
        let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
        let parser = reader.optional("parser", parser);
        let ping_interval = reader.number("ping-interval-ms", 100..=600_000);
        let ping_timeout = reader.number("ping-timeout-ms", 100..=600_000);
        let given = reader.origin("max-payload").is_some();
        let max_payload = match given {
            true => reader.bytes("max-payload", 1 << 10..=16 << 20),
            false => event_bytes_max.map(|bytes| u64::from(bytes) + FRAMING_BYTES),
        };
        let outbox_bytes_max = reader.bytes("outbox-bytes-max", 16 << 10..=1 << 30);
        let outbox_frames_max = reader.count("outbox-frames-max", 16..=1_000_000);
        let sessions_max = reader.count("sessions-max", 1..=10_000_000);
        let connect_timeout = reader.duration("connect-timeout", seconds(1, 600));
        let drain_pace = reader.small("drain-pace", 1..=1_000_000);
        let drain_timeout = reader.duration("drain-timeout", seconds(1, 3_600));
        let size = |bytes: u64| usize::try_from(bytes).expect("at most 1 GiB");
        Some(Self {
            parser: parser?,
            ping_interval: Duration::from_millis(ping_interval?),
            ping_timeout: Duration::from_millis(ping_timeout?),
            max_payload: size(max_payload?),
            outbox_bytes_max: size(outbox_bytes_max?),
            outbox_frames_max: outbox_frames_max?,
            sessions_max: sessions_max?,
            connect_timeout: connect_timeout?,
            drain_pace: drain_pace?,
            drain_timeout: drain_timeout?,
        })
    }
}

fn parser(text: &str) -> Result<Parser, Wrong> {
    let named = |parser: &Parser| parser.name() == text;
    match Parser::ALL.into_iter().find(named) {
        Some(parser) => Ok(parser),
        None => Err((
            format!("`{text}` is no parser"),
            "json or msgpack".to_owned(),
        )),
    }
}
