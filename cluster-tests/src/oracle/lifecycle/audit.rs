//! From the record of a lifecycle to its verdict.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::report::LifecycleReport;
use super::{Attempts, Fate, Message, Register, Session, Told, Wishes};
use crate::offset::Offset;

/// What the follower knows of a session.
#[derive(Debug, Default)]
struct Life {
    connected: bool,
    is_away: bool,
    /// Where it ended.
    ended: Option<Offset>,
    /// Is a member of these now.
    rooms: BTreeSet<String>,
    /// All joins (true) and leaves (false), told as they can happen, by room.
    changes: BTreeMap<String, Vec<(Offset, bool)>>,
}

/// What is wrong with a thing told, beside its position.
enum Fault {
    Doubled,
    Reordered,
}

pub(super) fn audit(register: &Register) -> LifecycleReport {
    let mut report = LifecycleReport {
        streams: register.streams,
        sessions: register.sessions.len() as u64,
        ..LifecycleReport::default()
    };
    check_positions(&register.messages, &mut report);
    let lives = live(&register.messages, &mut report);
    for (id, session) in &register.sessions {
        let client = &register.clients[session.client];
        let is_over = client.is_over || client.sessions.last() != Some(id);
        let name = format!("{} ({id})", client.name);
        match lives.get(id) {
            Some(life) => {
                check_end(&name, life, is_over, &mut report);
                check_rooms(&name, session, life, &mut report);
            }
            None => lose(&mut report, 1, || format!("{name} was never told of")),
        }
    }
    check_unclaimed(register, &lives, &mut report);
    report
}

fn lose(report: &mut LifecycleReport, count: usize, text: impl FnOnce() -> String) {
    report.lost += count as u64;
    report.example(text);
}

fn invent(report: &mut LifecycleReport, text: impl FnOnce() -> String) {
    report.phantom += 1;
    report.example(text);
}

/// Ascending, and nothing more of an offset after its last message, nor of one that is marked.
fn check_positions(messages: &[Message], report: &mut LifecycleReport) {
    for pair in messages.windows(2) {
        if !follows(&pair[0], &pair[1]) {
            report.reordered += 1;
            report.example(|| format!("told {:?} after {:?}", pair[1], pair[0]));
        }
    }
    for gap in messages.iter().filter(|told| told.told == Told::Gap) {
        report.gaps += 1;
        report.example(|| format!("a gap up to {}", gap.offset));
    }
}

fn follows(before: &Message, message: &Message) -> bool {
    message.offset.epoch == before.offset.epoch
        && match message.offset.cmp(&before.offset) {
            Ordering::Less => false,
            Ordering::Equal => !before.last || message.told == Told::Mark,
            Ordering::Greater => before.last,
        }
}

/// Each session as the follower sees it become what it is.
fn live(messages: &[Message], report: &mut LifecycleReport) -> HashMap<String, Life> {
    let mut lives: HashMap<String, Life> = HashMap::new();
    for message in messages {
        let Told::Fate(id, fate) = &message.told else {
            continue;
        };
        count(fate, report);
        let life = lives.entry(id.clone()).or_default();
        let left = match fate {
            Fate::Disconnected | Fate::Expired => std::mem::take(&mut life.rooms),
            _ => BTreeSet::new(),
        };
        if !left.is_empty() {
            lose(report, left.len(), || {
                format!("{id} ended at {} as a member of {left:?}", message.offset)
            });
        }
        match life.step(message.offset, fate) {
            Ok(()) => {}
            Err(Fault::Doubled) => {
                report.doubled += 1;
                report.example(|| format!("{id} again: {fate:?} at {}", message.offset));
            }
            Err(Fault::Reordered) => {
                report.reordered += 1;
                report.example(|| format!("{id} cannot be {fate:?} at {}", message.offset));
            }
        }
    }
    lives
}

fn count(fate: &Fate, report: &mut LifecycleReport) {
    match fate {
        Fate::Connected => report.connects += 1,
        Fate::Joined(_) => report.joins += 1,
        Fate::Left(_) => report.leaves += 1,
        Fate::Away => report.aways += 1,
        Fate::Back => report.backs += 1,
        Fate::Disconnected => report.disconnects += 1,
        Fate::Expired => report.expiries += 1,
        Fate::Updated => {}
    }
}

