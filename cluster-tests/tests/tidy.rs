//! The repository lints itself: what the house style and ARCHITECTURE.md promise and no compiler
//! checks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines of a file at most; above [`FILE_LINES_REPORTED`] it is named in the output.
const FILE_LINES_MAX: usize = 500;
const FILE_LINES_REPORTED: usize = 400;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 100;

/// What is not ours, or is made.
const SKIPPED: [&str; 4] = ["target", "node_modules", ".git", "roomcast-data"];

/// Words that a pure module does not contain, with what each would let in.
const IMPURE: [(&str, &str); 15] = [
    ("tokio", "a runtime"),
    ("async", "waiting"),
    ("std::time", "a clock"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("rand", "randomness"),
    ("Entropy", "randomness"),
    ("HashMap", "hash order"),
    ("HashSet", "hash order"),
    ("std::fs", "files"),
    ("std::net", "sockets"),
    ("std::env", "the environment"),
    ("std::thread", "threads"),
    ("tracing", "logging"),
    ("metrics", "metrics"),
];

/// What a module must not name although it stands on a lower floor: (module, forbidden, why).
const FORBIDDEN: [(&str, &str, &str); 6] = [
    (
        "engine",
        "state",
        "sessions carry messages, whatever they mean",
    ),
    ("state", "config", "settings that apply uses are replicated"),
    ("state", "process", "apply is pure"),
    ("raft", "engine", "consensus knows no sessions"),
    (
        "socketio",
        "raft",
        "log, votes and leaders are the adapter's",
    ),
    (
        "pubsub",
        "adapter",
        "it is written on the handler interface",
    ),
];

/// A Rust file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Its lines with their numbers, comments taken off.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().zip(1..);
        lines.map(|(line, number)| (number, line.split("//").next().unwrap_or("")))
    }

    /// The lines before its unit tests.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code()
            .take_while(|(_, line)| line.trim() != "mod tests {")
    }

    fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        parts[1] == "tests"
            || parts
                .iter()
                .any(|part| ["tests", "tests.rs", "testing.rs"].contains(part))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !SKIPPED.contains(&name) {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 100, "the repository is elsewhere");
    let source = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
    };
    paths.into_iter().map(source).collect()
}

/// Whether `line` has `word` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(inner) && !line[at + word.len()..].starts_with(inner))
}

/// Fails with every complaint at once.
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_and_lines_have_their_length() {
    let mut complaints = Vec::new();
    let mut long = String::new();
    for source in sources() {
        let count = source.text.lines().count();
        if count > FILE_LINES_MAX {
            complaints.push(format!("{}: {count} lines; split it by noun", source.path));
        } else if count > FILE_LINES_REPORTED {
            writeln!(long, "  {}: {count} lines", source.path).unwrap();
        }
        for (line, number) in source.text.lines().zip(1..) {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                complaints.push(format!("{}:{number}: {chars} characters", source.path));
            }
        }
    }
    if !long.is_empty() {
        println!("above {FILE_LINES_REPORTED} lines, to be split when they grow:\n{long}");
    }
    expect_none(&complaints);
}

