//! What a follower of a namespace has not been told: its events and what became of its sessions,
//! merged by position, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::GroupState;
use super::namespace::{EventMeta, Namespace};
use super::records::{LifecycleKind, LifecycleRecord};
use crate::ids::{Position, SocketId};

/// What to tell.
#[derive(Debug, Clone, Copy)]
pub struct FollowQuery<'a> {
    /// Namespace, with its leading slash.
    pub namespace: &'a str,
    /// Only what concerns these rooms; none: the whole namespace.
    pub rooms: &'a [String],
    /// Events that can be replayed.
    pub events: bool,
    /// What became of sessions.
    pub lifecycle: bool,
    /// Things of either kind on one page.
    pub limit: usize,
    /// Bytes of its events, as retention charges them, beyond the first one.
    pub bytes_max: u64,
}

/// How far a follower has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowCursor {
    /// All events up to here, and all records but those of this position that are `record` or
    /// later.
    pub after: Position,
    /// The number of the next record.
    record: u64,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowItem {
    /// The event that stands here in the log.
    Event(Position),
    /// What became of a session.
    Record(Arc<LifecycleRecord>),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowPage {
    /// Something behind the cursor is not kept any more; what is behind this position is.
    Gap(Position),
    /// All there is behind the cursor, or the first part of it.
    Told {
        /// In the log's order.
        items: Vec<FollowItem>,
        /// What has been told then.
        next: FollowCursor,
        /// More will be told of the last item's position.
        is_split: bool,
    },
}

/// Up to how many there may be, and where the last one stands if there are more.
struct Cut<T> {
    items: Vec<T>,
    through: Option<Position>,
}

impl FollowItem {
    /// Where it stands in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Event(position) => *position,
            Self::Record(record) => record.position,
        }
    }
}

impl GroupState {
    /// Where a follower stands that has been told everything up to a position.
    #[must_use]
    pub fn follow_cursor(&self, after: Position) -> FollowCursor {
        let records = &self.records;
        let index = match after < records.complete_after {
            // It has missed the last one that is not kept, at least.
            true => None,
            false => Some(self.records_through(after)),
        };
        let record = index.map_or(records.dropped.saturating_sub(1), |index| {
            records.dropped + index as u64
        });
        FollowCursor { after, record }
    }

    /// What comes behind the cursor.
    #[must_use]
    pub fn follow_page(&self, query: &FollowQuery<'_>, cursor: FollowCursor) -> FollowPage {
        let complete_after = self.complete_after(query, cursor);
        if complete_after > cursor.after || cursor.record < self.records.dropped && query.lifecycle
        {
            return FollowPage::Gap(complete_after.max(cursor.after));
        }
        let events = self.events_behind(query, cursor.after);
        let records = self.records_behind(query, cursor.record);
        let ends = [events.through, records.through];
        let through = ends.into_iter().flatten().min();
        let through = through.unwrap_or(self.position());
        let mut items: Vec<FollowItem> = events.items.into_iter().map(FollowItem::Event).collect();
        let mut next = self.records.dropped + self.records_through(through) as u64;
        let mut is_split = false;
        if records.through == Some(through)
            && let Some((extra, record)) = records.items.last()
        {
            // The last one is one too many.
            is_split = record.position == through;
            next = next.min(*extra);
        }
        for (number, record) in records.items {
            if number < next {
                items.push(FollowItem::Record(record));
            }
        }
        items.retain(|item| item.position() <= through);
        items.sort_by_key(FollowItem::position);
        FollowPage::Told {
            items,
            next: FollowCursor {
                after: through,
                record: next,
            },
            is_split,
        }
    }

    /// Of the kept records, how many stand at or before a position.
    fn records_through(&self, position: Position) -> usize {
        let found = self.records.kept.binary_search_by(|record| {
            // Never equal: to behind the last one of the position.
            record
                .position
                .cmp(&position)
                .then(std::cmp::Ordering::Less)
        });
        found.unwrap_or_else(|index| index)
    }

    /// Nothing that the query means is missing behind this position.
    fn complete_after(&self, query: &FollowQuery<'_>, cursor: FollowCursor) -> Position {
        let mut complete_after = Position::ZERO;
        if query.events {
            let namespace = self.namespaces.get(query.namespace);
            let dropped = |room: &String| match namespace {
                Some(namespace) => namespace.last_dropped(room),
                None => self.floor(query.namespace),
            };
            complete_after = match query.rooms {
                [] => self.floor(query.namespace),
                rooms => rooms.iter().map(dropped).max().unwrap_or_default(),
            };
        }
        if query.lifecycle && cursor.record < self.records.dropped {
            complete_after = complete_after.max(self.records.complete_after);
        }
        complete_after
    }