impl Life {
    fn step(&mut self, offset: Offset, fate: &Fate) -> Result<(), Fault> {
        let lives = self.connected && self.ended.is_none();
        let fresh = |is_new: bool| if is_new { Ok(()) } else { Err(Fault::Doubled) };
        match fate {
            Fate::Connected if self.connected => Err(Fault::Doubled),
            Fate::Disconnected | Fate::Expired if self.ended.is_some() => Err(Fault::Doubled),
            Fate::Connected => {
                self.connected = true;
                Ok(())
            }
            _ if !lives => Err(Fault::Reordered),
            Fate::Joined(room) => {
                fresh(self.rooms.insert(room.clone()))?;
                self.change(offset, room, true);
                Ok(())
            }
            Fate::Left(room) => {
                fresh(self.rooms.remove(room))?;
                self.change(offset, room, false);
                Ok(())
            }
            Fate::Away => fresh(!std::mem::replace(&mut self.is_away, true)),
            Fate::Back => fresh(std::mem::replace(&mut self.is_away, false)),
            Fate::Disconnected | Fate::Expired => {
                self.ended = Some(offset);
                let is_due = self.is_away || *fate == Fate::Disconnected;
                is_due.then_some(()).ok_or(Fault::Reordered)
            }
            Fate::Updated => Ok(()),
        }
    }

    fn change(&mut self, offset: Offset, room: &str, joins: bool) {
        let changes = self.changes.entry(room.to_owned()).or_default();
        changes.push((offset, joins));
    }

    /// Whether it is a member behind this offset.
    fn is_in(&self, room: &str, offset: Offset) -> bool {
        let mut changes = self.changes.get(room).into_iter().flatten();
        let last = changes.rfind(|(at, _)| *at <= offset);
        last.is_some_and(|(_, joins)| *joins)
    }
}

/// It has begun. One that is over has ended; one that is not is there, and not away.
fn check_end(name: &str, life: &Life, is_over: bool, report: &mut LifecycleReport) {
    if !life.connected {
        lose(report, 1, || {
            format!("the beginning of {name} was not told")
        });
    }
    match (is_over, life.ended) {
        (true, None) => lose(report, 1, || format!("the end of {name} was not told")),
        (false, Some(at)) => invent(report, || format!("{name} lives, and ended at {at}")),
        (false, None) if life.is_away => {
            lose(report, 1, || format!("{name} is there, and told away"));
        }
        _ => {}
    }
}

/// Answered joins and leaves have worked where they stand, and nothing else has, but once at most
/// what was not answered.
fn check_rooms(name: &str, session: &Session, life: &Life, report: &mut LifecycleReport) {
    for (room, Wishes { joins, leaves }) in &session.rooms {
        for at in joins.answered.iter().filter(|at| !life.is_in(room, **at)) {
            lose(report, 1, || format!("{name} joined {room:?} at {at}"));
        }
        for at in leaves.answered.iter().filter(|at| life.is_in(room, **at)) {
            lose(report, 1, || format!("{name} left {room:?} at {at}"));
        }
    }
    let nothing = Wishes::default();
    for (room, changes) in &life.changes {
        let wishes = session.rooms.get(room).unwrap_or(&nothing);
        let told = |joins: bool| {
            let same = changes.iter().filter(move |(_, told)| *told == joins);
            same.map(|(offset, _)| *offset)
        };
        let joined = unexplained(told(true), &wishes.joins, None);
        let left = unexplained(told(false), &wishes.leaves, life.ended);
        for (at, what) in joined
            .iter()
            .map(|at| (at, "joined"))
            .chain(left.iter().map(|at| (at, "left")))
        {
            invent(report, || {
                format!("{name} never {what} {room:?}, told at {at}")
            });
        }
    }
}

/// What is told beyond the answered attempts, the end of the session and as many as are open.
fn unexplained(
    told: impl Iterator<Item = Offset>,
    attempts: &Attempts,
    end: Option<Offset>,
) -> Vec<Offset> {
    let is_known = |offset: &Offset| attempts.answered.contains(offset) || end == Some(*offset);
    told.filter(|offset| !is_known(offset))
        .skip(attempts.open_count())
        .collect()
}

/// Sessions that no client knows: no more than there were unanswered CONNECTs, in no room, and
/// ended, for nobody can resume them.
fn check_unclaimed(
    register: &Register,
    lives: &HashMap<String, Life>,
    report: &mut LifecycleReport,
) {
    let is_unclaimed = |(id, _): &(&String, &Life)| !register.sessions.contains_key(*id);
    for (id, life) in lives.iter().filter(is_unclaimed) {
        report.unclaimed += 1;
        if report.unclaimed > register.unanswered as u64 {
            invent(report, || format!("{id} is nobody's"));
        }
        if life.ended.is_none() {
            lose(report, 1, || {
                format!("the end of {id}, nobody's, was not told")
            });
        }
        for (room, changes) in &life.changes {
            invent(report, || {
                format!("{id}, nobody's, in {room:?}: {changes:?}")
            });
        }
    }
}
