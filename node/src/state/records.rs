//! What became of sessions, in the log's order, as far back as it is kept (DESIGN, section 4). It
//! cannot be read from the log afterwards: one entry detaches or expires thousands of sessions. So
//! apply writes a record where it makes the effect.
//!
//! One list per group, oldest first, of which the oldest go: by number, by bytes, and by age as
//! events do. What one entry has written stays whole until the next one, and no entry drops more
//! than it writes and a few beside that: a storm costs memory for a moment, not a stop, and who
//! follows at its end misses nothing of it. How far the list is complete is known, so that nobody
//! takes it for whole when it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;

use super::codec::{Reader, Writer};
use super::group::GroupState;
use super::session::Session;
use super::settings::Settings;
use super::snapshot::SnapshotError;
use crate::ids::{Position, SocketId};

/// Records that an entry drops beside as many as it writes. Part of the format.
const DROPPED_MAX: usize = 1_024;
/// Bytes of a group's records; beyond, the oldest go. Part of the format: identities and data of
/// sessions that ended are kept by nothing else.
const BYTES_MAX: u64 = 64 << 20;
/// What a record is charged beside its identity, data and room. Part of the format.
const RECORD_BYTES: usize = 160;

/// What became of a session at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRecord {
    /// Where it stands in the log; several may stand at one position.
    pub position: Position,
    /// Log time, in microseconds.
    pub at_us: u64,
    /// What happened.
    pub kind: LifecycleKind,
    /// Whose session.
    pub socket: SocketId,
    /// Its namespace, with the leading slash.
    pub namespace: Arc<str>,
    /// Who it is.
    pub identity: Option<Arc<str>>,
    /// Its data then: JSON, or empty.
    pub data: Bytes,
}

/// What happened to a session. Each has one `Connected` and one of `Disconnected` and `Expired`,
/// and each membership one `Joined` and one `Left`, but for the room of its own id; `Away` and
/// `Back` take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleKind {
    /// It is new.
    Connected,
    /// It is a member of the room from here on.
    Joined {
        /// The room.
        room: Arc<str>,
    },
    /// It is no member any more; when it ends, of each of its rooms.
    Left {
        /// The room.
        room: Arc<str>,
    },
    /// Its connection is gone, and its resume window runs.
    Away,
    /// It was away and has resumed.
    Back,
    /// It has ended.
    Disconnected {
        /// Why.
        reason: Arc<str>,
    },
    /// It has ended because its resume window ran out.
    Expired,
    /// It has other data.
    Updated,
}

/// The records of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Ordered by position.
    pub(super) kept: Vector<Arc<LifecycleRecord>>,
    /// How many there were before those; the number of the first of them.
    pub(super) dropped: u64,
    /// Every record behind this position is kept.
    pub(super) complete_after: Position,
    /// What the kept ones are charged.
    bytes: u64,
    /// Written by the present entry; empty between entries.
    fresh: Vec<LifecycleRecord>,
    /// What those are charged.
    fresh_bytes: u64,
    /// Records of the present entry that are not kept, and the last of their positions: none are
    /// then, of this entry and before.
    skipped: Option<(u64, Position)>,
}

impl LifecycleKind {
    /// The room or reason that belongs to it.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Joined { room } | Self::Left { room } => Some(room),
            Self::Disconnected { reason } => Some(reason),
            _ => None,
        }
    }

    /// Part of the format.
    fn number(&self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Joined { .. } => 1,
            Self::Left { .. } => 2,
            Self::Away => 3,
            Self::Back => 4,
            Self::Disconnected { .. } => 5,
            Self::Expired => 6,
            Self::Updated => 7,
        }
    }
}

impl LifecycleRecord {
    fn bytes(&self) -> u64 {
        let name = self.kind.name().map_or(0, str::len);
        let identity = self.identity.as_ref().map_or(0, |identity| identity.len());
        (RECORD_BYTES + name + identity + self.data.len()) as u64
    }
}

