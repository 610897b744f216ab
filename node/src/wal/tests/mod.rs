//! The log against a disk that crashes, tears and lies: what was told to be durable is there
//! afterwards, and nothing is ever served that was not written.

mod crashes;
mod damage;
mod space;
mod stalls;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::disk::simulated::SimulatedDisk;
use super::index::{EntryId, Record, SavedVote};
use super::log::{Done, Options, Wal};
use super::recovery::OpenError;
use super::{Needs, Part};

/// Groups of the logs here.
const GROUPS: u32 = 3;
/// Small, so that a short script fills many.
const SEGMENT_BYTES: u32 = 2_048;

fn options() -> Options {
    Options {
        groups: GROUPS,
        owner: 7,
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 4 * u64::from(SEGMENT_BYTES),
        cache_bytes: 200,
    }
}

fn open(disk: &SimulatedDisk) -> Result<Wal, OpenError> {
    Wal::open_on(Arc::new(disk.clone()), options(), Arc::new(|_| {}))
}

/// Makes a change and waits until it is durable.
fn durably(change: impl FnOnce(Done) -> io::Result<()>) -> io::Result<()> {
    let (done, wait) = sync_channel(1);
    change(Box::new(move |result| drop(done.send(result))))?;
    wait.recv()
        .unwrap_or_else(|_| Err(io::Error::other("never told")))
}

fn payload(group: u32, term: u64, index: u64) -> Bytes {
    // Some are larger than the cache, some empty.
    let len = usize::try_from((index * 37 + term) % 300).unwrap();
    let text = format!("{group}.{term}.{index}.");
    Bytes::from(
        text.into_bytes()
            .into_iter()
            .cycle()
            .take(len)
            .collect::<Vec<_>>(),
    )
}

fn records(group: u32, term: u64, indexes: std::ops::Range<u64>) -> Vec<Record> {
    let record = |index| Record {
        id: EntryId { term, index },
        kind: 1,
        payload: payload(group, term, index),
    };
    indexes.map(record).collect()
}

/// What a group's log has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    /// Term by index, purged ones included.
    entries: BTreeMap<u64, u64>,
    purged: Option<EntryId>,
    vote: Option<SavedVote>,
}

/// One step of a script.
#[derive(Debug, Clone)]
enum Step {
    Append(u32, u64, u64),
    Truncate(u32, u64),
    Vote(u32, u64),
    Committed(u32, u64),
    Purge(u32, u64),
    /// A snapshot was installed: (group, term, index).
    Jump(u32, u64, u64),
    /// Entries came from another replica: (group, term, first, count).
    Backfill(u32, u64, u64, u64),
    Reclaim,
}

/// What is wanted of an entry: its first so many bytes.
fn wanted_bytes(index: u64) -> u32 {
    70 + u32::try_from(index % 7).unwrap() * 10
}

/// One part of each of these entries is wanted.
fn parts(indexes: impl Iterator<Item = u64>) -> Option<Vec<Part>> {
    let part = |index| Part {
        index,
        number: wanted_bytes(index),
        bytes: wanted_bytes(index),
    };
    Some(indexes.map(part).collect())
}

/// The part of a payload, of a trimmed one too.
fn trimmed(payload: &Bytes, parts: &[u32]) -> Option<Bytes> {
    let [bytes] = parts else {
        panic!("an entry has one part: {parts:?}");
    };
    let bytes = *bytes as usize;
    (payload.len() > bytes).then(|| payload.slice(..bytes))
}

/// Every third entry is wanted as history.
struct EveryThird;

impl EveryThird {
    fn needs(index: u64) -> bool {
        index.is_multiple_of(3)
    }
}

impl Needs for EveryThird {
    fn first(&self, _: u32) -> u64 {
        0
    }

    fn wanted(&self, _: u32, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        parts(indexes.filter(|index| Self::needs(*index)))
    }

    fn trim(&self, payload: &Bytes, parts: &[u32]) -> Option<Bytes> {
        trimmed(payload, parts)
    }
}

impl Step {
    /// Does it durably.
    fn run(&self, wal: &Wal) -> io::Result<()> {
        match *self {
            Self::Append(group, term, count) => {
                let log = wal.group(group);
                let next = log.marks().next();
                let records = records(group, term, next..next + count);
                durably(|done| log.append(records, done))
            }
            Self::Truncate(group, next) => durably(|done| wal.group(group).truncate(next, done)),
            Self::Vote(group, term) => durably(|done| wal.group(group).save_vote(vote(term), done)),
            Self::Committed(group, index) => {
                let log = wal.group(group);
                let term = log.term(index).unwrap();
                log.save_committed(EntryId { term, index })
            }
            Self::Purge(group, index) => {
                let log = wal.group(group);
                let term = log.term(index).unwrap();
                durably(|done| log.purge(EntryId { term, index }, done))
            }
            Self::Jump(group, term, index) => {
                durably(|done| wal.group(group).purge(EntryId { term, index }, done))
            }
            Self::Backfill(group, term, first, count) => {
                let records = records(group, term, first..first + count);
                let stored = wal.backfill(group, &records)?;
                assert!(stored.0 as u64 <= count);
                Ok(())
            }
            Self::Reclaim => wal.reclaim(&EveryThird).map(drop),
        }
    }

