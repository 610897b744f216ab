//! Replays what fuzzing kept (`proto/fuzz/corpus`), so that the ordinary tests see each of it again
//! without a fuzzer.

mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of one corpus, and their bytes together: what is in the repository stays small.
const FILES_MAX: usize = 100;
const CORPUS_BYTES_MAX: usize = 100 * 1024;

fn entries(directory: &str) -> impl Iterator<Item = PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let entries = fs::read_dir(fuzz.join(directory)).expect("the directory is committed");
    entries.map(|entry| entry.expect("it can be listed").path())
}

#[test]
fn every_file_of_the_corpus_passes_its_check() {
    for name in checks::table::NAMES {
        let (mut count, mut bytes) = (0, 0);
        for path in entries(&format!("corpus/{name}")) {
            let input = fs::read(&path).unwrap();
            // Shown when the check panics.
            println!("{}", path.display());
            checks::run(name, &input);
            count += 1;
            bytes += input.len();
        }
        assert!((1..=FILES_MAX).contains(&count), "{name}: {count} files");
        assert!(bytes <= CORPUS_BYTES_MAX, "{name}: {bytes} bytes");
    }
}

#[test]
fn every_check_has_its_fuzz_target_and_its_corpus() {
    let stems = |directory: &str| -> BTreeSet<String> {
        entries(directory)
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let names = BTreeSet::from(checks::table::NAMES.map(str::to_owned));
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    for path in entries("fuzz_targets") {
        let call = format!("checks::run({:?}, bytes)", path.file_stem().unwrap());
        assert!(fs::read_to_string(&path).unwrap().contains(&call), "{call}");
    }
}
