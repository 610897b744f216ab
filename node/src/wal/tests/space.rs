//! What is reclaimed, what stays readable, and how much disk that takes.

use super::super::Space;
use super::*;

/// Group 0's entries divisible by `every` are wanted, and the last `kept`.
struct Mixed {
    every: u64,
    kept_from: u64,
}

impl Mixed {
    fn needs(&self, index: u64) -> bool {
        index.is_multiple_of(self.every) || index >= self.kept_from
    }
}

impl Needs for Mixed {
    fn first(&self, _: u32) -> u64 {
        0
    }

    fn wanted(&self, _: u32, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        parts(indexes.filter(|index| self.needs(*index)))
    }

    fn trim(&self, payload: &Bytes, parts: &[u32]) -> Option<Bytes> {
        trimmed(payload, parts)
    }
}

/// What is wanted of the entry as it was written, if all of it is not still there.
fn wanted_of(index: u64) -> Bytes {
    let whole = payload(0, 1, index);
    trimmed(&whole, &[wanted_bytes(index)]).unwrap_or(whole)
}

#[test]
fn a_little_that_is_kept_long_does_not_pin_the_rest() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    let (rounds, each) = (60, 20);
    let mut worst = 0.0_f64;
    for round in 0..rounds {
        Step::Append(0, 1, each).run(&wal).unwrap();
        let next = (round + 1) * each;
        Step::Purge(0, next - 2).run(&wal).unwrap();
        let needs = Mixed {
            every: 25,
            kept_from: next.saturating_sub(100),
        };
        while wal.reclaim(&needs).unwrap().segments > 0 {}
        let wanted = || (0..next).filter(|index| needs.needs(*index));
        let bytes: usize = wanted().map(|index| wanted_of(index).len()).sum();
        if round > 10 {
            #[allow(clippy::cast_precision_loss)]
            let ratio = wal.size().1 as f64 / bytes as f64;
            worst = worst.max(ratio);
        }
        for index in wanted() {
            let read = wal.group(0).read(index).unwrap().unwrap();
            assert!(read.payload.starts_with(&wanted_of(index)));
        }
    }
    println!("worst ratio of disk to wanted bytes: {worst:.2}");
    assert!(worst < 3.0, "{worst}");
    wal.close();
    let wal = open(&disk).unwrap();
    for index in (0..rounds * each).step_by(25) {
        assert!(wal.group(0).read(index).unwrap().is_some(), "{index}");
    }
    wal.close();
}

/// Which archives there are, and what they hold.
fn archives(disk: &SimulatedDisk) -> Vec<(String, usize)> {
    let is_archive = |(name, _): &(String, usize)| name.starts_with("archive-");
    disk.files().into_iter().filter(is_archive).collect()
}

#[test]
fn archives_hold_what_is_wanted_of_an_entry_and_are_not_written_again() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    for _ in 0..20 {
        Step::Append(0, 1, 10).run(&wal).unwrap();
    }
    Step::Purge(0, 195).run(&wal).unwrap();
    let all = |every| Mixed {
        every,
        kept_from: 200,
    };
    while wal.reclaim(&all(4)).unwrap().segments > 0 {}
    let first = archives(&disk);
    // With its frame.
    let entry = 32 + (70 + 60);
    let bytes = |files: &[(String, usize)]| files.iter().map(|(_, bytes)| bytes).sum::<usize>();
    assert!(
        (1..=50 * entry + first.len() * 64).contains(&bytes(&first)),
        "{first:?}"
    );
    for _ in 0..4 {
        assert_eq!(wal.reclaim(&all(4)).unwrap().copied, 0, "nothing is gained");
    }
    // Less is wanted: what was trimmed is copied once more, and then there is nothing to gain.
    while wal.reclaim(&all(16)).unwrap().segments > 0 {}
    let second = archives(&disk);
    assert!(bytes(&second) * 2 < bytes(&first), "{first:?} {second:?}");
    assert_eq!(wal.reclaim(&all(16)).unwrap().copied, 0);
    wal.close();
    let wal = open(&disk).unwrap();
    for index in (0..200).step_by(16) {
        let read = wal.group(0).read(index).unwrap().unwrap();
        assert!(read.payload.starts_with(&wanted_of(index)), "{index}");
    }
    wal.close();
}

