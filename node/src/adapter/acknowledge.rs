//! Tells the log what the clients of this node have for sure: once per ping interval and group, all
//! of them in one operation, those that lag as its exceptions. What moves nothing is not written,
//! so that idle clients cost nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roomcast_proto::command::{self, AcknowledgeAll, acknowledge_all::Except, op::Kind};

use super::group::{Group, socket_ref};
use super::groups::Adapter;
use super::socket::LocalSocket;
use super::socket::arrival::Arrival;
use crate::ids::{Incarnation, Position};
use crate::limits;
use crate::state::ACKNOWLEDGE_EXCEPT_MAX;

/// Sockets looked at in one go; then other tasks get their turn.
const LOOK_SOCKETS: usize = 1024;

/// Everything that this node owns in a group, as the group's fan-out knows it.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The life in which it owns them.
    pub(crate) incarnation: Incarnation,
    /// Every session that was attached up to here, and that the life still owns, is among them.
    pub(crate) through: Position,
    /// The sockets, those that are leaving too.
    pub(crate) sockets: Vec<Arc<LocalSocket>>,
}

/// What was said in one group.
#[derive(Debug, Default)]
struct Reporter {
    /// In which life.
    incarnation: Incarnation,
    /// The last event when each of the last periods ended, oldest first.
    events: VecDeque<Position>,
    /// Up to where all were reported.
    reported: Position,
}

/// Runs until the node stops.
pub(crate) async fn run(adapter: Arc<Adapter>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let groups = adapter.groups().iter();
    let mut reporters: Vec<_> = groups.map(|_| Reporter::default()).collect();
    loop {
        ticks.tick().await;
        for (group, reporter) in adapter.groups().iter().zip(&mut reporters) {
            if let Some(roll) = group.roll().await {
                reporter.report(group, roll).await;
            }
        }
    }
}

impl Reporter {
    async fn report(&mut self, group: &Group, mut roll: Roll) {
        let last_event = group.view().last_event();
        let Some(through) = self.period(roll.incarnation, roll.through, last_event) else {
            return;
        };
        // The log reads the same whatever the order of hashing was.
        roll.sockets.sort_unstable_by_key(|socket| socket.id);
        let moves = through > self.reported;
        let mut listed = Vec::new();
        let mut covered = Vec::new();
        for sockets in roll.sockets.chunks(LOOK_SOCKETS) {
            for socket in sockets {
                let arrival = socket.arrival();
                match said(&arrival, through, moves) {
                    Said::Listed => listed.push((socket, arrival.arrived)),
                    Said::Covered => covered.push(socket),
                    Said::Nothing => {}
                }
            }
            tokio::task::yield_now().await;
        }
        if !moves && listed.is_empty() {
            return;
        }
        for operation in operations(roll.incarnation, through, &listed) {
            if !group.submit_report(Kind::AcknowledgeAll(operation)) {
                // Without the last operation nobody is moved but the listed, who are told again.
                return;
            }
        }
        crate::metrics::acknowledge_reports().increment(1);
        crate::metrics::acknowledge_exceptions().increment(listed.len() as u64);
        self.reported = self.reported.max(through);
        for (socket, arrived) in listed {
            socket.told(arrived);
        }
        for socket in covered {
            socket.told(through);
        }
    }

    /// Notes the end of a period. Answers up to where clients that keep up have everything by now:
    /// the last event of some periods ago. Nothing while this life has not lasted as long.
    fn period(
        &mut self,
        incarnation: Incarnation,
        through: Position,
        last_event: Position,
    ) -> Option<Position> {
        if self.incarnation != incarnation {
            *self = Self {
                incarnation,
                ..Self::default()
            };
            // Whatever the last event was, who resumes here may have missed it.
            self.events.push_back(through);
        }
        let before = self.events.back().copied().unwrap_or_default();
        self.events.push_back(last_event.min(through).max(before));
        if self.events.len() > limits::ACKNOWLEDGE_BEHIND_PERIODS {
            self.events.pop_front()
        } else {
            None
        }
    }
}

/// What a report says of a socket.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// That it has everything up to a cursor of its own.
    Listed,
    /// That it has what all have.
    Covered,
    /// Nothing: it is told already, or nothing is known.
    Nothing,
}

/// What to say of a socket in a report of all up to `through`, which `moves` them beyond the last
/// one or does not.
fn said(arrival: &Arrival, through: Position, moves: bool) -> Said {
    // The log passes over a session that was attached later, whatever it is told of all.
    let counts = moves && arrival.attached <= through;
    let has_all = arrival.arrived >= through;
    if counts && has_all {
        return Said::Covered;
    }
    let is_news = arrival.told < through && arrival.told < arrival.arrived;
    if counts || is_news {
        Said::Listed
    } else {
        Said::Nothing
    }
}

/// The report, in as many operations as its list needs.
fn operations(
    incarnation: Incarnation,
    through: Position,
    listed: &[(&Arc<LocalSocket>, Position)],
) -> Vec<AcknowledgeAll> {
    let wire = |position: Position| {
        Some(command::Position {
            index: position.index,
            op: position.op,
        })
    };
    let except = |(socket, arrived): &(&Arc<LocalSocket>, Position)| Except {
        socket: Some(socket_ref(socket)),
        cursor: wire(*arrived),
    };
    let mut chunks: Vec<Vec<Except>> = listed
        .chunks(ACKNOWLEDGE_EXCEPT_MAX)
        .map(|listed| listed.iter().map(except).collect())
        .collect();
    let last = chunks.pop().unwrap_or_default();
    let operation = |except, more| AcknowledgeAll {
        incarnation,
        through: wire(through),
        except,
        more,
    };
    let mut operations: Vec<_> = chunks
        .into_iter()
        .map(|except| operation(except, true))
        .collect();
    operations.push(operation(last, false));
    operations
}

#[cfg(test)]
mod tests;
