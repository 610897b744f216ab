//! Chains of diffs in literal text, against a real one-node cluster: whoever applies them has the
//! membership.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::limits;
use crate::pubsub::Pubsub;
use crate::socketio::testing::{Node, Wire};
use crate::socketio::{
    Ack, Admission, ConnectRequest, Event, Handler, Namespaces, Rejection, Socket,
};

async fn node() -> Node {
    Node::start(Namespaces::closed().open("/", Pubsub::default())).await
}

/// A client, by its name; in `room` if it is given one.
async fn client(node: &Node, name: &str, room: Option<&str>) -> Wire {
    let mut wire = node.client().await;
    wire.send(&format!(r#"40{{"identity":"{name}"}}"#)).await;
    wire.next().await;
    if let Some(room) = room {
        let joined = wire.ask(&format!(r#"["join","{room}"]"#)).await;
        assert_eq!(joined["ok"], true, "{joined}");
    }
    wire
}

/// What a client keeps of the room `r`, by the rules of the module's text.
#[derive(Debug, Default)]
struct Kept {
    offset: Value,
    members: BTreeMap<String, Value>,
    diffs: usize,
}

fn list<'a>(told: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = told.get(name).map(|list| list.as_array().expect(name));
    assert!(list.is_none_or(|list| !list.is_empty()), "{told}");
    list.into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl Kept {
    /// Asks, and takes all pages.
    async fn ask(wire: &mut Wire) -> Self {
        let mut kept = Self::default();
        let mut options = json!({});
        loop {
            let answer = wire.ask(&format!(r#"["presence","r",{options}]"#)).await;
            assert_eq!(answer["ok"], true, "{answer}");
            for member in answer["members"].as_array().expect("members") {
                kept.members.insert(text(&member["id"]), member.clone());
            }
            kept.offset = answer["offset"].clone();
            if answer["next"].is_null() {
                assert_eq!(answer["count"], kept.members.len());
                return kept;
            }
            options = json!({ "page": answer["next"] });
        }
    }

    /// Applies a diff, or an answer that has one.
    fn apply(&mut self, told: &Value) {
        assert_eq!(told["from"], self.offset, "{told}");
        assert_eq!(told["room"], "r");
        self.offset = told["offset"].clone();
        self.diffs += 1;
        for member in list(told, "join") {
            self.members.insert(text(&member["id"]), member.clone());
        }
        for id in list(told, "leave") {
            self.members.remove(&text(id));
        }
        for (name, state) in [("away", "away"), ("back", "connected")] {
            for id in list(told, name) {
                self.members.get_mut(&text(id)).expect("known")["state"] = json!(state);
            }
        }
        assert_eq!(told["count"], self.members.len(), "{told}");
    }

    /// Applies one diff after another until it is so.
    async fn until(&mut self, wire: &mut Wire, is: impl Fn(&Self) -> bool) {
        while !is(self) {
            let told = event(wire).await;
            self.apply(&told);
        }
    }

    /// Who is there, by name and state.
    fn people(&self) -> Vec<(String, String)> {
        let members = self.members.values();
        let people = members.map(|member| (text(&member["identity"]), text(&member["state"])));
        let mut people: Vec<_> = people.collect();
        people.sort();
        people
    }
}

/// The argument of the next event `presence`.
async fn event(wire: &mut Wire) -> Value {
    let told = wire.next().await;
    let told = told.strip_prefix("42").unwrap_or_else(|| panic!("{told}"));
    let told: Value = serde_json::from_str(told).expect("JSON");
    assert_eq!(told[0], "presence");
    told[1].clone()
}

fn people(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, state): &(&str, &str)| ((*name).to_owned(), (*state).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn who_applies_the_chain_has_the_membership() {
    let node = node().await;
    let mut watcher = client(&node, "watcher", None).await;
    let mut ann = client(&node, "ann", Some("r")).await;
    let mut kept = Kept::ask(&mut watcher).await;
    assert_eq!(kept.people(), people(&[("ann", "connected")]));
    let start = kept.offset.clone();

    let ben = client(&node, "ben", Some("r")).await;
    kept.until(&mut watcher, |kept| kept.members.len() == 2)
        .await;
    // One who comes later begins where the others are.
    let mut late = client(&node, "late", None).await;
    let mut second = Kept::ask(&mut late).await;
    assert_eq!(second.offset, kept.offset);
    drop(ben);
    let away = people(&[("ann", "connected"), ("ben", "away")]);
    kept.until(&mut watcher, |kept| kept.people() == away).await;
    ann.ask(r#"["leave","r"]"#).await;
    kept.until(&mut watcher, |kept| kept.members.len() == 1)
        .await;
    second
        .until(&mut late, |kept| kept.members.len() == 1)
        .await;
    assert_eq!(
        (&second.offset, second.people()),
        (&kept.offset, kept.people())
    );
    assert_eq!(kept.people(), people(&[("ben", "away")]));

    // What it has missed in between, and then the same chain.
    let since = json!({ "after": start });
    let answer = late.ask(&format!(r#"["presence","r",{since}]"#)).await;
    let mut resumed = Kept {
        offset: start,
        members: BTreeMap::new(),
        diffs: 0,
    };
    resumed.apply(&answer);
    assert_eq!(answer.get("members"), None);
    assert_eq!(
        (&resumed.offset, resumed.people()),
        (&kept.offset, kept.people())
    );
    node.end().await;
}

#[tokio::test]
async fn an_answer_has_what_its_client_has_seen_and_an_end_is_one() {
    let node = node().await;
    let mut wire = client(&node, "ann", Some("r")).await;
    for round in 0..5 {
        let kept = Kept::ask(&mut wire).await;
        assert_eq!(kept.members.len(), 1, "{round}");
        let ended = wire.ask(r#"["presence","r",{"end":true}]"#).await;
        assert_eq!(ended, json!({ "ok": true }));
        for request in ["leave", "join"] {
            let answer = wire.ask(&format!(r#"["{request}","r"]"#)).await;
            assert_eq!(answer["ok"], true, "nothing is told any more: {answer}");
        }
    }
    // Of another log.
    let after = json!({ "after": "zzzz.1.1" });
    let answer = wire.ask(&format!(r#"["presence","r",{after}]"#)).await;
    assert_eq!(
        answer["count"],
        answer["members"].as_array().map_or(0, Vec::len)
    );
    node.end().await;
}

#[tokio::test]
async fn a_storm_is_told_in_few_diffs() {
    const PEOPLE: usize = 150;
    let node = node().await;
    let mut crowd = Vec::new();
    for number in 0..PEOPLE {
        crowd.push(client(&node, &format!("p{number}"), Some("r")).await);
    }
    let mut watcher = client(&node, "watcher", None).await;
    let mut kept = Kept::ask(&mut watcher).await;
    assert_eq!(kept.members.len(), PEOPLE);
    let began = tokio::time::Instant::now();
    for wire in &mut crowd {
        wire.send(r#"42["leave","r"]"#).await;
    }
    kept.until(&mut watcher, |kept| kept.members.is_empty())
        .await;
    let ticks = began.elapsed().as_millis() / limits::PRESENCE_INTERVAL.as_millis();
    let diffs = kept.diffs;
    assert!(
        diffs as u128 <= ticks + 1 && diffs < PEOPLE / 2,
        "{diffs} {ticks}"
    );
    node.end().await;
}

#[tokio::test]
async fn rooms_are_bounded_and_given_back_when_their_sockets_go() {
    let handler = Pubsub::default();
    let node = Node::start(Namespaces::closed().open("/", handler.clone())).await;
    let mut wire = client(&node, "ann", None).await;
    for number in 0..limits::PRESENCE_ROOMS_PER_SOCKET_MAX {
        let answer = wire.ask(&format!(r#"["presence","r{number}"]"#)).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let refused = wire.ask(r#"["presence","one more"]"#).await;
    assert_eq!(refused["error"]["code"], "overloaded");
    let again = wire.ask(r#"["presence","r0"]"#).await;
    assert_eq!(again["ok"], true, "{again}");
    for (options, word) in [
        (r#"{"after":"0.1.1","end":true}"#, "exclude each other"),
        (r#"{"page":"nobody"}"#, "page is no socket's id"),
        (r#"{"from":"0.1.1"}"#, "unknown field"),
    ] {
        let refused = wire.ask(&format!(r#"["presence","r",{options}]"#)).await;
        assert_eq!(refused["error"]["code"], "invalid");
        assert!(
            text(&refused["error"]["message"]).contains(word),
            "{refused}"
        );
    }
    drop(wire);
    node.until("free places", |_| handler.presence.is_empty())
        .await;
    node.end().await;
}

/// The built-in handler, but for presence, which members alone are told.
struct Strict(Pubsub);

#[async_trait]
impl Handler for Strict {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        self.0.admit(request).await
    }

    async fn on_connect(&self, _: &Socket) {}

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        match event.name.as_str() {
            "presence" => self.0.presence.answer_member(socket, &event, ack).await,
            _ => self.0.on_event(socket, event, ack).await,
        }
    }

    async fn on_disconnect(&self, _: &Socket, _: &str) {}
}

#[tokio::test]
async fn who_is_told_as_a_member_is_told_that_it_left_and_nothing_more() {
    let handler = Pubsub::default();
    let node = Node::start(Namespaces::closed().open("/", Strict(handler.clone()))).await;
    let mut ann = client(&node, "ann", Some("r")).await;
    let mut ben = client(&node, "ben", None).await;
    let refused = ben.ask(r#"["presence","r",{}]"#).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    let mut kept = Kept::ask(&mut ann).await;
    assert_eq!(kept.members.len(), 1);
    ben.ask(r#"["join","r"]"#).await;
    kept.until(&mut ann, |kept| kept.members.len() == 2).await;
    ann.send(r#"42["leave","r"]"#).await;
    kept.until(&mut ann, |kept| kept.members.len() == 1).await;
    node.until("a free place", |_| handler.presence.is_empty())
        .await;
    ben.ask(r#"["leave","r"]"#).await;
    // Its answer is the next thing it hears.
    let refused = ann.ask(r#"["presence","r",{}]"#).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    node.end().await;
}
