//! The example backend in Python, as `make example` runs it, behind three nodes: login, rooms,
//! private messages for clients of every node; and its death, which no client notices.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use roomcast_client::{
    AckError, Args, Client, ClientOptions, Event, Inbox, Notice, Socket, SocketOptions,
};
use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Longest wait for anything; far more than any of it takes.
const LIMIT: Duration = Duration::from_secs(20);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// It serves when this returns.
async fn backend(cluster: &Cluster, node: usize) -> Child {
    let venv = root().join(".tools/example-venv");
    assert!(
        venv.join("ready").exists(),
        "chat.py needs grpcio: `make interop`"
    );
    let mut child = Command::new(venv.join("bin/python"))
        .arg(root().join("node/examples/python/chat.py"))
        .arg(cluster.addrs[node].api.to_string())
        .env("PYTHONPATH", venv.join("stubs"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let serves = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("serving /chat") {
                return;
            }
        }
        panic!("chat.py ended");
    };
    timeout(LIMIT, serves).await.unwrap();
    // Whatever it says later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}

struct Person {
    _client: Client,
    socket: Socket,
    inbox: Inbox,
}

impl Person {
    fn come(cluster: &Cluster, node: usize, identity: &str) -> Self {
        let url = format!("ws://{}", cluster.addrs[node].client);
        let client = Client::new([&url], ClientOptions::default()).unwrap();
        let options = SocketOptions {
            auth: json!({ "identity": identity }),
            ..SocketOptions::default()
        };
        let (socket, inbox) = client.socket("/chat", options).unwrap();
        Self {
            _client: client,
            socket,
            inbox,
        }
    }

    async fn notice(&mut self) -> Notice {
        let notice = timeout(LIMIT, self.inbox.recv()).await;
        notice.unwrap().unwrap()
    }

    async fn event(&mut self) -> Event {
        match self.notice().await {
            Notice::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    async fn ask(&self, event: &str, args: Args) -> Result<Value, AckError> {
        let answer = self.socket.emit_with_ack(event, args, LIMIT).await?;
        Ok(answer.values().first().cloned().unwrap_or_default())
    }

    /// As the page does it: the same key until somebody has said yes.
    async fn say(&self, text: &str) {
        loop {
            let line = json!({ "room": "tea", "nick": "somebody else", "text": text });
            let args = Args::new().json(line).json(text);
            let answer = self.ask("say", args).await.unwrap();
            if answer["ok"] == true {
                return;
            }
            let code = answer["error"]["code"].as_str().unwrap();
            let passes = ["unknown_outcome", "unavailable", "timeout", "overloaded"];
            assert!(passes.contains(&code), "{answer}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_chat_in_python_serves_clients_of_all_nodes_and_nobody_notices_its_death() {
    let cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let mut serving = backend(&cluster, 0).await;
    let mut stranger = Person::come(&cluster, 1, "?!");
    let Notice::ConnectError { data } = stranger.notice().await else {
        panic!("admitted");
    };
    assert_eq!(data["message"], "choose a name of 1 to 24 letters");

    let mut people = Vec::new();
    for (node, name) in ["Ada", "Grace", "Edsger"].into_iter().enumerate() {
        let mut person = Person::come(&cluster, node, name);
        assert!(matches!(person.notice().await, Notice::Connected(_)));
        let joined = person.ask("join", Args::new().json("tea")).await;
        assert_eq!(joined.unwrap()["ok"], true);
        people.push(person);
    }
    people[1].say("hello").await;
    for person in &mut people {
        let said = person.event().await;
        assert_eq!(
            (said.name.as_str(), &said.args[0]["text"]),
            ("chat", &json!("hello"))
        );
        assert_eq!(
            said.args[0]["nick"], "Grace",
            "nobody speaks for somebody else"
        );
    }
    let whisper = Args::new().json("Edsger").json("psst");
    assert_eq!(people[0].ask("whisper", whisper).await.unwrap()["ok"], true);
    let heard = people[2].event().await;
    assert_eq!(heard.args[0], json!({ "from": "Ada", "text": "psst" }));

    serving.kill().await.unwrap();
    let (first, second) = (people[0].say("is anybody there?"), async {
        sleep(Duration::from_millis(500)).await;
        backend(&cluster, 1).await
    });
    let ((), _serving) = tokio::join!(first, second);
    people[2].say("yes").await;
    for person in &mut people {
        for expected in ["is anybody there?", "yes"] {
            assert_eq!(person.event().await.args[0]["text"], expected);
        }
    }
}
