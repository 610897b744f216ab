//! The fan-out over a real replica, entry by entry, with sessions that nobody writes out.

use bytes::Bytes;
use roomcast_proto::command::{
    Batch, Connect, Founding, Op, Publish, Register, Resume, Settings, command::Body, op::Kind,
};
use tokio::sync::oneshot;

use super::*;
use crate::adapter::proposer::encode;
use crate::adapter::testing::texts;
use crate::engine::{Counters, EngineConfig, SessionHandle, Sid};
use crate::ids::{Entropy, Pid};
use crate::raft::{Committed, StateMachine};

const NODE: u64 = 1;

/// Starts no catch-up.
#[derive(Debug)]
struct Nobody;

impl CatchUps for Nobody {
    fn fanned_out(&self) -> Position {
        Position::ZERO
    }

    fn catch_up(&self, _socket: Arc<LocalSocket>, _start: Position) {}
}

impl Sockets for Nobody {
    fn abandoned(&self, socket: &LocalSocket) {
        socket.stop();
    }
}

/// One group's replica and fan-out, and the log that both read.
struct World {
    entropy: Entropy,
    fanout: Fanout<Nobody>,
    applied: mpsc::Receiver<Applied>,
    index: u64,
    sequence: u64,
}

impl World {
    async fn founded() -> Self {
        let (effects, applied) = mpsc::channel(16);
        let replica = Arc::new(Replica::new(0, effects));
        replica.listen();
        let fanout = Fanout {
            group: 0,
            parser: Parser::Json,
            replica,
            pending: Arc::default(),
            lease: Arc::new(Lease::new()),
            requests: Arc::new(Requests::new(NODE)),
            expiries: Expiries::new().0,
            progress: Arc::default(),
            sockets: Arc::new(Nobody),
            index: Index::default(),
            arriving: Vec::new(),
            deliveries: crate::metrics::deliveries(),
            live: crate::metrics::sockets(),
        };
        let mut world = Self {
            entropy: Entropy::from_seed(7),
            fanout,
            applied,
            index: 0,
            sequence: 0,
        };
        let founding = Founding {
            epoch: 9,
            group: 0,
            table: crate::state::default_table(1),
            settings: Some(Settings::default()),
            feature_level: 1,
        };
        world.entry(encode(Body::Founding(founding))).await;
        world
    }

    async fn entry(&mut self, command: Bytes) {
        self.index += 1;
        let index = self.index;
        let committed = Committed { index, command };
        self.fanout.replica.apply(vec![committed]).await;
        let applied = self.applied.recv().await.unwrap();
        self.fanout.applied(applied);
    }

    /// A new life of this node, or of another one.
    async fn register(&mut self, node_id: u64, incarnation: Incarnation) {
        let register = Register {
            node_id,
            incarnation,
        };
        self.entry(encode(Body::Register(register))).await;
    }

    async fn begin_life(&mut self, incarnation: Incarnation) {
        self.fanout.pending.begin(incarnation);
        self.sequence = 0;
        self.register(NODE, incarnation).await;
        assert!(self.fanout.pending.is_registered());
        self.fanout.lease.granted();
    }

    /// A batch of this node with one operation, which stands in the log when `written`.
    async fn operation(&mut self, kind: Kind, completion: Completion, written: bool) {
        self.sequence += 1;
        let batch = Batch {
            incarnation: self.fanout.pending.incarnation(),
            sequence: self.sequence,
            ops: vec![Op { kind: Some(kind) }],
        };
        self.fanout.pending.add(self.sequence, vec![completion]);
        if written {
            self.entry(encode(Body::Batch(
                prost::Message::encode_to_vec(&batch).into(),
            )))
            .await;
        }
    }

    fn attach(&self, pid: Pid, id: Option<SocketId>) -> (Attach, oneshot::Receiver<Attached>) {
        let (reply, attached) = oneshot::channel();
        let sid = Sid::generate(NODE, &self.entropy);
        let limits = EngineConfig::standard().outbox;
        let attach = Attach {
            session: SessionHandle::new(sid, limits, Arc::<Counters>::default(), None),
            namespace: "/".into(),
            identity: None,
            recoverable: true,
            pid,
            id,
            opening: Opening::Connect {
                resume_refused: None,
            },
            reply,
        };
        (attach, attached)
    }

