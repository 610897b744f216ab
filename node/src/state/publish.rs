//! Publish: limits, idempotency, then the event at its position.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_proto::command;

use super::effect::{AckRequest, Effect, Event, OpResult, Refusal};
use super::group::{GroupState, Moment};
use super::keys::{KeyName, KeyRecord, KeyScope, body_digest};
use super::namespace::{EventMeta, Namespace};
use super::operations::distinct;
use crate::ids::Position;

/// Rooms and excepts that one publish may name. Every replica keeps a track for each room of each
/// event, so names cost more than the bytes of the event. Part of the format.
pub(super) const TARGETS_MAX: usize = 1_000;
/// What retention charges for an event beside its payload and names: its place in the state and the
/// frame of its operation in the log. Part of the format.
const EVENT_BYTES: u64 = 64;
/// What it charges for each room and except beside the name's own bytes, which stand in the log: a
/// place in the event's list and one in the room's track. Part of the format.
const NAME_BYTES: u64 = 32;
/// What the operation of an event has in the log beside its payload and names.
const LOGGED_BYTES: u64 = 24;
/// What a name has before its bytes there.
const TAG_BYTES: u64 = 3;
/// Longest idempotency key in bytes: every replica keeps many. Part of the format.
const KEY_BYTES_MAX: usize = 256;

impl GroupState {
    pub(super) fn publish(
        &mut self,
        moment: Moment,
        publish: command::Publish,
        effects: &mut Vec<Effect>,
    ) -> Result<OpResult, Refusal> {
        let scope = self.check_publisher(moment, &publish)?;
        if payload_bytes(&publish) > u64::from(self.settings.event_bytes_max) {
            return Err(Refusal::TooLarge);
        }
        self.check_targets(&publish)?;
        self.check_namespace_count(&publish.namespace)?;

        let settings = self.settings.clone();
        let at_us = self.log_time_us;
        let position = moment.position;
        let namespace = self.namespace_mut(&publish.namespace);
        if let Some(key) = &publish.key {
            let name = KeyName {
                scope,
                key: Arc::from(key.as_str()),
            };
            let record = KeyRecord {
                body: body_digest(&publish),
                first: position,
                at_us,
            };
            if let Some(first) = remember_key(namespace, name, record, settings.keys_max)? {
                return Ok(OpResult::Duplicate { first });
            }
        }
        let name = Arc::clone(&namespace.name);
        let rooms = distinct(&publish.rooms, |_| true);
        let rooms: Vec<Arc<str>> = rooms
            .into_iter()
            .map(|room| namespace.intern(room))
            .collect();
        let except = distinct(&publish.except, |_| true);
        let except: Vec<Arc<str>> = except
            .into_iter()
            .map(|room| namespace.intern(room))
            .collect();
        if publish.request.is_none() {
            let names = rooms.iter().chain(&except);
            let bytes = payload_bytes(&publish) + charge(names);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let rooms: Arc<[Arc<str>]> = rooms.clone().into();
            namespace.record(
                EventMeta {
                    position,
                    at_us,
                    bytes,
                    rooms,
                },
                &settings,
            );
        }
        self.settle(&name);
        let request = publish.request.map(|number| AckRequest {
            number,
            incarnation: moment.incarnation,
            expected: self.connected_members(&name, &rooms, &except).into(),
        });
        effects.push(Effect::Published(Arc::new(Event {
            position,
            namespace: name,
            rooms,
            except,
            event: publish.event,
            attachments: publish.attachments,
            wall_ms: moment.wall_ms,
            request,
        })));
        Ok(OpResult::Done)
    }

    fn check_targets(&self, publish: &command::Publish) -> Result<(), Refusal> {
        self.check_names(&publish.rooms)?;
        self.check_names(&publish.except)?;
        let key_bytes = publish.key.as_ref().map_or(0, String::len);
        let names = publish.rooms.len() + publish.except.len();
        if key_bytes > KEY_BYTES_MAX || names > TARGETS_MAX {
            return Err(Refusal::Limit);
        }
        Ok(())
    }

    /// Who publishes: an owned socket of this namespace, or the server itself.
    fn check_publisher(
        &self,
        moment: Moment,
        publish: &command::Publish,
    ) -> Result<KeyScope, Refusal> {
        if !publish.namespace.starts_with('/') {
            return Err(Refusal::Invalid);
        }
        if publish.socket.is_none() {
            return Ok(KeyScope::Server);
        }
        let session = self.owned(moment, publish.socket.as_ref())?;
        if *session.namespace != *publish.namespace {
            return Err(Refusal::Invalid);
        }
        Ok(match &session.identity {
            Some(identity) => KeyScope::Identity(Arc::clone(identity)),
            None => KeyScope::Session(session.id),
        })
    }
}

impl EventMeta {
    /// About as many bytes as its operation has in the log. Never less than half of what an entry
    /// of it alone has there, or archives that hold nothing else would be written anew for ever.
    pub(super) fn logged_bytes(&self, namespace: &str) -> u64 {
        let charged = EVENT_BYTES + NAME_BYTES * self.rooms.len() as u64;
        let bytes = u64::from(self.bytes).saturating_sub(charged);
        let tags = TAG_BYTES * self.rooms.len() as u64;
        bytes + LOGGED_BYTES + tags + namespace.len() as u64
    }
}

/// Bytes of the event itself, which `event_bytes_max` limits.
fn payload_bytes(publish: &command::Publish) -> u64 {
    let attachments = publish.attachments.iter().map(Bytes::len);
    (publish.event.len() + attachments.sum::<usize>()) as u64
}

/// What an event with these names takes beside its payload.
fn charge<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> u64 {
    let names = names.map(|name| NAME_BYTES + name.len() as u64);
    EVENT_BYTES + names.sum::<u64>()
}

/// Remembers a new key. `Some`: it was known for the same body, which stands there.
fn remember_key(
    namespace: &mut Namespace,
    name: KeyName,
    record: KeyRecord,
    keys_max: u32,
) -> Result<Option<Position>, Refusal> {
    match namespace.keys.get(&name) {
        Some(known) if known.body == record.body => Ok(Some(known.first)),
        Some(_) => Err(Refusal::KeyReused),
        None => {
            namespace.keys.insert(name, record, keys_max);
            Ok(None)
        }
    }
}
