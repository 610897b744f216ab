//! Questions about the state at its position: member lists, counts, what the log must keep.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdSet;

use super::group::GroupState;
use super::namespace::Namespace;
use super::session::Session;
use super::settings::Settings;
use crate::ids::{GroupId, Incarnation, NodeId, Position, SocketId};

/// Which members to list.
#[derive(Debug, Clone, Copy)]
pub struct MembersQuery<'a> {
    /// Namespace, with its leading slash.
    pub namespace: &'a str,
    /// The room, or `None` for the whole namespace.
    pub room: Option<&'a str>,
    /// Only ids after this one.
    pub after: Option<SocketId>,
    /// At most so many; 0 for the count alone.
    pub limit: usize,
    /// Away ones too.
    pub include_away: bool,
}

/// A page of members, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersPage {
    /// All that the query means, on whatever page.
    pub count: usize,
    /// This page.
    pub members: Vec<Member>,
    /// What to ask the next page `after`, when there is one.
    pub next: Option<SocketId>,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The socket's id.
    pub id: SocketId,
    /// Connected, or away while its resume window runs.
    pub connected: bool,
    /// Leader's wall clock when that began, Unix milliseconds.
    pub since_ms: u64,
    /// Who it is.
    pub identity: Option<Arc<str>>,
    /// JSON, or empty.
    pub data: Bytes,
}

/// A replayable event as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Where it stands.
    pub position: Position,
    /// About as many bytes as its operation has in the log.
    pub bytes: u64,
}

/// How much there is of everything; for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connected sessions.
    pub connected: usize,
    /// Away sessions.
    pub away: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Rooms, those named by socket ids included.
    pub rooms: usize,
    /// Replayable events.
    pub events: usize,
    /// Their bytes, as they are charged.
    pub event_bytes: u64,
    /// Idempotency keys.
    pub keys: usize,
    /// Durable subscribers.
    pub subscribers: usize,
    /// Replayable events that have left retention and are spared for durable subscribers.
    pub spared: usize,
}

