//! Flipped bits, missing files and files of others: noticed or harmless, never served.

use super::*;

/// A small log that was closed, and what it holds.
fn closed_log() -> (SimulatedDisk, Vec<Expected>) {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    let mut now = vec![Expected::default(); GROUPS as usize];
    for step in script() {
        step.run(&wal).unwrap();
        now = step.expect(&now).pop().unwrap();
    }
    wal.close();
    (disk, now)
}

fn is_whole(wal: &Wal, expected: &[Expected]) -> bool {
    (0..GROUPS).all(|group| expected[group as usize].matches(wal, group).is_ok())
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    let (disk, expected) = closed_log();
    let (mut refused, mut harmless) = (0, 0);
    for (name, len) in disk.files() {
        for byte in 0..len {
            let damaged = disk.copy();
            damaged.flip(&name, byte, u8::try_from(byte % 8).unwrap());
            match open(&damaged) {
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(&name), "{message}");
                    refused += 1;
                }
                Ok(wal) => {
                    assert!(is_whole(&wal, &expected), "{name}, byte {byte} is served");
                    harmless += 1;
                    wal.close();
                }
            }
        }
    }
    // The unused rest of the newest segment, and the mark at its end.
    assert!(
        refused > 8 * harmless / 10 && harmless > 0,
        "{refused} refused, {harmless} harmless"
    );
}

#[test]
fn a_bit_that_flips_while_the_log_is_open_is_not_served() {
    let (disk, expected) = closed_log();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    for (name, len) in disk.files() {
        for byte in (0..len).step_by(3) {
            disk.flip(&name, byte, 3);
            for (group, log) in expected.iter().enumerate() {
                for (&index, &term) in &log.entries {
                    let group = u32::try_from(group).unwrap();
                    if let Ok(Some(record)) = wal.group(group).read(index) {
                        let whole = payload(group, term, index);
                        let is_trimmed = || trimmed(&whole, &[wanted_bytes(index)]);
                        let is_right = record.payload == whole;
                        assert!(is_right || Some(record.payload) == is_trimmed());
                    }
                }
            }
            disk.flip(&name, byte, 3);
        }
    }
    wal.close();
}

#[test]
fn a_missing_file_and_a_file_of_another_log_are_refused() {
    let (disk, _) = closed_log();
    for (name, _) in disk.files() {
        let part = disk.copy();
        super::super::disk::Disk::remove(&part, &name).unwrap();
        let opened = open(&part);
        let newest = disk
            .files()
            .iter()
            .rev()
            .find(|f| f.0.starts_with("log-"))
            .unwrap()
            .0
            .clone();
        if name == newest {
            continue;
        }
        let message = opened.unwrap_err().to_string();
        assert!(
            message.contains("missing") && message.contains(&name),
            "{message}"
        );
    }
    let other = Options {
        owner: 8,
        ..options()
    };
    let opened = Wal::open_on(Arc::new(disk), other, Arc::new(|_| {}));
    assert!(opened.unwrap_err().to_string().contains("another node"));
}

/// The last batch, with nothing behind it that attests it: cut off, and said so.
#[test]
fn damage_in_the_last_batch_after_a_crash_is_cut_off_and_reported() {
    let disk = SimulatedDisk::default();
    let wal = open(&disk).unwrap();
    wal.sync().unwrap();
    Step::Append(0, 1, 4).run(&wal).unwrap();
    let before = disk.copy();
    let end = wal.shared.tail.lock().synced.offset as usize;
    Step::Append(0, 1, 3).run(&wal).unwrap();
    let crashed = disk.copy();
    let later = wal.shared.tail.lock().synced.offset as usize;
    wal.close();
    for byte in end..later {
        let damaged = crashed.copy();
        damaged.flip("log-0000000000", byte, 1);
        let wal = open(&damaged).unwrap();
        let next = wal.group(0).marks().next();
        assert!(
            wal.was_torn() && (4..=7).contains(&next),
            "byte {byte}: {next}"
        );
        wal.close();
    }
    for byte in super::super::segment::SEGMENT_HEADER_BYTES as usize..end {
        let damaged = crashed.copy();
        damaged.flip("log-0000000000", byte, 1);
        let error = open(&damaged).unwrap_err().to_string();
        assert!(error.contains("durable"), "byte {byte}: {error}");
    }
    let wal = open(&before).unwrap();
    assert!(!wal.was_torn());
    wal.close();
}
