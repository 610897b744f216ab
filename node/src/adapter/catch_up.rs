//! Brings a resumed socket from its offset to the fan-out's position: page by page, at the pace of
//! its transport, each event judged by rooms and excepts at the event's own position. Bounded
//! memory: a page of positions, and a few entries.

use std::sync::Arc;
use std::time::Duration;

use super::encoded::Encoded;
use super::fanout::Progress;
use super::history::History;
use super::replica::Replica;
use super::socket::LocalSocket;
use crate::engine::{CloseReason, Closed};
use crate::ids::{GroupId, Position};
use crate::limits;
use crate::state::GroupState;

/// Pause when the fan-out has seen an event that its published position does not cover yet.
const SETTLE: Duration = Duration::from_micros(200);

/// One socket's catch-up.
pub(crate) struct CatchUp {
    pub(crate) group: GroupId,
    pub(crate) replica: Arc<Replica>,
    pub(crate) history: History,
    pub(crate) progress: Arc<Progress>,
    pub(crate) socket: Arc<LocalSocket>,
}

/// Why a catch-up ended before it went live.
enum Ended {
    /// Taken over, away or closed: somebody else delivers the rest, or nobody.
    NotOurs,
    /// The bytes are not to be had here nor from a peer.
    Unreadable,
    /// Retention took an event before it was replayed.
    Lost,
}

impl CatchUp {
    /// Runs to the end; closes the transport when the replay cannot be completed, never plays
    /// short.
    pub(crate) async fn run(self, start: Position) {
        let catching_up = crate::metrics::catching_up();
        catching_up.increment(1.0);
        let ended = self.replay(start).await;
        catching_up.decrement(1.0);
        let reason = match ended {
            Ok(()) | Err(Ended::NotOurs) => return,
            Err(Ended::Unreadable) => CloseReason::NoQuorum,
            Err(Ended::Lost) => CloseReason::SlowConsumer,
        };
        tracing::info!(
            group = self.group,
            ?reason,
            "a replay cannot go on: closing the transport"
        );
        self.socket.session.close(reason);
    }

    async fn replay(&self, start: Position) -> Result<(), Ended> {
        let mut cursor = start;
        loop {
            // Never beyond the fan-out: answers up to its position are held or sent already. Nor
            // beyond what the log counts as applied, which follows a moment later.
            let readable = Position::new(self.history.applied(), u32::MAX);
            let through = self.progress.position().min(readable);
            let view = self.replica.view();
            let socket = &self.socket;
            let owed = view
                .owed(
                    &socket.id,
                    socket.generation,
                    cursor,
                    limits::REPLAY_PAGE_EVENTS,
                )
                .ok_or(Ended::NotOurs)?;
            if owed.lost {
                return Err(Ended::Lost);
            }
            let due: Vec<_> = owed
                .positions
                .into_iter()
                .filter(|at| *at <= through)
                .collect();
            let mut rest = due.as_slice();
            while !rest.is_empty() {
                let (page, later) = rest.split_at(in_entries(rest, limits::REPLAY_READ_ENTRIES));
                self.play(&view, page).await?;
                rest = later;
            }
            cursor = cursor.max(owed.through.min(through));
            socket.replay(cursor, None).await?;
            if socket.try_go_live(cursor) {
                return Ok(());
            }
            if due.is_empty() {
                tokio::time::sleep(SETTLE).await;
            }
        }
    }

    async fn play(&self, view: &GroupState, due: &[Position]) -> Result<(), Ended> {
        let events = self
            .history
            .events(due)
            .await
            .map_err(|_| Ended::Unreadable)?;
        crate::metrics::replayed().increment(events.len() as u64);
        for event in events {
            if view.is_excepted(&self.socket.id, &event.except, event.position) {
                continue;
            }
            let mut encoded = Encoded::new(&event, self.replica.epoch(), self.socket.parser);
            let frames = encoded.frames(self.socket.recoverable);
            self.socket.replay(event.position, Some(&frames)).await?;
        }
        Ok(())
    }
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::NotOurs
    }
}

/// How many of the ascending positions lie in the first `count` entries.
fn in_entries(positions: &[Position], count: usize) -> usize {
    let entries = positions.chunk_by(|a, b| a.index == b.index);
    entries.take(count).map(<[Position]>::len).sum()
}
