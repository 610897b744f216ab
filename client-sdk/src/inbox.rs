//! The queue between the connection and the application: what arrived and was not taken yet.
//!
//! Bounded: at `events_max` events the connection stops reading. State changes are always
//! accepted, because a socket that cannot learn that it is disconnected helps nobody; a run of
//! them without an event between keeps only the newest, so a socket nobody reads stays small.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, Notice};
use crate::resume::SessionNumber;

/// State changes kept between two events; older ones of the run are dropped.
const STATE_RUN_MAX: usize = 16;

/// One entry of the inbox.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What the application gets.
    pub(crate) notice: Notice,
    /// The event's offset and the session in which it arrived.
    pub(crate) mark: Option<(SessionNumber, Arc<str>)>,
}

/// The queue itself.
#[derive(Debug)]
pub(crate) struct InboxQueue {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Events among the entries.
    event_count: usize,
    /// State changes at the end of the entries.
    state_run: usize,
    /// The bound on `event_count`.
    events_max: usize,
    /// `false` once the application has dropped its end: everything counts as handed over.
    is_open: bool,
    /// `true` once nothing more will be pushed.
    is_ended: bool,
}

impl InboxQueue {
    /// An empty queue.
    pub(crate) fn new(events_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            event_count: 0,
            state_run: 0,
            events_max: events_max.max(1),
            is_open: true,
            is_ended: false,
        }
    }

    /// Whether the connection has to stop reading.
    pub(crate) fn is_full(&self) -> bool {
        self.event_count >= self.events_max
    }

    /// Whether the application still holds the other end.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Appends an event; the caller has seen that there is room.
    pub(crate) fn push_event(&mut self, event: Event, mark: Option<(SessionNumber, Arc<str>)>) {
        if !self.is_open {
            return;
        }
        self.event_count += 1;
        self.state_run = 0;
        self.entries.push_back(Entry {
            notice: Notice::Event(event),
            mark,
        });
    }

    /// Appends a change of state, dropping the oldest of a long run.
    pub(crate) fn push_state(&mut self, notice: Notice) {
        if !self.is_open {
            return;
        }
        if self.state_run == STATE_RUN_MAX {
            let oldest = self.entries.len() - self.state_run;
            self.entries.remove(oldest);
            self.state_run -= 1;
        }
        self.state_run += 1;
        self.entries.push_back(Entry { notice, mark: None });
    }

    /// Takes the oldest entry.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if matches!(entry.notice, Notice::Event(_)) {
            self.event_count -= 1;
        }
        self.state_run = self.state_run.min(self.entries.len());
        Some(entry)
    }

    /// The offsets of the events of `session`, oldest first, neighbours of the same offset once
    /// (a transient event carries the offset of the logged one before it).
    pub(crate) fn offsets(&self, session: SessionNumber) -> impl Iterator<Item = Arc<str>> + '_ {
        let mut last: Option<Arc<str>> = None;
        self.entries.iter().filter_map(move |entry| {
            let (of, offset) = entry.mark.as_ref()?;
            if *of != session || last.as_ref() == Some(offset) {
                return None;
            }
            last = Some(offset.clone());
            last.clone()
        })
    }

    /// The application dropped its end.
    pub(crate) fn close(&mut self) -> VecDeque<Entry> {
        self.is_open = false;
        self.event_count = 0;
        self.state_run = 0;
        std::mem::take(&mut self.entries)
    }

    /// Nothing more will come: the client is closed.
    pub(crate) fn end(&mut self) {
        self.is_ended = true;
    }

    /// Whether nothing more will come once the entries are taken.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DisconnectReason;

    fn event(name: &str) -> Event {
        Event {
            name: name.to_owned(),
            args: Vec::new(),
            attachments: Vec::new(),
            offset: None,
            ack: None,
        }
    }

    fn disconnected() -> Notice {
        Notice::Disconnected {
            reason: DisconnectReason::Cut,
        }
    }

    #[test]
    fn a_flapping_connection_does_not_grow_an_inbox_that_nobody_reads() {
        let mut queue = InboxQueue::new(2);
        queue.push_event(event("first"), None);
        for _ in 0..1000 {
            queue.push_state(disconnected());
        }
        queue.push_event(event("second"), None);
        assert_eq!(queue.entries.len(), 2 + STATE_RUN_MAX);
        assert!(queue.is_full());
        assert!(matches!(queue.pop().unwrap().notice, Notice::Event(e) if e.name == "first"));
        assert!(!queue.is_full());
    }

    #[test]
    fn popping_into_a_run_of_states_keeps_its_length_right() {
        let mut queue = InboxQueue::new(2);
        for _ in 0..5 {
            queue.push_state(disconnected());
        }
        queue.pop();
        queue.pop();
        assert_eq!(queue.state_run, 3);
    }

    #[test]
    fn offsets_are_those_of_the_session_and_without_repetition() {
        let mut queue = InboxQueue::new(9);
        for (session, offset) in [(1, "a"), (2, "b"), (2, "b"), (2, "c")] {
            queue.push_event(event("e"), Some((session, offset.into())));
        }
        let offsets: Vec<_> = queue.offsets(2).collect();
        assert_eq!(offsets, [Arc::from("b"), Arc::from("c")]);
    }

    #[test]
    fn a_closed_inbox_swallows_everything() {
        let mut queue = InboxQueue::new(1);
        queue.push_event(event("e"), None);
        assert_eq!(queue.close().len(), 1);
        queue.push_event(event("e"), None);
        queue.push_state(disconnected());
        assert!(!queue.is_full() && queue.pop().is_none());
    }
}