#[test]
fn nothing_is_left_to_be_done_or_debugged() {
    // Spelled in two parts, so that this file does not complain about itself.
    let words = [
        ("FIX", "ME"),
        ("TO", "DO"),
        ("XX", "X"),
        ("dbg", "!("),
        ("todo", "!("),
    ];
    let words = words.map(|(a, b)| format!("{a}{b}"));
    let mut complaints = Vec::new();
    for source in sources() {
        for (line, number) in source.text.lines().zip(1..) {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    expect_none(&complaints);
}

/// Modules of `node` by floor, and their place within the row: (floor, row, place in the row).
fn floors() -> BTreeMap<String, (u32, usize, usize)> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut floors = BTreeMap::new();
    for (row, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(Ok(floor)) = cells.get(1).map(|cell| cell.parse::<u32>()) else {
            continue;
        };
        let modules = cells[2].split('`').nth(1).unwrap().split(' ');
        for (place, module) in modules.enumerate() {
            floors.insert(module.to_owned(), (floor, row, place));
        }
    }
    assert!(
        floors.len() > 10,
        "the floor table of ARCHITECTURE.md is not found"
    );
    floors
}

/// Modules of the crate that a file names: after `crate::`, also in braces over several lines.
fn imports(source: &Source) -> BTreeSet<(String, usize)> {
    let mut imports = BTreeSet::new();
    let mut depth = None;
    for (number, line) in source.shipped() {
        let mut rest = line;
        if let Some(open) = depth.as_mut() {
            depth = names_in_braces(rest, number, *open, &mut imports);
            continue;
        }
        while let Some(at) = rest.find("crate::") {
            let before = &rest[..at];
            rest = &rest[at + "crate::".len()..];
            if before.ends_with("pub(in ") {
                continue;
            }
            if let Some(braced) = rest.strip_prefix('{') {
                depth = names_in_braces(braced, number, 0, &mut imports);
                break;
            }
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            imports.insert((name, number));
        }
    }
    imports
}

/// Collects the first names within `{…}`; gives the depth if the braces go on in the next line.
fn names_in_braces(
    text: &str,
    number: usize,
    mut depth: u32,
    imports: &mut BTreeSet<(String, usize)>,
) -> Option<u32> {
    let mut name = String::new();
    let mut first = true;
    for c in text.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                if first && !name.is_empty() {
                    imports.insert((name, number));
                }
                return None;
            }
            '}' => depth -= 1,
            ':' | ',' if depth == 0 => {
                if first && !name.is_empty() {
                    imports.insert((std::mem::take(&mut name), number));
                }
                name.clear();
                first = c == ',';
            }
            c if depth == 0 && !c.is_whitespace() => name.push(c),
            _ => {}
        }
    }
    Some(depth)
}

#[test]
fn a_module_imports_only_what_stands_below_it() {
    let floors = floors();
    let mut complaints = Vec::new();
    for source in sources() {
        let Some(inner) = source.path.strip_prefix("node/src/") else {
            continue;
        };
        let module = inner.split(['/', '.']).next().unwrap();
        if module == "lib" || source.is_test() {
            continue;
        }
        let Some(&own) = floors.get(module) else {
            complaints.push(format!("{}: no floor in ARCHITECTURE.md", source.path));
            continue;
        };
        for (other, number) in imports(&source) {
            // What is no module is an item or a macro of the crate's root.
            let Some(&theirs) = floors.get(&other) else {
                continue;
            };
            let left = (theirs.0, theirs.1) == (own.0, own.1) && theirs.2 < own.2;
            if other != module && theirs.0 >= own.0 && !left {
                let path = &source.path;
                complaints.push(format!(
                    "{path}:{number}: {module} imports {other}, not below it"
                ));
            }
            for (_, _, why) in FORBIDDEN
                .iter()
                .filter(|(from, to, _)| *from == module && *to == other)
            {
                let path = &source.path;
                complaints.push(format!("{path}:{number}: {module} names {other}: {why}"));
            }
        }
    }
    expect_none(&complaints);
}