    /// A socket of this node, and its pid.
    async fn connect(&mut self) -> (Arc<LocalSocket>, Pid) {
        let (id, pid) = (self.entropy.socket_id(), self.entropy.pid());
        let connect = Connect {
            id: id.0.to_vec().into(),
            pid: pid.0.to_vec().into(),
            namespace: "/".to_owned(),
            recoverable: true,
            ..Connect::default()
        };
        let (attach, attached) = self.attach(pid, Some(id));
        let attach = Completion::Attach(Box::new(attach));
        self.operation(Kind::Connect(connect), attach, true).await;
        (socket(attached), pid)
    }

    /// A socket that continues a session from its beginning, and never gets on with it.
    async fn resume(&mut self, pid: Pid) -> Arc<LocalSocket> {
        let resume = Resume {
            pid: pid.0.to_vec().into(),
            namespace: "/".to_owned(),
            ..Resume::default()
        };
        let (attach, attached) = self.attach(pid, None);
        let attach = Completion::Attach(Box::new(attach));
        self.operation(Kind::Resume(resume), attach, true).await;
        socket(attached)
    }
}

fn socket(mut attached: oneshot::Receiver<Attached>) -> Arc<LocalSocket> {
    match attached.try_recv().unwrap() {
        Attached::Socket { socket, .. } => socket,
        other => panic!("{other:?} instead of a socket"),
    }
}

#[tokio::test]
async fn an_installed_snapshot_ends_the_life_and_leaves_outcomes_unknown() {
    let mut world = World::founded().await;
    world.begin_life(5).await;
    let (live, pid) = world.connect().await;
    let (attach, mut open) = world.attach(pid, Some(world.entropy.socket_id()));
    let open_operation = Completion::Attach(Box::new(attach));
    let never_seen = Kind::Resume(Resume::default());
    world.operation(never_seen, open_operation, false).await;

    let snapshot = world.fanout.replica.view().encode();
    world.fanout.replica.restore(snapshot).await.unwrap();
    let restored = world.applied.recv().await.unwrap();
    world.fanout.applied(restored);

    assert!(live.session.is_closed());
    assert!(!world.fanout.lease.holds());
    let failed = open.try_recv().unwrap();
    assert!(matches!(failed, Attached::Failed(Failure::UnknownOutcome)));
    // A registration of the old life that is seen again does not bring it back.
    world.register(NODE, 5).await;
    assert!(!world.fanout.pending.is_registered());
    // The new one takes the sessions of the old one out of the connected.
    world.begin_life(6).await;
    assert_eq!(world.fanout.replica.view().connected_count(), 0);
    assert_eq!(world.fanout.replica.view().away_count(), 1);
}

#[tokio::test]
async fn a_takeover_on_the_same_node_fences_the_older_socket() {
    let mut world = World::founded().await;
    world.begin_life(5).await;
    let (old, pid) = world.connect().await;
    let new = world.resume(pid).await;
    assert!(old.session.is_closed() && old.is_stopped());
    assert!(!new.session.is_closed() && !new.is_stopped());
    assert_eq!((old.id, old.generation + 1), (new.id, new.generation));
    assert!(world.fanout.index.get(new.id).is_some());
}

#[tokio::test]
async fn a_registration_closes_what_an_older_life_left() {
    let mut world = World::founded().await;
    world.begin_life(5).await;
    let (left, _) = world.connect().await;
    world.register(2, 77).await;
    assert!(!left.session.is_closed(), "another node's registration");
    world.begin_life(6).await;
    assert!(left.session.is_closed());
}

#[tokio::test]
async fn an_event_that_expects_answers_waits_for_its_place_in_a_replay() {
    let mut world = World::founded().await;
    world.begin_life(5).await;
    let (_, pid) = world.connect().await;
    let resumed = world.resume(pid).await;
    for request in [None, Some(1)] {
        let publish = Publish {
            namespace: "/".to_owned(),
            event: Bytes::from_static(b"[\"e\"]"),
            request,
            ..Publish::default()
        };
        world
            .operation(Kind::Publish(publish), Completion::Nothing, true)
            .await;
    }
    let at = Position::new(world.index, 0);
    texts(&resumed.session);
    resumed.reach(Position::new(world.index - 2, 0)).unwrap();
    assert_eq!(
        texts(&resumed.session),
        [""; 0],
        "the log brings the one that is replayed"
    );
    resumed.reach(at).unwrap();
    assert_eq!(texts(&resumed.session).len(), 1);
    assert!(!resumed.take_asked(2), "nobody asked for this answer");
    assert!(resumed.take_asked(1) && !resumed.take_asked(1), "once");
}
