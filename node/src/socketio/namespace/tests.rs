//! Namespaces of closures and layers, in literal text, against a real one-node cluster.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::timeout::TimeoutLayer;

use super::*;
use crate::socketio::testing::{Node, Wire};
use crate::socketio::{
    Ack, Code, Event, Namespaces, OperationError, Recovery, Refusal, Rejection, Socket,
};

/// A node whose main namespace is this one. Recovery is off: the literal text is what was sent.
async fn serve(namespace: Namespace) -> Node {
    let plain = from_fn(|mut connect: Connect, next: ConnectNext| {
        connect.admission.recovery = Recovery::Off;
        next.run(connect)
    });
    let routes = namespace.connect_layer(plain).build().unwrap();
    Node::start(Namespaces::closed().open("/", routes)).await
}

fn refused(code: &str, message: &str) -> Value {
    json!({ "ok": false, "error": { "code": code, "message": message } })
}

#[tokio::test]
async fn handlers_take_typed_arguments_and_answer_with_what_they_return() {
    let namespace = Namespace::new()
        .on("id", |socket: Socket| async move {
            Reply(socket.id().to_owned())
        })
        .on("add", |_: Socket, (a, b): (i64, i64)| async move {
            Reply((a + b, "sum"))
        })
        .on("nothing", |_: Socket| async {})
        .on("even", |_: Socket, number: u32| async move {
            if number % 2 == 1 {
                return Err(Refusal::new(Code::Other("odd"), "an odd number"));
            }
            Ok(Reply(number))
        })
        .on("join", |socket: Socket, room: String| async move {
            socket.join(room).await?;
            Ok::<_, OperationError>(())
        })
        .on("leave", |socket: Socket, room: String| socket.leave(room))
        .on(
            "later",
            |_: Socket, text: String, ack: Option<Ack>| async move {
                tokio::spawn(async move { ack.expect("it asks").send((1, text)) });
            },
        )
        .on(
            "raw",
            |_: Socket, event: Event, ack: Option<Ack>| async move {
                let args = roomcast_proto::socketio::args::join(&event.args);
                ack.expect("it asks").send_raw(&args, event.attachments);
            },
        );
    let node = serve(namespace).await;
    let mut wire = node.joined().await;
    let id = wire.ask(r#"["id"]"#).await;
    assert_eq!(id.as_str().unwrap().len(), 22);
    for (sent, answered) in [
        (r#"421["add",1,2]"#, r#"431[3,"sum"]"#),
        (r#"421["add",1,2,"more"]"#, r#"431[3,"sum"]"#),
        (r#"421["nothing",1]"#, "431[]"),
        (r#"421["even",4]"#, "431[4]"),
        (
            r#"421["even",3]"#,
            r#"431[{"ok":false,"error":{"code":"odd","message":"an odd number"}}]"#,
        ),
        (r#"421["join","r"]"#, "431[]"),
        (r#"421["later","x"]"#, r#"431[1,"x"]"#),
        (r#"421["raw",{"b": 1},null]"#, r#"431[{"b": 1},null]"#),
    ] {
        wire.send(sent).await;
        assert_eq!(wire.next().await, answered, "{sent}");
    }
    let offset = wire.ask(r#"["leave","r"]"#).await;
    assert_eq!(offset.as_str().unwrap().split('.').count(), 3, "{offset}");
    let long = "x".repeat(2_000);
    let refusal = wire.ask(&format!(r#"["join","{long}"]"#)).await;
    assert_eq!(refusal, refused("invalid", "invalid request"));
    node.end().await;
}

#[tokio::test]
async fn what_a_handler_cannot_take_is_invalid_and_what_nobody_takes_is_unknown() {
    let namespace = || {
        Namespace::new()
            .on("say", |_: Socket, (_, _): (String, u8)| async {
                Reply("said")
            })
            .on("wait", |_: Socket, _: u8, ack: Option<Ack>| async {
                drop(ack)
            })
    };
    let node = serve(namespace()).await;
    let mut wire = node.joined().await;
    for (event, code, message) in [
        (r#"["say","a"]"#, "invalid", "argument 2 is missing"),
        (
            r#"["say",1,2]"#,
            "invalid",
            "argument 1: invalid type: integer `1`, expected a string",
        ),
        (
            r#"["wait",-1]"#,
            "invalid",
            "argument 1: invalid value: integer `-1`, expected u8",
        ),
        (
            r#"["sing"]"#,
            "unknown_event",
            "there is no event \"sing\" here",
        ),
    ] {
        assert_eq!(wire.ask(event).await, refused(code, message));
    }
    wire.send(r#"42["say"]"#).await;
    wire.send(r#"42["sing"]"#).await;
    assert_eq!(wire.ask(r#"["say","a",1]"#).await, "said", "it goes on");
    node.end().await;

    let any = |_: Socket, event: Event| async move { Reply(event.name) };
    let node = serve(namespace().on_any(any)).await;
    let mut wire = node.joined().await;
    assert_eq!(wire.ask(r#"["sing"]"#).await, "sing");
    assert_eq!(wire.ask(r#"["say","a",1]"#).await, "said");
    node.end().await;
}

#[tokio::test]
async fn an_answer_leaves_after_the_operations_that_the_handler_issued() {
    let namespace = Namespace::new()
        .on_connect(|socket: Socket| socket.join("r"))
        .on("go", |socket: Socket, number: u32| async move {
            socket.within("r").emit("e", (number, 1)).forget();
            socket.emit("e", (number, 2)).forget();
            Reply(number)
        });
    let node = serve(namespace).await;
    let mut wire = node.joined().await;
    for number in 0..20 {
        wire.send(&format!(r#"421["go",{number}]"#)).await;
        assert_eq!(wire.next().await, format!(r#"42["e",{number},1]"#));
        assert_eq!(wire.next().await, format!(r#"42["e",{number},2]"#));
        assert_eq!(wire.next().await, format!("431[{number}]"));
    }
    node.end().await;
}

#[tokio::test]
async fn connect_middlewares_decide_in_their_order_who_a_client_is() {
    let named = from_fn(|mut connect: Connect, next: ConnectNext| async move {
        let Some(name) = connect.auth["name"].as_str() else {
            let refused = Rejection::new("who are you?");
            return Err(refused.with_data(json!({ "missing": "name" })));
        };
        connect.admission.identity = Some(name.to_owned());
        next.run(connect).await
    });
    let described = from_fn(|mut connect: Connect, next: ConnectNext| async move {
        let name = connect.admission.identity.as_deref();
        connect.admission.data = Some(json!({ "greets": name, "in": connect.namespace }));
        next.run(connect).await
    });
    let namespace = Namespace::new()
        .connect_layer(named)
        .connect_layer(described)
        .connect_layer(TimeoutLayer::new(Duration::from_secs(10)))
        .on("who", |socket: Socket| async move {
            Reply((socket.data::<Value>(), socket.identity().map(str::to_owned)))
        });
    let node = serve(namespace).await;
    let mut wire = node.client().await;
    wire.send("40").await;
    let refused = r#"44{"message":"who are you?","data":{"missing":"name"}}"#;
    assert_eq!(wire.next().await, refused);
    wire.send(r#"40{"name":"ann"}"#).await;
    assert!(wire.next().await.starts_with(r#"40{"sid":"#));
    wire.send(r#"421["who"]"#).await;
    assert_eq!(wire.next().await, r#"431[{"greets":"ann","in":"/"},"ann"]"#);
    node.end().await;
}

#[tokio::test]
async fn event_middlewares_see_each_event_first_and_may_refuse_or_answer_it() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noting = |who: &'static str| {
        let seen = Arc::clone(&seen);
        from_fn(move |call: Call, next: EventNext| {
            seen.lock().push(format!("{who} {}", call.event.name));
            next.run(call)
        })
    };
    let guarding = from_fn(|call: Call, next: EventNext| async move {
        match call.event.name.as_str() {
            "secret" => Err(Refusal::forbidden("not yours")),
            "direct" => {
                call.take_ack()
                    .expect("it asks")
                    .send("from the middleware");
                Ok(None)
            }
            "renamed" => {
                let mut call = call;
                call.event.name = "plain".into();
                next.run(call).await
            }
            _ => next.run(call).await,
        }
    });
    let namespace = Namespace::new()
        .event_layer(noting("first"))
        .event_layer(guarding)
        .event_layer(noting("second"))
        .event_layer(TimeoutLayer::new(Duration::from_millis(50)))
        .on("plain", |_: Socket, text: Option<String>| async {
            Reply(text)
        })
        .on("secret", |_: Socket| async {})
        .on("slow", |_: Socket| std::future::pending::<()>());
    let node = serve(namespace).await;
    let mut wire = node.joined().await;
    assert_eq!(wire.ask(r#"["plain","p"]"#).await, "p");
    assert_eq!(
        wire.ask(r#"["secret"]"#).await,
        refused("forbidden", "not yours")
    );
    assert_eq!(wire.ask(r#"["direct"]"#).await, "from the middleware");
    assert_eq!(wire.ask(r#"["renamed","r"]"#).await, "r");
    let late = refused("timeout", "the handler took too long");
    assert_eq!(wire.ask(r#"["slow"]"#).await, late);
    let expected = [
        "first plain",
        "second plain",
        "first secret",
        "first direct",
        "first renamed",
        "second plain",
        "first slow",
        "second slow",
    ];
    assert_eq!(*seen.lock(), expected);
    node.end().await;
}

/// The answer of an event that the script below panics at.
async fn panic_at(wire: &mut Wire, event: &str) {
    let failed = refused("internal", "the handler failed");
    assert_eq!(wire.ask(event).await, failed, "{event}");
}

#[tokio::test]
async fn a_panic_is_the_matter_of_its_own_socket() {
    let gone: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&gone);
    let namespace = Namespace::new()
        .connect_layer(from_fn(|connect: Connect, next: ConnectNext| async move {
            assert!(connect.auth["at"] != "admit", "as the test wants");
            let mut admission = next.run(connect.clone()).await?;
            admission.identity = connect.auth["at"].as_str().map(str::to_owned);
            Ok::<_, Rejection>(admission)
        }))
        .on_connect(|socket: Socket| async move {
            assert!(socket.identity() != Some("connect"), "as the test wants");
        })
        .on("now", |_: Socket| -> std::future::Ready<()> {
            panic!("as the test wants")
        })
        .on("later", |socket: Socket| async move {
            tokio::task::yield_now().await;
            assert!(socket.id().is_empty(), "as the test wants");
        })
        .on("holding", |_: Socket, (), ack: Option<Ack>| async move {
            let _ack = ack;
            tokio::task::yield_now().await;
            panic!("as the test wants")
        })
        .on("fine", |_: Socket, number: u8| async move { Reply(number) })
        .on_disconnect(move |socket: Socket, reason: String| {
            noted.lock().push(reason);
            async move { assert!(socket.identity().is_some(), "as the test wants") }
        });
    let node = serve(namespace).await;
    let (mut wire, mut other) = (node.joined().await, node.joined().await);
    for event in [r#"["now"]"#, r#"["later"]"#, r#"["holding"]"#] {
        panic_at(&mut wire, event).await;
        assert_eq!(wire.ask(r#"["fine",1]"#).await, 1, "after {event}");
        assert_eq!(other.ask(r#"["fine",2]"#).await, 2, "beside {event}");
    }
    // Without an acknowledgement, and many in one breath: none is lost behind a panic.
    for _ in 0..10 {
        wire.send(r#"42["later"]"#).await;
    }
    assert_eq!(wire.ask(r#"["fine",3]"#).await, 3);

    let mut refused = node.client().await;
    refused.send(r#"40{"at":"admit"}"#).await;
    assert_eq!(refused.next().await, r#"44{"message":"internal error"}"#);
    let mut half = node.client().await;
    half.send(r#"40{"at":"connect"}"#).await;
    assert!(half.next().await.starts_with(r#"40{"sid":"#));
    assert_eq!(half.next().await, "41", "half a connection is none");
    wire.send("41").await;
    node.until("both goodbyes", |_| gone.lock().len() == 2)
        .await;
    assert_eq!(other.ask(r#"["fine",4]"#).await, 4);
    node.until("one session", |node| node.connected() == 1)
        .await;
    node.end().await;
}

#[tokio::test]
async fn a_connection_handler_that_fails_disconnects_its_socket() {
    let namespace =
        Namespace::new().on_connect(|_: Socket| async { Err::<(), _>(Refusal::forbidden("full")) });
    let node = serve(namespace).await;
    let mut wire = node.joined().await;
    assert_eq!(wire.next().await, "41");
    node.end().await;
}

#[test]
fn what_cannot_work_is_refused_when_the_namespace_is_built() {
    let nothing = |_: Socket| async {};
    let error = |namespace: Namespace| namespace.build().err().unwrap().to_string();
    for name in roomcast_proto::socketio::args::RESERVED_EVENT_NAMES {
        let expected = format!("`{name}` is a reserved event name");
        assert_eq!(error(Namespace::new().on(name, nothing)), expected);
    }
    let twice = Namespace::new()
        .on("a", nothing)
        .on("b", nothing)
        .on("a", nothing);
    assert_eq!(error(twice), "the event `a` has two handlers");
    let twice = Namespace::new().on_connect(nothing).on_connect(nothing);
    assert_eq!(error(twice), "there are two handlers for on_connect");
    let twice = Namespace::new().on_any(nothing).on_any(nothing);
    assert_eq!(error(twice), "there are two handlers for on_any");
}
