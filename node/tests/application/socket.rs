//! What a handler does with its socket, and what the server does with all of them.

use std::time::Duration;

use roomcast::{Io, Namespace, OperationError, Reply, Socket};
use roomcast_client::{Args, Notice};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::node::{Node, Person};

/// A namespace that hands its sockets to the test.
fn handing() -> (Namespace, mpsc::Receiver<Socket>) {
    let (sockets, handed) = mpsc::channel(10);
    let namespace = Namespace::new()
        .on_connect(move |socket: Socket| {
            let sockets = sockets.clone();
            async move { sockets.send(socket).await.expect("the test listens") }
        })
        .on("echo", |_: Socket, text: String| async move { Reply(text) });
    (namespace, handed)
}

/// Ann, Ben and Eve with their sockets; all are in the room `r`, Eve is in `quiet` too.
struct Three {
    node: Node,
    people: [Person; 3],
    sockets: [Socket; 3],
    handed: mpsc::Receiver<Socket>,
}

impl Three {
    async fn start() -> Self {
        let (namespace, mut handed) = handing();
        let node = Node::serve(namespace).await;
        let mut people = Vec::new();
        let mut sockets = Vec::new();
        for name in ["ann", "ben", "eve"] {
            people.push(node.join(name).await);
            let socket = handed.recv().await.expect("it connects");
            socket.join("r").await.expect("it joins");
            sockets.push(socket);
        }
        let join = sockets[2].join(["quiet", "late"]);
        join.await.expect("it joins");
        let people = people.try_into().unwrap_or_else(|_| unreachable!("three"));
        let sockets = sockets.try_into().unwrap_or_else(|_| unreachable!("three"));
        Self {
            node,
            people,
            sockets,
            handed,
        }
    }

    fn io(&self) -> Io {
        self.node.server.io().of("/app")
    }

    /// The numbers that each has heard up to now.
    async fn numbers(&mut self) -> [Vec<u64>; 3] {
        self.io().emit("mark", ()).await.expect("it is written");
        let mut all = [const { Vec::new() }; 3];
        for (person, heard) in self.people.iter_mut().zip(&mut all) {
            loop {
                let event = person.heard().await;
                if event == json!(["mark"]) {
                    break;
                }
                heard.push(event[1].as_u64().expect("a number"));
            }
        }
        all
    }
}

#[tokio::test]
async fn a_socket_reaches_whom_it_names_in_the_order_of_its_emits() {
    let mut three = Three::start().await;
    let ann = &three.sockets[0];
    ann.emit("e", 1).await.expect("written");
    ann.to("r").emit("e", 2).await.expect("written");
    ann.within("r").emit("e", 3).await.expect("written");
    ann.to("r")
        .except("quiet")
        .emit("e", 4)
        .await
        .expect("written");
    ann.except(["quiet"]).emit("e", 5).await.expect("written");
    ann.broadcast().emit("e", 6).await.expect("written");
    ann.to(["quiet", "late"])
        .emit("e", 7)
        .await
        .expect("written");
    ann.to(three.sockets[1].id())
        .emit("e", 8)
        .await
        .expect("written");
    ann.io().to("r").emit("e", 9).await.expect("written");
    let heard = three.numbers().await;
    let eve = vec![2, 3, 6, 7, 9];
    assert_eq!(heard, [vec![1, 3, 9], vec![2, 3, 4, 5, 6, 8, 9], eve]);
    three.node.end().await;
}

#[tokio::test]
async fn what_is_not_logged_reaches_the_same_sockets() {
    let mut three = Three::start().await;
    let ann = &three.sockets[0];
    ann.to("r").transient().emit("e", 1).expect("small");
    assert_eq!(three.numbers().await, [vec![], vec![1], vec![1]]);
    // A transport is writable when everything before has been written: one at a time.
    three.sockets[0].volatile().emit("e", 2).expect("small");
    assert_eq!(three.numbers().await, [vec![2], vec![], vec![]]);
    let local = three.io().local().except("quiet");
    local.emit("e", 3).expect("small");
    assert_eq!(three.numbers().await, [vec![3], vec![3], vec![]]);
    let volatile = three.io().to("quiet").volatile();
    volatile.emit("e", 4).expect("small");
    assert_eq!(three.numbers().await, [vec![], vec![], vec![4]]);
    three.node.end().await;
}

