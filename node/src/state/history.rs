//! History of a room: a page of its replayable events (DESIGN, section 7, `history`).

use super::group::GroupState;
use super::room::Track;
use crate::ids::Position;

/// Where a page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryFrom {
    /// With the oldest event that there is.
    Oldest,
    /// With the first event after this position.
    After(Position),
    /// With the last so many events, or with the first one that is later than the last dropped one
    /// of the room: earlier ones may be spared for a durable subscriber, beyond a hole.
    Last(usize),
}

/// A page of a room's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Where the events stand, oldest first.
    pub positions: Vec<Position>,
    /// False if and only if an event of this room later than the asked start has been dropped (for
    /// `Last`: if one of the last so many has been).
    pub complete: bool,
    /// True when the limit cut the page.
    pub more: bool,
    /// Where the next page or a live view starts.
    pub through: Position,
}

impl GroupState {
    /// At most `limit` events of a room. A room that never was is an empty, complete page.
    #[must_use]
    pub fn room_events(
        &self,
        namespace: &str,
        room: &str,
        from: HistoryFrom,
        limit: usize,
    ) -> HistoryPage {
        let found = self.namespaces.get(namespace);
        let last_dropped = match found {
            Some(namespace) => namespace.last_dropped(room),
            None => self.forgotten.last_dropped(namespace),
        };
        let track = found
            .and_then(|namespace| namespace.rooms.get(room))
            .map(|room| &room.track);
        let count = track.map_or(0, |track| track.len());
        let after = match from {
            HistoryFrom::Oldest => Position::ZERO,
            HistoryFrom::After(after) => after,
            HistoryFrom::Last(_) => last_dropped,
        };
        let complete = match from {
            HistoryFrom::Last(wanted) => {
                let later = |track: &Track| count - track.index_after(last_dropped);
                wanted <= track.map_or(0, later) || last_dropped == Position::ZERO
            }
            HistoryFrom::Oldest | HistoryFrom::After(_) => last_dropped <= after,
        };
        let first = match from {
            HistoryFrom::Last(wanted) => {
                let later = track.map_or(0, |track| track.index_after(last_dropped));
                later.max(count.saturating_sub(wanted))
            }
            _ => track.map_or(0, |track| track.index_after(after)),
        };
        let end = count.min(first.saturating_add(limit));
        let positions: Vec<Position> = track.map_or(Vec::new(), |track| {
            (first..end).filter_map(|i| track.get(i)).collect()
        });
        let more = end < count;
        let through = if more {
            let before = || track?.get(first.checked_sub(1)?);
            positions
                .last()
                .copied()
                .or_else(before)
                .unwrap_or(after)
                .max(after)
        } else {
            self.position().max(after)
        };
        HistoryPage {
            positions,
            complete,
            more,
            through,
        }
    }
}
