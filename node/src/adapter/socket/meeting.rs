//! Where replay meets live delivery: any order of their steps, over the real socket.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::local::LocalSocket;
use crate::adapter::testing::{identity, session, text, texts};
use crate::engine::{Frames, SessionHandle};
use crate::ids::Position;

/// What one operation of the log means for the socket under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Nothing,
    Event,
    /// An answer of this node to this socket; only after the resume.
    Answer,
}

/// The fan-out and one catch-up of a resumed socket, step by step, over the real `LocalSocket`.
struct Model {
    socket: LocalSocket,
    session: SessionHandle,
    /// The log, applied as a whole: apply may be far before the fan-out.
    log: Vec<(Position, Means)>,
    /// The next operation of the fan-out, and everything before which it has finished entries.
    next: usize,
    progress: Position,
    cursor: Position,
    page: VecDeque<Position>,
    page_through: Option<Position>,
    live: bool,
}

/// Events of a page of the model's replay.
const PAGE: usize = 2;

impl Model {
    /// The socket has everything up to the beginning of the log and resumes at operation `resumed`.
    fn new(entries: &[Vec<Means>], resumed: usize) -> Self {
        let mut log = Vec::new();
        for (entry, index) in entries.iter().zip(1..) {
            log.extend(
                entry
                    .iter()
                    .zip(0..)
                    .map(|(&means, op)| (Position::new(index, op), means)),
            );
        }
        let resumed = resumed % log.len();
        let (position, _) = log[resumed];
        for (at, means) in &mut log {
            if *at == position || (*at < position && *means == Means::Answer) {
                *means = Means::Nothing;
            }
        }
        let session = session(10_000);
        let start = Position::ZERO;
        let socket = LocalSocket::catching_up(identity(1), session.clone(), start, position);
        Self {
            socket,
            session,
            log,
            next: resumed + 1,
            progress: Position::new(position.index - 1, u32::MAX),
            cursor: start,
            page: VecDeque::new(),
            page_through: None,
            live: false,
        }
    }

    /// One operation of the log reaches the fan-out; after an entry's last one, its progress shows.
    fn fan_out(&mut self) {
        if let Some(&(position, means)) = self.log.get(self.next) {
            match means {
                Means::Nothing => {}
                Means::Event => {
                    self.socket
                        .deliver(position, None, || text(format!("e{position}")));
                }
                Means::Answer => self
                    .socket
                    .answer_at(position, text(format!("a{position}"))),
            }
            self.next += 1;
        }
        let finished = match self.log.get(self.next) {
            Some((next, _)) => next.index - 1,
            None => u64::MAX,
        };
        self.progress = self.progress.max(Position::new(finished, u32::MAX));
    }

    /// One step of `CatchUp::replay`: a page, or one event of it, or its end.
    fn catch_up(&mut self) {
        if self.live {
            return;
        }
        let Some(page_through) = self.page_through else {
            let through = self.progress;
            let owed = self
                .log
                .iter()
                .filter(|(at, means)| *means == Means::Event && *at > self.cursor);
            let page: Vec<Position> = owed.map(|(at, _)| *at).take(PAGE).collect();
            let owed_through = if page.len() < PAGE {
                through
            } else {
                page[PAGE - 1]
            };
            self.page = page.into_iter().filter(|at| *at <= through).collect();
            self.page_through = Some(self.cursor.max(owed_through.min(through)));
            return;
        };
        if let Some(position) = self.page.pop_front() {
            self.replay(position, Some(&text(format!("e{position}"))));
            assert_eq!(self.socket.delivered(), position);
            return;
        }
        self.cursor = page_through;
        self.page_through = None;
        self.replay(self.cursor, None);
        self.live = self.socket.try_go_live(self.cursor);
    }

    fn replay(&self, position: Position, event: Option<&Arc<Frames>>) {
        assert_eq!(self.socket.try_replay(position, event), Ok(true));
    }

    fn expected(&self) -> Vec<String> {
        let letter = |(at, means): &(Position, Means)| match means {
            Means::Nothing => None,
            Means::Event => Some(format!("e{at}")),
            Means::Answer => Some(format!("a{at}")),
        };
        self.log.iter().filter_map(letter).collect()
    }
}

fn entries() -> impl Strategy<Value = Vec<Vec<Means>>> {
    let means = prop_oneof![
        Just(Means::Nothing),
        Just(Means::Event),
        Just(Means::Answer)
    ];
    prop::collection::vec(prop::collection::vec(means, 1..4), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn replay_and_live_delivery_meet_without_gap_or_double(
        entries in entries(),
        resumed in 0_usize..100,
        fan_out in prop::collection::vec(any::<bool>(), 0..80),
    ) {
        let mut model = Model::new(&entries, resumed);
        for fan_out in fan_out {
            if fan_out { model.fan_out() } else { model.catch_up() }
        }
        while model.next < model.log.len() {
            model.fan_out();
        }
        model.fan_out();
        let mut steps = 0;
        while !model.live {
            model.catch_up();
            steps += 1;
            prop_assert!(steps < 1000, "the catch-up never ends");
        }
        prop_assert_eq!(texts(&model.session), model.expected());
    }
}
