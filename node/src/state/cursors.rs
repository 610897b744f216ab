//! Cursors of acknowledgement (P6): up to where each session surely has everything, and up to where
//! all sessions of a namespace do. They serve retention and lag; the offset that a client resumes
//! with is never replaced by one.
//!
//! **The rule.** A session has a cursor of its own, which starts at its connect and is moved by its
//! `ack`, by the offset of its client's resume and by being listed in an `AcknowledgeAll`. Besides,
//! a connected session *follows* its incarnation: it has everything up to the later of its own
//! cursor and the incarnation's, so that one operation moves all sessions of a node. It does not
//! follow while it is *held*: a resume holds at its own position, being listed at the operation's
//! `through`. When the incarnation's cursor moves to `through`, it takes along the sessions held
//! before `through` and no others. Hence
//!
//! - a session that connects later has its own cursor, at or after the incarnation's;
//! - a session that resumes is not said to have what lies between its offset and its resume until a
//!   report that knows of it says so: a node reports `through` only when it knows every session
//!   that it owns up to there;
//! - a list of exceptions may be spread over several operations, for each holds at once.
//!
//! A client may choose that only its `ack` counts (*manual*): such a session follows nobody, and
//! neither a list nor the offset of a resume moves it. Durable subscribers are counted apart: what
//! they have not acknowledged is spared for them alone, see [`super::subscribers`].
//!
//! Leaving what it followed (away, taken over, listed), a session takes along what it had. Cursors
//! only move forward, and never beyond the position of the operation that moves them.

use std::sync::Arc;

use imbl::OrdMap;
use roomcast_proto::command;

use super::effect::{OpResult, Refusal};
use super::group::{GroupState, Moment};
use super::session::Session;
use crate::ids::{Incarnation, Position, SocketId};

/// Sessions that one `AcknowledgeAll` may list. Part of the format.
pub const ACKNOWLEDGE_EXCEPT_MAX: usize = 1_000;

/// The own cursors of a namespace's sessions: how many stand at a position, by what they follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursors(OrdMap<Option<Incarnation>, OrdMap<Position, u32>>);

/// Where a session is counted.
pub(super) type Place = (Option<Incarnation>, Position);

impl Cursors {
    /// One session more.
    pub(super) fn add(&mut self, (follows, own): Place) {
        let counted = self.0.entry(follows).or_default();
        *counted.entry(own).or_default() += 1;
    }

    /// One session less, where it was counted last.
    pub(super) fn remove(&mut self, (follows, own): Place) {
        let Some(counted) = self.0.get_mut(&follows) else {
            debug_assert!(false, "what was counted is there");
            return;
        };
        match counted.get_mut(&own) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counted.remove(&own)),
        }
        if counted.is_empty() {
            self.0.remove(&follows);
        }
    }

    /// Up to where every session has everything; `None` when there is no session. Costs as much as
    /// there are incarnations.
    pub(super) fn least(&self, cursor_of: impl Fn(Incarnation) -> Position) -> Option<Position> {
        let least = self.0.iter().filter_map(|(follows, counted)| {
            let own = counted.get_min()?.0;
            Some(follows.map_or(own, |incarnation| own.max(cursor_of(incarnation))))
        });
        least.min()
    }
}

impl GroupState {
    /// Up to where a session surely has everything it is owed.
    #[must_use]
    pub fn cursor(&self, socket: &SocketId) -> Option<Position> {
        let session = self.sessions.get(socket)?;
        let followed = session
            .follows()
            .map(|incarnation| self.cursor_of(incarnation));
        Some(session.cursor.max(followed.unwrap_or_default()))
    }

    /// Up to where every session of the namespace that is no durable subscriber surely has
    /// everything; `None` when it has no such session.
    #[must_use]
    pub fn acknowledged(&self, namespace: &str) -> Option<Position> {
        let namespace = self.namespaces.get(namespace)?;
        namespace
            .cursors
            .least(|incarnation| self.cursor_of(incarnation))
    }

    pub(super) fn cursor_of(&self, incarnation: Incarnation) -> Position {
        let producer = self.producers.get(&incarnation);
        producer.map_or(Position::ZERO, |producer| producer.cursor)
    }

