//! Effects in, frames out: a fan-out without consensus.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::*;
use crate::adapter::completion::Failure;
use crate::adapter::requests::Answer;
use crate::adapter::socket::Reached;
use crate::adapter::testing::{event, id, outbox, session, texts};
use crate::engine::SessionHandle;
use crate::ids::Pid;
use crate::state::{AckRequest, Refusal, ResumeRefusal};

/// Our incarnation, and another node's.
const OURS: Incarnation = 7;
const THEIRS: Incarnation = 8;

#[derive(Debug, Default)]
struct Noted(Mutex<Vec<String>>);

impl CatchUps for Noted {
    fn fanned_out(&self) -> Position {
        Position::ZERO
    }

    fn catch_up(&self, socket: Arc<LocalSocket>, start: Position) {
        self.0
            .lock()
            .push(format!("{} from {start}", socket.id.0[0]));
    }
}

impl Sockets for Noted {
    fn abandoned(&self, socket: &LocalSocket) {
        self.0.lock().push(format!("{} abandoned", socket.id.0[0]));
    }
}

fn fanout() -> Fanout<Noted> {
    let pending = Pending::default();
    pending.begin(OURS);
    pending.registered(OURS);
    Fanout {
        group: 0,
        parser: Parser::Json,
        replica: Arc::new(Replica::new(0, mpsc::channel(1).0)),
        pending: Arc::new(pending),
        lease: Arc::new(Lease::new()),
        requests: Arc::new(Requests::new(1)),
        expiries: Expiries::new().0,
        progress: Arc::default(),
        sockets: Arc::default(),
        index: Index::default(),
        arriving: Vec::new(),
        deliveries: crate::metrics::deliveries(),
        live: crate::metrics::sockets(),
    }
}

/// A connect of socket `n`, to be completed as batch `n`.
fn connecting(fanout: &Fanout<Noted>, n: u8) -> (SessionHandle, oneshot::Receiver<Attached>) {
    let (session, (reply, attached)) = (session(100), oneshot::channel());
    let attach = Attach {
        session: session.clone(),
        namespace: "/".into(),
        identity: None,
        recoverable: true,
        pid: Pid([n; 16]),
        id: Some(id(n)),
        opening: Opening::Connect {
            resume_refused: None,
        },
        reply,
    };
    let completion = Completion::Attach(Box::new(attach));
    fanout.pending.add(u64::from(n), vec![completion]);
    (session, attached)
}

fn op(n: u8, index: u64, result: OpResult) -> Effect {
    Effect::Op {
        incarnation: OURS,
        sequence: u64::from(n),
        op: 0,
        position: Position::new(index, 0),
        result,
    }
}

fn joined(n: u8, index: u64, owner: Incarnation, room: &str) -> Effect {
    Effect::Joined {
        position: Position::new(index, 0),
        socket: id(n),
        owner,
        namespace: "/".into(),
        rooms: vec![room.into()],
    }
}

fn detached(incarnation: Incarnation) -> Effect {
    Effect::Detached {
        position: Position::new(5, 0),
        node: 1,
        incarnation,
    }
}

fn answer() -> Answer {
    Answer {
        data: bytes::Bytes::from_static(b"[1]"),
        attachments: Vec::new(),
    }
}

fn published(index: u64, op: u32, room: &str) -> Effect {
    Effect::Published(Arc::new(event(Position::new(index, op), &[room], &[])))
}

fn entry(fanout: &mut Fanout<Noted>, index: u64, effects: Vec<Effect>) {
    fanout.applied(Applied::Entry { index, effects });
}

