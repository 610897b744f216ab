//! Replicated configuration: everything that apply depends on besides the log's entries. A node's
//! own flags are never read here; they are proposed as a `Configure` (DESIGN, section 4).

use std::ops::RangeInclusive;

use roomcast_proto::command;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The settings in force in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long an event stays replayable, in milliseconds of log time.
    pub retention_ms: u64,
    /// How long an event stays replayable even when every session has acknowledged it, in
    /// milliseconds of log time: what arrived may not have been handled, and histories show it. No
    /// limit waits for it.
    pub retention_min_ms: u64,
    /// Bytes of replayable events per namespace: payloads, names of rooms and excepts, overhead.
    pub retention_bytes: u64,
    /// Replayable events per namespace.
    pub retention_count: u64,
    /// How long a session may be away before it ends, in milliseconds of log time.
    pub resume_window_ms: u64,
    /// How long an idempotency key is remembered, in milliseconds of log time.
    pub key_window_ms: u64,
    /// Idempotency keys remembered per namespace; the oldest goes first.
    pub keys_max: u32,
    /// Largest event, with its attachments (P11: 4 MB at most).
    pub event_bytes_max: u32,
    /// Rooms one socket may be in, not counting the one named by its id.
    pub rooms_per_socket_max: u32,
    /// Longest room name.
    pub room_name_bytes_max: u32,
    /// Lease of a producer, in milliseconds; apply only carries it, the leader measures it.
    pub lease_ms: u64,
    /// Namespaces that may exist at once in the group: those with a session, a replayable event or
    /// a key. Clients choose names, so their number must have an end.
    pub namespaces_max: u32,
    /// How long a durable subscriber may be away before it ends, in milliseconds of log time.
    pub subscriber_window_ms: u64,
    /// Events kept for one durable subscriber beyond the retention of its namespace; with one more
    /// it ends.
    pub subscriber_events: u64,
    /// Bytes of those events, as retention charges them; same policy.
    pub subscriber_bytes: u64,
    /// Durable subscribers of a namespace; one more is refused.
    pub subscribers_max: u32,
    /// What became of sessions: records kept of it in the group, the oldest go first; 0: none.
    pub lifecycle_records: u32,
}

impl Settings {
    /// What a cluster is founded with when nothing else is asked for (DESIGN, sections 1 and 7).
    pub const DEFAULT: Self = Self {
        retention_ms: 10 * 60 * 1000,
        retention_min_ms: 2 * 60 * 1000,
        retention_bytes: 256 << 20,
        retention_count: 1_000_000,
        resume_window_ms: 2 * 60 * 1000,
        key_window_ms: 5 * 60 * 1000,
        keys_max: 100_000,
        event_bytes_max: 1_000_000,
        rooms_per_socket_max: 1_000,
        room_name_bytes_max: 1_024,
        lease_ms: 5_000,
        namespaces_max: 10_000,
        subscriber_window_ms: 7 * DAY_MS,
        subscriber_events: 10_000,
        subscriber_bytes: 64 << 20,
        subscribers_max: 1_000,
        lifecycle_records: 50_000,
    };

    /// These settings with the proposed ones put in, value by value. A zero or absurd value keeps
    /// the present one: every replica must survive whatever was committed.
    #[must_use]
    pub fn with(self, proposed: &command::Settings) -> Self {
        Self {
            retention_ms: pick(self.retention_ms, proposed.retention_ms, 1..=366 * DAY_MS),
            retention_min_ms: pick(
                self.retention_min_ms,
                proposed.retention_min_ms,
                1..=366 * DAY_MS,
            ),
            retention_bytes: pick(self.retention_bytes, proposed.retention_bytes, 1..=1 << 50),
            retention_count: pick(self.retention_count, proposed.retention_count, 1..=1 << 32),
            resume_window_ms: pick(
                self.resume_window_ms,
                proposed.resume_window_ms,
                1..=366 * DAY_MS,
            ),
            key_window_ms: pick(self.key_window_ms, proposed.key_window_ms, 1..=366 * DAY_MS),
            keys_max: pick(self.keys_max, proposed.keys_max, 1..=10_000_000),
            event_bytes_max: pick(self.event_bytes_max, proposed.event_bytes_max, 1..=4 << 20),
            rooms_per_socket_max: pick(
                self.rooms_per_socket_max,
                proposed.rooms_per_socket_max,
                1..=100_000,
            ),
            room_name_bytes_max: pick(
                self.room_name_bytes_max,
                proposed.room_name_bytes_max,
                1..=65_536,
            ),
            lease_ms: pick(self.lease_ms, proposed.lease_ms, 1..=DAY_MS),
            namespaces_max: pick(self.namespaces_max, proposed.namespaces_max, 1..=1_000_000),
            ..self.with_subscribers(proposed)
        }
    }

