//! Precedence of sources, and every refusal with its words.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use roomcast_proto::command::RetentionOverride;
use roomcast_proto::socketio::Parser;

use super::*;

const NODE: [(&str, &str); 3] = [
    ("node-id", "1"),
    ("data-dir", "roomcast-test-data"),
    ("initial-cluster", "1=127.0.0.1:5001"),
];

type Pairs<'a> = &'a [(&'static str, &'a str)];

fn check(flags: Pairs<'_>, variables: Pairs<'_>, file: &str) -> Result<ServeConfig, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let mut flags: Vec<_> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    if !file.is_empty() {
        let path = dir.path().join("r.toml");
        std::fs::write(&path, file).unwrap();
        flags.push(("config", path.to_str().unwrap().to_owned()));
    }
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let lookup = |name: &str| variables.get(name).map(|text| OsString::from(*text));
    ServeConfig::check(Sources::collect(&flags, &lookup)).map_err(|ConfigErrors(errors)| {
        let own = format!("{}", dir.path().join("r.toml").display());
        let anonymous = |text: String| text.replace(&own, "r.toml");
        let rename = |mut error: ConfigError| {
            error.wrong = anonymous(error.wrong);
            if let Some(Origin::File(path)) = &mut error.origin {
                *path = "r.toml".into();
            }
            if let Some(Origin::Flag("config")) = &error.origin {
                error.origin = None;
            }
            error
        };
        ConfigErrors(errors.into_iter().map(rename).collect())
    })
}

fn with<'a>(more: Pairs<'a>) -> Vec<(&'static str, &'a str)> {
    let other = |(key, _): &&(&str, &str)| more.iter().all(|(given, _)| given != key);
    NODE.iter()
        .filter(other)
        .copied()
        .chain(more.iter().copied())
        .collect()
}

/// The only refusal, in words.
fn refusal(flags: Pairs<'_>, variables: Pairs<'_>, file: &str) -> String {
    let ConfigErrors(errors) = check(&with(flags), variables, file).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "groups = 7\nzone = \"file\"\n[cluster]\nretention = \"3m\"\nkeys_max = 5\n";
    let variables = [
        ("ROOMCAST_ZONE", "variable"),
        ("ROOMCAST_RETENTION", "4m"),
        ("ROOMCAST_KEYS_MAX", ""),
    ];
    let config = check(&with(&[("retention", "5m")]), &variables, file).unwrap();
    assert_eq!(config.groups, 7, "file over default");
    assert_eq!(
        config.zone.as_deref(),
        Some("variable"),
        "variable over file"
    );
    assert_eq!(
        config.cluster.retention,
        Duration::from_secs(300),
        "flag over all"
    );
    assert_eq!(config.cluster.keys_max, 5, "an empty variable is none");
    assert_eq!(config.cluster_given, ["retention", "keys-max"]);
    assert_eq!(
        config.engine.ping_interval,
        Duration::from_secs(25),
        "default"
    );
}

#[test]
fn defaults_are_the_designs() {
    let config = check(&with(&[]), &[], "").unwrap();
    assert_eq!(config.mode, Mode::Production);
    assert_eq!(config.groups, 4);
    assert_eq!(config.engine.parser, Parser::Json);
    assert_eq!(config.advertise_peer, "127.0.0.1:5001", "its own entry");
    assert!(config.cluster_given.is_empty());
    assert!(
        config.client_addr.ip().is_loopback(),
        "nothing is open until it is allowed"
    );
    let settings = config.cluster.to_proto();
    assert_eq!(settings.retention_ms, 600_000);
    assert_eq!(settings.retention_bytes, 256 << 20);
    assert_eq!(settings.resume_window_ms, 120_000);
    assert_eq!(
        (settings.key_window_ms, settings.keys_max),
        (300_000, 100_000)
    );
    assert_eq!(
        (settings.event_bytes_max, settings.lease_ms),
        (1_000_000, 5_000)
    );
    assert!(
        config.engine.max_payload > 1_000_000,
        "the largest event fits a message"
    );
}

