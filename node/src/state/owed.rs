//! What a session is owed: the positions that a replay reads from the log.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::group::GroupState;
use super::namespace::Namespace;
use super::room::Track;
use super::session::Session;
use crate::ids::{Position, SocketId};

/// A page of what a session is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Replayable events in its rooms at their positions, ascending, each once. Excepts are for the
    /// reader to judge, see [`GroupState::is_excepted`].
    pub positions: Vec<Position>,
    /// Everything owed up to here is in `positions` (or was before): where the next page starts.
    pub through: Position,
    /// An event owed after `after` has been dropped: replaying would leave a hole. The transport is
    /// to be closed, and the resume that follows says `dropped`.
    pub lost: bool,
}

/// Part of a track that lies within one membership.
#[derive(Debug)]
struct Run<'a> {
    track: &'a Track,
    index: usize,
    to: Option<Position>,
}

impl Run<'_> {
    fn peek(&self) -> Option<Position> {
        let position = self.track.get(self.index)?;
        self.to.is_none_or(|to| position < to).then_some(position)
    }
}

impl GroupState {
    /// At most `limit` positions after `after` that the session is owed. `None` when the generation
    /// is not the session's present one or the session is away: then this reader delivers nothing
    /// more.
    #[must_use]
    pub fn owed(
        &self,
        socket: &SocketId,
        generation: u64,
        after: Position,
        limit: usize,
    ) -> Option<Owed> {
        let session = self.sessions.get(socket)?;
        if session.generation != generation || !session.is_connected() {
            return None;
        }
        let namespace = self.namespaces.get(&session.namespace)?;
        let mut owed = merge(session, namespace, after, limit);
        if owed.positions.len() < limit {
            owed.through = self.position().max(after);
        }
        owed.lost = self.has_lost(session, namespace, after);
        Some(owed)
    }

    /// True when the session was in one of these rooms at the position of a replayable event.
    #[must_use]
    pub fn is_excepted(
        &self,
        socket: &SocketId,
        except: &[impl AsRef<str>],
        position: Position,
    ) -> bool {
        let Some(session) = self.sessions.get(socket) else {
            return false;
        };
        except
            .iter()
            .any(|room| session.was_in(room.as_ref(), position))
    }
}

fn merge(session: &Session, namespace: &Namespace, after: Position, limit: usize) -> Owed {
    let after = after.max(session.connected_at);
    let mut runs: Vec<Run<'_>> = Vec::with_capacity(1 + session.open.len());
    let mut run = |track, from: Position, to| {
        let run = Run {
            track,
            index: Track::index_after(track, after.max(from)),
            to,
        };
        if run.peek().is_some() {
            runs.push(run);
        }
    };
    run(&namespace.everyone, session.connected_at, None);
    for interval in &session.open {
        if let Some(room) = namespace.rooms.get(&interval.room) {
            run(&room.track, interval.from, None);
        }
    }
    for interval in session.closed.iter().filter(|interval| interval.to > after) {
        if let Some(room) = namespace.rooms.get(&interval.room) {
            run(&room.track, interval.from, Some(interval.to));
        }
    }
    let heads = runs.iter().enumerate();
    let mut heap: BinaryHeap<Reverse<(Position, usize)>> = heads
        .filter_map(|(i, run)| Some(Reverse((run.peek()?, i))))
        .collect();
    let mut positions: Vec<Position> = Vec::new();
    while let Some(Reverse((position, i))) = heap.pop() {
        // An event for several rooms stands in the track of each.
        if positions.last() != Some(&position) {
            if positions.len() == limit {
                break;
            }
            positions.push(position);
        }
        runs[i].index += 1;
        if let Some(next) = runs[i].peek() {
            heap.push(Reverse((next, i)));
        }
    }
    let through = positions.last().copied().unwrap_or(after);
    Owed {
        positions,
        through,
        lost: false,
    }
}