impl Records {
    /// None; what there was up to `position` is unknown, and counts as one.
    pub(super) fn starting_at(position: Position) -> Self {
        Self {
            dropped: 1,
            complete_after: position,
            ..Self::default()
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        while self.drop_oldest() {}
    }

    /// Appends a record of a later position, or of the same.
    pub(super) fn push(&mut self, record: LifecycleRecord) {
        self.bytes += record.bytes();
        self.kept.push_back(Arc::new(record));
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(record) = self.kept.pop_front() else {
            return false;
        };
        self.dropped += 1;
        self.complete_after = self.complete_after.max(record.position);
        self.bytes -= record.bytes();
        true
    }

    /// One of the present entry; more than may be kept at all are not even gathered, for a storm
    /// happens on all replicas at once.
    fn note(&mut self, record: LifecycleRecord, settings: &Settings) {
        if self.skipped.is_none()
            && settings.lifecycle_records > 0
            && self.fresh_bytes + record.bytes() <= BYTES_MAX
        {
            self.fresh_bytes += record.bytes();
            return self.fresh.push(record);
        }
        let (count, through) = self.skipped.unwrap_or((0, Position::ZERO));
        let mut skipped = (count + 1, through.max(record.position));
        self.fresh_bytes = 0;
        for gathered in std::mem::take(&mut self.fresh) {
            skipped = (skipped.0 + 1, skipped.1.max(gathered.position));
        }
        self.skipped = Some(skipped);
    }

    /// The end of an entry: what it wrote is filed by position, and what is beyond the limits goes.
    fn settle(&mut self, settings: &Settings, log_time_us: u64) {
        if let Some((count, through)) = self.skipped.take() {
            self.clear();
            self.dropped += count;
            self.complete_after = self.complete_after.max(through);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        // What a timer ends stands at the end of its entry, though it comes first.
        fresh.sort_by_key(|record| record.position);
        // Of the group as a whole, whatever some of its namespaces keep.
        let age_max_us = settings.retention_ms.saturating_mul(1000);
        let count_max = settings.lifecycle_records as usize;
        let fresh_bytes = std::mem::take(&mut self.fresh_bytes);
        for _ in 0..fresh.len() + DROPPED_MAX {
            let Some(oldest) = self.kept.front() else {
                break;
            };
            let is_old = oldest.at_us.saturating_add(age_max_us) <= log_time_us;
            let are_many = self.kept.len() + fresh.len() > count_max;
            if !is_old && !are_many && self.bytes + fresh_bytes <= BYTES_MAX {
                break;
            }
            self.drop_oldest();
        }
        for record in fresh {
            self.push(record);
        }
    }
}

impl Records {
    /// For snapshots: each text and each data once, then the records.
    pub(super) fn write(&self, out: &mut Writer) {
        let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut data: BTreeMap<&[u8], usize> = BTreeMap::new();
        for record in &self.kept {
            texts.insert(&record.namespace, 0);
            texts.extend(record.identity.as_deref().map(|identity| (identity, 0)));
            texts.extend(record.kind.name().map(|name| (name, 0)));
            data.insert(&record.data, 0);
        }
        out.count(texts.len());
        for (number, (text, place)) in texts.iter_mut().enumerate() {
            *place = number;
            out.text(text);
        }
        out.count(data.len());
        for (number, (bytes, place)) in data.iter_mut().enumerate() {
            *place = number;
            out.bytes(bytes);
        }
        out.int(self.dropped);
        out.position(self.complete_after);
        out.count(self.kept.len());
        for record in &self.kept {
            let LifecycleRecord {
                position,
                at_us,
                kind,
                socket,
                namespace,
                identity,
                data: bytes,
            } = &**record;
            out.position(*position);
            out.int(*at_us);
            out.raw(&socket.0);
            out.count(texts[&**namespace]);
            out.option(identity.as_deref(), |out, identity| {
                out.count(texts[identity]);
            });
            out.count(data[&**bytes]);
            out.byte(kind.number());
            if let Some(name) = kind.name() {
                out.count(texts[name]);
            }
        }
    }

    /// What [`Self::write`] wrote.
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let texts = from.list(Reader::text)?;
        let data = from.list(|from| Ok(Bytes::copy_from_slice(from.bytes()?)))?;
        let text = |from: &mut Reader<'_>| {
            let found = texts.get(from.count()?).cloned();
            found.ok_or(SnapshotError::Invalid("record's text"))
        };
        let mut records = Self {
            dropped: from.int()?,
            complete_after: from.position()?,
            ..Self::default()
        };
        let mut last = records.complete_after;
        for _ in 0..from.count()? {
            let (position, at_us) = (from.position()?, from.int()?);
            if position < std::mem::replace(&mut last, position) {
                return Err(SnapshotError::Invalid("record's position"));
            }
            let record = LifecycleRecord {
                position,
                at_us,
                socket: SocketId(from.array()?),
                namespace: text(from)?,
                identity: from.option(text)?,
                data: match data.get(from.count()?) {
                    Some(data) => data.clone(),
                    None => return Err(SnapshotError::Invalid("record's data")),
                },
                kind: match from.byte()? {
                    0 => LifecycleKind::Connected,
                    1 => LifecycleKind::Joined { room: text(from)? },
                    2 => LifecycleKind::Left { room: text(from)? },
                    3 => LifecycleKind::Away,
                    4 => LifecycleKind::Back,
                    5 => LifecycleKind::Disconnected {
                        reason: text(from)?,
                    },
                    6 => LifecycleKind::Expired,
                    7 => LifecycleKind::Updated,
                    _ => return Err(SnapshotError::Invalid("record's kind")),
                },
            };
            records.push(record);
        }
        Ok(records)
    }
}

impl GroupState {
    /// Lifecycle records that are kept.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.records.kept.len()
    }

    /// Writes down what becomes of a session here.
    pub(super) fn note(&mut self, position: Position, session: &Session, kind: LifecycleKind) {
        let record = LifecycleRecord {
            position,
            at_us: self.log_time_us,
            kind,
            socket: session.id,
            namespace: Arc::clone(&session.namespace),
            identity: session.identity.clone(),
            data: session.data.clone(),
        };
        self.records.note(record, &self.settings);
    }

    /// The same, of a session that the state has.
    pub(super) fn note_of(&mut self, position: Position, socket: &SocketId, kind: LifecycleKind) {
        if let Some(session) = self.sessions.get(socket).cloned() {
            self.note(position, &session, kind);
        }
    }

    /// A membership begins for each of the rooms, but for that of the session's own id.
    pub(super) fn note_joined(
        &mut self,
        position: Position,
        session: &Session,
        rooms: &[Arc<str>],
    ) {
        for room in shared(session, rooms) {
            self.note(position, session, LifecycleKind::Joined { room });
        }
    }

    /// The same with its end.
    pub(super) fn note_left(&mut self, position: Position, session: &Session, rooms: &[Arc<str>]) {
        for room in shared(session, rooms) {
            self.note(position, session, LifecycleKind::Left { room });
        }
    }

    /// The last thing that an entry does.
    pub(super) fn settle_records(&mut self) {
        self.records.settle(&self.settings, self.log_time_us);
    }
}

/// Rooms but the one that is named by the session's id.
fn shared(session: &Session, rooms: &[Arc<str>]) -> impl Iterator<Item = Arc<str>> {
    let own = session.id.to_string();
    let shared = rooms.iter().filter(move |room| ***room != *own);
    shared.cloned().collect::<Vec<_>>().into_iter()
}