#[test]
fn every_key_can_come_from_each_source() {
    let file = r#"
        node_id = 2
        data_dir = "d"
        disk_reserve_bytes = "1GiB"
        transfer_bytes_per_second = "8MiB"
        client_addr = "0.0.0.0:1"
        api_addr = "0.0.0.0:2"
        peer_addr = "[::]:3"
        initial_cluster = ["2=b.example:5001", "1=a.example:5001"]
        role = "all"
        advertise_peer = "c.example:7"
        mode = "development"
        [cluster]
        retention_bytes = 4096
        resume_window = "1h"
        [engine]
        parser = "msgpack"
        ping_interval_ms = 300
        max_payload = "2MB"
        [dev]
        nodes = 5
    "#;
    let from_file = check(&[], &[], file).unwrap();
    assert_eq!(
        from_file.initial_cluster.canonical(),
        "1=a.example:5001,2=b.example:5001"
    );
    assert_eq!(from_file.advertise_peer, "c.example:7");
    assert_eq!(from_file.cluster.retention_bytes, 4096);
    assert_eq!(from_file.engine.max_payload, 2_000_000);
    assert_eq!(from_file.engine.parser, Parser::Msgpack);
    let texts = [
        ("node-id", "ROOMCAST_NODE_ID", "2"),
        ("data-dir", "ROOMCAST_DATA_DIR", "d"),
        ("disk-reserve-bytes", "ROOMCAST_DISK_RESERVE_BYTES", "1GiB"),
        (
            "transfer-bytes-per-second",
            "ROOMCAST_TRANSFER_BYTES_PER_SECOND",
            "8MiB",
        ),
        ("client-addr", "ROOMCAST_CLIENT_ADDR", "0.0.0.0:1"),
        ("api-addr", "ROOMCAST_API_ADDR", "0.0.0.0:2"),
        ("peer-addr", "ROOMCAST_PEER_ADDR", "[::]:3"),
        (
            "initial-cluster",
            "ROOMCAST_INITIAL_CLUSTER",
            "1=a.example:5001,2=b.example:5001",
        ),
        ("role", "ROOMCAST_ROLE", "all"),
        ("advertise-peer", "ROOMCAST_ADVERTISE_PEER", "c.example:7"),
        ("mode", "ROOMCAST_MODE", "development"),
        ("retention-bytes", "ROOMCAST_RETENTION_BYTES", "4096"),
        ("resume-window", "ROOMCAST_RESUME_WINDOW", "60m"),
        ("parser", "ROOMCAST_PARSER", "msgpack"),
        ("ping-interval-ms", "ROOMCAST_PING_INTERVAL_MS", "300"),
        ("max-payload", "ROOMCAST_MAX_PAYLOAD", "2MB"),
    ];
    let flags: Vec<_> = texts.iter().map(|(flag, _, text)| (*flag, *text)).collect();
    let variables: Vec<_> = texts.iter().map(|(_, name, text)| (*name, *text)).collect();
    assert_eq!(check(&flags, &[], "").unwrap(), from_file);
    assert_eq!(check(&[], &variables, "").unwrap(), from_file);
}

