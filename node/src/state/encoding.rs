//! How each part of a snapshot is written and read. Values are taken apart in full where they are
//! written, so that a new field cannot be left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Reader, Writer};
use super::effect::{OpResult, Refusal, ResumeRefusal, Verdict};
use super::forgotten::Forgotten;
use super::group::Identity;
use super::keys::{KeyName, KeyRecord, KeyScope};
use super::namespace::EventMeta;
use super::producer::{AppliedBatch, Producer};
use super::session::{ClosedInterval, OpenInterval, Presence, Session};
use super::settings::Settings;
use super::snapshot::SnapshotError;
use super::subscribers::Subscription;
use crate::ids::{Pid, SocketId};

pub(super) fn write_identity(out: &mut Writer, identity: &Identity) {
    out.int(identity.epoch);
    out.int(u64::from(identity.group));
    out.count(identity.table.len());
    identity
        .table
        .iter()
        .for_each(|group| out.int(u64::from(*group)));
}

pub(super) fn read_identity(from: &mut Reader<'_>) -> Result<Identity, SnapshotError> {
    Ok(Identity {
        epoch: from.int()?,
        group: from.int32()?,
        table: from.list(Reader::int32)?.into(),
    })
}

pub(super) fn write_settings(out: &mut Writer, settings: &Settings) {
    let Settings {
        retention_ms,
        retention_min_ms,
        retention_bytes,
        retention_count,
        resume_window_ms,
        key_window_ms,
        keys_max,
        event_bytes_max,
        rooms_per_socket_max,
        room_name_bytes_max,
        lease_ms,
        namespaces_max,
        subscriber_window_ms,
        subscriber_events,
        subscriber_bytes,
        subscribers_max,
        lifecycle_records,
    } = *settings;
    for value in [
        retention_ms,
        retention_bytes,
        retention_count,
        resume_window_ms,
        key_window_ms,
    ] {
        out.int(value);
    }
    for value in [
        keys_max,
        event_bytes_max,
        rooms_per_socket_max,
        room_name_bytes_max,
    ] {
        out.int(u64::from(value));
    }
    out.int(lease_ms);
    out.int(u64::from(namespaces_max));
    out.int(retention_min_ms);
    out.int(subscriber_window_ms);
    out.int(subscriber_events);
    out.int(subscriber_bytes);
    out.int(u64::from(subscribers_max));
    out.int(u64::from(lifecycle_records));
}

/// Settings as format `version` has them.
pub(super) fn read_settings(from: &mut Reader<'_>, version: u8) -> Result<Settings, SnapshotError> {
    let settings = Settings {
        retention_ms: from.int()?,
        retention_bytes: from.int()?,
        retention_count: from.int()?,
        resume_window_ms: from.int()?,
        key_window_ms: from.int()?,
        keys_max: from.int32()?,
        event_bytes_max: from.int32()?,
        rooms_per_socket_max: from.int32()?,
        room_name_bytes_max: from.int32()?,
        lease_ms: from.int()?,
        namespaces_max: match version {
            1 => Settings::DEFAULT.namespaces_max,
            _ => from.int32()?,
        },
        retention_min_ms: match version {
            1 | 2 => Settings::DEFAULT.retention_min_ms,
            _ => from.int()?,
        },
        ..Settings::DEFAULT
    };
    if version < 4 {
        return Ok(settings);
    }
    Ok(Settings {
        subscriber_window_ms: from.int()?,
        subscriber_events: from.int()?,
        subscriber_bytes: from.int()?,
        subscribers_max: from.int32()?,
        lifecycle_records: match version {
            4 => settings.lifecycle_records,
            _ => from.int32()?,
        },
        ..settings
    })
}

pub(super) fn write_producer(out: &mut Writer, producer: &Producer) {
    // `sessions` and `held` follow from the sessions themselves.
    let Producer {
        node,
        incarnation,
        sequence,
        recent,
        sessions: _,
        cursor,
        held: _,
    } = producer;
    out.int(*node);
    out.int(*incarnation);
    out.int(*sequence);
    out.position(*cursor);
    out.count(recent.len());
    for batch in recent {
        let AppliedBatch {
            sequence,
            index,
            op_count,
            notable,
        } = &**batch;
        out.int(*sequence);
        out.int(*index);
        out.int(u64::from(*op_count));
        out.count(notable.len());
        for (op, result) in notable {
            out.int(u64::from(*op));
            write_result(out, result);
        }
    }
}

