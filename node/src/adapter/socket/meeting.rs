//! Where replay meets live delivery: any order of their steps and of the transport's, over the real
//! socket.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::local::LocalSocket;
use super::replay::{Reached, Stalled};
use super::tally::Bound;
use crate::adapter::testing::{Begun, Reader, identity, session, text};
use crate::ids::Position;

/// What one operation of the log means for the socket under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Nothing,
    Event,
    /// An event that expects an answer: it is not replayed.
    Question,
    /// An answer of this node to this socket.
    Answer,
    /// An answer without a place of its own.
    Aside,
}

/// How the socket begins, at which operation of the log.
#[derive(Debug, Clone, Copy)]
enum Begins {
    Live(usize),
    /// It has nothing of what came before.
    Resumed(usize),
}

/// Small bounds, so that all are met.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    outbox_frames: usize,
    joining_frames: usize,
    page_events: usize,
}

/// What `CatchUp::step` does next.
#[derive(Debug)]
enum Stage {
    Reach,
    Join(Page),
    Play(Page),
}

/// What one step of a replay reads from the log.
#[derive(Debug)]
struct Page {
    due: VecDeque<Position>,
    through: Position,
}

/// A catch-up, of which each call of the socket is a step.
#[derive(Debug)]
struct CatchUp {
    cursor: Position,
    stage: Stage,
}

/// The fan-out, the catch-ups of one socket and its transport, step by step.
struct Model {
    socket: Arc<LocalSocket>,
    begun: Arc<Begun>,
    reader: Reader,
    bounds: Bounds,
    /// The log, applied as a whole: apply may be far before the fan-out.
    log: Vec<(Position, Means)>,
    /// The next operation of the fan-out.
    next: usize,
    /// The one that runs, if any.
    catch_up: Option<CatchUp>,
    /// What the client has read.
    read: Vec<String>,
}

impl Model {
    fn new(entries: &[Vec<Means>], begins: Begins, bounds: Bounds) -> Self {
        let mut log = Vec::new();
        for (entry, index) in entries.iter().zip(1..) {
            let positions = (0..).map(|op| Position::new(index, op));
            log.extend(positions.zip(entry.iter().copied()));
        }
        let (Begins::Live(begin) | Begins::Resumed(begin)) = begins;
        let begin = begin % log.len();
        let (position, _) = log[begin];
        for (at, means) in &mut log {
            let before = match begins {
                Begins::Live(_) => *at < position,
                Begins::Resumed(_) => *at < position && *means != Means::Event,
            };
            if before || *at == position {
                *means = Means::Nothing;
            }
        }
        let begun = Arc::new(Begun::default());
        *begun.fanned_out.lock() = Position::new(position.index - 1, u32::MAX);
        let mut identity = identity(1);
        identity.catch_ups = Arc::<Begun>::clone(&begun);
        let session = session(bounds.outbox_frames);
        let start = Position::ZERO;
        let (socket, catch_up) = match begins {
            Begins::Live(_) => (LocalSocket::live(identity, session.clone(), position), None),
            Begins::Resumed(_) => (
                LocalSocket::catching_up(identity, session.clone(), start, position),
                Some(CatchUp::from(start)),
            ),
        };
        Self {
            socket: Arc::new(socket),
            begun,
            reader: Reader::new(session),
            bounds,
            log,
            next: begin + 1,
            catch_up,
            read: Vec::new(),
        }
    }

    /// One operation of the log reaches the fan-out; after an entry's last one, its progress shows.
    fn fan_out(&mut self) {
        if let Some(&(position, means)) = self.log.get(self.next) {
            let frames = text(label(position, means));
            match means {
                Means::Nothing => {}
                Means::Event => drop(self.socket.deliver(position, None, || frames)),
                Means::Question => drop(self.socket.deliver(position, Some(1), || frames)),
                Means::Answer => self.socket.answer_at(position, frames),
                Means::Aside => self.socket.answer_now(&frames),
            }
            self.next += 1;
        }
        let finished = match self.log.get(self.next) {
            Some((next, _)) => next.index - 1,
            None => u64::MAX,
        };
        let mut progress = self.begun.fanned_out.lock();
        *progress = progress.max(Position::new(finished, u32::MAX));
        drop(progress);
        for start in self.begun.starts.lock().drain(..) {
            assert!(self.catch_up.is_none(), "two catch-ups of one socket");
            self.catch_up = Some(CatchUp::from(start));
        }
    }

    /// The transport writes a frame.
    fn read(&mut self) {
        self.read.extend(self.reader.read(1));
    }

