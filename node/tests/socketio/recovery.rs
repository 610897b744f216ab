//! Who gets a `pid` and offsets: a matter of the namespace and of the client. (DESIGN, section 6,
//! "The extra argument".)

use std::time::Duration;

use roomcast::socketio::Socket;
use serde_json::{Value, json};

use crate::cluster::{Options, one_node};
use crate::emits::{numbered, room};
use crate::wire::Wire;

/// Namespace, `auth`, query, and whether the client gets recovery.
const COMBINATIONS: [(&str, &str, &str, bool); 18] = [
    ("/custom", "", "", true),
    ("/custom", r#"{"recovery":true}"#, "", true),
    ("/custom", r#"{"recovery":false}"#, "", false),
    ("/custom", "", "&recovery=1", true),
    ("/custom", "", "&recovery=0", false),
    ("/custom", r#"{"recovery":true}"#, "&recovery=0", false),
    ("/optin", "", "", false),
    ("/optin", r#"{"recovery":true}"#, "", true),
    ("/optin", r#"{"recovery":false}"#, "", false),
    ("/optin", r#"{"recovery":"true"}"#, "", false),
    ("/optin", "", "&recovery=1", true),
    ("/optin", "", "&recovery=0", false),
    ("/optin", r#"{"recovery":false}"#, "&recovery=1", false),
    ("/off", "", "", false),
    ("/off", r#"{"recovery":true}"#, "", false),
    ("/off", r#"{"recovery":false}"#, "", false),
    ("/off", "", "&recovery=1", false),
    ("/off", "", "&recovery=0", false),
];

#[tokio::test]
async fn a_pid_and_offsets_come_together_or_not_at_all() {
    let node = one_node(Options::default()).await;
    for (namespace, auth, query, granted) in COMBINATIONS {
        let case = format!("{namespace} {auth} {query}");
        let mut wire = Wire::open(node.port.local_addr(), query).await;
        let answer = format!("40{namespace},");
        let connect = wire.join(&format!("40{namespace},{auth}"), &answer).await;
        let keys: Vec<_> = connect.as_object().unwrap().keys().collect();
        let expected = if granted {
            vec!["pid", "sid"]
        } else {
            vec!["sid"]
        };
        assert_eq!(keys, expected, "{case}");
        wire.send(&format!(r#"42{namespace},["back","name",1]"#))
            .await;
        let event = wire.text().await;
        let array = event.strip_prefix(&format!("42{namespace},")).unwrap();
        let array: Vec<Value> = serde_json::from_str(array).unwrap();
        let has_offset = array.get(2).is_some_and(Value::is_string);
        assert_eq!(
            (array.len(), has_offset),
            (2 + usize::from(granted), granted),
            "{case}"
        );
    }
    node.die().await;
}

#[tokio::test]
async fn a_session_comes_back_only_to_a_client_that_still_wants_it() {
    let node = one_node(Options::default()).await;
    let mut wire = node.wire().await;
    let first = wire
        .join(r#"40/optin,{"recovery":true}"#, "40/optin,")
        .await;
    let (id, pid) = (&first["sid"], first["pid"].as_str().unwrap());
    drop(wire);
    // It asks for nothing: a new session, and no resume was tried.
    let mut wire = node.wire().await;
    let unsaid = format!(r#"40/optin,{{"pid":"{pid}"}}"#);
    let connect = wire.join(&unsaid, "40/optin,").await;
    assert_ne!(&connect["sid"], id);
    assert!(connect.get("resume").is_none() && connect.get("pid").is_none());
    let mut wire = node.wire().await;
    let asked = format!(r#"40/optin,{{"pid":"{pid}","recovery":true}}"#);
    let connect = wire.join(&asked, "40/optin,").await;
    assert_eq!((&connect["sid"], &connect["pid"]), (id, &first["pid"]));
    assert_eq!(connect["resume"]["ok"], true);
    node.die().await;
}

/// Events that are not logged, every millisecond.
async fn make_noise(origin: Socket) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for number in 0.. {
        tick.tick().await;
        let (volatile, transient) = (origin.publish(room("r")), origin.publish(room("r")));
        let event = |name| numbered(name, number);
        volatile
            .volatile()
            .emit_raw(event("v"), Vec::new())
            .unwrap();
        transient
            .transient()
            .emit_raw(event("t"), Vec::new())
            .unwrap();
    }
}

#[tokio::test]
async fn a_replay_that_is_cut_amid_other_events_loses_and_doubles_nothing() {
    const COUNT: usize = 10_000;
    const SEED: u64 = 0x5eed;
    let node = one_node(Options::default()).await;
    let (wire, connect) = node.connect(r#"{"name":"ann"}"#).await;
    let (_ben, _) = node.connect(r#"{"name":"ben"}"#).await;
    let origin = node.socket("ben").await;
    node.socket("ann").await.join("r").await.unwrap();
    drop(wire);
    for number in 0..COUNT {
        let emitted = origin
            .publish(room("r"))
            .emit_raw(numbered("e", number), Vec::new());
        if number % 500 == 499 {
            emitted.await.unwrap();
        } else {
            emitted.forget();
        }
    }
    let noise = tokio::spawn(make_noise(origin));
    let pid = &connect["pid"];
    let (mut random, mut next, mut others, mut cuts) = (SEED, 0, 0, 0);
    let mut offset = Value::Null;
    while next < COUNT {
        let auth = json!({ "name": "ann", "pid": pid, "offset": offset });
        let (mut wire, connect) = node.connect(&auth.to_string()).await;
        assert_eq!(&connect["pid"], pid, "not recovered; seed {SEED}");
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        for _ in 0..random >> 54 {
            let (event, stamp) = wire.event().await;
            if event[0] == "e" {
                assert_eq!(event[1], next, "after {cuts} cuts; seed {SEED}");
                next += 1;
            } else {
                others += 1;
            }
            offset = stamp.into();
        }
        cuts += 1;
    }
    noise.abort();
    assert!(others > 0 && cuts > 5, "{others} others, {cuts} cuts");
    node.die().await;
}