/// Flag, text, what was wrong => how what would be right begins.
const REFUSALS: &str = "\
node-id | 0 | `0` is out of bounds => 1 to
node-id | one | `one` is no whole number => 1 to
data-dir |  | is empty => a directory
data-dir | Cargo.toml/x | `Cargo.toml` is no directory =>
disk-reserve-bytes | much | `much` is no size =>
snapshot-every-entries | 10 | `10` is out of bounds => 100 to
transfer-bytes-per-second | 100KiB | `100KiB` is out of bounds => 1MiB to
client-addr | 3001 | `3001` is no address to listen on => IP:PORT
api-addr | localhost:1 | `localhost:1` is no address to listen on =>
peer-addr | 127.0.0.1:99999 | `127.0.0.1:99999` is no address to listen on =>
initial-cluster | 127.0.0.1:5001 | has `127.0.0.1:5001` without an id =>
initial-cluster | 1=a:1,1=b:1 | names node 1 twice => ID=HOST:PORT
initial-cluster | 1=a:1,2=a:1 | names the address a:1 twice =>
initial-cluster | 1=a | `a` is no address to connect to =>
initial-cluster | 1=a:0 | `a:0` is no address to connect to =>
initial-cluster | 1=a:1, | has `` without an id =>
initial-cluster | 2=a:1 | does not name this node, 1 => add 1=HOST:PORT
role | gateway | `gateway` is not in this version => all
role | core | `core` is not in this version => all
role | king | `king` is no role => all
seeds | a:1 | is not in this version => --node-id and
bootstrap-expect | 3 | is not in this version => --node-id and
advertise-peer | a b:1 | `a b:1` is no address to connect to =>
zone | two words | `two words` is no zone => 1 to 63 letters
groups | 257 | `257` is out of bounds => 1 to 256
mode | test | `test` is no mode => production or development
page-dir | nowhere | `nowhere` is no directory => an existing
page-dir | src | is only for development => leave it out
retention | 10 | `10` is no duration => a whole number and ms
retention | 0s | `0ms` is out of bounds => 1s to 365d
retention-min | 366d | `366d` is out of bounds => 1s to 365d
retention-by-namespace | /a | has `/a` without a time => NAME=TIME or NAME=TIME/MIN
retention-bytes | 1 | `1B` is out of bounds => 1KiB to 1024GiB
retention-count | -1 | `-1` is no whole number => 1 to 100000000
resume-window | 31d | `31d` is out of bounds => 1s to 30d
key-window |  | is empty => a whole number and ms
keys-max | 0 | `0` is out of bounds => 1 to 10000000
event-bytes-max | 5MB | `5MB` is out of bounds => 1KiB to 4MB
event-bytes-max | 1 mb | `1 mb` is no size => a whole number
rooms-per-socket-max | 0 | `0` is out of bounds => 1 to 100000
room-name-bytes-max | 21 | `21` is out of bounds => 22 to 1024
namespaces-max | 0 | `0` is out of bounds => 1 to 1000000
subscriber-window | 0s | `0ms` is out of bounds => 1s to 365d
subscriber-events | 0 | `0` is out of bounds => 1 to 100000000
subscriber-bytes | 1 | `1B` is out of bounds => 1KiB to 1024GiB
subscribers-max | 0 | `0` is out of bounds => 1 to 100000
lifecycle-records | 1000001 | `1000001` is out of bounds => 0 to 1000000
lease | 61s | `61s` is out of bounds => 1s to 1m
parser | bson | `bson` is no parser => json or msgpack
ping-interval-ms | 25s | `25s` is no whole number => 100 to 600000
ping-timeout-ms | 0 | `0` is out of bounds => 100 to 600000
max-payload | 1 | `1B` is out of bounds => 1KiB to 16MiB
outbox-bytes-max | 1 | `1B` is out of bounds => 16KiB to 1GiB
outbox-frames-max | 1 | `1` is out of bounds => 16 to 1000000
sessions-max | 0 | `0` is out of bounds => 1 to 10000000
connect-timeout | 0s | `0ms` is out of bounds => 1s to 10m
path | socket.io | `socket.io` is no path => a path that begins
path | /a?b | `/a?b` is no path => a path that begins
path-slash | maybe | `maybe` is no rule => required or optional
cors-origins | a.example | `a.example` is no origin => off, *, or origins
cors-origins | https://a.example,https://b.example/ | `https://b.example/` is no origin => off
cors-max-age | 2d | `2d` is out of bounds => 0ms to 1d
cookie | a b | `a b` is no name of a cookie => a name of letters
client-bundle-dir | nowhere | `nowhere` is no directory => the directory `dist` of
client-bundle-dir | src | `src` has no socket.io.js => the directory `dist` of
http-compression | on | `on` is no size => off, or a size
http-compression | 2GiB | `2GiB` is no size => off, or a size
backend-policies | /chat | has `/chat` without a policy => NAMESPACE=POLICY
backend-policies | chat=wait | has `chat`, which begins with no slash => NAMESPACE=POLICY
backend-policies | /chat=drop | has `drop`, which is no policy => NAMESPACE=POLICY
backend-policies | /a=wait,/a=refuse | names `/a` twice => NAMESPACE=POLICY
backend-wait | 1h | `1h` is out of bounds => 0ms to 5m
backend-call-timeout | 0s | `0ms` is out of bounds => 1s to 10m
api-token-file | src | `src` cannot be read: Is a directory (os error 21) => a file with one
webhooks | /orders | has `/orders` without a URL => NAMESPACE=URL
webhooks | /a=ftp://b | has `ftp://b`, which is no URL of HTTP => NAMESPACE=URL
webhook-secret-file | src | `src` cannot be read: Is a directory (os error 21) => whsec_ and
webhook-timeout | 0s | `0ms` is out of bounds => 100ms to 1m
webhook-deadline | 2m | `2m` is out of bounds => 100ms to 1m
drain-pace | 0 | `0` is out of bounds => 1 to 1000000
drain-timeout | 2h | `2h` is out of bounds => 1s to 1h";

