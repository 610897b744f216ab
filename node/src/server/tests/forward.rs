//! Requests that arrive at a node which does not own their session. The way between the nodes is a
//! call here; that it is one over the network is tested with real nodes.

use super::moving::Way;
use super::polling::{POLLING, answer, begin, begin_get, get, post, reply};
use super::*;
use crate::engine::moving::RemoteSession;
use crate::engine::{Forwarded, RequestError, Sid};

/// The one other node, while it is there.
pub(super) struct Other(pub(super) Mutex<Option<Arc<Engine>>>);

impl Other {
    fn engine(&self, sid: Sid) -> Result<Arc<Engine>, RequestError> {
        assert_eq!(sid.node(), 5, "only foreign sessions are asked for");
        self.0.lock().clone().ok_or(RequestError::Unknown)
    }
}

#[async_trait]
impl Owners for Other {
    async fn forward(&self, sid: Sid, request: Forwarded) -> Result<Bytes, RequestError> {
        self.engine(sid)?.answer_forwarded(&sid, request).await
    }

    async fn upgrade(&self, sid: Sid) -> Result<Box<dyn RemoteSession>, RequestError> {
        let probe = self.engine(sid)?.probe_from_elsewhere(&sid)?;
        Ok(Box::new(Way::of(probe)))
    }
}

/// The owner, and a node that owns nothing.
pub(super) fn two() -> (ClientPort, ClientPort, Arc<Other>) {
    two_of(Upper::default(), Upper::default())
}

pub(super) fn two_of(owner: Upper, elsewhere: Upper) -> (ClientPort, ClientPort, Arc<Other>) {
    let start = |node, upper: Upper, owners| {
        let upper = Arc::new(upper);
        let acceptor: Arc<dyn Acceptor> = upper.clone();
        let (config, entropy) = (EngineConfig::standard(), Entropy::from_seed(node));
        let engine = Engine::new(node, config, entropy, acceptor);
        port_over(Arc::new(engine), upper, (10, 100), owners)
    };
    let owner = start(5, owner, None);
    let other = Arc::new(Other(Mutex::new(Some(Arc::clone(owner.engine())))));
    let owners: Arc<dyn Owners> = other.clone();
    (owner, start(6, elsewhere, Some(owners)), other)
}

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[tokio::test]
async fn any_node_answers_for_the_owner() {
    let (owner, elsewhere, other) = two();
    let sid = begin(&owner).await;
    assert_eq!(
        post(&elsewhere, &sid, "4a\x1ebAQID").await,
        answer(200, "ok")
    );
    assert_eq!(get(&elsewhere, &sid).await, answer(200, "4a\x1ebAQID"));
    assert_eq!(post(&owner, &sid, "4b").await, answer(200, "ok"));
    assert_eq!(get(&elsewhere, &sid).await, answer(200, "4b"));
    let large = "4".repeat(1_000_001);
    assert_eq!(post(&elsewhere, &sid, &large).await, answer(413, ""));
    assert_eq!(post(&elsewhere, &sid, "1").await, answer(200, "ok"));
    for port in [&owner, &elsewhere] {
        assert_eq!(get(port, &sid).await, answer(400, UNKNOWN));
        assert_eq!(post(port, &sid, "4a").await, answer(400, UNKNOWN));
    }
    let sid = begin(&owner).await;
    other.0.lock().take();
    assert_eq!(get(&elsewhere, &sid).await, answer(400, UNKNOWN), "at once");
    assert_eq!(elsewhere.engine().registry().count(), 0);
}

/// HTTP clients repeat a GET by themselves when its connection ends before the answer has come: the
/// node between may have died with what the owner had given it.
#[tokio::test]
async fn a_repeated_get_ends_the_session_instead_of_hiding_a_hole() {
    let (owner, elsewhere, _other) = two();
    for stamps in [["a1.5", "a1.5"], ["1764", "1764"], ["a", "b"]] {
        let sid = begin(&owner).await;
        let fetch = async |port: &ClientPort, stamp: &str, text: &str| {
            assert_eq!(post(&owner, &sid, text).await, answer(200, "ok"));
            let line = format!("GET {POLLING}&sid={sid}&t={stamp}");
            let (status, body, _) = ask(port, &line, "Host: a\r\n").await;
            (status, body)
        };
        let first = fetch(&elsewhere, stamps[0], "4lost").await;
        assert_eq!(first, ("200".into(), "4lost".into()));
        let second = fetch(&owner, stamps[1], "4next").await;
        let expected = match stamps[0] {
            "a1.5" => ("400".into(), UNKNOWN.into()),
            // The clock of some clients has only seconds.
            _ => ("200".into(), "4next".into()),
        };
        assert_eq!(second, expected, "{stamps:?}");
    }
}

#[tokio::test]
async fn the_rules_hold_across_nodes() {
    let (owner, elsewhere, _other) = two();
    let gone = async |sid: &str| {
        let sid = Sid::parse(sid).unwrap();
        soon(async {
            while owner.engine().registry().get(&sid).is_some() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    };
    // Two GETs, one at each.
    let sid = begin(&owner).await;
    let session = owner.engine().registry().sessions().remove(0);
    let first = begin_get(&elsewhere, &sid).await;
    while !session.is_writable() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(get(&owner, &sid).await, answer(400, ""));
    assert_eq!(reply(first).await.1, "1");
    gone(&sid).await;
    // A GET that is cut off.
    let sid = begin(&owner).await;
    let session = owner.engine().registry().sessions().remove(0);
    let waits = begin_get(&elsewhere, &sid).await;
    while !session.is_writable() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(waits);
    gone(&sid).await;
    // A body that is not allowed.
    let sid = begin(&owner).await;
    let headers = "Host: a\r\nContent-Length: 0\r\nContent-Type: application/octet-stream\r\n";
    let line = format!("POST {POLLING}&sid={sid}");
    assert_eq!(ask(&elsewhere, &line, headers).await.0, "400");
    gone(&sid).await;
}
