//! Brings a socket that resumed or fell behind from its position to the fan-out's: page by page, at
//! the pace of its transport, each event judged by rooms and excepts at the event's own position.
//! Holds a page of positions and a few entries while it reads, and nothing while it waits for the
//! transport.

use std::sync::Arc;
use std::time::Duration;

use super::encoded::Encoded;
use super::fanout::Progress;
use super::history::History;
use super::replica::Replica;
use super::socket::{LocalSocket, Reached, Stalled};
use crate::engine::CloseReason;
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

/// How a catch-up ended.
enum Ended {
    /// The socket is live.
    Live,
    /// Taken over, away or closed: somebody else delivers the rest, or nobody.
    NotOurs,
    /// The bytes are not to be had here nor from a peer.
    Unreadable,
    /// Retention took an event before it was replayed.
    Lost,
}

/// Why a step was not finished.
enum Halted {
    /// The outbox has no space for so many bytes.
    Full(usize),
    /// The catch-up is over.
    Ended(Ended),
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
            Ended::Live | Ended::NotOurs => return,
            Ended::Unreadable => CloseReason::NoQuorum,
            Ended::Lost => CloseReason::SlowConsumer,
        };
        tracing::info!(
            group = self.group,
            ?reason,
            "a replay cannot go on: closing the transport"
        );
        self.socket.session.close(reason);
    }

    async fn replay(&self, start: Position) -> Ended {
        let mut cursor = start;
        let mut wanted = 0;
        loop {
            // Whoever never reads is waited for here: it costs a cursor and its full outbox.
            if self.socket.space(wanted).await.is_err() {
                return Ended::NotOurs;
            }
            wanted = match self.step(&mut cursor).await {
                Ok(Reached::Live) => return Ended::Live,
                Ok(Reached::Behind { .. }) => 0,
                Err(Halted::Full(bytes)) => bytes,
                Err(Halted::Ended(ended)) => return ended,
            };
        }
    }

    /// One page, as far as it fits the outbox now.
    async fn step(&self, cursor: &mut Position) -> Result<Reached, Halted> {
        let reached = self.socket.reach(*cursor)?;
        let Reached::Behind { after, through } = reached else {
            return Ok(reached);
        };
        *cursor = after;
        // Never beyond the fan-out: answers up to its position are held or sent already. Nor beyond
        // what the log counts as applied, which follows a moment later.
        let readable = Position::new(self.history.applied(), u32::MAX);
        let through = self.progress.position().min(readable).min(through);
        let view = self.replica.view();
        let (id, generation) = (&self.socket.id, self.socket.generation);
        let owed = view.owed(id, generation, after, limits::REPLAY_PAGE_EVENTS);
        let owed = owed.ok_or(Halted::Ended(Ended::NotOurs))?;
        if owed.lost {
            return Err(Halted::Ended(Ended::Lost));
        }
        let mut due = owed.positions;
        due.retain(|at| *at <= through);
        if due.len() < limits::REPLAY_PAGE_EVENTS {
            self.socket.join();
        }
        let mut rest = due.as_slice();
        while !rest.is_empty() {
            let (page, later) = rest.split_at(in_entries(rest, limits::REPLAY_READ_ENTRIES));
            self.play(&view, page, cursor).await?;
            rest = later;
        }
        *cursor = owed.through.min(through).max(*cursor);
        if due.is_empty() {
            tokio::time::sleep(SETTLE).await;
        }
        Ok(reached)
    }

    /// Plays these, and moves the cursor with each.
    async fn play(
        &self,
        view: &GroupState,
        due: &[Position],
        cursor: &mut Position,
    ) -> Result<(), Halted> {
        let events = self.history.events(due).await;
        let events = events.map_err(|_| Halted::Ended(Ended::Unreadable))?;
        for event in events {
            if view.is_excepted(&self.socket.id, &event.except, event.position) {
                continue;
            }
            let mut encoded = Encoded::new(&event, self.replica.epoch(), self.socket.parser);
            let frames = encoded.frames(self.socket.recoverable);
            self.socket.replay(event.position, &frames)?;
            crate::metrics::replayed().increment(1);
            *cursor = event.position;
        }
        Ok(())
    }
}

impl From<Stalled> for Halted {
    fn from(stalled: Stalled) -> Self {
        match stalled {
            Stalled::Full(bytes) => Self::Full(bytes),
            Stalled::Stopped => Self::Ended(Ended::NotOurs),
        }
    }
}

/// How many of the ascending positions lie in the first `count` entries.
fn in_entries(positions: &[Position], count: usize) -> usize {
    let entries = positions.chunk_by(|a, b| a.index == b.index);
    entries.take(count).map(<[Position]>::len).sum()
}
