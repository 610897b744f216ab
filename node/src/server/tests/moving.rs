//! Upgrades whose WebSocket lands on another node than the session: it moves there, or its bytes
//! are carried. The way between the nodes is a call here.

use tokio::io::{AsyncRead, AsyncWrite};

use super::forward::{Other, two_of};
use super::polling::{answer, begin, begin_get, get, post, reply};
use super::upgrade::{expect_closed, hear, probed, say, upgraded, websocket};
use super::*;
use crate::engine::moving::{
    Carried, Confirmed, Left, OwnerLost, RemoteProbe, RemoteSession, Taken,
};

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// What became of sessions that left a node.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    taken: AtomicU32,
    lost: AtomicU32,
}

/// One that is on its way.
#[derive(Debug)]
pub(super) struct Leaving {
    leaves: Arc<Leaves>,
    taken: bool,
}

impl Leaving {
    pub(super) fn new(leaves: Arc<Leaves>) -> Self {
        let taken = false;
        Self { leaves, taken }
    }
}

impl Left for Leaving {
    fn taken(mut self: Box<Self>) {
        self.taken = true;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Leaves { taken, lost } = &*self.leaves;
        let count = if self.taken { taken } else { lost };
        count.fetch_add(1, SeqCst);
    }
}

/// The way to the owner of a session.
pub(super) struct Way {
    probe: RemoteProbe,
    left: Option<Box<dyn Left>>,
}

impl Way {
    pub(super) fn of(probe: RemoteProbe) -> Self {
        Self { probe, left: None }
    }
}

#[async_trait]
impl RemoteSession for Way {
    async fn probed(&mut self) -> Result<(), OwnerLost> {
        let once = 2 * limits::PROBE_RELEASE_AFTER;
        assert!(timeout(once, self.probe.release()).await.is_err());
        Ok(())
    }

    async fn confirmed(&mut self) -> Result<Taken, OwnerLost> {
        match self.probe.confirmed().await {
            Confirmed::Leaves(session, left) => {
                self.left = Some(left);
                Ok(Taken::Session(session))
            }
            Confirmed::Stays => Ok(Taken::Bytes),
        }
    }

    async fn in_place(mut self: Box<Self>) {
        self.left.take().expect("it left").taken();
    }

