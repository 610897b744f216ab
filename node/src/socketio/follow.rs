//! A namespace's events and what becomes of its sockets, each exactly once, in the log's order, from
//! an offset on: read from this node's replica and its log at the pace of whoever reads.

use std::collections::VecDeque;
use std::sync::Arc;

use roomcast_proto::offset::Offset;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::io::Io;
use super::operation::OperationError;
use crate::adapter::{Group, offset};
use crate::ids::Position;
use crate::state::{
    Event, FollowCursor, FollowItem, FollowPage, FollowQuery, GroupState, LifecycleRecord,
};
use crate::{limits, metrics};

/// What to follow; by default everything in the namespace, from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowOptions {
    /// Only what concerns these rooms; none: the whole namespace. That is what is published to one
    /// of them (to the whole namespace is not, as in a room's history), who joins and leaves them,
    /// what becomes of their members while they are members, and all of a socket whose own room is
    /// named. At most [`limits::FOLLOW_ROOMS_MAX`].
    pub rooms: Vec<String>,
    /// Behind this offset; none: from now on.
    pub after: Option<Offset>,
    /// Events that are logged and replayed: not those that ask for answers.
    pub events: bool,
    /// What becomes of sockets.
    pub lifecycle: bool,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            after: None,
            events: true,
            lifecycle: true,
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Followed {
    /// Where it stands in the log. Who goes on behind it has missed nothing if it was the last of
    /// its offset: one entry of the log may end many sessions.
    pub offset: Offset,
    /// Nothing more has this offset.
    pub last: bool,
    /// What it was.
    pub what: What,
}

/// What a follower is told.
#[derive(Debug, Clone)]
pub enum What {
    /// An event.
    Event(Event),
    /// What became of a socket.
    Lifecycle(Arc<LifecycleRecord>),
    /// Something between where the follower was and here is not kept any more. Who keeps a list
    /// reads it anew (`fetch_sockets`, `members`) and goes on from here: what follows ends where
    /// the list was read, whatever of it the list has already. Comes first, or later when the
    /// follower has not kept up.
    Gap,
    /// Nothing: everything up to here has been told. Comes first when no gap does, and then now and
    /// again.
    Mark,
}

/// A follower, made by [`Io::follow`]. It holds one page at most, and a place among the
/// [`limits::FOLLOWERS_MAX`] of its node until it is dropped.
#[derive(Debug)]
pub struct Follow {
    group: Arc<Group>,
    namespace: Arc<str>,
    options: FollowOptions,
    /// How far it has been told, with what waits in `items`; nothing before it has started.
    cursor: Option<FollowCursor>,
    /// The rest of a page.
    items: VecDeque<Followed>,
    /// The index of the last entry applied.
    applied: watch::Receiver<u64>,
    /// When it is told again that nothing happens.
    mark_at: Instant,
    _place: Place,
}

/// One follower of this node.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "its end gives the place back")] OwnedSemaphorePermit);

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::followers().increment(1.0);
        Self(permit)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::followers().decrement(1.0);
    }
}

