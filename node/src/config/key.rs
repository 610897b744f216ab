//! A configuration key: its names, its place, and what `--help` says about it.

/// Where a key stands in the TOML file, and under which heading in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Top level: what concerns this node alone.
    Node,
    /// `[cluster]`: proposed to the replicated settings, never used directly (DESIGN, section 4).
    Cluster,
    /// `[engine]`: this node's sessions.
    Engine,
    /// `[dev]`: `roomcast dev` only.
    Dev,
}

impl Section {
    /// All of them, in reading order.
    pub const ALL: [Self; 4] = [Self::Node, Self::Cluster, Self::Engine, Self::Dev];

    /// Name of the TOML table; empty for the top level.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Node => "",
            Self::Cluster => "cluster",
            Self::Engine => "engine",
            Self::Dev => "dev",
        }
    }

    /// Heading in `--help`.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Node => "This node",
            Self::Cluster => "Cluster settings (replicated: what a node brings is proposed)",
            Self::Engine => "Sessions of this node",
            Self::Dev => "Development cluster",
        }
    }
}

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The flag without its dashes; the variable and the file key follow from it.
    pub flag: &'static str,
    /// Where it belongs.
    pub section: Section,
    /// What stands for its value in `--help`.
    pub value: &'static str,
    /// Its value when nobody gives one, in the form a user would write; `None`: required or absent.
    pub default: Option<&'static str>,
    /// One sentence for `--help`.
    pub help: &'static str,
}

impl Key {
    /// Its environment variable, for example `ROOMCAST_CLIENT_ADDR`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ROOMCAST_{}", self.flag.replace('-', "_").to_uppercase())
    }

    /// Its name within its TOML table, for example `client_addr`.
    #[must_use]
    pub fn name(&self) -> String {
        self.flag.replace('-', "_")
    }

    /// Its full name in messages, for example `cluster.retention`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.section.table() {
            "" => self.name(),
            table => format!("{table}.{}", self.name()),
        }
    }

    /// Finds a key by its flag.
    #[must_use]
    pub fn find(flag: &str) -> Option<&'static Self> {
        super::keys::KEYS.iter().find(|key| key.flag == flag)
    }
}

/// The flag that names the TOML file; not a key of the file itself.
pub const FILE_KEY: Key = key(
    Section::Node,
    "config",
    "FILE",
    None,
    "TOML file with any of these keys; flags win over variables, variables over the file",
);

pub(super) const fn key(
    section: Section,
    flag: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Key {
    Key {
        flag,
        section,
        value,
        default,
        help,
    }
}
