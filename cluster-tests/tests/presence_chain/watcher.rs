//! A client that watches the room `r` by docs/presence.md, and is strict about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use roomcast_cluster_tests::cluster::Cluster;
use roomcast_cluster_tests::http;
use roomcast_cluster_tests::wire::{Packet, Wire, WireError, event};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Longest wait for anything.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The room that is watched.
pub(crate) const ROOM: &str = "r";
/// Members that one diff names at most.
const IDS_MAX: usize = 500;
/// Between two diffs.
const INTERVAL_MS: u128 = 100;
/// A pause in what is told, in which the lists are compared.
const PAUSE: Duration = Duration::from_millis(300);
const LISTS: [&str; 5] = ["join", "leave", "away", "back", "update"];

/// A member as it is kept: who, whether away, and its data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) identity: Value,
    pub(crate) away: bool,
    pub(crate) data: Value,
}

/// See the module's text.
pub(crate) struct Watcher {
    pub(crate) wire: Wire,
    /// Where it asks for lists to compare.
    api: SocketAddr,
    asked: u64,
    began: Instant,
    offset: Value,
    pub(crate) members: BTreeMap<String, Kept>,
    /// What was told of each member, in order: the names of the lists.
    pub(crate) told: BTreeMap<String, Vec<&'static str>>,
    /// Diffs that came as events.
    pub(crate) diffs: u128,
    /// Those that said `more`.
    pub(crate) more: usize,
    /// Answers to `after` that were lists anew.
    pub(crate) anew: usize,
    /// Pages of lists.
    pub(crate) pages: usize,
}