#[test]
fn every_refusal_names_key_origin_fault_and_cure() {
    let table = REFUSALS.lines().map(|line| {
        let cells: Vec<&str> = line.splitn(3, " | ").collect();
        let (wrong, right) = cells[2].split_once(" =>").unwrap();
        (
            cells[0],
            cells[1],
            format!("{wrong}; right would be:{right}"),
        )
    });
    let table: Vec<_> = table.collect();
    for (flag, text, words) in &table {
        let key = keys::Key::find(flag).unwrap();
        let message = refusal(&[(key.flag, *text)], &[], "");
        let start = format!("{} (flag --{flag}) {words}", key.path());
        assert!(message.starts_with(&start), "{flag} {text}: {message}");
    }
    let of_serve = keys::KEYS
        .iter()
        .filter(|key| key.section != keys::Section::Dev);
    for key in of_serve {
        assert!(
            table.iter().any(|(flag, ..)| *flag == key.flag),
            "no refusal of {}",
            key.flag
        );
    }
}

#[test]
fn origins_are_named() {
    let message = refusal(&[], &[("ROOMCAST_LEASE", "5")], "");
    assert!(
        message.starts_with("cluster.lease (variable ROOMCAST_LEASE) `5` is"),
        "{message}"
    );
    let message = refusal(&[], &[], "[cluster]\nlease = 5\n");
    assert!(
        message.starts_with("cluster.lease (file r.toml) `5` is"),
        "{message}"
    );
}

#[test]
fn missing_keys_say_how_to_give_them() {
    let ConfigErrors(errors) = check(&[], &[], "").unwrap_err();
    let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "node_id is missing; right would be: give --node-id 1, ROOMCAST_NODE_ID or node_id in \
             the file",
            "data_dir is missing; right would be: give --data-dir DIR, ROOMCAST_DATA_DIR or \
             data_dir in the file",
            "initial_cluster is missing; right would be: give --initial-cluster 1=127.0.0.1:5001, \
             ROOMCAST_INITIAL_CLUSTER or initial_cluster in the file",
        ]
    );
}

#[test]
fn all_errors_are_told_at_once() {
    let flags = with(&[("lease", "x"), ("mode", "y"), ("client-addr", "z")]);
    let errors = check(&flags, &[("ROOMCAST_ZONE", " ")], "foo = 1\n").unwrap_err();
    let text = errors.to_string();
    assert!(
        text.starts_with("configuration refused, 5 errors; nothing was opened\n"),
        "{text}"
    );
    for key in ["foo", "cluster.lease", "mode", "client_addr", "zone"] {
        assert!(text.contains(&format!("\n  {key} (")), "{key}: {text}");
    }
}

#[test]
fn equal_ports_are_refused_but_not_two_free_ones() {
    let message = refusal(&[("api-addr", "127.0.0.1:3000")], &[], "");
    assert!(
        message.contains("`127.0.0.1:3000` is also client_addr; right"),
        "{message}"
    );
    let free = [("api-addr", "127.0.0.1:0"), ("client-addr", "127.0.0.1:0")];
    assert!(check(&with(&free), &[], "").is_ok());
}

