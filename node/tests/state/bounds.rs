//! What is bounded stays bounded, and what this build cannot know stops it.

use bytes::Bytes;
use prost::Message;
use roomcast::ids::Position;
use roomcast::state::{
    ACKNOWLEDGE_EXCEPT_MAX, ApplyError, COMMAND_VERSION, Effect, GroupState, HistoryFrom, OpResult,
    Refusal, ResumeRefusal, Verdict,
};
use roomcast_proto::command::{self, command::Body, op::Kind};

use crate::script;

/// A founded group with producer 10, and a batch after another for it.
struct Group {
    state: GroupState,
    index: u64,
    sequence: u64,
}

impl Group {
    fn new() -> Self {
        let mut group = Self {
            state: GroupState::new(),
            index: 0,
            sequence: 0,
        };
        group.line("found epoch=7");
        group.line("register 10 node=1");
        group
    }

    fn line(&mut self, line: &str) {
        let command = script::command(line, &[]).expect("a command");
        self.index += 1;
        self.state
            .apply(self.index, &command)
            .expect("a known command");
    }

    fn batch(&mut self, ops: Vec<command::Op>) -> Vec<OpResult> {
        self.index += 1;
        self.sequence += 1;
        let body = Some(Body::Batch(script::batch(10, self.sequence, ops)));
        let command = command::Command {
            version: COMMAND_VERSION,
            body,
            ..command::Command::default()
        };
        let effects = self
            .state
            .apply(self.index, &command)
            .expect("a known command");
        let result = |effect| match effect {
            Effect::Op { result, .. } => Some(result),
            _ => None,
        };
        effects.into_iter().filter_map(result).collect()
    }

    fn ops(&mut self, lines: &[&str]) -> Vec<OpResult> {
        self.batch(lines.iter().map(|line| script::operation(line)).collect())
    }
}

fn recovered(result: &OpResult) -> bool {
    matches!(result, OpResult::Resume(Verdict::Recovered { .. }))
}

fn refused(reason: ResumeRefusal) -> OpResult {
    OpResult::Resume(Verdict::NotRecovered(reason))
}

#[test]
fn a_client_that_joins_and_leaves_without_end_costs_itself_a_resume_only() {
    let mut group = Group::new();
    group.ops(&["connect s1 pid=p1 /chat"]);
    let round = ["join s1#1 a", "publish server /chat to=a x", "leave s1#1 a"];
    for _ in 0..1500 {
        group.ops(&round);
    }
    let bytes = group.state.encode().len();
    // 1,500 events of some 12 bytes each, 1,024 intervals of some 15, 3,000 records of some 25.
    assert!(bytes < 120_000, "{bytes}");
    let last = group.index;
    // From the very first, from just before the oldest interval kept, and from its end.
    let results = group.ops(&["resume p1 /chat"]);
    assert_eq!(results, [refused(ResumeRefusal::Dropped)]);
    let given_up = last - 1024;
    let too_early = format!("resume p1 /chat at=7:{given_up}.1");
    assert_eq!(group.ops(&[&too_early]), [refused(ResumeRefusal::Dropped)]);
    let in_time = format!("resume p1 /chat at=7:{given_up}.2");
    assert!(recovered(&group.ops(&[&in_time])[0]));
    let id = script::socket_id(1);
    let owed = group
        .state
        .owed(&id, 2, Position::new(given_up, 2), 5000)
        .expect("current");
    assert_eq!((owed.positions.len(), owed.lost), (1024, false));
}

#[test]
fn expired_pids_are_forgotten_after_ten_thousand() {
    let mut group = Group::new();
    let pid = |number: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    };
    let connect = |number| command::Connect {
        id: pid(number),
        pid: pid(number),
        namespace: "/".to_owned(),
        recoverable: true,
        ..command::Connect::default()
    };
    let away = |number| command::Away {
        socket: Some(command::SocketRef {
            id: pid(number),
            generation: 1,
        }),
    };
    let both = |number| [Kind::Connect(connect(number)), Kind::Away(away(number))];
    let ops = (0..10_002)
        .flat_map(both)
        .map(|kind| command::Op { kind: Some(kind) });
    group.batch(ops.collect());
    group.line("tick +120000");
    let resume = |number| command::Op {
        kind: Some(Kind::Resume(command::Resume {
            pid: pid(number),
            namespace: "/".to_owned(),
            ..command::Resume::default()
        })),
    };
    let results = group.batch([0, 1, 2, 10_001].map(resume).to_vec());
    let (unknown, expired) = (ResumeRefusal::Unknown, ResumeRefusal::Expired);
    assert_eq!(results, [unknown, unknown, expired, expired].map(refused));
}