#[test]
fn one_module_names_openraft() {
    let mut complaints = Vec::new();
    for source in sources() {
        let raft = source.path.starts_with("node/src/raft/");
        if raft || source.path == "cluster-tests/tests/tidy.rs" {
            continue;
        }
        // The name in a log filter is only text.
        let names = |line: &str| {
            ["openraft::", "use openraft"]
                .iter()
                .any(|n| line.contains(n))
        };
        for (number, line) in source.code().filter(|(_, line)| names(line)) {
            complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    expect_none(&complaints);
}

#[test]
fn pure_modules_reach_nothing_outside() {
    let mut complaints = Vec::new();
    for source in sources() {
        let pure = ["node/src/state/", "proto/src/"];
        if !pure.iter().any(|pure| source.path.starts_with(pure)) {
            continue;
        }
        for (number, line) in source.shipped() {
            for (word, what) in IMPURE.iter().filter(|(word, _)| has_word(line, word)) {
                complaints.push(format!("{}:{number}: {word} lets {what} in", source.path));
            }
        }
    }
    expect_none(&complaints);
}

#[test]
fn every_metric_is_counted_somewhere() {
    let sources = sources();
    let table = sources
        .iter()
        .find(|source| source.path == "node/src/metrics.rs")
        .unwrap();
    let mut names = Vec::new();
    for (_, line) in table.code() {
        let mut words = line.split_whitespace();
        if let (Some("Counter" | "Gauge" | "Histogram"), Some(function)) =
            (words.next(), words.next())
            && let Some((name, _)) = function.split_once('(')
        {
            names.push(name.to_owned());
        }
    }
    assert!(
        names.len() > 20,
        "the table of metrics is not found: {names:?}"
    );
    let used = |name: &String| {
        let users = sources
            .iter()
            .filter(|source| source.path.starts_with("node/src/"));
        let mut users = users.filter(|source| source.path != table.path && !source.is_test());
        users.any(|source| {
            let call = format!("{name}(");
            source
                .shipped()
                .any(|(_, line)| line.contains(&format!("metrics::{call}")))
        })
    };
    let idle: Vec<String> = names
        .into_iter()
        .filter(|name| !used(name))
        .map(|name| format!("metrics::{name} is never used"))
        .collect();
    expect_none(&idle);
}

/// Pages with tables that name the test of each row.
const TABLES: [&str; 2] = ["cluster-tests/README.md", "docs/rust.md"];

#[test]
fn every_test_that_a_table_names_exists() {
    let sources = sources();
    let mut missing = Vec::new();
    for page in TABLES {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
        // A test's name is a claim: no other word has as many underscores.
        let names: BTreeSet<&str> = words
            .filter(|word| word.matches('_').count() > 3 && !word.contains('/'))
            .collect();
        assert!(names.len() > 12, "the table of {page} is not found");
        let exists = |name: &&str| {
            let function = format!("fn {name}(");
            sources.iter().any(|source| source.text.contains(&function))
        };
        let nowhere = names.into_iter().filter(|name| !exists(name));
        missing.extend(nowhere.map(|name| format!("{page} names {name}, which is nowhere")));
    }
    expect_none(&missing);
}

/// Files from which the compiler starts.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts[1..],
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
            | ["fuzz", "fuzz_targets", _]
            | ["interop", _, "src", "main.rs"]
    )
}

#[test]
fn every_file_is_reached_from_a_mod() {
    let sources = sources();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let roots = sources.iter().map(|source| source.path.clone());
    let mut open: Vec<String> = roots.filter(|path| is_crate_root(path)).collect();
    while let Some(path) = open.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        let (directory, file) = path.rsplit_once('/').unwrap();
        let owns_directory = is_crate_root(&path) || file == "mod.rs";
        let base = if owns_directory {
            directory.to_owned()
        } else {
            format!("{directory}/{}", file.trim_end_matches(".rs"))
        };
        for (_, line) in source.code() {
            let line = line.trim();
            let Some(name) = line
                .strip_suffix(';')
                .and_then(|line| line.rsplit_once("mod "))
            else {
                continue;
            };
            if name.0.is_empty() || name.0.starts_with("pub") {
                open.push(format!("{base}/{}.rs", name.1));
                open.push(format!("{base}/{}/mod.rs", name.1));
            }
        }
    }
    let orphans: Vec<String> = sources
        .into_iter()
        .filter(|source| !reached.contains(&source.path))
        .map(|source| format!("{} belongs to no crate", source.path))
        .collect();
    expect_none(&orphans);
}
