//! A disk that stands still for a while: nothing is told to be durable, everything can be read, and
//! what waits becomes one batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn while_the_disk_stalls_entries_are_readable_and_not_acknowledged() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    Step::Append(0, 1, 1).run(&wal).unwrap();
    disk.stall(true);
    let durable = Arc::new(AtomicUsize::new(0));
    let append = |group: u32, index: u64| {
        let durable = durable.clone();
        let done: Done = Box::new(move |result: io::Result<()>| {
            result.unwrap();
            durable.fetch_add(1, Ordering::AcqRel);
        });
        let records = records(group, 1, index..index + 1);
        wal.group(group).append(records, done).unwrap();
    };
    append(0, 1);
    until("the writer is stuck", || disk.waiting() == 1);
    let before = disk.operations();
    for index in 2..50 {
        append(0, index);
        append(1, index - 2);
    }
    for index in 0..50 {
        let read = wal.group(0).read(index).unwrap().unwrap();
        assert_eq!(read.payload, payload(0, 1, index));
    }
    assert_eq!(durable.load(Ordering::Acquire), 0);

    disk.stall(false);
    until("all is durable", || durable.load(Ordering::Acquire) == 97);
    let operations = disk.operations() - before;
    let files = wal.size().0;
    assert!(
        operations < 97,
        "{operations} operations for 97 appends, {files} files: they were not batched"
    );
    wal.close();
    let wal = open(&disk.reboot(3)).unwrap();
    for index in 0..50 {
        assert!(wal.group(0).read(index).unwrap().is_some(), "{index}");
    }
    wal.close();
}
