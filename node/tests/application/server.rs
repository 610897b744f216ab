//! Starting, refusing to start, and ending a server.

use std::sync::Arc;

use parking_lot::Mutex;
use roomcast::pubsub::Pubsub;
use roomcast::{Namespace, Namespaces, Reply, ServeConfig, Server, Socket};
use roomcast_client::Notice;

use crate::node::Node;

fn nothing() -> Namespace {
    Namespace::new()
}

#[tokio::test]
async fn a_wrong_namespace_is_refused_before_anything_is_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let builder = || Server::builder(ServeConfig::single_node(&data));
    let reserved = nothing().on("disconnect", |_: Socket| async {});
    let long = format!("/{}", "x".repeat(2_000));
    let start = |name: &str| format!("namespace {name}: ");
    for (builder, expected) in [
        (
            builder().namespace("/a", reserved),
            "namespace /a: `disconnect` is a reserved event name".to_owned(),
        ),
        (
            builder().namespace("chat", nothing()),
            start("chat") + "its name begins with a slash",
        ),
        (
            builder()
                .namespace("/a", nothing())
                .namespace("/a", nothing()),
            start("/a") + "it was given twice",
        ),
        (
            builder().namespace(&long, nothing()),
            start(&long) + "its name is too long",
        ),
    ] {
        let error = builder.start().await.expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
        assert!(!data.exists(), "nothing was opened");
    }
}

#[tokio::test]
async fn namespaces_are_served_by_name_then_by_pattern_then_all_others() {
    let saying = |word: &'static str| {
        Namespace::new().on("who", move |_: Socket| async move { Reply(word) })
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = ServeConfig::single_node(dir.path());
    config.disk_reserve_bytes = 0;
    let building = Server::builder(config)
        .namespaces(Namespaces::closed().open("/pubsub", Pubsub::default()))
        .namespace_matching(|name| name.starts_with("/room-"), saying("pattern"))
        .namespace("/room-7", saying("name"))
        .every_other_namespace(saying("other"));
    let server = building.start().await.expect("it starts");
    server.ready().await;
    let url = format!("ws://{}", server.client_addr());
    for (namespace, expected) in [
        ("/room-7", "name"),
        ("/room-8", "pattern"),
        ("/", "other"),
        ("/pubsub", "unknown_event"),
    ] {
        let client = roomcast_client::Client::new([&url], Default::default()).expect("a URL");
        let (socket, mut inbox) = client
            .socket(namespace, Default::default())
            .expect("a name");
        while !matches!(inbox.recv().await, Some(Notice::Connected(_))) {}
        let args = roomcast_client::Args::new();
        let answer = socket.emit_with_ack("who", args, crate::node::LIMIT).await;
        let answer = answer.expect("an answer").values()[0].to_string();
        assert!(answer.contains(expected), "{namespace}: {answer}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_keeps_what_was_accepted() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let namespace = Namespace::new()
        .on_connect(|socket: Socket| socket.join("r"))
        .on_disconnect(move |socket: Socket, reason: String| {
            let note = format!("{} {reason}", socket.identity().unwrap_or("?"));
            noted.lock().push(note);
            async {}
        });
    let node = Node::serve(namespace).await;
    let mut ann = node.join("ann").await;
    let io = node.server.io().of("/app");
    let offset = io.to("r").emit("e", 1).await.expect("it is written");
    let event = ann.event().await;
    assert_eq!(event.offset, Some(offset.to_string()));
    node.end().await;
    assert_eq!(*seen.lock(), ["ann server shutting down"]);
    let refused = io.emit("late", ()).await;
    assert!(refused.is_err(), "{refused:?}");
}