#[test]
fn namespaces_rest_until_too_many_do_and_only_then_look_incomplete() {
    let mut group = Group::new();
    for number in 0..64 {
        group.ops(&[&format!("publish server /n{number} to=a x")]);
    }
    group.line("tick +600000");
    assert_eq!(group.state.counts().namespaces, 64);
    // The one that would be next to go is in use when another comes to rest.
    group.ops(&["connect s1 pid=p1 /n0"]);
    let wake = group.state.clone();
    group.ops(&["publish server /n64 to=a x", "publish server /n65 to=a x"]);
    group.line("tick +600000");
    let complete = |group: &Group, namespace: &str, room: &str| {
        group
            .state
            .room_events(namespace, room, HistoryFrom::Oldest, 1)
            .complete
    };
    assert!(group.state.session_by_id(&script::socket_id(1)).is_some());
    assert!(complete(&group, "/n0", "new"));
    assert!(!complete(&group, "/n0", "a"));
    assert!(
        !complete(&group, "/n1", "new"),
        "deleted: it cannot be known any more"
    );
    assert!(complete(&group, "/n2", "new"));
    assert!(!complete(&group, "/n2", "a"));
    assert!(complete(&group, "/never", "new"));
    assert_eq!(GroupState::decode(&wake.encode()).as_ref(), Ok(&wake));
    assert_eq!(
        GroupState::decode(&group.state.encode()).as_ref(),
        Ok(&group.state)
    );
}

#[test]
fn private_rooms_of_ended_sockets_are_not_remembered() {
    let mut group = Group::new();
    group.ops(&[
        "connect s1 pid=p1 /",
        "publish server / to=@s1 x",
        "disconnect s1#1",
    ]);
    let before = group.state.encode().len();
    group.line("tick +600000");
    let name = script::room("@s1");
    let after = group.state.encode();
    assert!(after.len() < before);
    assert!(
        !after
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    );
}

#[test]
fn what_this_build_cannot_know_stops_it_and_changes_nothing() {
    let mut group = Group::new();
    let before = group.state.clone();
    let mut refuse = |bytes: &[u8]| {
        let error = group
            .state
            .apply_encoded(9, &Bytes::copy_from_slice(bytes))
            .expect_err("no");
        assert_eq!(group.state, before);
        error
    };
    let command = command::Command {
        version: COMMAND_VERSION,
        ..command::Command::default()
    };

    let newer = command::Command {
        version: COMMAND_VERSION + 1,
        ..command.clone()
    };
    assert!(matches!(
        refuse(&newer.encode_to_vec()),
        ApplyError::UnknownVersion(2)
    ));
    assert!(matches!(refuse(b""), ApplyError::UnknownVersion(0)));
    assert!(matches!(refuse(b"\xff\xff"), ApplyError::Undecodable(_)));
    // Field 20, length-delimited and empty.
    let unknown = [command.encode_to_vec(), vec![0xa2, 0x01, 0x00]].concat();
    assert!(matches!(refuse(&unknown), ApplyError::UnknownBody(20)));
    let batch = Some(Body::Batch(script::batch(
        10,
        1,
        vec![command::Op { kind: None }],
    )));
    let batch = command::Command {
        body: batch,
        ..command.clone()
    };
    assert!(matches!(
        refuse(&batch.encode_to_vec()),
        ApplyError::UnknownOperation(0)
    ));
    let garbage = command::Command {
        body: Some(Body::Batch("garbage".into())),
        ..command.clone()
    };
    assert!(matches!(
        refuse(&garbage.encode_to_vec()),
        ApplyError::Undecodable(_)
    ));
    let error = group.state.apply(2, &command).expect_err("it was applied");
    assert!(matches!(
        error,
        ApplyError::OutOfOrder {
            index: 2,
            applied: 2
        }
    ));
}

#[test]
fn log_time_stands_before_it_overflows() {
    let mut group = Group::new();
    group.ops(&[
        "connect s1 pid=p1 /",
        "publish server / to=a key=k x",
        "away s1#1",
    ]);
    for _ in 0..3 {
        group.index += 1;
        let command = command::Command {
            version: COMMAND_VERSION,
            elapsed_us: u64::MAX,
            ..command::Command::default()
        };
        group.state.apply(group.index, &command).expect("a tick");
        group.ops(&[
            "connect s1 pid=p1 /",
            "publish server / to=a key=k x",
            "away s1#1",
        ]);
    }
    assert_eq!(group.state.counts().events, 1);
}

#[test]
fn a_namespace_more_than_the_limit_is_refused_until_one_is_empty() {
    let mut group = Group::new();
    group.line("configure namespaces_max=2");
    let full = OpResult::Refused(Refusal::NamespacesFull);
    let done = [OpResult::Done, OpResult::Done];
    assert_eq!(
        group.ops(&["connect s1 pid=p1 /a", "publish server /b to=r x"]),
        done
    );
    let refused = group.ops(&["connect s2 pid=p2 /c", "publish server /c to=r x"]);
    assert_eq!(refused, [full.clone(), full.clone()]);
    assert_eq!(group.state.counts().namespaces, 2, "nothing was made");
    let known = group.ops(&["connect s3 pid=p3 /a", "publish server /b to=r y"]);
    assert_eq!(known, done);
    // An away session is there; an ended one is not.
    group.ops(&["away s1#1", "disconnect s3#1"]);
    assert_eq!(group.ops(&["connect s2 pid=p2 /c"]), [full]);
    group.line("tick +120000");
    assert_eq!(group.ops(&["connect s2 pid=p2 /c"]), [OpResult::Done]);
    // The events of /b go; what rests of it takes no place, and coming back needs one.
    group.line("tick +600000");
    assert_eq!(group.ops(&["connect s4 pid=p4 /d"]), [OpResult::Done]);
    assert_eq!(
        group.ops(&["connect s5 pid=p5 /b"]),
        [OpResult::Refused(Refusal::NamespacesFull)]
    );
}