#[test]
fn small_archives_are_made_one_as_long_as_all_of_them_is_wanted() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    let (mut most, mut next) = (0, 0);
    // Of each segment and a half one entry is kept for ever.
    let needs = Mixed {
        every: 60,
        kept_from: u64::MAX,
    };
    for _ in 0..60 {
        for _ in 0..3 {
            Step::Append(0, 1, 20).run(&wal).unwrap();
            next += 20;
        }
        Step::Purge(0, next - 2).run(&wal).unwrap();
        for _ in 0..3 {
            wal.reclaim(&needs).unwrap();
        }
        most = most.max(archives(&disk).len());
    }
    assert!((2..=20).contains(&most), "{most} archives");
    for _ in 0..10 {
        wal.reclaim(&needs).unwrap();
    }
    assert_eq!(wal.reclaim(&needs).unwrap().copied, 0, "merging ends");
    wal.close();
    let wal = open(&disk).unwrap();
    for index in (0..next).step_by(60) {
        let read = wal.group(0).read(index).unwrap().unwrap();
        assert!(read.payload.starts_with(&wanted_of(index)), "{index}");
    }
    wal.close();
}

#[test]
fn a_single_segment_of_which_little_is_wanted_goes() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    let mut written = 0;
    while wal.size().0 < 2 {
        Step::Append(0, 1, 1).run(&wal).unwrap();
        written += 1;
    }
    Step::Purge(0, written - 1).run(&wal).unwrap();
    let needs = Mixed {
        every: 5,
        kept_from: u64::MAX,
    };
    let reclaimed = wal.reclaim(&needs).unwrap();
    assert!(
        reclaimed.segments == 1 && reclaimed.copied > 0,
        "{reclaimed:?}"
    );
    wal.close();
}

/// Nothing can be said of entries from this one on.
struct Unjudged(u64);

impl Needs for Unjudged {
    fn first(&self, _: u32) -> u64 {
        self.0
    }

    fn wanted(&self, _: u32, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        (*indexes.end() < self.0).then(Vec::new)
    }

    fn trim(&self, _: &Bytes, _: &[u32]) -> Option<Bytes> {
        None
    }
}

#[test]
fn what_nobody_can_judge_yet_stays() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    for _ in 0..20 {
        Step::Append(0, 1, 10).run(&wal).unwrap();
    }
    Step::Purge(0, 195).run(&wal).unwrap();
    while wal.reclaim(&Unjudged(120)).unwrap().segments > 0 {}
    assert!(wal.group(0).read(50).unwrap().is_none());
    for index in 120..200 {
        assert!(wal.group(0).read(index).unwrap().is_some(), "{index}");
    }
    wal.close();
}

#[test]
fn a_disk_that_fills_is_told_of_before_it_is_full_and_recovers() {
    let disk = SimulatedDisk::default();
    let segment = u64::from(SEGMENT_BYTES);
    disk.set_capacity(Some(12 * segment));
    let wal = open(&disk).unwrap();
    let mut written = 0;
    while wal.look_at_space().unwrap() == Space::Enough {
        Step::Append(0, 1, 4).run(&wal).unwrap();
        written += 4;
    }
    assert!(written > 20);
    Step::Append(0, 1, 4).run(&wal).expect("there is a reserve");
    Step::Purge(0, written - 1).run(&wal).unwrap();
    while wal.reclaim(&EveryThird).unwrap().segments > 0 {}
    assert_eq!(wal.look_at_space().unwrap(), Space::Enough);
    Step::Append(0, 1, 4).run(&wal).unwrap();
    wal.close();
}