impl GroupState {
    /// Covers everything applied: no event at or before it is missing from this state.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.index, u32::MAX)
    }

    /// The log's epoch, once founded.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.founding.as_ref().map(|founding| founding.epoch)
    }

    /// This group, once founded.
    #[must_use]
    pub fn group(&self) -> Option<GroupId> {
        self.founding.as_ref().map(|founding| founding.group)
    }

    /// The group of a bucket, once founded; see [`super::bucket_of`].
    #[must_use]
    pub fn group_of_bucket(&self, bucket: u32) -> Option<GroupId> {
        self.founding.as_ref()?.table.get(bucket as usize).copied()
    }

    /// Configuration in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What all members are known to understand.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// Log time, in microseconds.
    #[must_use]
    pub fn log_time_us(&self) -> u64 {
        self.log_time_us
    }

    /// Log time at which something is due, in microseconds: when nothing is written by then, the
    /// leader writes a tick.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let due = [self.timers.next_due_us(), self.looks.next_due_us()];
        due.into_iter().flatten().min()
    }

    /// A session, connected or away.
    #[must_use]
    pub fn session_by_id(&self, id: &SocketId) -> Option<&Session> {
        self.sessions.get(id).map(AsRef::as_ref)
    }

    /// Registered incarnations with their nodes.
    #[must_use]
    pub fn producer_incarnations(&self) -> Vec<(NodeId, Incarnation)> {
        self.producers
            .values()
            .map(|producer| (producer.node, producer.incarnation))
            .collect()
    }

    /// Connected sessions of an incarnation, by id.
    #[must_use]
    pub fn sessions_of(&self, incarnation: Incarnation) -> Vec<SocketId> {
        let producer = self.producers.get(&incarnation);
        producer.map_or(Vec::new(), |producer| {
            producer.sessions.iter().copied().collect()
        })
    }

    /// Sequence of the last applied batch of a registered incarnation.
    #[must_use]
    pub fn producer_sequence(&self, incarnation: Incarnation) -> Option<u64> {
        self.producers
            .get(&incarnation)
            .map(|producer| producer.sequence)
    }

    /// Connected sessions.
    #[must_use]
    pub fn connected_count(&self) -> usize {
        self.producers
            .values()
            .map(|producer| producer.sessions.len())
            .sum()
    }

    /// Sessions whose resume window runs.
    #[must_use]
    pub fn away_count(&self) -> usize {
        self.sessions.len() - self.connected_count()
    }

    /// How much there is of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            connected: self.connected_count(),
            away: self.away_count(),
            namespaces: self.namespaces.len(),
            ..Counts::default()
        };
        for namespace in self.namespaces.values() {
            counts.rooms += namespace.rooms.len();
            counts.events += namespace.events.len() + namespace.spared.len();
            counts.event_bytes += namespace.bytes + namespace.spared_bytes;
            counts.spared += namespace.spared.len();
            counts.subscribers += namespace.subscribers.by_name.len();
            counts.keys += namespace.keys.len();
        }
        counts
    }

    /// The first entry that holds a replayable payload; the log may purge what is before it. `None`
    /// when there is no such entry.
    #[must_use]
    pub fn first_needed_index(&self) -> Option<u64> {
        let oldest = self
            .namespaces
            .values()
            .filter_map(|namespace| namespace.oldest());
        oldest.map(|position| position.index).min()
    }

    /// What is replayable of the entries of a range, in the order of the log.
    #[must_use]
    pub fn payloads(&self, indexes: RangeInclusive<u64>) -> Vec<Payload> {
        let first = Position::new(*indexes.start(), 0);
        let last = Position::new(*indexes.end(), u32::MAX);
        let mut payloads = Vec::new();
        for namespace in self.namespaces.values() {
            let spared = namespace.spared.range(first..=last);
            let spared = spared.map(|(_, spared)| &spared.event);
            let events = &namespace.events;
            let found = events.binary_search_by(|event| event.position.cmp(&first));
            let from = found.unwrap_or_else(|from| from);
            let kept = (from..events.len()).map_while(|at| events.get(at));
            let kept = kept.take_while(|event| event.position <= last);
            payloads.extend(spared.chain(kept).map(|event| Payload {
                position: event.position,
                bytes: event.logged_bytes(&namespace.name),
            }));
        }
        payloads.sort_unstable_by_key(|payload| payload.position);
        payloads
    }

    /// The entries that hold a replayable payload, in ascending order.
    #[must_use]
    pub fn needed_entries(&self) -> Vec<u64> {
        let positions = self.namespaces.values().flat_map(|namespace| {
            let events = namespace.events.iter().map(|event| &event.position);
            events.chain(namespace.spared.keys())
        });
        let mut needed: Vec<u64> = positions.map(|position| position.index).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The last event of the group that there is or was in any namespace it has.
    #[must_use]
    pub fn last_event(&self) -> Position {
        let last = |namespace: &Arc<Namespace>| namespace.newest().unwrap_or(namespace.floor);
        self.namespaces.values().map(last).max().unwrap_or_default()
    }

    /// The last event of a namespace that has left retention; zero when none is known.
    #[must_use]
    pub fn floor(&self, namespace: &str) -> Position {
        match self.namespaces.get(namespace) {
            Some(namespace) => namespace.floor,
            None => self.forgotten.last_dropped(namespace),
        }
    }

    /// A page of a room's members, by id.
    #[must_use]
    pub fn members(&self, query: &MembersQuery<'_>) -> MembersPage {
        let mut page = MembersPage {
            count: 0,
            members: Vec::new(),
            next: None,
        };
        let Some(ids) = self.member_ids(query.namespace, query.room) else {
            return page;
        };
        let listed = |id: &SocketId| {
            let session = self.sessions.get(id)?;
            (query.include_away || session.is_connected()).then_some(session)
        };
        page.count = if query.include_away {
            ids.len()
        } else {
            ids.iter().filter_map(listed).count()
        };
        if query.limit == 0 {
            return page;
        }
        let start = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        for session in ids.range((start, Bound::Unbounded)).filter_map(listed) {
            if page.members.len() == query.limit {
                page.next = page.members.last().map(|member| member.id);
                break;
            }
            page.members.push(session.as_member());
        }
        page
    }

    /// Connected sockets in any of the rooms (none: in the namespace) and in none of the excepts,
    /// by id.
    #[must_use]
    pub fn connected_members(
        &self,
        namespace: &str,
        rooms: &[impl AsRef<str>],
        except: &[impl AsRef<str>],
    ) -> Vec<SocketId> {
        let meant = self.targets(namespace, rooms, except).into_iter();
        let connected = meant.filter(|session| session.is_connected());
        connected.map(|session| session.id).collect()
    }

    /// Sessions in any of the rooms (none: in the namespace) and in none of the excepts, away ones
    /// too, by id.
    #[must_use]
    pub fn targets(
        &self,
        namespace: &str,
        rooms: &[impl AsRef<str>],
        except: &[impl AsRef<str>],
    ) -> Vec<&Session> {
        let mut found: BTreeSet<SocketId> = BTreeSet::new();
        if rooms.is_empty() {
            found.extend(self.member_ids(namespace, None).into_iter().flatten());
        }
        for room in rooms {
            found.extend(
                self.member_ids(namespace, Some(room.as_ref()))
                    .into_iter()
                    .flatten(),
            );
        }
        let sessions = found.iter().filter_map(|id| self.session_by_id(id));
        let spared = |session: &&Session| except.iter().any(|room| session.is_in(room.as_ref()));
        sessions.filter(|session| !spared(session)).collect()
    }

    /// A page of [`GroupState::targets`]: `limit` of them at most after the id `after`.
    #[must_use]
    pub fn targets_page(
        &self,
        namespace: &str,
        (rooms, except): (&[impl AsRef<str>], &[impl AsRef<str>]),
        after: Option<SocketId>,
        limit: usize,
    ) -> Vec<&Session> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let meant = |id: &SocketId| {
            let session = self.session_by_id(id)?;
            let spared = except.iter().any(|room| session.is_in(room.as_ref()));
            (!spared).then_some(session)
        };
        let everybody = rooms.is_empty().then_some(None);
        let named = rooms.iter().map(|room| Some(room.as_ref()));
        // The page is among the first of each room.
        let mut found: BTreeMap<SocketId, &Session> = BTreeMap::new();
        for room in everybody.into_iter().chain(named) {
            let ids = self.member_ids(namespace, room).into_iter();
            let ids = ids.flat_map(|ids| ids.range((start, Bound::Unbounded)));
            let sessions = ids.filter_map(meant).take(limit);
            found.extend(sessions.map(|session| (session.id, session)));
        }
        found.into_values().take(limit).collect()
    }

    /// Rooms of a namespace that have members, with their counts, in the order of their names; the
    /// sockets' own are left out. At most `limit` after the name `after`.
    #[must_use]
    pub fn rooms(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(Arc<str>, usize)> {
        let Some(namespace) = self.namespaces.get(namespace) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rooms = namespace.rooms.range::<_, str>((start, Bound::Unbounded));
        let shown = rooms.filter(|(_, room)| !room.private && !room.members.is_empty());
        let counted = shown.map(|(name, room)| (Arc::clone(name), room.members.len()));
        counted.take(limit).collect()
    }

    fn member_ids(&self, namespace: &str, room: Option<&str>) -> Option<&OrdSet<SocketId>> {
        let namespace = self.namespaces.get(namespace)?;
        match room {
            None => Some(&namespace.sessions),
            Some(room) => namespace.rooms.get(room).map(|room| &room.members),
        }
    }
}
