//! The outer contract: what a wrong configuration is told, what the ports answer, what a data
//! directory is for, and that `dev` leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roomcast_cluster_tests::cluster::{Cluster, ClusterSpec};
use roomcast_cluster_tests::http;
use roomcast_cluster_tests::ports::{PortBlock, loopback};
use roomcast_cluster_tests::process::{Launch, NodeProcess, roomcast_binary};
use roomcast_cluster_tests::wire::{Wire, event};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(10);

fn launch(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Launch {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Launch {
        name: "roomcast".to_owned(),
        binary: roomcast_binary().unwrap(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: env.iter().map(own).collect(),
        log: folder.join("roomcast.log"),
    }
}

/// Arguments of a node that would start; addresses are not bound.
fn good_args(data: &str) -> Vec<String> {
    let pairs = [
        ("--node-id", "1"),
        ("--data-dir", data),
        ("--client-addr", "127.0.0.1:10991"),
        ("--api-addr", "127.0.0.1:10992"),
        ("--peer-addr", "127.0.0.1:10993"),
        ("--initial-cluster", "1=127.0.0.1:10993"),
    ];
    let flat = pairs
        .iter()
        .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
    ["serve".to_owned()].into_iter().chain(flat).collect()
}

/// Changes of the good arguments, variables, file contents; and what the refusal must name.
type Wrong = (
    &'static [(&'static str, Option<&'static str>)],
    Option<(&'static str, &'static str)>,
    &'static str,
    &'static str,
);

const WRONG: [Wrong; 18] = [
    (&[("--node-id", None)], None, "", "node-id"),
    (&[("--node-id", Some("0"))], None, "", "node-id"),
    (&[("--node-id", Some("2"))], None, "", "initial-cluster"),
    (&[("--data-dir", None)], None, "", "data-dir"),
    (
        &[("--client-addr", Some("nowhere"))],
        None,
        "",
        "client-addr",
    ),
    (&[("--api-addr", Some("127.0.0.1"))], None, "", "api-addr"),
    (
        &[("--api-addr", Some("127.0.0.1:10991"))],
        None,
        "",
        "api-addr",
    ),
    (&[("--initial-cluster", None)], None, "", "initial-cluster"),
    (
        &[(
            "--initial-cluster",
            Some("1=127.0.0.1:10993,1=127.0.0.1:10994"),
        )],
        None,
        "",
        "initial-cluster",
    ),
    (&[("--groups", Some("0"))], None, "", "groups"),
    (&[("--mode", Some("fast"))], None, "", "mode"),
    (&[("--role", Some("waiter"))], None, "", "role"),
    (&[("--retention", Some("ten"))], None, "", "retention"),
    (
        &[("--event-bytes-max", Some("5MB"))],
        None,
        "",
        "event-bytes-max",
    ),
    (&[("--colour", Some("red"))], None, "", "colour"),
    (
        &[],
        Some(("ROOMCAST_RESUME_WINDOW", "soon")),
        "",
        "RESUME_WINDOW",
    ),
    (&[], None, "colour = \"red\"\n", "colour"),
    (&[], None, "[cluster]\nretention = \"ten\"\n", "retention"),
];

/// A key has three spellings: flag, variable, file.
fn names(output: &str, key: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    plain(output).contains(&plain(key))
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_by_the_name_of_its_key_before_anything_is_opened() {
    for (changes, variable, file, key) in WRONG {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut args = good_args(&data.display().to_string());
        for (flag, value) in changes {
            if let Some(at) = args.iter().position(|arg| arg == flag) {
                args.drain(at..at + 2);
            }
            args.extend(
                value
                    .iter()
                    .flat_map(|value| [(*flag).to_owned(), (*value).to_owned()]),
            );
        }
        if !file.is_empty() {
            let path = folder.path().join("roomcast.toml");
            fs::write(&path, file).unwrap();
            args.extend(["--config".to_owned(), path.display().to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> = variable.into_iter().collect();
        let mut node = NodeProcess::start(launch(folder.path(), &args, &env)).unwrap();
        let status = node.wait_exit(SOON).await.unwrap();
        let (case, output) = (format!("{changes:?} {variable:?} {file:?}"), node.output());
        let status = status.unwrap_or_else(|| panic!("{case}: it runs"));
        assert!(!status.success(), "{case}: {status}");
        assert!(names(&output, key), "{case}: {key} is not named: {output}");
        assert!(!output.contains("panicked"), "{case}: {output}");
        assert!(!data.exists(), "{case}: the data directory was made");
    }
}

#[tokio::test]
async fn a_node_takes_flags_variables_and_a_file_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let ports = PortBlock::claim().unwrap();
    let [client, api, peer, other] = [1, 2, 3, 4].map(|slot| ports.addr(slot).to_string());
    let file = folder.path().join("roomcast.toml");
    let data = folder.path().join("data");
    let text = format!(
        "node_id = 1\nclient_addr = \"{other}\"\napi_addr = \"{other}\"\n\
                        data_dir = {:?}\n[cluster]\nretention = \"1m\"\n",
        data.display().to_string()
    );
    fs::write(&file, text).unwrap();
    let cluster = format!("1={peer}");
    let file = file.display().to_string();
    let args = [
        "serve",
        "--config",
        &file,
        "--client-addr",
        &client,
        "--mode",
        "development",
    ];
    let env = [
        ("ROOMCAST_PEER_ADDR", peer.as_str()),
        ("ROOMCAST_API_ADDR", &api),
        ("ROOMCAST_CLIENT_ADDR", &other),
        ("ROOMCAST_INITIAL_CLUSTER", &cluster),
    ];
    let _node = NodeProcess::start(launch(folder.path(), &args, &env)).unwrap();
    wait_status(client.parse().unwrap(), "/readyz", 200).await;
    assert_eq!(
        http::get(api.parse().unwrap(), "/v1/status")
            .await
            .unwrap()
            .status,
        200
    );
    assert!(data.is_dir(), "made on first start");
}

async fn wait_status(addr: std::net::SocketAddr, path: &str, status: u16) {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let answer = http::get(addr, path).await;
        if matches!(&answer, Ok(answer) if answer.status == status) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{path} is {answer:?} instead of {status}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// One call of the `pubsub` handler on a connection of its own.
async fn ask(cluster: &Cluster, node: usize, name: &str, args: &[Value]) -> Value {
    let mut wire = Wire::connect(cluster.addrs[node].client, "").await.unwrap();
    wire.connect_namespace("/", &json!({})).await.unwrap();
    let (text, attachments) = event("/", Some(1), name, args);
    assert!(wire.send_all(text, attachments).await);
    wire.packet(SOON).await.unwrap().data[0].clone()
}

#[tokio::test]
async fn a_data_directory_is_used_again_and_a_lost_one_is_refused() {
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    let said = ask(
        &cluster,
        0,
        "publish",
        &[json!("lobby"), json!("e"), json!(1)],
    )
    .await;
    for node in 0..3 {
        cluster.nodes[node].kill9().unwrap();
        cluster.restart(node).await.unwrap();
    }
    let history = ask(&cluster, 1, "history", &[json!("lobby"), json!({})]).await;
    assert_eq!(history["events"][0]["offset"], said["offset"], "{history}");

    cluster.nodes[2].kill9().unwrap();
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    cluster.nodes[2].restart().unwrap();
    let status = cluster.nodes[2].wait_exit(2 * SOON).await.unwrap();
    let output = cluster.nodes[2].output();
    assert!(
        status.is_some_and(|status| !status.success()),
        "it must not run: {output}"
    );
    for command in ["remove-node", "add-node"] {
        assert!(output.contains(command), "{command} is not named: {output}");
    }
}

#[tokio::test]
async fn a_cluster_is_founded_only_when_all_of_its_nodes_are_there() {
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    for node in 0..3 {
        cluster.nodes[node].kill9().unwrap();
        fs::remove_dir_all(cluster.data_dir(node)).unwrap();
    }
    for node in 0..2 {
        cluster.nodes[node].restart().unwrap();
        wait_status(cluster.addrs[node].client, "/healthz", 200).await;
    }
    sleep(Duration::from_secs(2)).await;
    for node in 0..2 {
        let ready = http::get(cluster.addrs[node].client, "/readyz")
            .await
            .unwrap();
        assert_eq!(
            ready.status, 503,
            "two of three founded a cluster: {ready:?}"
        );
    }
    cluster.nodes[2].restart().unwrap();
    cluster.wait_all_ready().await.unwrap();
}

#[tokio::test]
async fn ports_answer_what_the_contract_says() {
    let mut cluster = Cluster::start(&ClusterSpec::new(3)).await.unwrap();
    ask(
        &cluster,
        0,
        "publish",
        &[json!("lobby"), json!("e"), json!(1)],
    )
    .await;
    for node in 0..3 {
        let status = cluster.status(node).await.expect("a status");
        assert_eq!(
            (status.node_id, status.groups.len()),
            (node as u64 + 1, 4),
            "{status:?}"
        );
        let metrics = cluster.metrics(node).await;
        assert!(
            metrics.lines().any(|line| line.starts_with("roomcast_")),
            "{metrics}"
        );
    }
    for node in [1, 2] {
        cluster.nodes[node].kill9().unwrap();
    }
    wait_status(cluster.addrs[0].client, "/readyz", 503).await;
    wait_status(cluster.addrs[0].client, "/healthz", 200).await;
    wait_status(cluster.addrs[0].client, "/nothing-here", 404).await;
}

#[tokio::test]
async fn production_mode_opens_nothing() {
    let mut spec = ClusterSpec::new(1);
    spec.flags.clear();
    let cluster = Cluster::start(&spec).await.unwrap();
    let mut wire = Wire::connect(cluster.addrs[0].client, "").await.unwrap();
    let connected = wire.connect_namespace("/", &json!({})).await.unwrap();
    if connected.kind == '0' {
        let (text, _) = event("/", Some(1), "join", &[json!("lobby")]);
        assert!(wire.send(text).await);
        let answer = wire.packet(SOON).await.unwrap();
        assert_eq!(
            answer.data.pointer("/0/ok"),
            Some(&json!(false)),
            "{answer:?}"
        );
    } else {
        assert_eq!(connected.kind, '4', "{connected:?}");
    }
}

/// Children of a process, by the parent in their `stat`.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    // A zombie runs no more.
    let state = fields.next()?;
    (state != "Z")
        .then(|| fields.next()?.parse().ok())
        .flatten()
}

#[tokio::test]
async fn dev_starts_a_cluster_and_leaves_nothing_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ports = PortBlock::claim_with(&[1_000, 2_000]).unwrap();
    let port = ports.addr(1).port();
    let data: PathBuf = folder.path().join("dev");
    let (port_text, data_text) = (port.to_string(), data.display().to_string());
    let args = ["dev", "--port", &port_text, "--data-dir", &data_text];
    let mut dev = NodeProcess::start(launch(folder.path(), &args, &[])).unwrap();
    for node in 1..=3 {
        wait_status(loopback(port + node), "/readyz", 200).await;
        assert_eq!(
            http::get(loopback(port + 1_000 + node), "/v1/status")
                .await
                .unwrap()
                .status,
            200
        );
    }
    wait_status(loopback(port), "/healthz", 200).await;
    let nodes = children(dev.pid().unwrap());
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    let output = dev.output();
    for pid in &nodes {
        assert!(
            output.contains(&pid.to_string()),
            "pid {pid} is not printed: {output}"
        );
    }
    let page = http::get(loopback(port), "/").await.unwrap();
    assert_eq!(page.status, 200, "the demo page at the balancer: {page:?}");
    dev.kill9().unwrap();
    let deadline = Instant::now() + SOON;
    while nodes.iter().any(|pid| parent_of(*pid).is_some()) {
        assert!(Instant::now() < deadline, "children outlive a killed dev");
        sleep(Duration::from_millis(50)).await;
    }
    for node in 0..=3 {
        while let Err(error) = std::net::TcpListener::bind(loopback(port + node)) {
            assert!(Instant::now() < deadline, "port {node} of dev: {error}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}