    /// Changes what a session's cursor depends on: the cursor, its owner, presence or hold. The
    /// only way to do so once it is counted.
    pub(super) fn change_session(&mut self, id: &SocketId, change: impl FnOnce(&mut Session)) {
        let reached = self.cursor(id).expect("the caller has seen it");
        let session = self.session_mut(id);
        let (before, held_before) = (session.place(), session.held_by());
        change(session);
        if session.follows() != before.0 {
            session.cursor = session.cursor.max(reached);
        }
        let (after, held_after) = (session.place(), session.held_by());
        let is_subscriber = session.subscription.is_some();
        let name = Arc::clone(&session.namespace);
        if before != after
            && let Some(namespace) = self.namespaces.get_mut(&name)
        {
            let cursors = Arc::make_mut(namespace).cursors_mut(is_subscriber);
            cursors.remove(before);
            cursors.add(after);
        }
        if held_before != held_after {
            self.unhold(id, held_before);
            self.hold(id, held_after);
        }
        self.release(id);
    }

    /// Enters a held session with the incarnation that it will follow.
    pub(super) fn hold(&mut self, id: &SocketId, held_by: Option<(Incarnation, Position)>) {
        if let Some((incarnation, at)) = held_by
            && let Some(producer) = self.producers.get_mut(&incarnation)
        {
            producer.held.insert((at, *id));
        }
    }

    /// Takes back what [`Self::hold`] did.
    pub(super) fn unhold(&mut self, id: &SocketId, held_by: Option<(Incarnation, Position)>) {
        if let Some((incarnation, at)) = held_by
            && let Some(producer) = self.producers.get_mut(&incarnation)
        {
            producer.held.remove(&(at, *id));
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        moment: Moment,
        acknowledge: command::Acknowledge,
    ) -> Result<OpResult, Refusal> {
        let session = self.owned(moment, acknowledge.socket.as_ref())?;
        let offset = acknowledge.offset.ok_or(Refusal::Invalid)?;
        let handled = Position::new(offset.index, offset.op);
        if Some(offset.epoch) != self.epoch() || handled > moment.position {
            return Err(Refusal::Invalid);
        }
        let id = session.id;
        if handled > session.cursor {
            self.change_session(&id, |session| session.cursor = handled);
        }
        Ok(OpResult::Done)
    }

    /// See the module's text. A listed session that its sender does not own any more is passed
    /// over.
    pub(super) fn acknowledge_all(
        &mut self,
        moment: Moment,
        report: &command::AcknowledgeAll,
    ) -> Result<OpResult, Refusal> {
        let through = known(moment, report.through)?;
        if report.incarnation != moment.incarnation {
            return Err(Refusal::Invalid);
        }
        if report.except.len() > ACKNOWLEDGE_EXCEPT_MAX {
            return Err(Refusal::Limit);
        }
        for except in &report.except {
            known(moment, except.cursor)?;
        }
        for except in &report.except {
            let Ok(session) = self.owned(moment, except.socket.as_ref()) else {
                continue;
            };
            if session.manual {
                continue;
            }
            let (id, cursor) = (session.id, known(moment, except.cursor)?);
            self.change_session(&id, |session| {
                session.cursor = session.cursor.max(cursor);
                session.held = session.held.max(Some(through));
            });
        }
        if !report.more {
            self.follow(moment.incarnation, through);
        }
        Ok(OpResult::Done)
    }

    /// Moves an incarnation's cursor, and releases who was held before it.
    fn follow(&mut self, incarnation: Incarnation, through: Position) {
        let Some(producer) = self.producers.get_mut(&incarnation) else {
            return;
        };
        if through <= producer.cursor {
            return;
        }
        producer.cursor = through;
        while let Some(producer) = self.producers.get(&incarnation)
            && let Some(&(at, id)) = producer.held.get_min()
            && at < through
        {
            self.change_session(&id, |session| session.held = None);
        }
        self.release_followers(incarnation);
    }
}

/// A position that the operation may speak of.
fn known(moment: Moment, position: Option<command::Position>) -> Result<Position, Refusal> {
    let position = position.ok_or(Refusal::Invalid)?;
    let position = Position::new(position.index, position.op);
    if position > moment.position {
        return Err(Refusal::Invalid);
    }
    Ok(position)
}