#[tokio::test]
async fn a_client_is_asked_and_its_answer_is_typed() {
    let mut three = Three::start().await;
    let socket = three.sockets[0].clone();
    let person = &mut three.people[0];
    let answering = async {
        for answer in [json!(41), json!("old")] {
            let question = person.event().await;
            assert_eq!(
                (&*question.name, &question.args[..]),
                ("age?", &[json!("years")][..])
            );
            let ack = question.ack.expect("it asks");
            ack.send(Args::new().json(answer)).expect("connected");
        }
    };
    let asking = async {
        let first = socket.emit_with_ack::<u8>("age?", "years").await;
        (first, socket.emit_with_ack::<u8>("age?", "years").await)
    };
    let (answers, ()) = tokio::join!(asking, answering);
    assert_eq!(answers, (Ok(41), Err(OperationError::Invalid)));
    let silent = socket.timeout(Duration::from_millis(50));
    let answer = silent.emit_with_ack::<u8>("age?", "years").await;
    assert_eq!(answer, Err(OperationError::Unanswered));
    three.node.end().await;
}

#[tokio::test]
async fn the_server_asks_rooms_and_is_told_who_has_not_answered() {
    let mut three = Three::start().await;
    let asking = three.io().to("r").timeout(Duration::from_secs(2));
    let [ann, ben, _eve] = &mut three.people;
    let answering = async {
        for person in [ann, ben] {
            let ack = person.event().await.ack.expect("it asks");
            ack.send("yes").expect("connected");
        }
    };
    let (answers, ()) = tokio::join!(asking.emit_with_ack("vote", ()), answering);
    let answers = answers.expect("it was written");
    assert_eq!((answers.answers.len(), answers.expected_count()), (2, 3));
    let missing: Vec<String> = answers.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, [three.sockets[2].id()]);
    three.node.end().await;
}

#[tokio::test]
async fn a_socket_knows_who_it_is() {
    let (namespace, mut handed) = handing();
    let node = Node::serve(namespace).await;
    let mut ann = node.join("ann").await;
    let socket = handed.recv().await.expect("it connects");
    assert_eq!(socket.identity(), Some("ann"));
    assert_eq!(socket.data::<Value>(), Some(json!({ "hat": "red" })));
    assert_eq!(socket.data::<u8>(), None);
    assert_eq!(socket.namespace(), "/app");
    assert!(socket.handshake().remote.ip().is_loopback());
    assert!(!socket.recovered());
    socket.join(["b", "a"]).await.expect("it joins");
    socket.leave("b").await.expect("it leaves");
    let mut rooms = vec!["a".to_owned(), socket.id().to_owned()];
    rooms.sort();
    assert_eq!(socket.rooms(), rooms);

    ann.client.cut().await;
    ann.connected().await;
    let back = handed.recv().await.expect("it is back");
    assert!(back.recovered());
    assert_eq!((back.id(), back.rooms()), (socket.id(), rooms));
    assert_eq!(socket.emit("late", ()).await, Err(OperationError::Gone));
    back.disconnect(false);
    assert!(matches!(ann.notice().await, Notice::Disconnected { reason } if reason.is_final()));
    node.end().await;
}

#[tokio::test]
async fn everybody_is_listed_from_the_replicated_state() {
    let mut three = Three::start().await;
    let io = three.io();
    let mut all = io.fetch_sockets();
    all.sort_by_key(|socket| socket.identity.clone());
    let names: Vec<_> = all
        .iter()
        .map(|s| s.identity.as_deref().unwrap_or("?"))
        .collect();
    assert_eq!(names, ["ann", "ben", "eve"]);
    assert_eq!(all[2].rooms, three.sockets[2].rooms());
    assert_eq!(
        (&all[0].data, all[0].connected),
        (&Some(json!({ "hat": "red" })), true)
    );
    let quiet = io.to("r").except(&all[0].id).fetch_sockets();
    assert_eq!(quiet.len(), 2);
    let rooms: Vec<_> = io.rooms(None, 10).into_iter().collect();
    assert_eq!(
        rooms,
        [("late".into(), 1), ("quiet".into(), 1), ("r".into(), 3)]
    );
    assert_eq!(io.rooms(Some("late"), 1), [("quiet".into(), 1)]);
    let (page, _) = io.members("quiet", None, 10, false);
    assert_eq!(
        (page.count, page.members[0].identity.as_deref()),
        (1, Some("eve"))
    );

    io.to("r").emit("e", 1).await.expect("written");
    let history = io
        .history("r", roomcast::socketio::HistoryFrom::Oldest, 10)
        .await;
    assert_eq!(
        &history.expect("it is there").events[0].1.event[..],
        br#"["e",1]"#
    );
    assert_eq!(three.people[0].ask("echo", "x").await, "x");
    assert!(three.handed.try_recv().is_err(), "nobody else connected");
    three.node.end().await;
}