    /// The states that may be found when this was cut short, the whole of it last.
    fn expect(&self, now: &[Expected]) -> Vec<Vec<Expected>> {
        let mut after = now.to_vec();
        let mut all = vec![now.to_vec()];
        match *self {
            Self::Append(group, term, count) => {
                for _ in 0..count {
                    let log = &mut after[group as usize];
                    log.entries.insert(log.next(), term);
                    all.push(after.clone());
                }
                return all;
            }
            Self::Truncate(group, next) => drop(after[group as usize].entries.split_off(&next)),
            Self::Vote(group, term) => after[group as usize].vote = Some(vote(term)),
            Self::Purge(group, index) => {
                let log = &mut after[group as usize];
                let term = log.entries[&index];
                log.purged = Some(EntryId { term, index });
            }
            Self::Jump(group, term, index) => {
                let log = &mut after[group as usize];
                // What was given up before is committed: it stays, backfilled or not.
                let given_up = log.purged.map_or(0, |id| id.index + 1);
                log.entries.split_off(&given_up);
                log.purged = Some(EntryId { term, index });
            }
            Self::Backfill(group, term, first, count) => {
                for index in first..first + count {
                    after[group as usize].entries.insert(index, term);
                    all.push(after.clone());
                }
                return all;
            }
            Self::Committed(..) | Self::Reclaim => {}
        }
        all.push(after);
        all
    }
}

impl Expected {
    fn next(&self) -> u64 {
        let purged = self.purged.map_or(0, |id| id.index + 1);
        self.entries
            .keys()
            .last()
            .map_or(purged, |last| (last + 1).max(purged))
    }

    /// Whether the log is this: what Raft needs, what is wanted of the rest, and nothing else.
    fn matches(&self, wal: &Wal, group: u32) -> Result<(), String> {
        let log = wal.group(group);
        let marks = log.marks();
        if (marks.purged, marks.vote, marks.next()) != (self.purged, self.vote, self.next()) {
            return Err(format!("group {group}: {marks:?} instead of {self:?}"));
        }
        for index in 0..self.next() + 2 {
            let found = log.read(index).map_err(|error| error.to_string())?;
            let expected = self.entries.get(&index).map(|&term| Record {
                id: EntryId { term, index },
                kind: 1,
                payload: payload(group, term, index),
            });
            let given_up = index < marks.first();
            let needed = !given_up || EveryThird::needs(index);
            // A jump may leave committed history, which the model has cleared.
            let may_stay = found.is_none() && !needed || expected.is_none() && given_up;
            // What was copied to an archive has lost what nobody wants of it.
            let is_trimmed = || {
                let payload = trimmed(&expected.as_ref()?.payload, &[wanted_bytes(index)])?;
                Some(Record {
                    payload,
                    ..expected.clone()?
                })
            };
            let may_be_trimmed = given_up && found.is_some() && found == is_trimmed();
            if found != expected && !may_stay && !may_be_trimmed {
                return Err(format!(
                    "group {group}, entry {index}: {found:?}, not {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

fn vote(term: u64) -> SavedVote {
    SavedVote {
        term,
        voted_for: term % 3,
        committed: term.is_multiple_of(2),
    }
}

/// A run that fills segments, takes back, purges, archives and goes on.
fn script() -> Vec<Step> {
    use Step::*;
    let mut script = vec![Vote(0, 1), Append(0, 1, 3), Append(1, 1, 1), Vote(2, 3)];
    for round in 0..4 {
        let at = 6 * round;
        script.extend([
            Append(0, 1 + round, 6),
            Append(1, 2 + round, 2),
            Committed(0, at + 2),
            Append(2, 3, 4),
            Truncate(0, at + 7),
            Append(0, 2 + round, 2),
            Purge(2, 4 * round + 2),
            Purge(0, at + 4),
            Reclaim,
        ]);
    }
    script.extend([Append(1, 9, 1), Purge(1, 8), Reclaim]);
    script.extend([
        Jump(2, 4, 40),
        Append(2, 4, 3),
        Backfill(2, 4, 16, 25),
        Reclaim,
        Vote(1, 12),
        Append(0, 7, 2),
        Jump(2, 5, 60),
        Backfill(2, 4, 38, 6),
        Backfill(2, 5, 44, 17),
        Append(2, 5, 2),
        Reclaim,
    ]);
    script
}