    async fn carry(self: Box<Self>, client: Carried) {
        let (ours, theirs) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(ours);
        self.probe.carry(read, write).await;
        let (read, mut write) = tokio::io::split(theirs);
        write.write_all(&client.received).await.unwrap();
        tokio::join!(copy(client.read, write), copy(read, client.write));
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    tokio::io::copy(&mut from, &mut to).await.ok();
    to.shutdown().await.ok();
}

/// Two nodes whose sessions can move, and what became of those that did.
fn movable(full: bool) -> (ClientPort, ClientPort, Arc<Other>, Arc<Leaves>) {
    let leaves = Arc::new(Leaves::default());
    let upper = |full| Upper {
        leaves: Some(Arc::clone(&leaves)),
        full,
        ..Upper::default()
    };
    let (owner, elsewhere, other) = two_of(upper(false), upper(full));
    (owner, elsewhere, other, leaves)
}

async fn left(port: &ClientPort) {
    soon(async {
        while port.engine().registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_moves_to_where_its_websocket_landed() {
    let (owner, elsewhere, other, leaves) = movable(false);
    let sid = begin(&owner).await;
    let waits = begin_get(&owner, &sid).await;
    let session = owner.engine().registry().sessions().remove(0);
    while !session.is_writable() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut stream = probed(&elsewhere, &sid).await;
    assert_eq!(reply(waits).await.1, "6");
    session.try_push(&Frames::text("4kept".into())).unwrap();
    let binary = vec![Bytes::from_static(b"\x01")];
    let with_binary = Frames::with_attachments("451-[]".into(), binary);
    session.try_push(&with_binary).unwrap();
    say(&mut stream, "5").await;
    say(&mut stream, "4after").await;
    assert_eq!(hear(&mut stream).await, "4kept");
    assert_eq!(hear(&mut stream).await, "451-[]");
    assert_eq!(frame(&mut stream).await, (0x82, vec![1]));
    assert_eq!(hear(&mut stream).await, "4after");
    left(&owner).await;
    assert_eq!(soon(session.closed()).await, CloseReason::Moved);
    let moved = elsewhere.engine().registry().sessions().remove(0);
    assert_eq!(moved.sid(), session.sid(), "the client knows it by that");
    // Late requests are told what they are after any upgrade; nothing needs the old owner any more.
    for port in [&owner, &elsewhere] {
        assert_eq!(get(port, &sid).await, answer(400, BAD_REQUEST));
        assert_eq!(post(port, &sid, "4a").await, answer(400, BAD_REQUEST));
    }
    other.0.lock().take();
    say(&mut stream, "4still").await;
    assert_eq!(hear(&mut stream).await, "4still");
    drop(stream);
    assert_eq!(
        soon(moved.closed()).await,
        CloseReason::TransportClosed,
        "its end is the new node's"
    );
    assert_eq!(
        (leaves.taken.load(SeqCst), leaves.lost.load(SeqCst)),
        (1, 0)
    );
}

#[tokio::test]
async fn a_session_that_cannot_move_is_carried() {
    let (owner, elsewhere, _) = two_of(Upper::default(), Upper::default());
    let sid = begin(&owner).await;
    let mut stream = upgraded(&elsewhere, &sid).await;
    for round in 0..100 {
        let text = format!("4{round}{}", "x".repeat(100));
        say(&mut stream, &text).await;
        assert_eq!(hear(&mut stream).await, text);
    }
    assert_eq!(elsewhere.engine().registry().count(), 0);
    assert_eq!(get(&elsewhere, &sid).await, answer(400, BAD_REQUEST));
    let session = owner.engine().registry().sessions().remove(0);
    session.close(CloseReason::Draining);
    assert_eq!(
        frame(&mut stream).await,
        (0x88, b"\x0f\xa1draining".to_vec())
    );
    left(&owner).await;
}

#[tokio::test]
async fn a_carried_client_that_leaves_ends_its_session() {
    let (owner, elsewhere, _) = two_of(Upper::default(), Upper::default());
    let sid = begin(&owner).await;
    let mut stream = upgraded(&elsewhere, &sid).await;
    say(&mut stream, "4a").await;
    assert_eq!(hear(&mut stream).await, "4a");
    drop(stream);
    left(&owner).await;
}

#[tokio::test]
async fn an_abandoned_upgrade_elsewhere_leaves_the_session_on_polling() {
    let (owner, elsewhere, other, leaves) = movable(false);
    let sid = begin(&owner).await;
    for last in ["4not now", "2x"] {
        let mut stream = probed(&elsewhere, &sid).await;
        say(&mut stream, last).await;
        expect_closed(stream).await;
    }
    drop(websocket(&elsewhere, &sid).await);
    assert_eq!(post(&elsewhere, &sid, "4a").await, answer(200, "ok"));
    assert_eq!(get(&owner, &sid).await, answer(200, "4a"));
    let probing = probed(&elsewhere, &sid).await;
    let line = format!("GET /socket.io/?EIO=4&transport=websocket&sid={sid}");
    let (status, body, _) = ask(&elsewhere, &line, UPGRADE).await;
    assert_eq!((status.as_str(), body.as_str()), ("400", BAD_REQUEST));
    drop(probing);
    other.0.lock().take();
    let (status, body, _) = ask(&elsewhere, &line, UPGRADE).await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("400", UNKNOWN),
        "at once"
    );
    assert_eq!(
        (leaves.taken.load(SeqCst), leaves.lost.load(SeqCst)),
        (0, 0)
    );
}

#[tokio::test]
async fn a_session_that_finds_no_place_is_lost_with_its_transport() {
    let (owner, elsewhere, _, leaves) = movable(true);
    let sid = begin(&owner).await;
    let mut stream = upgraded(&elsewhere, &sid).await;
    assert_eq!(
        frame(&mut stream).await,
        (0x88, b"\x0f\xa4no quorum".to_vec()),
        "the client comes back with what it has"
    );
    drop(stream);
    left(&owner).await;
    left(&elsewhere).await;
    assert_eq!(
        (leaves.taken.load(SeqCst), leaves.lost.load(SeqCst)),
        (0, 1)
    );
}