    fn catch_up(&mut self) {
        let Some(CatchUp { mut cursor, stage }) = self.catch_up.take() else {
            return;
        };
        let stage = match stage {
            Stage::Reach => match self.socket.reach(cursor) {
                Ok(Reached::Live) => return,
                Ok(Reached::Behind { after, through }) => {
                    cursor = after;
                    self.page(after, through)
                }
                Err(stalled) => full(stalled),
            },
            Stage::Join(page) => {
                let bound = Bound {
                    frames_max: self.bounds.joining_frames,
                    bytes_max: usize::MAX,
                };
                self.socket.join_within(bound);
                Stage::Play(page)
            }
            Stage::Play(mut page) => match page.due.pop_front() {
                Some(position) => {
                    let frames = text(label(position, Means::Event));
                    match self.socket.replay(position, &frames) {
                        Ok(()) => {
                            cursor = position;
                            Stage::Play(page)
                        }
                        Err(stalled) => full(stalled),
                    }
                }
                None => {
                    cursor = cursor.max(page.through);
                    Stage::Reach
                }
            },
        };
        self.catch_up = Some(CatchUp { cursor, stage });
    }

    fn page(&self, cursor: Position, limit: Position) -> Stage {
        let through = (*self.begun.fanned_out.lock()).min(limit);
        let owed = self
            .log
            .iter()
            .filter(|(at, means)| *means == Means::Event && *at > cursor);
        let mut due: VecDeque<_> = owed
            .map(|(at, _)| *at)
            .take(self.bounds.page_events)
            .collect();
        let owed_through = match due.back().copied() {
            Some(last) if due.len() == self.bounds.page_events => last,
            _ => through,
        };
        due.retain(|at| *at <= through);
        let is_last = due.len() < self.bounds.page_events;
        let through = owed_through.min(through);
        let page = Page { due, through };
        if is_last {
            Stage::Join(page)
        } else {
            Stage::Play(page)
        }
    }

    /// Everything is fanned out, and whatever waits is written.
    fn finish(&mut self) {
        while self.next < self.log.len() {
            self.fan_out();
        }
        self.fan_out();
        let mut steps = 0;
        while self.catch_up.is_some() {
            self.catch_up();
            self.read();
            steps += 1;
            assert!(steps < 20 * self.log.len(), "the catch-up never ends");
        }
        self.read.extend(self.reader.read(usize::MAX));
    }

    /// What the client reads in the end: what has a place, then what has none.
    fn expected(&self) -> (Vec<String>, Vec<String>) {
        let labels = |asides: bool| {
            let named = self.log.iter().filter(move |(_, means)| {
                *means != Means::Nothing && (*means == Means::Aside) == asides
            });
            named.map(|(at, means)| label(*at, *means)).collect()
        };
        (labels(false), labels(true))
    }
}

impl CatchUp {
    fn from(cursor: Position) -> Self {
        let stage = Stage::Reach;
        Self { cursor, stage }
    }
}

/// The rest of a page is read again when there is space.
fn full(stalled: Stalled) -> Stage {
    assert!(matches!(stalled, Stalled::Full(_)), "{stalled:?}");
    Stage::Reach
}

fn label(position: Position, means: Means) -> String {
    format!("{means:?} {position}")
}

fn entries() -> impl Strategy<Value = Vec<Vec<Means>>> {
    let means = prop_oneof![
        1 => Just(Means::Nothing),
        4 => Just(Means::Event),
        1 => Just(Means::Question),
        1 => Just(Means::Answer),
        1 => Just(Means::Aside),
    ];
    prop::collection::vec(prop::collection::vec(means, 1..4), 1..12)
}

fn begins() -> impl Strategy<Value = Begins> {
    prop_oneof![
        (0_usize..100).prop_map(Begins::Live),
        (0_usize..100).prop_map(Begins::Resumed)
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1_usize..6, 1_usize..4, 1_usize..4).prop_map(|(outbox_frames, joining_frames, page_events)| {
        Bounds {
            outbox_frames,
            joining_frames,
            page_events,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn replay_and_live_delivery_meet_without_gap_or_double(
        entries in entries(),
        begins in begins(),
        bounds in bounds(),
        steps in prop::collection::vec(0_u8..5, 0..120),
    ) {
        let mut model = Model::new(&entries, begins, bounds);
        for step in steps {
            match step {
                0 => model.fan_out(),
                1 => model.read(),
                _ => model.catch_up(),
            }
        }
        model.finish();
        let is_aside = |label: &String| label.starts_with("Aside");
        let (asides, placed) = model.read.iter().cloned().partition(is_aside);
        prop_assert_eq!((placed, asides), model.expected());
    }
}

#[test]
fn a_socket_turns_live_though_every_step_of_its_replay_brings_an_event() {
    let entries = vec![vec![Means::Event]; 1000];
    let bounds = Bounds {
        outbox_frames: 8,
        joining_frames: 64,
        page_events: 16,
    };
    for begins in [Begins::Resumed(9), Begins::Live(0)] {
        let mut model = Model::new(&entries, begins, bounds);
        while model.catch_up.is_none() {
            model.fan_out();
        }
        let mut steps = 0;
        while model.catch_up.is_some() {
            model.catch_up();
            model.fan_out();
            model.read();
            model.read();
            steps += 1;
            assert!(steps < 200, "{begins:?}: never live");
        }
        assert!(model.next < model.log.len(), "the log goes on");
        model.finish();
        assert_eq!(model.read, model.expected().0);
    }
}