/// A producer as format `version` has it.
pub(super) fn read_producer(from: &mut Reader<'_>, version: u8) -> Result<Producer, SnapshotError> {
    let mut producer = Producer::new(from.int()?, from.int()?);
    producer.sequence = from.int()?;
    if version > 2 {
        producer.cursor = from.position()?;
    }
    let recent = from.list(|from| {
        Ok(Arc::new(AppliedBatch {
            sequence: from.int()?,
            index: from.int()?,
            op_count: from.int32()?,
            notable: from.list(|from| Ok((from.int32()?, read_result(from, version)?)))?,
        }))
    })?;
    producer.recent = recent.into_iter().collect();
    Ok(producer)
}

fn write_result(out: &mut Writer, result: &OpResult) {
    match result {
        OpResult::Done => out.byte(0),
        OpResult::Duplicate { first } => {
            out.byte(1);
            out.position(*first);
        }
        OpResult::Resume(Verdict::Recovered {
            socket,
            pid,
            generation,
            start,
            rooms,
        }) => {
            out.byte(2);
            out.raw(&socket.0);
            out.option(*pid, |out, pid| out.raw(&pid.0));
            out.int(*generation);
            out.position(*start);
            out.count(rooms.len());
            rooms.iter().for_each(|room| out.text(room));
        }
        OpResult::Resume(Verdict::NotRecovered(reason)) => out.byte(match reason {
            ResumeRefusal::Unknown => 3,
            ResumeRefusal::Expired => 4,
            ResumeRefusal::Dropped => 5,
            ResumeRefusal::OtherIdentity => 6,
            ResumeRefusal::Invalid => 7,
            ResumeRefusal::Limit => 14,
        }),
        OpResult::Refused(refusal) => out.byte(match refusal {
            Refusal::Stale => 8,
            Refusal::KeyReused => 9,
            Refusal::Limit => 10,
            Refusal::TooLarge => 11,
            Refusal::Invalid => 12,
            Refusal::NamespacesFull => 13,
            Refusal::SubscribersFull => 15,
        }),
    }
}

fn read_result(from: &mut Reader<'_>, version: u8) -> Result<OpResult, SnapshotError> {
    let not_recovered = |reason| OpResult::Resume(Verdict::NotRecovered(reason));
    Ok(match from.byte()? {
        0 => OpResult::Done,
        1 => OpResult::Duplicate {
            first: from.position()?,
        },
        2 => OpResult::Resume(Verdict::Recovered {
            socket: SocketId(from.array()?),
            pid: match version {
                1..=3 => None,
                _ => from.option(|from| Ok(Pid(from.array()?)))?,
            },
            generation: from.int()?,
            start: from.position()?,
            rooms: from.list(Reader::text)?,
        }),
        3 => not_recovered(ResumeRefusal::Unknown),
        4 => not_recovered(ResumeRefusal::Expired),
        5 => not_recovered(ResumeRefusal::Dropped),
        6 => not_recovered(ResumeRefusal::OtherIdentity),
        7 => not_recovered(ResumeRefusal::Invalid),
        8 => OpResult::Refused(Refusal::Stale),
        9 => OpResult::Refused(Refusal::KeyReused),
        10 => OpResult::Refused(Refusal::Limit),
        11 => OpResult::Refused(Refusal::TooLarge),
        12 => OpResult::Refused(Refusal::Invalid),
        13 => OpResult::Refused(Refusal::NamespacesFull),
        14 => not_recovered(ResumeRefusal::Limit),
        15 => OpResult::Refused(Refusal::SubscribersFull),
        _ => return Err(SnapshotError::Invalid("operation result")),
    })
}

pub(super) fn write_forgotten(out: &mut Writer, forgotten: &Forgotten) {
    out.position(forgotten.rest());
    out.count(forgotten.len());
    for (position, name) in forgotten.iter() {
        out.position(*position);
        out.text(name);
    }
}

pub(super) fn read_forgotten(from: &mut Reader<'_>) -> Result<Forgotten, SnapshotError> {
    let mut forgotten = Forgotten::starting_at(from.position()?);
    for (position, name) in from.list(|from| Ok((from.position()?, from.text()?)))? {
        forgotten.restore(name, position);
    }
    Ok(forgotten)
}

pub(super) fn write_key(out: &mut Writer, name: &KeyName, record: &KeyRecord) {
    match &name.scope {
        KeyScope::Server => out.byte(0),
        KeyScope::Identity(identity) => {
            out.byte(1);
            out.text(identity);
        }
        KeyScope::Session(id) => {
            out.byte(2);
            out.raw(&id.0);
        }
    }
    out.text(&name.key);
    out.raw(&record.body.to_le_bytes());
    out.position(record.first);
    out.int(record.at_us);
}