/// Socket `n`, live in room `r` since entry `n`; its CONNECT was read.
fn attached(fanout: &mut Fanout<Noted>, n: u8) -> (SessionHandle, Arc<LocalSocket>) {
    let (session, mut attached) = connecting(fanout, n);
    let index = u64::from(n);
    entry(
        fanout,
        index,
        vec![joined(n, index, OURS, "r"), op(n, index, OpResult::Done)],
    );
    outbox(&session);
    match attached.try_recv() {
        Ok(Attached::Socket {
            socket,
            recovered: false,
        }) => (session, socket),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connect_comes_first_and_the_same_entrys_later_events_follow() {
    let mut fanout = fanout();
    let (session, mut attached) = connecting(&fanout, 1);
    let effects = vec![
        published(5, 0, "r"),
        joined(1, 5, OURS, "r"),
        op(1, 5, OpResult::Done),
        published(5, 2, "r"),
    ];
    entry(&mut fanout, 5, effects);
    let (own, pid) = (id(1), Pid([1; 16]).reveal());
    let connect = format!(r#"40{{"sid":"{own}","pid":"{pid}"}}"#);
    assert_eq!(texts(&session), [connect, r#"42["e","0.5.2"]"#.into()]);
    assert!(matches!(
        attached.try_recv(),
        Ok(Attached::Socket {
            recovered: false,
            ..
        })
    ));
    assert_eq!(fanout.progress.position(), Position::new(5, u32::MAX));
}

#[test]
fn a_resumed_socket_gets_connect_and_is_handed_to_catch_up() {
    let mut fanout = fanout();
    let (session, mut attached) = connecting(&fanout, 1);
    let verdict = Verdict::Recovered {
        pid: None,
        socket: id(9),
        generation: 4,
        start: Position::new(2, 1),
        rooms: vec!["r".into()],
    };
    entry(
        &mut fanout,
        5,
        vec![op(1, 5, OpResult::Resume(verdict)), published(5, 3, "r")],
    );
    let texts = texts(&session);
    assert_eq!(texts.len(), 1, "events come from the replay: {texts:?}");
    assert!(
        texts[0].contains(r#""resume":{"ok":true,"from":"0.2.1"}"#),
        "{texts:?}"
    );
    assert!(
        texts[0].contains(&format!(r#""sid":"{}""#, id(9))),
        "its id is unchanged"
    );
    assert_eq!(*fanout.sockets.0.lock(), ["9 from 2.1"]);
    let Ok(Attached::Socket {
        socket,
        recovered: true,
    }) = attached.try_recv()
    else {
        panic!("not attached");
    };
    let reached = socket.reach(Position::new(5, 0));
    assert_ne!(reached, Ok(Reached::Live), "5.3 is owed");
    assert_eq!(socket.reach(Position::new(5, 3)), Ok(Reached::Live));
}

#[test]
fn a_refused_resume_is_reported_and_its_connect_says_why() {
    let mut fanout = fanout();
    let (_session, mut attached) = connecting(&fanout, 1);
    let verdict = Verdict::NotRecovered(ResumeRefusal::Dropped);
    entry(&mut fanout, 5, vec![op(1, 5, OpResult::Resume(verdict))]);
    let answer = attached.try_recv();
    assert!(matches!(
        answer,
        Ok(Attached::NotRecovered(ResumeRefusal::Dropped))
    ));
    let (_session, mut attached) = connecting(&fanout, 2);
    entry(
        &mut fanout,
        6,
        vec![op(2, 6, OpResult::Refused(Refusal::Limit))],
    );
    assert!(matches!(
        attached.try_recv(),
        Ok(Attached::Refused(Refusal::Limit))
    ));
    assert!(fanout.index.drain().is_empty());
}

#[test]
fn a_socket_that_nobody_waits_for_is_put_away() {
    let mut fanout = fanout();
    drop(connecting(&fanout, 1));
    entry(&mut fanout, 5, vec![op(1, 5, OpResult::Done)]);
    assert_eq!(*fanout.sockets.0.lock(), ["1 abandoned"]);
}

#[test]
fn rooms_of_other_owners_and_of_earlier_entries_are_not_ours() {
    let mut fanout = fanout();
    let (one, _socket) = attached(&mut fanout, 1);
    entry(
        &mut fanout,
        10,
        vec![joined(1, 10, THEIRS, "x"), published(10, 1, "x")],
    );
    entry(&mut fanout, 11, vec![joined(2, 11, OURS, "x")]);
    let (two, _attached) = connecting(&fanout, 2);
    entry(
        &mut fanout,
        12,
        vec![op(2, 12, OpResult::Done), published(12, 1, "x")],
    );
    assert_eq!(texts(&one), [""; 0]);
    assert_eq!(texts(&two).len(), 1, "CONNECT alone");
}

#[test]
fn a_fenced_socket_gets_nothing_more_and_closes() {
    let mut fanout = fanout();
    let (session, socket) = attached(&mut fanout, 1);
    let fenced = |generation| Effect::Fenced {
        position: Position::new(5, 0),
        socket: id(1),
        owner: OURS,
        generation,
    };
    entry(&mut fanout, 5, vec![fenced(0), published(5, 1, "r")]);
    assert!(!session.is_closed(), "that was an older generation");
    entry(&mut fanout, 6, vec![fenced(1), published(6, 1, "r")]);
    assert!(session.is_closed() && socket.is_stopped());
    assert_eq!(texts(&session), [r#"42["e","0.5.1"]"#]);
}

#[test]
fn our_detachment_fails_what_is_in_flight_and_closes_every_socket() {
    let mut fanout = fanout();
    let (session, socket) = attached(&mut fanout, 1);
    let (_waiting, mut waiting) = connecting(&fanout, 2);
    fanout.lease.granted();
    entry(&mut fanout, 5, vec![detached(THEIRS)]);
    assert!(!session.is_closed() && fanout.lease.holds());
    entry(&mut fanout, 6, vec![detached(OURS), published(6, 1, "r")]);
    assert!(session.is_closed() && socket.is_stopped() && !fanout.lease.holds());
    assert_eq!(texts(&session), [""; 0]);
    assert!(matches!(
        waiting.try_recv(),
        Ok(Attached::Failed(Failure::Unavailable))
    ));
}

#[test]
fn no_socket_of_an_older_life_outlives_its_detachment() {
    let mut fanout = fanout();
    // The lease was lost, its sockets were closed, and then the log brought one more of that life,
    // before the proposer began the next.
    fanout.ask(Ask::LoseAll);
    let (session, socket) = attached(&mut fanout, 1);
    fanout.pending.begin(THEIRS);
    let detached = Effect::Detached {
        position: Position::new(5, 0),
        node: 1,
        incarnation: OURS,
    };
    let registered = Effect::Registered {
        node: 1,
        incarnation: THEIRS,
    };
    entry(
        &mut fanout,
        5,
        vec![detached, registered, published(5, 1, "r")],
    );
    assert!(session.is_closed() && socket.is_stopped());
    assert_eq!(
        texts(&session),
        [""; 0],
        "its session was detached in this entry"
    );
}

#[test]
fn a_repeated_registration_leaves_the_sockets_alone() {
    let mut fanout = fanout();
    let (session, _socket) = attached(&mut fanout, 1);
    let registered = Effect::Registered {
        node: 1,
        incarnation: OURS,
    };
    entry(&mut fanout, 5, vec![registered, published(5, 1, "r")]);
    assert!(!session.is_closed());
    assert_eq!(texts(&session).len(), 1);
}

#[test]
fn a_snapshot_in_the_middle_closes_every_socket() {
    let mut fanout = fanout();
    let (session, socket) = attached(&mut fanout, 1);
    fanout.applied(Applied::Restored);
    assert!(session.is_closed() && socket.is_stopped());
}

#[test]
fn outcomes_carry_their_positions_in_log_order() {
    let mut fanout = fanout();
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    for n in 1..=3_u64 {
        let outcomes = Arc::clone(&outcomes);
        let call = move |outcome| {
            outcomes.lock().insert(n, outcome);
        };
        fanout
            .pending
            .add(n, vec![Completion::Call(Box::new(call))]);
    }
    let first = Position::new(3, 3);
    let effects = vec![
        op(1, 5, OpResult::Done),
        op(2, 5, OpResult::Duplicate { first }),
        op(3, 5, OpResult::Refused(Refusal::KeyReused)),
        op(1, 5, OpResult::Done),
    ];
    entry(&mut fanout, 5, effects);
    let outcomes: Vec<Outcome> = outcomes.lock().values().cloned().collect();
    let expected = [
        Outcome::Applied(offset(0, Position::new(5, 0))),
        Outcome::Duplicate(offset(0, first)),
        Outcome::Refused(Refusal::KeyReused),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn one_broadcast_is_the_same_bytes_for_every_socket() {
    let mut fanout = fanout();
    let sessions: Vec<_> = (1..=3).map(|n| attached(&mut fanout, n)).collect();
    entry(&mut fanout, 9, vec![published(9, 0, "r")]);
    let frames: Vec<_> = sessions
        .iter()
        .map(|(session, _)| outbox(session).remove(0))
        .collect();
    assert!(frames.iter().all(|one| Arc::ptr_eq(one, &frames[0])));
}

#[test]
fn only_our_own_requests_learn_who_is_expected() {
    let mut fanout = fanout();
    let (number, mut done) = fanout.requests.open();
    let asked = |incarnation| {
        let mut event = event(Position::new(5, 0), &["r"], &[]);
        event.request = Some(AckRequest {
            number,
            incarnation,
            expected: [id(1), id(9)].into(),
        });
        Effect::Published(Arc::new(event))
    };
    entry(&mut fanout, 5, vec![asked(THEIRS)]);
    fanout.requests.answer(number, id(1), answer());
    assert!(done.try_recv().is_err());
    entry(&mut fanout, 6, vec![asked(OURS)]);
    // Socket 9 is another node's, and its node dies: it is missing all the same.
    entry(&mut fanout, 7, vec![detached(THEIRS)]);
    assert!(done.try_recv().is_err());
    let answers = fanout.requests.close(number).unwrap();
    assert_eq!((answers.answers.len(), answers.missing), (1, vec![id(9)]));
}
