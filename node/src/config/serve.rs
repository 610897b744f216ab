//! What `roomcast serve` runs with, and the rules between its keys.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::backends::BackendConfig;
use super::error::ConfigErrors;
use super::http::HttpConfig;
use super::keys::Section;
use super::reader::{Reader, Wrong, future_directory, host_port, number};
use super::sections::{ClusterSettings, EngineConfig};
use super::sources::Sources;
use super::tokens::ApiTokens;
use super::webhooks::WebhooksConfig;
use crate::ids::NodeId;
use crate::limits;

const CLUSTER_FORM: &str =
    "ID=HOST:PORT, comma between nodes, for example 1=10.0.0.1:5001,2=10.0.0.2:5001";
const LATER_MEMBERSHIP: &str = "--node-id and --initial-cluster";

/// What is open without being allowed explicitly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Production,
    /// The `pubsub` handler on every namespace, any origin, the demo page.
    Development,
}

/// One node of the founding list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// `host:port` of its peer port.
    pub address: String,
}

/// `--initial-cluster`, by ascending id. Only a list of addresses to try once there is data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCluster(Vec<Member>);

impl InitialCluster {
    /// The members, by ascending id; never empty.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.0
    }

    /// Finds a member.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    /// The same text for the same list in any order: founding nodes compare it.
    #[must_use]
    pub fn canonical(&self) -> String {
        let members = self
            .0
            .iter()
            .map(|member| format!("{}={}", member.id, member.address));
        members.collect::<Vec<_>>().join(",")
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut members: Vec<Member> = Vec::new();
        for item in text.split(',') {
            let refuse = |wrong: String| (wrong, CLUSTER_FORM.to_owned());
            let (id, address) = item
                .trim()
                .split_once('=')
                .ok_or_else(|| refuse(format!("has `{item}` without an id")))?;
            let id = number(id, &(1..=u64::MAX)).map_err(|(wrong, _)| refuse(wrong))?;
            let address = host_port(address).map_err(|(wrong, _)| refuse(wrong))?;
            if members.iter().any(|member| member.id == id) {
                return Err(refuse(format!("names node {id} twice")));
            }
            if members.iter().any(|member| member.address == address) {
                return Err(refuse(format!("names the address {address} twice")));
            }
            members.push(Member { id, address });
        }
        members.sort_by_key(|member| member.id);
        Ok(Self(members))
    }
}

/// The checked configuration of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// This node's id, from 1.
    pub node_id: NodeId,
    /// Directory of log and state; perhaps not there yet.
    pub data_dir: PathBuf,
    /// Bytes of its disk that are left free.
    pub disk_reserve_bytes: u64,
    /// Entries after which a group's state is written as a snapshot.
    pub snapshot_every_entries: u64,
    /// Bytes of snapshots and history that it sends to other nodes per second.
    pub transfer_bytes_per_second: u64,
    /// Client port.
    pub client_addr: SocketAddr,
    /// API port.
    pub api_addr: SocketAddr,
    /// Peer port.
    pub peer_addr: SocketAddr,
    /// The founding list; contains `node_id`.
    pub initial_cluster: InitialCluster,
    /// `host:port` at which others reach this node's peer port.
    pub advertise_peer: String,
    /// Failure zone, for the status.
    pub zone: Option<String>,
    /// Raft groups; read when the cluster is founded.
    pub groups: u32,
    /// What is open.
    pub mode: Mode,
    /// Who may use the API port; none: in development everybody, in production operators alone.
    pub api_tokens: Option<ApiTokens>,
    /// Where the demo page's npm packages are; development mode only.
    pub page_dir: Option<PathBuf>,
    /// To be proposed, not used.
    pub cluster: ClusterSettings,
    /// Flags of `[cluster]` keys that somebody gave: a node that was told nothing proposes nothing.
    pub cluster_given: Vec<&'static str>,
    /// Sessions and connections of this node.
    pub engine: EngineConfig,
    /// How its client port speaks HTTP.
    pub http: HttpConfig,
    /// Namespaces that applications serve over HTTP.
    pub webhooks: WebhooksConfig,
    /// What becomes of clients whose namespace is served by programs of their own.
    pub backends: BackendConfig,
}