#[test]
fn files_with_unknown_keys_or_broken_syntax_are_refused() {
    for (file, words) in [
        (
            "retension = 1",
            "retension (file r.toml) is not a key of Roomcast; right would be: \
            `retention` in [cluster]",
        ),
        (
            "[cluster]\nnode_id = 1",
            "cluster.node_id (file r.toml) is not a key of Roomcast; right \
            would be: `node_id` at the top of the file",
        ),
        (
            "[engine]\nfast = 1",
            "engine.fast (file r.toml) is not a key of Roomcast; right would \
            be: one of parser, ping_interval_ms, ",
        ),
        (
            "[servers]\na = 1",
            "servers (file r.toml) is not a key of Roomcast; right would be: one \
            of node_id, ",
        ),
        (
            "zone = true",
            "zone (file r.toml) has a value that no key has; right would be: a string",
        ),
        (
            "config = \"x\"",
            "config (file r.toml) is not a key of Roomcast",
        ),
        (
            "cluster = 3",
            "cluster (file r.toml) is not a key of Roomcast",
        ),
        ("a = 1\nb = ", "config is not TOML: r.toml: line 2: "),
    ] {
        let message = refusal(&[], &[], file);
        assert!(message.starts_with(words), "{file:?}: {message}");
    }
    let message = refusal(&[("config", "nowhere.toml")], &[], "");
    assert!(
        message.starts_with("config cannot be read: nowhere.toml: "),
        "{message}"
    );
}

#[test]
fn retention_by_namespace_is_a_list_or_a_table() {
    let overrides = |config: &ServeConfig| {
        let settings = config.cluster.to_proto();
        let all = settings.retention_overrides.unwrap().overrides.into_iter();
        let times = |one: RetentionOverride| (one.retention_ms, one.retention_min_ms);
        all.map(|one| (one.namespaces.clone(), times(one)))
            .collect::<Vec<_>>()
    };
    let day = 86_400_000;
    let expected = [
        ("/audit".to_owned(), (7 * day, day)),
        ("/chat*".to_owned(), (5_000, 0)),
    ];
    let list = [("retention-by-namespace", "/chat*=5s, /audit=7d/1d")];
    let config = check(&with(&list), &[], "").unwrap();
    assert_eq!(overrides(&config), expected);
    assert_eq!(config.cluster_given, ["retention-by-namespace"]);
    let table = "[cluster.retention_by_namespace]\n\"/audit\" = \"7d/1d\"\n\"/chat*\" = \"5s\"\n";
    let text = "[cluster]\nretention_by_namespace = \"/audit=7d/1d,/chat*=5s\"\n";
    let array = "[cluster]\nretention_by_namespace = [\"/audit=7d/1d\", \"/chat*=5s\"]\n";
    for file in [table, text, array] {
        let config = check(&with(&[]), &[], file).unwrap();
        assert_eq!(overrides(&config), expected, "{file}");
    }
    let variable = [("ROOMCAST_RETENTION_BY_NAMESPACE", "/a=1h")];
    let config = check(&with(&[]), &variable, table).unwrap();
    assert_eq!(overrides(&config), [("/a".to_owned(), (day / 24, 0))]);
    let none = check(&with(&[("retention-by-namespace", "")]), &[], table).unwrap();
    assert_eq!(overrides(&none), []);
    assert_eq!(overrides(&check(&with(&[]), &[], "").unwrap()), []);
}

#[test]
fn a_wrong_retention_of_a_namespace_is_refused_in_words() {
    let form = "NAME=TIME or NAME=TIME/MIN, comma between them, for example /chat*=10m,/a=7d/7d";
    let many: Vec<String> = (0..65).map(|number| format!("/{number}=1m")).collect();
    for (text, wrong, right) in [
        ("/a", "has `/a` without a time", form),
        ("/a=1m,", "has `` without a time", form),
        ("chat=1m", "has `chat`, which is no namespace", form),
        ("/a*b=1m", "has `/a*b`, which is no namespace", form),
        ("/a=soon", "has `soon` for /a, which is no duration", form),
        ("/a=7d/", "has `` for /a, which is no duration", form),
        ("/a=1m,/a=2m", "names /a twice", form),
        ("/a=1ms", "for /a: `1ms` is out of bounds", "1s to 365d"),
        (
            &many.join(","),
            "names 65 namespaces",
            "at most 64; NAME* stands for many",
        ),
    ] {
        let message = refusal(&[("retention-by-namespace", text)], &[], "");
        let key = "cluster.retention_by_namespace (flag --retention-by-namespace)";
        assert_eq!(message, format!("{key} {wrong}; right would be: {right}"));
    }
    let message = refusal(&[], &[], "[cluster.retention_by_namespace]\n\"/a\" = 5\n");
    let words = "cluster.retention_by_namespace (file r.toml) has a value that no key has";
    assert!(message.starts_with(words), "{message}");
}