impl Watcher {
    /// Connects to a node of the cluster and asks for the members.
    pub(crate) async fn start(cluster: &Cluster, node: usize) -> Self {
        let wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
        Self::over(wire, cluster, node).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn over(mut wire: Wire, cluster: &Cluster, node: usize) -> Self {
        let connected = wire.connect_namespace("/", &json!({})).await.unwrap();
        assert_eq!(connected.kind, '0', "{connected:?}");
        let mut watcher = Self {
            wire,
            api: cluster.addrs[node].api,
            asked: 0,
            began: Instant::now(),
            offset: Value::Null,
            members: BTreeMap::new(),
            told: BTreeMap::new(),
            diffs: 0,
            more: 0,
            anew: 0,
            pages: 0,
        };
        let answer = watcher.ask(ROOM, &json!({}), false).await;
        watcher.list(answer).await;
        watcher
    }

    /// Asks `presence`. Diffs that come before the answer belong to a page that is asked for, and
    /// are passed over otherwise.
    pub(crate) async fn ask(&mut self, room: &str, options: &Value, is_page: bool) -> Value {
        self.asked += 1;
        let args = [json!(room), options.clone()];
        let (text, _) = event("/", Some(self.asked), "presence", &args);
        assert!(self.wire.send(text).await);
        loop {
            let packet = self.wire.packet(SOON).await.unwrap();
            if packet.id == Some(self.asked) && packet.kind == '3' {
                let answer = packet.data[0].clone();
                assert_eq!(answer["ok"], true, "{answer}");
                return answer;
            }
            if let Some(diff) = self.counted(&packet)
                && is_page
            {
                assert!(self.apply(&diff), "a list that is lost half way: {diff}");
            }
        }
    }

    /// Takes the first page and asks for the others; from there on it has all members.
    async fn list(&mut self, first: Value) {
        self.members.clear();
        self.offset = first["offset"].clone();
        let mut page = first;
        loop {
            assert_eq!(page["offset"], self.offset, "a page of another time");
            self.pages += 1;
            for member in page["members"].as_array().unwrap() {
                self.set(member);
            }
            let next = page["next"].clone();
            if next.is_null() {
                break;
            }
            page = self.ask(ROOM, &json!({ "page": next }), true).await;
        }
        assert_eq!(page["count"], self.members.len(), "the pages have all");
    }

    fn set(&mut self, member: &Value) {
        let kept = Kept {
            identity: member["identity"].clone(),
            away: member["state"] == "away",
            data: member["data"].clone(),
        };
        self.members.insert(text(&member["id"]), kept);
    }

    /// A diff of the room among other events; counted, and within its bounds.
    fn counted(&mut self, packet: &Packet) -> Option<Value> {
        assert_eq!((packet.kind, &packet.data[0]), ('2', &json!("presence")));
        let diff = packet.data[1].clone();
        if diff["room"] != ROOM {
            return None;
        }
        self.diffs += 1;
        bounded(&diff);
        let intervals = self.began.elapsed().as_millis() / INTERVAL_MS;
        assert!(
            self.diffs <= intervals + 2,
            "{} in {intervals} intervals",
            self.diffs
        );
        Some(diff)
    }

    /// Applies a diff; false when it says that something was missed.
    fn apply(&mut self, diff: &Value) -> bool {
        if diff["more"] == true {
            return false;
        }
        assert_eq!(diff["from"], self.offset, "a hole in the chain: {diff}");
        self.offset = diff["offset"].clone();
        for name in LISTS {
            let list = diff.get(name).map(|list| list.as_array().unwrap().clone());
            for one in list.unwrap_or_default() {
                let id = if one.is_string() {
                    text(&one)
                } else {
                    text(&one["id"])
                };
                self.told.entry(id.clone()).or_default().push(name);
                match (name, self.members.get_mut(&id)) {
                    ("join", _) => self.set(&one),
                    ("leave", _) => drop(self.members.remove(&id)),
                    ("update", Some(kept)) => kept.data = one["data"].clone(),
                    (_, Some(kept)) => kept.away = name == "away",
                    (_, None) => {}
                }
            }
        }
        assert_eq!(diff["count"], self.members.len(), "{diff}");
        true
    }

    /// Takes what comes next; asks again when something was missed. False when nothing comes.
    pub(crate) async fn step(&mut self, within: Duration) -> bool {
        let packet = match self.wire.packet(within).await {
            Err(WireError::Timeout) => return false,
            packet => packet.unwrap(),
        };
        if let Some(diff) = self.counted(&packet)
            && !self.apply(&diff)
        {
            self.more += 1;
            let options = json!({ "after": self.offset });
            let answer = self.ask(ROOM, &options, false).await;
            if answer.get("members").is_some() {
                self.anew += 1;
                self.list(answer).await;
            } else {
                bounded(&answer);
                assert!(self.apply(&answer), "{answer}");
            }
        }
        true
    }

    /// Takes what comes until it is so.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !is(self) {
            assert!(Instant::now() < deadline, "not so: {what}; {:?}", self.told);
            assert!(self.step(SOON).await, "nothing comes: {what}");
        }
    }

    /// Takes what comes until it has the very members that the node lists.
    pub(crate) async fn agrees(&mut self) {
        let deadline = Instant::now() + SOON;
        loop {
            let listed = listed(self.api).await;
            if listed == self.members {
                return;
            }
            let (had, has) = (self.members.len(), listed.len());
            assert!(Instant::now() < deadline, "{had} instead of {has} members");
            self.step(PAUSE).await;
        }
    }

    /// Members in a state.
    pub(crate) fn count(&self, away: bool) -> usize {
        self.members
            .values()
            .filter(|kept| kept.away == away)
            .count()
    }
}

/// No diff names more members than it may, and one that says `more` names none.
fn bounded(diff: &Value) {
    let mut ids = BTreeSet::new();
    for list in LISTS.iter().filter_map(|name| diff.get(*name)) {
        let list = list.as_array().unwrap();
        assert!(!list.is_empty(), "empty lists are left out: {diff}");
        ids.extend(list.iter().map(|one| match one {
            Value::String(id) => id.clone(),
            member => text(&member["id"]),
        }));
    }
    assert!(ids.len() <= IDS_MAX, "{} members in one diff", ids.len());
    assert!(ids.is_empty() || diff.get("more").is_none(), "{diff}");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What a node lists, in pages.
async fn listed(api: SocketAddr) -> BTreeMap<String, Kept> {
    let mut all = BTreeMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/members?room={ROOM}&away=true&limit=500{after}");
        let answer = http::get(api, &path).await.unwrap();
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        for member in page["members"].as_array().unwrap() {
            let kept = Kept {
                identity: member["identity"].clone(),
                away: member["away"] == true,
                data: member["data"].clone(),
            };
            all.insert(text(&member["id"]), kept);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}