    fn with_subscribers(self, proposed: &command::Settings) -> Self {
        Self {
            subscriber_window_ms: pick(
                self.subscriber_window_ms,
                proposed.subscriber_window_ms,
                1..=366 * DAY_MS,
            ),
            subscriber_events: pick(
                self.subscriber_events,
                proposed.subscriber_events,
                1..=1 << 32,
            ),
            subscriber_bytes: pick(
                self.subscriber_bytes,
                proposed.subscriber_bytes,
                1..=1 << 50,
            ),
            subscribers_max: pick(self.subscribers_max, proposed.subscribers_max, 1..=100_000),
            lifecycle_records: match proposed.lifecycle_records {
                None => self.lifecycle_records,
                Some(count) => pick(self.lifecycle_records, count, 0..=1_000_000),
            },
            ..self
        }
    }

    /// As a command carries them.
    #[must_use]
    pub fn to_command(self) -> command::Settings {
        command::Settings {
            retention_ms: self.retention_ms,
            retention_min_ms: self.retention_min_ms,
            retention_bytes: self.retention_bytes,
            retention_count: self.retention_count,
            resume_window_ms: self.resume_window_ms,
            key_window_ms: self.key_window_ms,
            keys_max: self.keys_max,
            event_bytes_max: self.event_bytes_max,
            rooms_per_socket_max: self.rooms_per_socket_max,
            room_name_bytes_max: self.room_name_bytes_max,
            lease_ms: self.lease_ms,
            namespaces_max: self.namespaces_max,
            subscriber_window_ms: self.subscriber_window_ms,
            subscriber_events: self.subscriber_events,
            subscriber_bytes: self.subscriber_bytes,
            subscribers_max: self.subscribers_max,
            lifecycle_records: Some(self.lifecycle_records),
        }
    }

    /// Microseconds of log time that an event is kept.
    pub(super) fn retention_us(&self) -> u64 {
        self.retention_ms.saturating_mul(1000)
    }

    /// Microseconds of log time that an event is kept although every session has it.
    pub(super) fn retention_min_us(&self) -> u64 {
        self.retention_min_ms.saturating_mul(1000)
    }

    /// Microseconds of log time that a session may be away.
    pub(super) fn resume_window_us(&self) -> u64 {
        self.resume_window_ms.saturating_mul(1000)
    }

    /// Microseconds of log time that a durable subscriber may be away.
    pub(super) fn subscriber_window_us(&self) -> u64 {
        self.subscriber_window_ms.saturating_mul(1000)
    }

    /// Microseconds of log time that a key is remembered.
    pub(super) fn key_window_us(&self) -> u64 {
        self.key_window_ms.saturating_mul(1000)
    }
}

fn pick<T: PartialOrd>(present: T, proposed: T, sensible: RangeInclusive<T>) -> T {
    if sensible.contains(&proposed) {
        proposed
    } else {
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_absurd_values_keep_the_present_ones() {
        let proposed = command::Settings {
            retention_ms: 5,
            event_bytes_max: u32::MAX,
            ..command::Settings::default()
        };
        let accepted = Settings::DEFAULT.with(&proposed);
        assert_eq!(
            accepted,
            Settings {
                retention_ms: 5,
                ..Settings::DEFAULT
            }
        );
    }

    #[test]
    fn defaults_survive_their_own_command() {
        let other = Settings::DEFAULT.with(&command::Settings {
            keys_max: 7,
            ..Default::default()
        });
        assert_eq!(
            other.with(&Settings::DEFAULT.to_command()),
            Settings::DEFAULT
        );
    }
}