impl ServeConfig {
    /// Checks everything. Opens nothing.
    ///
    /// # Errors
    /// All refusals at once.
    pub fn check(sources: Sources) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(sources);
        let config = Self::read(&mut reader);
        match config {
            Some(config) if reader.is_clean() => Ok(config),
            _ => Err(ConfigErrors(reader.into_errors())),
        }
    }

    /// A whole cluster of one node on free ports of this machine, in development mode and with
    /// every other key at its default: for tests and first steps. Whoever wants a certain port sets
    /// it.
    ///
    /// ```
    /// let mut config = roomcast::ServeConfig::single_node("chat-data");
    /// config.client_addr = ([127, 0, 0, 1], 3000).into();
    /// ```
    #[must_use]
    pub fn single_node(data_dir: impl Into<PathBuf>) -> Self {
        let free = "127.0.0.1:0";
        let flags = [
            ("node-id", "1"),
            ("data-dir", "."),
            ("client-addr", free),
            ("api-addr", free),
            ("peer-addr", free),
            // Stands for the port that the system will choose.
            ("initial-cluster", "1=127.0.0.1:1"),
            ("mode", "development"),
        ];
        let flags = flags.map(|(flag, text)| (flag, text.to_owned()));
        let config = Self::check(Sources::collect(&flags, &|_| None));
        let config = config.expect("these keys and the defaults are right");
        Self {
            data_dir: data_dir.into(),
            ..config
        }
    }

    fn read(reader: &mut Reader) -> Option<Self> {
        refuse_later_keys(reader);
        let node_id = reader.required("node-id", "1", |text| {
            number(text, &(1..=limits::NODE_ID_MAX))
        });
        let data_dir = reader.required("data-dir", "DIR", future_directory);
        let disk_reserve_bytes = reader.bytes("disk-reserve-bytes", 0..=1 << 40);
        let snapshot_every_entries = reader.small("snapshot-every-entries", 100..=10_000_000);
        let rates = limits::TRANSFER_BYTES_PER_SECOND_MIN..=1 << 40;
        let transfer_bytes_per_second = reader.bytes("transfer-bytes-per-second", rates);
        let client_addr = reader.listen("client-addr");
        let api_addr = reader.listen("api-addr");
        let peer_addr = reader.listen("peer-addr");
        let example = "1=127.0.0.1:5001";
        let initial_cluster = reader.required("initial-cluster", example, InitialCluster::parse);
        let advertise = reader.optional("advertise-peer", host_port);
        let zone = reader.optional("zone", zone);
        let groups = reader.small("groups", 1..=256);
        let mode = reader.optional("mode", mode);
        let api_tokens = reader.optional("api-token-file", ApiTokens::read);
        let page_dir = reader.directory("page-dir");
        let cluster = ClusterSettings::read(reader);
        let event_bytes_max = cluster.as_ref().map(|cluster| cluster.event_bytes_max);
        let engine = EngineConfig::read(reader, event_bytes_max);
        let http = HttpConfig::read(reader);
        let webhooks = WebhooksConfig::read(reader, mode == Some(Mode::Production));
        let backends = BackendConfig::read(reader);

        refuse_equal_ports(reader, client_addr?, api_addr?, peer_addr?);
        if page_dir.is_some() && mode? != Mode::Development {
            let wrong = "is only for development".to_owned();
            reader.refuse(
                "page-dir",
                (wrong, "leave it out, or --mode development".to_owned()),
            );
        }
        let (node_id, initial_cluster) = (node_id?, initial_cluster?);
        let Some(own) = initial_cluster.get(node_id) else {
            let wrong = format!("does not name this node, {node_id}");
            let right = format!("add {node_id}=HOST:PORT, or give the --node-id of an entry");
            reader.refuse("initial-cluster", (wrong, right));
            return None;
        };
        Some(Self {
            node_id,
            data_dir: data_dir?,
            disk_reserve_bytes: disk_reserve_bytes?,
            snapshot_every_entries: snapshot_every_entries?.into(),
            transfer_bytes_per_second: transfer_bytes_per_second?,
            client_addr: client_addr?,
            api_addr: api_addr?,
            peer_addr: peer_addr?,
            advertise_peer: advertise.unwrap_or_else(|| own.address.clone()),
            initial_cluster,
            zone,
            groups: groups?,
            mode: mode?,
            api_tokens,
            page_dir,
            cluster: cluster?,
            cluster_given: reader.given_in(Section::Cluster),
            engine: engine?,
            http: http?,
            webhooks: webhooks?,
            backends: backends?,
        })
    }
}

fn refuse_later_keys(reader: &mut Reader) {
    reader.optional("role", |text| match text {
        "all" => Ok(()),
        "core" | "gateway" => Err((format!("`{text}` is not in this version"), "all".to_owned())),
        _ => Err((format!("`{text}` is no role"), "all".to_owned())),
    });
    for flag in ["seeds", "bootstrap-expect"] {
        if reader.origin(flag).is_some() {
            let wrong = "is not in this version".to_owned();
            reader.refuse(flag, (wrong, LATER_MEMBERSHIP.to_owned()));
        }
    }
}

/// Port 0 means any free one, so only given ports can clash.
fn refuse_equal_ports(reader: &mut Reader, client: SocketAddr, api: SocketAddr, peer: SocketAddr) {
    let pairs = [
        ("api-addr", api, "client-addr", client),
        ("peer-addr", peer, "client-addr", client),
        ("peer-addr", peer, "api-addr", api),
    ];
    for (flag, address, other, taken) in pairs {
        if address == taken && address.port() != 0 {
            let wrong = format!("`{address}` is also {}", other.replace('-', "_"));
            reader.refuse(flag, (wrong, "an address of its own".to_owned()));
        }
    }
}

fn mode(text: &str) -> Result<Mode, Wrong> {
    match text {
        "production" => Ok(Mode::Production),
        "development" => Ok(Mode::Development),
        _ => Err((
            format!("`{text}` is no mode"),
            "production or development".to_owned(),
        )),
    }
}

fn zone(text: &str) -> Result<String, Wrong> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let right = "1 to 63 letters, digits, dots, dashes or underscores, for example eu-west-1a";
    Err((format!("`{text}` is no zone"), right.to_owned()))
}