pub(super) fn read_key(from: &mut Reader<'_>) -> Result<(KeyName, KeyRecord), SnapshotError> {
    let scope = match from.byte()? {
        0 => KeyScope::Server,
        1 => KeyScope::Identity(from.text()?),
        2 => KeyScope::Session(SocketId(from.array()?)),
        _ => return Err(SnapshotError::Invalid("key scope")),
    };
    let name = KeyName {
        scope,
        key: from.text()?,
    };
    let record = KeyRecord {
        body: u128::from_le_bytes(from.array()?),
        first: from.position()?,
        at_us: from.int()?,
    };
    Ok((name, record))
}

pub(super) fn read_event(
    from: &mut Reader<'_>,
    names: &[Arc<str>],
) -> Result<EventMeta, SnapshotError> {
    Ok(EventMeta {
        position: from.position()?,
        at_us: from.int()?,
        bytes: from.int32()?,
        rooms: from.list(|from| read_room(from, names))?.into(),
    })
}

fn read_room(from: &mut Reader<'_>, names: &[Arc<str>]) -> Result<Arc<str>, SnapshotError> {
    names
        .get(from.count()?)
        .cloned()
        .ok_or(SnapshotError::Invalid("room"))
}

pub(super) fn write_session(out: &mut Writer, session: &Session, numbers: &BTreeMap<&str, usize>) {
    let Session {
        id,
        pid,
        namespace: _,
        identity,
        data,
        recoverable,
        connected_at,
        generation,
        owner,
        presence,
        since_ms,
        cursor,
        held,
        manual,
        subscription,
        open,
        closed,
        lost_through,
    } = session;
    out.raw(&id.0);
    out.option(pid.as_ref(), |out, pid| out.raw(&pid.0));
    out.option(identity.as_ref(), |out, identity| out.text(identity));
    out.bytes(data);
    out.flag(*recoverable);
    out.position(*connected_at);
    out.int(*generation);
    out.int(*owner);
    out.option(
        match presence {
            Presence::Connected => None,
            Presence::Away { expires_us } => Some(*expires_us),
        },
        Writer::int,
    );
    out.int(*since_ms);
    out.position(*cursor);
    out.option(*held, Writer::position);
    out.flag(*manual);
    out.option(subscription.as_deref(), write_subscription);
    out.position(*lost_through);
    out.count(open.len());
    for interval in open {
        out.count(numbers[&*interval.room]);
        out.position(interval.from);
    }
    out.count(closed.len());
    for interval in closed {
        // By name: the room may be gone.
        out.text(&interval.room);
        out.position(interval.from);
        out.position(interval.to);
        out.option(interval.last_inside, Writer::position);
    }
}

fn write_subscription(out: &mut Writer, subscription: &Subscription) {
    // Its bytes follow from the events.
    let Subscription {
        name,
        start,
        spared,
        spared_bytes: _,
    } = subscription;
    out.text(name);
    out.position(*start);
    out.count(spared.len());
    spared.iter().for_each(|at| out.position(*at));
}

fn read_subscription(from: &mut Reader<'_>) -> Result<Subscription, SnapshotError> {
    let mut subscription = Subscription::new(from.text()?, from.position()?);
    subscription.spared = from.list(Reader::position)?.into_iter().collect();
    Ok(subscription)
}

/// A session as format `version` has it.
pub(super) fn read_session(
    from: &mut Reader<'_>,
    version: u8,
    namespace: &Arc<str>,
    names: &[Arc<str>],
) -> Result<Session, SnapshotError> {
    let session = Session {
        id: SocketId(from.array()?),
        pid: from.option(|from| Ok(Pid(from.array()?)))?,
        namespace: Arc::clone(namespace),
        identity: from.option(Reader::text)?,
        data: Bytes::copy_from_slice(from.bytes()?),
        recoverable: from.flag()?,
        connected_at: from.position()?,
        generation: from.int()?,
        owner: from.int()?,
        presence: match from.option(Reader::int)? {
            None => Presence::Connected,
            Some(expires_us) => Presence::Away { expires_us },
        },
        since_ms: from.int()?,
        cursor: from.position()?,
        held: match version {
            1 | 2 => None,
            _ => from.option(Reader::position)?,
        },
        manual: version > 3 && from.flag()?,
        subscription: match version {
            1..=3 => None,
            _ => from.option(read_subscription)?.map(Box::new),
        },
        lost_through: from.position()?,
        open: from.list(|from| {
            Ok(OpenInterval {
                room: read_room(from, names)?,
                from: from.position()?,
            })
        })?,
        closed: from.list(|from| {
            Ok(ClosedInterval {
                room: from.text()?,
                from: from.position()?,
                to: from.position()?,
                last_inside: from.option(Reader::position)?,
            })
        })?,
    };
    let sorted = session
        .open
        .windows(2)
        .all(|pair| pair[0].room < pair[1].room);
    if sorted {
        Ok(session)
    } else {
        Err(SnapshotError::Invalid("membership"))
    }
}
