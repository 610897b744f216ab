//! Producers: every gateway incarnation numbers its batches, and apply takes each exactly once, in
//! sequence. So pipelining, retries and leader changes neither reorder nor double.

use std::sync::Arc;

use imbl::{OrdSet, Vector};

use super::effect::OpResult;
use crate::ids::{Incarnation, NodeId, Position, SocketId};

/// Batches whose results are kept for a repeat; a gateway keeps fewer in flight.
const RECENT_MAX: usize = 8;

/// One registered incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    /// The node it lives on.
    pub(super) node: NodeId,
    /// Its name.
    pub(super) incarnation: Incarnation,
    /// Sequence of its last applied batch; 0 before the first.
    pub(super) sequence: u64,
    /// Its last batches, oldest first.
    pub(super) recent: Vector<Arc<AppliedBatch>>,
    /// Connected sessions that it owns.
    pub(super) sessions: OrdSet<SocketId>,
    /// The sessions that follow it have everything up to here; see [`super::cursors`].
    pub(super) cursor: Position,
    /// The connected sessions that do not follow it yet, by where they are held.
    pub(super) held: OrdSet<(Position, SocketId)>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppliedBatch {
    pub(super) sequence: u64,
    /// Entry that it was applied in.
    pub(super) index: u64,
    /// How many operations it had.
    pub(super) op_count: u32,
    /// Results other than `Done`, by operation: a batch of thousands keeps few.
    pub(super) notable: Vec<(u32, OpResult)>,
}

impl AppliedBatch {
    /// All results, in the order of the operations.
    pub(super) fn results(&self) -> impl Iterator<Item = (u32, OpResult)> {
        let mut notable = self.notable.iter().peekable();
        (0..self.op_count).map(move |op| {
            let result = notable.next_if(|(number, _)| *number == op);
            (
                op,
                result.map_or(OpResult::Done, |(_, result)| result.clone()),
            )
        })
    }
}

/// What to do with a batch.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is the next one.
    Next,
    /// It was applied; these are its results.
    Repeat(Arc<AppliedBatch>),
    /// It was applied so long ago that nobody waits for it.
    Old,
    /// One before it is missing.
    Gap {
        /// The sequence that would be next.
        expected: u64,
    },
}

impl Producer {
    /// A new incarnation.
    pub(super) fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            node,
            incarnation,
            sequence: 0,
            recent: Vector::new(),
            sessions: OrdSet::new(),
            cursor: Position::ZERO,
            held: OrdSet::new(),
        }
    }

    /// Decides by the sequence alone.
    pub(super) fn turn(&self, sequence: u64) -> Turn {
        let expected = self.sequence + 1;
        if sequence == expected {
            return Turn::Next;
        }
        if sequence > expected {
            return Turn::Gap { expected };
        }
        match self.recent.iter().find(|batch| batch.sequence == sequence) {
            Some(batch) => Turn::Repeat(Arc::clone(batch)),
            None => Turn::Old,
        }
    }

    /// Remembers the batch that was the next one.
    pub(super) fn applied(&mut self, batch: AppliedBatch) {
        self.sequence = batch.sequence;
        self.recent.push_back(Arc::new(batch));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }
}