    fn events_behind(&self, query: &FollowQuery<'_>, after: Position) -> Cut<Position> {
        let mut cut = Cut {
            items: Vec::new(),
            through: None,
        };
        let namespace = self.namespaces.get(query.namespace);
        let Some(namespace) = namespace.filter(|_| query.events) else {
            return cut;
        };
        let mut bytes = 0;
        for event in namespace.events_behind(query, after) {
            bytes += u64::from(event.bytes);
            let is_full = cut.items.len() == query.limit || bytes > query.bytes_max;
            if is_full && !cut.items.is_empty() {
                cut.through = cut.items.last().copied();
                break;
            }
            cut.items.push(event.position);
        }
        cut
    }

    /// With their numbers; one more than the limit if there are more.
    fn records_behind(
        &self,
        query: &FollowQuery<'_>,
        next: u64,
    ) -> Cut<(u64, Arc<LifecycleRecord>)> {
        let mut items = Vec::new();
        if query.lifecycle {
            let first = next.saturating_sub(self.records.dropped);
            let first = usize::try_from(first).unwrap_or(usize::MAX);
            items = match query.rooms {
                [] => self.records_of_namespace(query, first),
                rooms => self.records_of_rooms(query, rooms, first),
            };
        }
        let through = match items.len() > query.limit {
            true => items[..query.limit]
                .last()
                .map(|(_, record)| record.position),
            false => None,
        };
        Cut { items, through }
    }

    fn records_of_namespace(
        &self,
        query: &FollowQuery<'_>,
        first: usize,
    ) -> Vec<(u64, Arc<LifecycleRecord>)> {
        let count = self.records.kept.len();
        let records = (first..count).map(|index| (index as u64, &self.records.kept[index]));
        let meant = records.filter(|(_, record)| *record.namespace == *query.namespace);
        let meant = meant.map(|(index, record)| (self.records.dropped + index, Arc::clone(record)));
        meant.take(query.limit + 1).collect()
    }

    /// What concerns rooms: from the end on, where the state knows who is in them, back to the
    /// first.
    fn records_of_rooms(
        &self,
        query: &FollowQuery<'_>,
        rooms: &[String],
        first: usize,
    ) -> Vec<(u64, Arc<LifecycleRecord>)> {
        let rooms: BTreeSet<&str> = rooms.iter().map(String::as_str).collect();
        let own: BTreeSet<SocketId> = rooms.iter().filter_map(|r| SocketId::parse(r)).collect();
        let mut changed: BTreeMap<SocketId, BTreeMap<&str, bool>> = BTreeMap::new();
        let mut meant = Vec::new();
        for index in (first..self.records.kept.len()).rev() {
            let record = &self.records.kept[index];
            if *record.namespace != *query.namespace {
                continue;
            }
            let concerns = match &record.kind {
                LifecycleKind::Joined { room } | LifecycleKind::Left { room } => {
                    let room = rooms.get(&**room);
                    if let Some(room) = room {
                        let was_in = matches!(record.kind, LifecycleKind::Left { .. });
                        changed
                            .entry(record.socket)
                            .or_default()
                            .insert(room, was_in);
                    }
                    room.is_some()
                }
                LifecycleKind::Away | LifecycleKind::Back | LifecycleKind::Updated => {
                    let session = self.sessions.get(&record.socket);
                    let later = changed.get(&record.socket);
                    rooms.iter().any(|room| {
                        let was_in = later.and_then(|later| later.get(room));
                        let is_in = || session.is_some_and(|session| session.is_in(room));
                        was_in.copied().unwrap_or_else(is_in)
                    })
                }
                _ => false,
            };
            if concerns || own.contains(&record.socket) {
                meant.push((self.records.dropped + index as u64, Arc::clone(record)));
            }
        }
        meant.reverse();
        meant.truncate(query.limit + 1);
        meant
    }
}

impl Namespace {
    /// Events of the whole namespace, or those that were published to one of the rooms.
    fn events_behind(
        &self,
        query: &FollowQuery<'_>,
        after: Position,
    ) -> Box<dyn Iterator<Item = &EventMeta> + '_> {
        if query.rooms.is_empty() {
            let found = self
                .events
                .binary_search_by(|event| event.position.cmp(&after));
            let first = found.map_or_else(|index| index, |index| index + 1);
            let count = self.events.len();
            return Box::new((first..count).filter_map(|index| self.events.get(index)));
        }
        let mut positions = BTreeSet::new();
        for room in query
            .rooms
            .iter()
            .filter_map(|room| self.rooms.get(&**room))
        {
            let first = room.track.index_after(after);
            let end = first.saturating_add(query.limit + 1).min(room.track.len());
            positions.extend((first..end).filter_map(|index| room.track.get(index)));
        }
        Box::new(positions.into_iter().filter_map(|at| self.event(at)))
    }

    /// A replayable event.
    fn event(&self, position: Position) -> Option<&EventMeta> {
        let found = self
            .events
            .binary_search_by(|event| event.position.cmp(&position));
        match found {
            Ok(index) => self.events.get(index),
            Err(_) => self.spared.get(&position).map(|spared| &spared.event),
        }
    }
}
