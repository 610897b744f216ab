//! A crash at every write and every sync of a run, enumerated.

use super::*;

/// Runs the script until it ends or the disk is gone; what may be found then, and the step that
/// was cut short.
fn run(disk: &SimulatedDisk, script: &[Step]) -> (Vec<Vec<Expected>>, Option<usize>) {
    let mut now = vec![Expected::default(); GROUPS as usize];
    let Ok(wal) = open(disk) else {
        return (vec![now], Some(0));
    };
    if wal.sync().is_err() {
        wal.close();
        return (vec![now], Some(0));
    }
    for (at, step) in script.iter().enumerate() {
        let mut allowed = step.expect(&now);
        if step.run(&wal).is_err() {
            wal.close();
            return (allowed, Some(at));
        }
        now = allowed.pop().unwrap();
    }
    wal.close();
    (vec![now], None)
}

fn assert_one_of(wal: &Wal, allowed: &[Vec<Expected>], context: &str) -> usize {
    let complaints: Vec<_> = allowed
        .iter()
        .map(|state| (0..GROUPS).try_for_each(|group| state[group as usize].matches(wal, group)))
        .collect();
    let fits = complaints.iter().position(Result::is_ok);
    fits.unwrap_or_else(|| panic!("{context}: {complaints:#?}"))
}

#[test]
fn a_run_without_a_crash_is_read_back() {
    let disk = SimulatedDisk::default();
    let script = script();
    let (allowed, cut) = run(&disk, &script);
    assert_eq!(cut, None);
    let names: Vec<_> = disk.files().into_iter().map(|(name, _)| name).collect();
    assert!(
        names.iter().any(|name| name.starts_with("archive-")),
        "{names:?}"
    );
    assert!(!names.contains(&"log-0000000000".to_owned()), "{names:?}");
    for _ in 0..3 {
        let wal = open(&disk).unwrap();
        assert_one_of(&wal, &allowed, "reopened");
        assert!(!wal.was_torn());
        wal.close();
    }
}

#[test]
fn what_was_durable_survives_a_crash_at_any_operation() {
    let script = script();
    let whole = SimulatedDisk::default();
    run(&whole, &script);
    let operations = whole.operations();
    assert!(operations > 150, "{operations}");
    let (mut cuts, mut gone_on) = (0, 0);
    for at in 0..operations {
        let disk = SimulatedDisk::default();
        disk.crash_at(at);
        let (allowed, cut) = run(&disk, &script);
        cuts += usize::from(cut.is_some());
        for seed in 0..6 {
            let rebooted = disk.reboot(seed);
            let context = format!("crash at {at} in {cut:?}, seed {seed}");
            let wal = open(&rebooted).unwrap_or_else(|error| panic!("{context}: {error}"));
            let found = assert_one_of(&wal, &allowed, &context);
            gone_on += usize::from(goes_on(&wal, &rebooted, allowed[found].clone(), &context));
        }
    }
    assert!(cuts > operations / 2);
    assert_eq!(gone_on, operations * 6);
}

/// A recovered log takes more, and has that too after a clean restart.
fn goes_on(wal: &Wal, disk: &SimulatedDisk, mut now: Vec<Expected>, context: &str) -> bool {
    for group in 0..GROUPS {
        let step = Step::Append(group, 20, 3);
        now = step.expect(&now).pop().unwrap();
        step.run(wal)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    wal.close();
    let wal = open(disk).unwrap_or_else(|error| panic!("{context}, once more: {error}"));
    assert_one_of(&wal, &[now], context);
    wal.close();
    true
}

#[test]
fn a_failed_write_or_sync_closes_the_log_and_says_so() {
    let script = script();
    let whole = SimulatedDisk::default();
    run(&whole, &script);
    for at in (20..whole.operations()).step_by(7) {
        let disk = SimulatedDisk::default();
        disk.fail_at(at);
        let (allowed, cut) = run(&disk, &script);
        // Removing files is all that may fail without an end.
        if cut.is_some() {
            let wal = open(&disk.reboot(at as u64)).unwrap();
            assert_one_of(&wal, &allowed, &format!("failed at {at}"));
            wal.close();
        }
    }
    let told = Arc::new(parking_lot::Mutex::new(String::new()));
    let disk = SimulatedDisk::default();
    let teller = Arc::clone(&told);
    let on_fatal = Arc::new(move |why: &str| why.clone_into(&mut teller.lock()));
    let wal = Wal::open_on(Arc::new(disk.clone()), options(), on_fatal).unwrap();
    wal.sync().unwrap();
    // The write, then its sync.
    disk.fail_at(disk.operations() + 1);
    assert!(Step::Append(0, 1, 2).run(&wal).is_err());
    assert_eq!(
        *told.lock(),
        "the log could not be written: the disk has failed"
    );
    assert!(Step::Append(0, 1, 2).run(&wal).is_err(), "it is closed");
    wal.close();
}

#[test]
fn a_torn_end_of_every_length_loses_the_last_batch_only() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    let mut now = vec![Expected::default(); GROUPS as usize];
    for step in [Step::Append(0, 1, 2), Step::Append(1, 1, 2)] {
        step.run(&wal).unwrap();
        now = step.expect(&now).pop().unwrap();
    }
    let kept = disk.copy();
    let last = Step::Append(0, 1, 4);
    let allowed = last.expect(&now);
    last.run(&wal).unwrap();
    let after = disk.copy();
    wal.close();
    let len = after.files()[0].1;
    let mut found = std::collections::BTreeSet::new();
    for cut in 0..len {
        let torn = after.copy();
        torn.cut("log-0000000000", cut);
        match open(&torn) {
            Ok(wal) => {
                let fits = allowed.iter().position(|state| {
                    (0..GROUPS).all(|g| state[g as usize].matches(&wal, g).is_ok())
                });
                found.extend(fits);
                wal.close();
            }
            Err(error) => assert!(matches!(error, OpenError::Segment(_)), "{error}"),
        }
    }
    assert_eq!(
        found.len(),
        allowed.len(),
        "every length of the last batch was found"
    );
    let wal = open(&kept).unwrap();
    assert_one_of(&wal, &[now], "before the last batch");
    wal.close();
}