impl Io {
    /// Follows the namespace: [`Follow::next`] gives one thing after another. Any node tells the
    /// same, and goes on from any offset that any node has told.
    ///
    /// ```no_run
    /// # async fn example(io: roomcast::Io) -> Result<(), roomcast::OperationError> {
    /// use roomcast::{FollowOptions, What};
    ///
    /// let mut follow = io.of("/chat").follow(FollowOptions::default())?;
    /// loop {
    ///     let followed = follow.next().await?;
    ///     if let What::Lifecycle(record) = followed.what {
    ///         println!("{}: {} {:?}", followed.offset, record.socket, record.kind);
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Overloaded` when this node has as many followers as it may have; `Invalid` with too many
    /// rooms.
    pub fn follow(&self, options: FollowOptions) -> Result<Follow, OperationError> {
        if options.rooms.len() > limits::FOLLOW_ROOMS_MAX {
            return Err(OperationError::Invalid);
        }
        let Some(permit) = self.adapter.place_for_follower() else {
            metrics::followers_refused().increment(1);
            return Err(OperationError::Overloaded);
        };
        let group = Arc::clone(self.group());
        Ok(Follow {
            applied: group.applied(),
            group,
            namespace: Arc::clone(&self.namespace),
            options,
            cursor: None,
            items: VecDeque::new(),
            mark_at: Instant::now() + limits::FOLLOW_MARK_EVERY,
            _place: Place::new(permit),
        })
    }
}

impl Follow {
    /// The next thing that happened, or will happen. May be dropped and called again at any time:
    /// nothing is lost.
    ///
    /// # Errors
    /// `Unavailable` when this node lags behind the start for too long, or when neither it nor a
    /// peer can read the next events: another node may, from the last offset told.
    pub async fn next(&mut self) -> Result<Followed, OperationError> {
        loop {
            if let Some(followed) = self.items.pop_front() {
                return Ok(followed);
            }
            let Some(cursor) = self.cursor else {
                self.start().await?;
                continue;
            };
            self.applied.mark_unchanged();
            let view = self.group.view();
            match view.follow_page(&self.query(), cursor) {
                FollowPage::Gap(at) => self.gap(&view, at),
                FollowPage::Told {
                    items,
                    next,
                    is_split,
                } => {
                    if items.is_empty() {
                        self.cursor = Some(next);
                        self.wait(next.after).await?;
                    } else if let Some(read) = self.read(items, is_split, cursor).await? {
                        self.items = read;
                        self.cursor = Some(next);
                        self.mark_at = Instant::now() + limits::FOLLOW_MARK_EVERY;
                    }
                }
            }
        }
    }

    fn query(&self) -> FollowQuery<'_> {
        FollowQuery {
            namespace: &self.namespace,
            rooms: &self.options.rooms,
            events: self.options.events,
            lifecycle: self.options.lifecycle,
            limit: limits::FOLLOW_PAGE_MAX,
            bytes_max: limits::PAGE_BYTES_MAX as u64,
        }
    }

    /// Finds where it begins, and says so.
    async fn start(&mut self) -> Result<(), OperationError> {
        let epoch = self.group.epoch();
        let after = match self.options.after {
            Some(after) if after.epoch == epoch => {
                if !self.group.history.reaches(after.index).await {
                    return Err(OperationError::Unavailable);
                }
                Some(Position::new(after.index, after.op))
            }
            // Of another log: nothing of this one has been told, and what was told is of no use.
            Some(_) => None,
            None => Some(self.group.view().position()),
        };
        let view = self.group.view();
        let cursor = view.follow_cursor(after.unwrap_or_default());
        match (view.follow_page(&self.query(), cursor), after) {
            (FollowPage::Gap(at), _) => self.gap(&view, at),
            (FollowPage::Told { .. }, None) => self.gap(&view, Position::ZERO),
            (FollowPage::Told { .. }, Some(after)) => {
                self.cursor = Some(cursor);
                self.push(after, What::Mark);
            }
        }
        Ok(())
    }

    fn gap(&mut self, view: &GroupState, at: Position) {
        metrics::follower_gaps().increment(1);
        self.cursor = Some(view.follow_cursor(at));
        self.push(at, What::Gap);
    }

    fn push(&mut self, at: Position, what: What) {
        let offset = offset(self.group.epoch(), at);
        self.items.push_back(Followed {
            offset,
            last: true,
            what,
        });
    }

    /// Waits until there is more than `told`, or until it is time to say that there is not.
    async fn wait(&mut self, told: Position) -> Result<(), OperationError> {
        // What concerns others may come without a pause, and is no reason to say nothing.
        if Instant::now() < self.mark_at {
            let more = tokio::time::timeout_at(self.mark_at, self.applied.changed());
            match more.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(OperationError::Unavailable),
                Err(_) => {}
            }
        }
        self.mark_at = Instant::now() + limits::FOLLOW_MARK_EVERY;
        self.push(told, What::Mark);
        Ok(())
    }

    /// A page with its events; nothing when they are not kept any more, so that there is a gap.
    async fn read(
        &self,
        items: Vec<FollowItem>,
        is_split: bool,
        cursor: FollowCursor,
    ) -> Result<Option<VecDeque<Followed>>, OperationError> {
        let epoch = self.group.epoch();
        let positions: Vec<Position> = items.iter().filter_map(event_position).collect();
        let mut events = Vec::with_capacity(positions.len());
        for chunk in positions.chunks(limits::REPLAY_READ_ENTRIES) {
            match self.group.history.events(chunk).await {
                Ok(read) => events.extend(read),
                Err(error) => {
                    let now = self.group.view().follow_page(&self.query(), cursor);
                    if matches!(now, FollowPage::Gap(_)) {
                        return Ok(None);
                    }
                    tracing::warn!(group = self.group.id, %error, "a follower cannot be told");
                    return Err(OperationError::Unavailable);
                }
            }
        }
        let mut events = events.into_iter();
        let mut followed = VecDeque::with_capacity(items.len());
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            let at = item.position();
            let last = items.peek().map_or(!is_split, |next| next.position() != at);
            let what = match item {
                FollowItem::Record(record) => What::Lifecycle(record),
                FollowItem::Event(_) => What::Event(events.next().expect("one for each position")),
            };
            let offset = offset(epoch, at);
            followed.push_back(Followed { offset, last, what });
        }
        Ok(Some(followed))
    }
}

fn event_position(item: &FollowItem) -> Option<Position> {
    match item {
        FollowItem::Event(position) => Some(*position),
        FollowItem::Record(_) => None,
    }
}
