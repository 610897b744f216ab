//! What `roomcast dev` runs with. The keys of `[cluster]` and `[engine]` are checked here and
//! handed to the nodes as they were written.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigErrors;
use super::http::HttpConfig;
use super::keys::{KEYS, Section};
use super::parse;
use super::reader::{Reader, Wrong, future_directory};
use super::sections::{ClusterSettings, EngineConfig};
use super::sources::Sources;

/// Where a development cluster keeps its data unless told otherwise.
const DATA_DIR: &str = "roomcast-data/dev";
/// Ports from the balancer's to the last node's peer port.
const PORT_SPAN: u32 = 2_000;

/// The checked configuration of a development cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevConfig {
    /// How many nodes.
    pub node_count: u16,
    /// The balancer's port; node i has it plus i, plus 1000 + i, plus 2000 + i.
    pub port: u16,
    /// Parent of the nodes' data directories.
    pub data_dir: PathBuf,
    /// Where the demo page's npm packages are.
    pub page_dir: Option<PathBuf>,
    /// How long after its death a node is started again; `None`: not at all.
    pub restart: Option<Duration>,
    /// Flags for every node, as (flag without dashes, text).
    pub passed: Vec<(&'static str, String)>,
}

impl DevConfig {
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

    fn read(reader: &mut Reader) -> Option<Self> {
        let node_count = reader.small("nodes", 1..=9);
        let last_port = u32::from(u16::MAX) - PORT_SPAN - node_count.unwrap_or(1);
        let port = reader.small("port", 1..=last_port);
        let data_dir = reader.optional("data-dir", future_directory);
        let page_dir = reader.directory("page-dir");
        let restart = reader.optional("restart", restart);
        // Only to refuse here what every node would refuse.
        reader.small("groups", 1..=256);
        let event_bytes_max = ClusterSettings::read(reader).map(|cluster| cluster.event_bytes_max);
        EngineConfig::read(reader, event_bytes_max);
        HttpConfig::read(reader);
        Some(Self {
            node_count: u16::try_from(node_count?).expect("at most 9"),
            port: u16::try_from(port?).expect("below 65536"),
            data_dir: data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR)),
            page_dir,
            restart: restart?,
            passed: passed(reader),
        })
    }
}

/// True for keys that `dev` takes and hands on to its nodes.
pub(crate) fn is_passed(flag: &str) -> bool {
    let in_section = |key: &&super::keys::Key| {
        key.flag == flag && matches!(key.section, Section::Cluster | Section::Engine)
    };
    ["groups", "api-token-file"].contains(&flag) || KEYS.iter().any(|key| in_section(&key))
}

fn passed(reader: &Reader) -> Vec<(&'static str, String)> {
    let given = KEYS.iter().filter(|key| is_passed(key.flag));
    given
        .filter_map(|key| Some((key.flag, reader.given_text(key.flag)?.to_owned())))
        .collect()
}

fn restart(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let hour = Duration::from_secs(3_600);
    match parse::duration(text).filter(|pause| *pause <= hour) {
        Some(pause) => Ok(Some(pause)),
        None => Err((
            format!("`{text}` is no pause"),
            "off, or 0s to 1h".to_owned(),
        )),
    }
}