/// Entries before this one are wanted.
struct Before(u64);

impl Needs for Before {
    fn first(&self, _: u32) -> u64 {
        0
    }

    fn wanted(&self, _: u32, indexes: RangeInclusive<u64>) -> Option<Vec<Part>> {
        parts(indexes.filter(|index| *index < self.0))
    }

    fn trim(&self, _: &Bytes, _: &[u32]) -> Option<Bytes> {
        None
    }
}

#[test]
fn old_segments_that_are_wanted_do_not_hide_later_ones_that_are_not() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    for _ in 0..60 {
        Step::Append(0, 1, 10).run(&wal).unwrap();
    }
    Step::Purge(0, 590).run(&wal).unwrap();
    let files = wal.size().0;
    for _ in 0..8 {
        wal.reclaim(&Before(300)).unwrap();
    }
    assert!(wal.size().0 < files * 2 / 3, "{files}, {:?}", wal.size());
    for index in 0..600 {
        let is_there = wal.group(0).read(index).unwrap().is_some();
        assert!(is_there || (300..=590).contains(&index), "{index}");
    }
    wal.close();
}

/// A segment that takes entries of an earlier one back stays as long as that one.
#[test]
fn what_was_taken_back_does_not_return_when_its_successors_are_gone() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    for step in [
        Step::Append(0, 1, 10),
        Step::Truncate(0, 5),
        Step::Append(0, 2, 60),
        Step::Purge(0, 64),
    ] {
        step.run(&wal).unwrap();
    }
    assert!(wal.reclaim(&Before(5)).unwrap().segments > 0);
    wal.close();
    let wal = open(&disk).unwrap();
    for index in 0..65 {
        let read = wal.group(0).read(index).unwrap();
        let term = read.map(|record| record.id.term);
        let right = if index < 5 { Some(1) } else { Some(2) };
        assert!(
            term == right || index >= 5 && term.is_none(),
            "{index}: {term:?}"
        );
    }
    wal.close();
}

#[test]
fn nothing_that_raft_needs_goes() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    struct Nothing;
    impl Needs for Nothing {
        fn first(&self, _: u32) -> u64 {
            u64::MAX
        }
        fn wanted(&self, _: u32, _: RangeInclusive<u64>) -> Option<Vec<Part>> {
            Some(Vec::new())
        }
        fn trim(&self, _: &Bytes, _: &[u32]) -> Option<Bytes> {
            None
        }
    }
    for group in 0..GROUPS {
        Step::Append(group, 1, 40).run(&wal).unwrap();
    }
    assert_eq!(wal.reclaim(&Nothing).unwrap().segments, 0);
    for group in 0..2 {
        Step::Purge(group, 39).run(&wal).unwrap();
    }
    wal.reclaim(&Nothing).unwrap();
    for index in 0..40 {
        assert!(wal.group(2).read(index).unwrap().is_some());
    }
    Step::Purge(2, 39).run(&wal).unwrap();
    assert!(wal.reclaim(&Nothing).unwrap().segments > 0);
    assert!(wal.group(2).read(5).unwrap().is_none());
    wal.close();
    let wal = open(&disk).unwrap();
    assert_eq!(wal.group(2).marks().next(), 40);
    wal.close();
}

/// The mark that says so may not be on the disk yet.
#[test]
fn what_was_committed_before_a_jump_is_there_after_a_restart() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    for step in [
        Step::Append(0, 1, 10),
        Step::Committed(0, 6),
        Step::Jump(0, 2, 40),
    ] {
        step.run(&wal).unwrap();
    }
    wal.close();
    let wal = open(&disk).unwrap();
    for index in 0..12 {
        let is_there = wal.group(0).read(index).unwrap().is_some();
        assert_eq!(is_there, index <= 6, "{index}");
    }
    wal.close();
}