#[test]
fn early_drops_are_spread_over_entries() {
    let mut group = Group::new();
    group.line("configure retention_min_ms=1000");
    group.ops(&["connect s1 pid=p1 /", "connect s2 pid=p2 /"]);
    let events = 5_000;
    for _ in 0..events / 500 {
        group.ops(&["publish server / to=a x"; 500]);
    }
    let report = format!("ack-all 10 through={}.0", group.index);
    group.ops(&[&report]);
    let kept = |group: &Group| group.state.counts().events;
    // One event is not acknowledged: its entry is the one that the report names.
    let unacknowledged = 499;
    group.line("tick +1000");
    let mut before = events;
    while kept(&group) > unacknowledged {
        let dropped = before - kept(&group);
        assert!((900..=1_024).contains(&dropped), "{dropped}");
        assert!(group.state.next_due() <= Some(group.state.log_time_us()));
        let restored = GroupState::decode(&group.state.encode());
        assert_eq!(restored.as_ref(), Ok(&group.state));
        before = kept(&group);
        group.line("tick");
    }
    assert_eq!(kept(&group), unacknowledged);
    // The next look is one that all namespaces have in common.
    assert_eq!(group.state.next_due(), Some(5_000_000));
}

#[test]
fn more_exceptions_than_one_report_may_list_are_refused() {
    let mut group = Group::new();
    group.ops(&["connect s1 pid=p1 /"]);
    let listed = |count: usize| {
        let all = vec!["s1#1:3.0"; count].join(",");
        format!("ack-all 10 through=3.0 except={all}")
    };
    let results = group.ops(&[
        &listed(ACKNOWLEDGE_EXCEPT_MAX),
        &listed(ACKNOWLEDGE_EXCEPT_MAX + 1),
    ]);
    assert_eq!(results, [OpResult::Done, OpResult::Refused(Refusal::Limit)]);
}

#[test]
fn names_are_charged_like_the_bytes_they_take() {
    let mut group = Group::new();
    let rooms: Vec<String> = (0..1_000)
        .map(|number| format!("room{number:04}"))
        .collect();
    let (targets, excepts) = rooms.split_at(500);
    let publish = format!(
        "publish server / to={} except={} x",
        targets.join(","),
        excepts.join(",")
    );
    let charged = |group: &Group| group.state.counts().event_bytes;
    group.ops(&["publish server / to=a x"]);
    assert_eq!(charged(&group), 64 + 33 + 1);
    group.ops(&[&publish]);
    assert_eq!(charged(&group), 64 + 33 + 1 + 64 + 1_000 * 40 + 1);
    // Such events leave when their names are too much, not their payload.
    group.line("configure retention_bytes=100000");
    for _ in 0..10 {
        group.ops(&[&publish]);
    }
    assert_eq!(group.state.counts().events, 2);
    // Named twice is named once.
    group.ops(&["publish server / to=a,a except=b,b x"]);
    assert_eq!(charged(&group), 2 * (64 + 40_000 + 1) + 64 + 33 + 33 + 1);
}

#[test]
fn records_beyond_the_limit_go_no_faster_than_they_come_and_a_thousand() {
    let mut group = Group::new();
    group.line("configure lifecycle_records=10");
    for number in 1..=3 {
        group.ops(&[&format!("connect s{number} pid=p{number} /")]);
    }
    let rooms: Vec<String> = (0..1000).map(|number| format!("r{number}")).collect();
    let join = format!("sockets-join / {}", rooms.join(" "));
    assert_eq!(group.ops(&[&join]), [OpResult::Done]);
    assert_eq!(
        group.state.record_count(),
        3000,
        "what one entry has written is whole"
    );
    group.line("tick");
    assert_eq!(group.state.record_count(), 3000 - 1024);
    group.ops(&["disconnect s1#1"]);
    assert_eq!(
        group.state.record_count(),
        1001,
        "as many as came, and no more than are left"
    );
    group.line("tick");
    group.line("tick");
    assert_eq!(group.state.record_count(), 10);
}

#[test]
fn records_are_bounded_by_their_bytes_too() {
    let mut group = Group::new();
    group.line("configure lifecycle_records=1000000");
    let data = "1".repeat(4096);
    for number in 0..20_000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let connect = command::Connect {
            id: Bytes::copy_from_slice(&id),
            namespace: "/".to_owned(),
            data: Bytes::copy_from_slice(data.as_bytes()),
            ..command::Connect::default()
        };
        let kind = Some(Kind::Connect(connect));
        group.batch(vec![command::Op { kind }]);
    }
    let charged = group.state.record_count() * (160 + 4096);
    assert!(
        (60 << 20..=(64 << 20) + 5000).contains(&charged),
        "{charged}"
    );
}
