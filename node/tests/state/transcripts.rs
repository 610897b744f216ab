//! Transcripts: commands in, effects and answers out, as files that a reviewer reads. Run with
//! `ROOMCAST_REWRITE_TRANSCRIPTS=1` to rewrite what is expected, then read the difference.

use std::fs;
use std::path::Path;

use roomcast::state::{GroupState, HistoryFrom, MembersQuery};

use crate::followers;
use crate::print;
use crate::script::{self, Words};

const REWRITE: &str = "ROOMCAST_REWRITE_TRANSCRIPTS";

#[test]
fn transcripts_are_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/state");
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .expect("testdata is in the repository")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let written = fs::read_to_string(&path).expect("readable");
        let got = run(&written);
        if got == written {
            continue;
        }
        if std::env::var_os(REWRITE).is_some() {
            fs::write(&path, got).expect("writable");
            continue;
        }
        let differs = got
            .lines()
            .zip(written.lines())
            .find(|(got, written)| got != written);
        panic!(
            "{}: {differs:?}; {REWRITE}=1 rewrites\n{got}",
            path.display()
        );
    }
}

/// The text with everything after `>` computed anew. Each transcript also passes through a snapshot
/// after each command.
fn run(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('>')).collect();
    let mut state = GroupState::new();
    let (mut index, mut wall_ms) = (0, 0);
    let mut out = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let first = at;
        at += 1;
        while at < lines.len() && lines[at].starts_with("  ") {
            at += 1;
        }
        for line in &lines[first..at] {
            out += &format!("{line}\n");
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(question) = line.strip_prefix("show ") {
            out += &answer(&state, question);
            continue;
        }
        let mut command = script::command(line, &lines[first + 1..at])
            .unwrap_or_else(|| panic!("no such command: {line}"));
        index += 1;
        wall_ms += command.elapsed_us / 1000;
        command.wall_ms = wall_ms;
        out += &format!("> @{index}\n");
        match state.apply(index, &command) {
            Ok(effects) => {
                for effect in &effects {
                    out += &format!("> {}\n", print::effect(effect));
                }
            }
            Err(error) => out += &format!("> stops: {error}\n"),
        }
        let restored = GroupState::decode(&state.encode()).expect("its own snapshot");
        assert_eq!(restored, state, "after: {line}");
        state = restored;
    }
    out
}

fn answer(state: &GroupState, question: &str) -> String {
    let mut words = Words::new(question);
    let text = match words.word() {
        "members" => members(state, &mut words),
        "owed" => owed(state, &mut words),
        "history" => history(state, &mut words),
        "session" => session(state, &mut words),
        "follow" => followers::show(state, &mut words),
        "state" => summary(state),
        "acknowledged" => acknowledged(state, &mut words),
        "excepted" => {
            let (id, _) = script::socket_ref(words.word());
            let except = words.rooms("except");
            let at = script::position(words.value("at").expect("at=index.op"));
            format!("> {}\n", state.is_excepted(&id, &except, at))
        }
        "connected" => {
            let namespace = words.word();
            let (to, except) = (words.rooms("to"), words.rooms("except"));
            let all = state.connected_members(namespace, &to, &except);
            let all: Vec<String> = all.iter().map(print::socket).collect();
            format!("> [{}]\n", all.join(" "))
        }
        other => panic!("no such question: {other}"),
    };
    words.finish();
    text
}

fn members(state: &GroupState, words: &mut Words<'_>) -> String {
    let query = MembersQuery {
        namespace: words.word(),
        room: words.maybe_word(),
        after: words
            .value("after")
            .map(|id| script::socket_ref(&format!("{id}#0")).0),
        limit: words.number("limit").unwrap_or(10),
        include_away: words.value("away") == Some("yes"),
    };
    let page = state.members(&query);
    let mut out = format!("> count {}\n", page.count);
    for member in &page.members {
        let presence = if member.connected {
            "connected"
        } else {
            "away"
        };
        let (id, since, data) = (print::socket(&member.id), member.since_ms, &member.data);
        let (who, data) = (member.identity.as_deref(), String::from_utf8_lossy(data));
        out += &format!("> {id} {presence} since {since} as {who:?} data '{data}'\n");
    }
    if let Some(next) = page.next {
        out += &format!("> next {}\n", print::socket(&next));
    }
    out
}

fn owed(state: &GroupState, words: &mut Words<'_>) -> String {
    let (id, generation) = script::socket_ref(words.word());
    let after = script::position(words.value("after").unwrap_or("0.0"));
    let limit = words.number("limit").unwrap_or(10);
    match state.owed(&id, generation, after, limit) {
        None => "> nothing: not the current owner\n".to_owned(),
        Some(owed) => {
            let lost = if owed.lost { ", LOST" } else { "" };
            let through = print::position(owed.through);
            format!(
                "> {} through {through}{lost}\n",
                print::positions(&owed.positions)
            )
        }
    }
}

fn history(state: &GroupState, words: &mut Words<'_>) -> String {
    let (namespace, room) = (words.word(), script::room(words.word()));
    let from = match (words.value("after"), words.number("last")) {
        (Some(after), _) => HistoryFrom::After(script::position(after)),
        (None, Some(last)) => HistoryFrom::Last(last),
        (None, None) => HistoryFrom::Oldest,
    };
    let page = state.room_events(namespace, &room, from, words.number("limit").unwrap_or(10));
    let (positions, through) = (
        print::positions(&page.positions),
        print::position(page.through),
    );
    let (complete, more) = (page.complete, page.more);
    format!("> {positions} complete {complete} more {more} through {through}\n")
}

fn session(state: &GroupState, words: &mut Words<'_>) -> String {
    let (id, _) = script::socket_ref(&format!("{}#0", words.word()));
    let Some(session) = state.session_by_id(&id) else {
        return "> none\n".to_owned();
    };
    let (generation, owner, presence) = (session.generation, session.owner, session.presence);
    let (cursor, rooms) = (
        print::position(state.cursor(&id).expect("it is there")),
        print::rooms(session.rooms()),
    );
    format!("> #{generation} of {owner} {presence:?} cursor {cursor} rooms {rooms}\n")
}

fn acknowledged(state: &GroupState, words: &mut Words<'_>) -> String {
    let namespace = words.word();
    let by_all = state.acknowledged(namespace).map(print::position);
    let (floor, lag) = (
        print::position(state.floor(namespace)),
        state.lag_us() / 1000,
    );
    format!("> by all {by_all:?}, floor {floor}, lag {lag} ms\n")
}

fn summary(state: &GroupState) -> String {
    let counts = state.counts();
    let (time, due) = (
        state.log_time_us() / 1000,
        state.next_due().map(|due| due / 1000),
    );
    let needed = state.first_needed_index();
    let producers = state.producer_incarnations();
    let first = format!("> at {time} ms, due {due:?}, first needed {needed:?}");
    format!("{first}, producers {producers:?}\n> {counts:?}\n")
}
