//! Who runs where in a development cluster: ports, directories, command lines.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::config::DevConfig;
use crate::ids::NodeId;

/// How long nodes may drain when nobody says: someone waits at a terminal.
const DRAIN_TIMEOUT: &str = "5s";
/// Remembers in the data directory how many nodes the cluster was founded with.
const COUNT_FILE: &str = "nodes";

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct NodePlan {
    /// From 1.
    pub(crate) id: NodeId,
    /// Client port.
    pub(crate) client: SocketAddr,
    /// API port.
    pub(crate) api: SocketAddr,
    /// Peer port.
    pub(crate) peer: SocketAddr,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Arguments of this program that make it this node.
    pub(crate) arguments: Vec<String>,
}

impl NodePlan {
    /// The command that starts this node, for a shell.
    pub(crate) fn command_line(&self, program: &Path) -> String {
        let mut line = quoted(&program.display().to_string());
        for argument in &self.arguments {
            write!(line, " {}", quoted(argument)).expect("a String takes everything");
        }
        line
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The balancer's port.
    pub(crate) balancer: SocketAddr,
    /// By id.
    pub(crate) nodes: Vec<NodePlan>,
}

impl Plan {
    pub(crate) fn new(config: &DevConfig) -> Self {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ids = 1..=config.node_count;
        let cluster: Vec<_> = ids
            .clone()
            .map(|id| format!("{id}={}", at(config.port + 2_000 + id)))
            .collect();
        let cluster = cluster.join(",");
        let nodes = ids.map(|id| {
            let mut node = NodePlan {
                id: NodeId::from(id),
                client: at(config.port + id),
                api: at(config.port + 1_000 + id),
                peer: at(config.port + 2_000 + id),
                log: config.data_dir.join(format!("node-{id}.log")),
                arguments: Vec::new(),
            };
            node.arguments = arguments(config, &node, &cluster);
            node
        });
        Self {
            balancer: at(config.port),
            nodes: nodes.collect(),
        }
    }

    /// Ports that somebody else uses, in words; empty when all are free.
    pub(crate) fn taken_ports(&self) -> Vec<String> {
        let mut ports = vec![(self.balancer, "the balancer".to_owned())];
        for node in &self.nodes {
            ports.push((node.client, format!("node {}", node.id)));
            ports.push((node.api, format!("node {}'s API", node.id)));
            ports.push((node.peer, format!("node {}'s peers", node.id)));
        }
        let taken = ports.into_iter().filter_map(|(address, whose)| {
            let error = TcpListener::bind(address).err()?;
            Some(format!("{address} for {whose}: {error}"))
        });
        taken.collect()
    }

    /// Makes the data directory, or checks that it holds a cluster of as many nodes: a founded
    /// cluster's membership is in its log.
    ///
    /// # Errors
    /// `Ok(Err(count))` when it holds another number of nodes.
    pub(crate) fn claim(&self, data_dir: &Path) -> io::Result<Result<(), String>> {
        std::fs::create_dir_all(data_dir)?;
        let path = data_dir.join(COUNT_FILE);
        let own = self.nodes.len().to_string();
        match std::fs::read_to_string(&path) {
            Ok(count) if count.trim() == own => Ok(Ok(())),
            Ok(count) => Ok(Err(count.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::write(&path, own + "\n")?;
                Ok(Ok(()))
            }
            Err(error) => Err(error),
        }
    }
}

fn arguments(config: &DevConfig, node: &NodePlan, cluster: &str) -> Vec<String> {
    let data_dir = config.data_dir.join(format!("node-{}", node.id));
    let mut flags = vec![
        ("mode", "development".to_owned()),
        ("node-id", node.id.to_string()),
        ("data-dir", data_dir.display().to_string()),
        ("client-addr", node.client.to_string()),
        ("api-addr", node.api.to_string()),
        ("peer-addr", node.peer.to_string()),
        ("initial-cluster", cluster.to_owned()),
    ];
    if let Some(page_dir) = &config.page_dir {
        flags.push(("page-dir", page_dir.display().to_string()));
    }
    if config
        .passed
        .iter()
        .all(|(flag, _)| *flag != "drain-timeout")
    {
        flags.push(("drain-timeout", DRAIN_TIMEOUT.to_owned()));
    }
    flags.extend(config.passed.iter().cloned());
    let mut arguments = vec!["serve".to_owned()];
    for (flag, text) in flags {
        arguments.push(format!("--{flag}"));
        arguments.push(text);
    }
    arguments
}

fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(node_count: u16, port: u16) -> DevConfig {
        DevConfig {
            node_count,
            port,
            data_dir: "it's data".into(),
            page_dir: None,
            restart: None,
            passed: vec![("retention", "3m".to_owned())],
        }
    }

    #[test]
    fn ports_follow_the_contract_and_settings_are_passed_on() {
        let plan = Plan::new(&config(2, 3000));
        let node = &plan.nodes[1];
        assert_eq!(plan.balancer.port(), 3000);
        assert_eq!(
            [node.client, node.api, node.peer].map(|a| a.port()),
            [3002, 4002, 5002]
        );
        assert_eq!(
            node.command_line(Path::new("/bin/roomcast")),
            "/bin/roomcast serve --mode development --node-id 2 --data-dir 'it'\\''s data/node-2' \
             --client-addr 127.0.0.1:3002 --api-addr 127.0.0.1:4002 --peer-addr 127.0.0.1:5002 \
             --initial-cluster 1=127.0.0.1:5001,2=127.0.0.1:5002 --drain-timeout 5s --retention 3m"
        );
    }

    #[test]
    fn a_taken_port_is_named_with_its_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut plan = Plan::new(&config(1, 1));
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (plan.balancer, plan.nodes[0].client, plan.nodes[0].peer) = (free, free, free);
        plan.nodes[0].api.set_port(port);
        let words = plan.taken_ports();
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(
            words[0].starts_with(&format!("127.0.0.1:{port} for node 1's API: ")),
            "{words:?}"
        );
    }

    #[test]
    fn a_cluster_of_another_size_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Plan::new(&config(3, 1)).claim(dir.path()).unwrap(), Ok(()));
        assert_eq!(Plan::new(&config(3, 9)).claim(dir.path()).unwrap(), Ok(()));
        assert_eq!(
            Plan::new(&config(5, 1)).claim(dir.path()).unwrap(),
            Err("3".to_owned())
        );
    }
}
