//! One stay of a subscriber in a room, as far as the subscriber can know it.

use crate::offset::Offset;

/// Positions strictly between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) after: Offset,
    /// None: to the end of the log.
    pub(super) before: Option<Offset>,
}

impl Span {
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.after < offset && self.before.is_none_or(|before| offset < before)
    }
}

/// `must` is where events are owed for certain, `may` where they are allowed; they differ while the
/// answer to a join or a leave is outstanding, or was lost.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) room: String,
    pub(super) must: Span,
    pub(super) may: Span,
}

impl Stay {
    /// Joined at `offset`; an earlier attempt may have worked from `possible` on.
    pub(super) fn certain(room: &str, offset: Offset, possible: Offset) -> Self {
        let must = Span {
            after: offset,
            before: None,
        };
        let may = Span {
            after: possible.min(offset),
            before: None,
        };
        Self {
            room: room.to_owned(),
            must,
            may,
        }
    }

    /// A join that was never answered.
    pub(super) fn possible(room: String, after: Offset, before: Option<Offset>) -> Self {
        let must = Span {
            after,
            before: Some(after),
        };
        Self {
            room,
            must,
            may: Span { after, before },
        }
    }

    /// The session ended for the subscriber: nothing from `before` on belongs to it.
    pub(super) fn cut(&mut self, before: Offset) {
        for span in [&mut self.must, &mut self.may] {
            span.before = Some(span.before.map_or(before, |known| known.min(before)));
        }
    }
}
