//! The table of configuration keys: the one place that names flags, variables and file keys.

use Section::{Cluster, Dev, Engine, Node};

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
        KEYS.iter().find(|key| key.flag == flag)
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

const fn key(
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

/// Every key, in the order of `--help`.
pub const KEYS: &[Key] = &[
    key(
        Node,
        "node-id",
        "N",
        None,
        "This node's number in the cluster, from 1; never used again once its disk is gone",
    ),
    key(
        Node,
        "data-dir",
        "DIR",
        None,
        "Directory of the log and the state; made on first start, reused on the next",
    ),
    key(
        Node,
        "disk-reserve-bytes",
        "BYTES",
        Some("256MiB"),
        "Free space of the data directory's disk below which nothing new is written",
    ),
    key(
        Node,
        "snapshot-every-entries",
        "N",
        Some("100000"),
        "Entries of a group's log after which its state is written; what a restart reads at most",
    ),
    key(
        Node,
        "transfer-bytes-per-second",
        "BYTES",
        Some("64MiB"),
        "How fast this node sends snapshots and old events to others that lack them; from 1MiB",
    ),
    key(
        Node,
        "client-addr",
        "IP:PORT",
        Some("127.0.0.1:3000"),
        "Where clients connect: /socket.io/, /healthz, /readyz",
    ),
    key(
        Node,
        "api-addr",
        "IP:PORT",
        Some("127.0.0.1:4000"),
        "Where operators and backends connect: /v1/, /metrics",
    ),
    key(
        Node,
        "peer-addr",
        "IP:PORT",
        Some("127.0.0.1:5000"),
        "Where the other nodes connect",
    ),
    key(
        Node,
        "initial-cluster",
        "ID=HOST:PORT,…",
        None,
        "Peer addresses of all founding nodes, this one too; later only addresses to try",
    ),
    key(
        Node,
        "role",
        "ROLE",
        Some("all"),
        "all: votes, stores and serves clients (core and gateway come with a later version)",
    ),
    key(
        Node,
        "advertise-peer",
        "HOST:PORT",
        None,
        "How others reach this node's peer port [default: its entry in --initial-cluster]",
    ),
    key(
        Node,
        "zone",
        "NAME",
        None,
        "Failure zone of this node, shown in its status",
    ),
    key(
        Node,
        "groups",
        "N",
        Some("4"),
        "Raft groups of the cluster; read when it is founded, ignored later",
    ),
    key(
        Node,
        "mode",
        "MODE",
        Some("production"),
        "production: nothing open until allowed; development: pubsub everywhere, any origin",
    ),
    key(
        Node,
        "seeds",
        "HOST:PORT,…",
        None,
        "Nodes to ask for a cluster (comes with a later version)",
    ),
    key(
        Node,
        "bootstrap-expect",
        "N",
        None,
        "How many seeds found a cluster (comes with a later version)",
    ),
    key(
        Node,
        "page-dir",
        "DIR",
        None,
        "Directory of the demo page's npm packages; development mode only",
    ),
    key(
        Cluster,
        "retention",
        "TIME",
        Some("10m"),
        "How long events are kept, per namespace",
    ),
    key(
        Cluster,
        "retention-by-namespace",
        "NAME=TIME,…",
        None,
        "The same for some, for example /chat*=5m,/audit=7d/7d; behind / its own retention-min",
    ),
    key(
        Cluster,
        "retention-min",
        "TIME",
        Some("2m"),
        "How long events are kept that every client has acknowledged, unless a limit takes them",
    ),
    key(
        Cluster,
        "retention-bytes",
        "BYTES",
        Some("256MiB"),
        "How many bytes of events are kept, names of rooms included, per namespace",
    ),
    key(
        Cluster,
        "retention-count",
        "N",
        Some("1000000"),
        "How many events are kept, per namespace",
    ),
    key(
        Cluster,
        "resume-window",
        "TIME",
        Some("2m"),
        "How long a session without a connection can be resumed",
    ),
    key(
        Cluster,
        "key-window",
        "TIME",
        Some("5m"),
        "How long an idempotency key is remembered",
    ),
    key(
        Cluster,
        "keys-max",
        "N",
        Some("100000"),
        "How many idempotency keys a namespace remembers, oldest out first",
    ),
    key(
        Cluster,
        "event-bytes-max",
        "BYTES",
        Some("1MB"),
        "Largest event with its attachments; 4MB at most",
    ),
    key(
        Cluster,
        "rooms-per-socket-max",
        "N",
        Some("1000"),
        "How many rooms a socket may be in",
    ),
    key(
        Cluster,
        "room-name-bytes-max",
        "N",
        Some("255"),
        "Longest room name, in bytes",
    ),
    key(
        Cluster,
        "namespaces-max",
        "N",
        Some("10000"),
        "How many namespaces may exist at once in a group; a connect to one more is refused",
    ),
    key(
        Cluster,
        "subscriber-window",
        "TIME",
        Some("7d"),
        "How long a durable subscriber may be away before it ends",
    ),
    key(
        Cluster,
        "subscriber-events",
        "N",
        Some("10000"),
        "How many events are kept for one durable subscriber beyond the namespace's retention",
    ),
    key(
        Cluster,
        "subscriber-bytes",
        "BYTES",
        Some("64MiB"),
        "How many bytes of such events; a subscriber that would need more ends",
    ),
    key(
        Cluster,
        "subscribers-max",
        "N",
        Some("1000"),
        "How many durable subscribers a namespace may have; one more is refused",
    ),
    key(
        Cluster,
        "lease",
        "TIME",
        Some("5s"),
        "How long a silent node keeps its sessions",
    ),
    key(
        Engine,
        "parser",
        "PARSER",
        Some("json"),
        "How all clients of this node speak: json, or msgpack (socket.io-msgpack-parser)",
    ),
    key(
        Engine,
        "ping-interval-ms",
        "N",
        Some("25000"),
        "Milliseconds between a PONG and the next PING",
    ),
    key(
        Engine,
        "ping-timeout-ms",
        "N",
        Some("20000"),
        "Milliseconds a client has to answer a PING",
    ),
    key(
        Engine,
        "max-payload",
        "BYTES",
        None,
        "Largest message of a client [default: event-bytes-max and 64KiB]",
    ),
    key(
        Engine,
        "outbox-bytes-max",
        "BYTES",
        Some("1MiB"),
        "Unsent bytes of a session at which it counts as slow",
    ),
    key(
        Engine,
        "outbox-frames-max",
        "N",
        Some("4096"),
        "Unsent frames of a session at which it counts as slow",
    ),
    key(
        Engine,
        "sessions-max",
        "N",
        Some("100000"),
        "Sessions of this node; above, a handshake gets 503 and goes elsewhere",
    ),
    key(
        Engine,
        "connect-timeout",
        "TIME",
        Some("45s"),
        "How long a session may live without joining a namespace",
    ),
    key(
        Engine,
        "path",
        "PATH",
        Some("/socket.io/"),
        "What the path of an Engine.IO request begins with",
    ),
    key(
        Engine,
        "path-slash",
        "RULE",
        Some("required"),
        "Whether the slash behind it is: required, or optional (addTrailingSlash of the reference)",
    ),
    key(
        Engine,
        "cors-origins",
        "ORIGIN,…",
        None,
        "Pages that may use polling: off, *, or a list [default: any in development, else off]",
    ),
    key(
        Engine,
        "cors-max-age",
        "TIME",
        None,
        "How long browsers may keep what a preflight request was told",
    ),
    key(
        Engine,
        "cookie",
        "NAME",
        None,
        "Cookie with the session's id on the answer to a polling handshake [default: none]",
    ),
    key(
        Engine,
        "client-bundle-dir",
        "DIR",
        None,
        "Directory of socket.io.js and its variants, to be served below the path",
    ),
    key(
        Engine,
        "http-compression",
        "BYTES|off",
        Some("1KiB"),
        "From which size on answers to polling clients are compressed",
    ),
    key(
        Engine,
        "drain-pace",
        "N",
        Some("500"),
        "Sessions closed per second while draining",
    ),
    key(
        Engine,
        "drain-timeout",
        "TIME",
        Some("25s"),
        "How long draining may take before the node ends anyway",
    ),
    key(Dev, "nodes", "N", Some("3"), "How many nodes to start"),
    key(
        Dev,
        "port",
        "PORT",
        Some("3000"),
        "Port of the balancer; node i has PORT+i, API PORT+1000+i, peers PORT+2000+i",
    ),
    key(
        Dev,
        "restart",
        "TIME|off",
        Some("5s"),
        "When a node that died is started again",
    ),
];

#[cfg(test)]
mod tests;
