//! The operators' commands: each asks a node's API port once and prints what it said.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ArgMatches;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::client::{self, Asked, RequestError};
use crate::api::{NamespaceReport, NodeReport};
use crate::cli::{API_FLAG, TOKEN_FLAG};
use crate::config::{ApiTokens, host_port};

/// A little above what the port itself allows an answer.
const TIMEOUT: Duration = Duration::from_secs(65);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// `--api` is no address.
    #[error("flag --api {wrong}; right would be: {right}")]
    Address {
        /// What was wrong.
        wrong: String,
        /// What would be right.
        right: String,
    },
    /// `--token-file` has no token.
    #[error("flag --token-file {wrong}; right would be: {right}")]
    Token {
        /// What was wrong.
        wrong: String,
        /// What would be right.
        right: String,
    },
    /// Nobody answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node said no.
    #[error("refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the node said.
        message: String,
    },
    /// Something else answers there.
    #[error("this is no answer of Roomcast; is {address} the API port?")]
    Foreign {
        /// Who was asked.
        address: String,
        /// What could not be read.
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    node: NodeReport,
    namespace: Option<NamespaceReport>,
}

/// Carries out `status`, `drain`, `transfer-leader` or `snapshot`; answers what to print.
///
/// # Errors
/// When the node cannot be asked or refuses.
pub async fn run(name: &str, matches: &ArgMatches) -> Result<String, OperatorError> {
    let number = |flag| matches.get_one::<u64>(flag).copied();
    match name {
        "status" => status(matches).await,
        "drain" => {
            ask(matches, "/v1/drain", Some(json!({}))).await?;
            Ok("draining; the node ends its service at its own pace".to_owned())
        }
        "transfer-leader" => {
            let body = json!({ "group": number("group"), "to": number("to") });
            ask(matches, "/v1/transfer-leader", Some(body)).await?;
            Ok("asked; `roomcast status` shows who leads".to_owned())
        }
        _ => {
            let body = json!({ "group": number("group") });
            let answer: Value = ask(matches, "/v1/snapshot", Some(body)).await?;
            Ok(format!("built: {}", answer["snapshots"]))
        }
    }
}

async fn status(matches: &ArgMatches) -> Result<String, OperatorError> {
    let mut path = "/v1/status".to_owned();
    if let Some(namespace) = matches.get_one::<String>("namespace") {
        path.push_str("?namespace=");
        path.extend(namespace.bytes().map(escaped));
    }
    let value = ask(matches, &path, None).await?;
    if matches.get_flag("json") {
        return Ok(format!("{value:#}"));
    }
    let answer: Answer =
        serde_json::from_value(value).map_err(|source| OperatorError::Foreign {
            address: address(matches),
            source,
        })?;
    Ok(table(&answer))
}

async fn ask(
    matches: &ArgMatches,
    path: &str,
    body: Option<Value>,
) -> Result<Value, OperatorError> {
    let address = address(matches);
    host_port(&address).map_err(|(wrong, right)| OperatorError::Address { wrong, right })?;
    let tokens = matches.get_one::<String>(TOKEN_FLAG);
    let tokens = tokens.filter(|path| !path.is_empty());
    let tokens = tokens.map(|path| ApiTokens::read(path)).transpose();
    let tokens = tokens.map_err(|(wrong, right)| OperatorError::Token { wrong, right })?;
    let asked = Asked {
        path,
        body: body.as_ref(),
        token: tokens.as_ref().map(ApiTokens::first),
    };
    let (status, bytes) = client::request(&address, asked, TIMEOUT).await?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|source| OperatorError::Foreign { address, source })?;
    if status.is_success() {
        return Ok(value);
    }
    let message = value["error"]["message"]
        .as_str()
        .unwrap_or("no reason given")
        .to_owned();
    Err(OperatorError::Refused {
        status: status.as_u16(),
        message,
    })
}

/// `--api`, as an address or as the URL that `dev` prints.
fn address(matches: &ArgMatches) -> String {
    let text = matches
        .get_one::<String>(API_FLAG)
        .expect("it has a default");
    text.trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned()
}

/// A byte of a query value.
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
        return char::from(byte).to_string();
    }
    format!("%{byte:02X}")
}

fn table(answer: &Answer) -> String {
    let node = &answer.node;
    let mut text = format!(
        "node {} of cluster {}, version {}",
        node.node_id, node.cluster_id, node.version
    );
    if let Some(zone) = &node.zone {
        push(&mut text, format_args!(", zone {zone}"));
    }
    match (&node.reason, node.ready) {
        (_, true) => text.push_str(", ready"),
        (Some(reason), false) => push(&mut text, format_args!(", not ready: {reason}")),
        (None, false) => text.push_str(", not ready"),
    }
    text.push_str("\ngroup  leader  term  applied  first  connected  away  hash");
    for group in &node.groups {
        let leader = group
            .leader
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        push(
            &mut text,
            format_args!(
                "\n{:>5}  {leader:>6}  {:>4}  {:>7}  {:>5}  {:>9}  {:>4}  {}",
                group.group,
                group.term,
                group.applied,
                group.first,
                group.connected,
                group.away,
                group.hash
            ),
        );
    }
    if let Some(namespace) = &answer.namespace {
        push(
            &mut text,
            format_args!("\n{} is in group {}", namespace.name, namespace.group),
        );
    }
    text
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_table_for_people() {
        let answer = json!({
            "node_id": 2, "cluster_id": "c1", "version": "0.1.0", "zone": "z", "ready": false,
            "reason": "no quorum",
            "groups": [{
                "group": 0, "leader": null, "term": 3, "applied": 12, "first": 1,
                "connected": 2, "away": 1, "hash": "00ff",
            }],
            "namespace": { "name": "/", "group": 0, "leader": null },
        });
        assert_eq!(
            table(&serde_json::from_value(answer).unwrap()),
            "node 2 of cluster c1, version 0.1.0, zone z, not ready: no quorum\n\
             group  leader  term  applied  first  connected  away  hash\n    \
                 0       -     3       12      1          2     1  00ff\n\
             / is in group 0"
        );
    }

    #[test]
    fn a_namespace_survives_its_way_through_a_query() {
        let text: String = "/a b&ü".bytes().map(escaped).collect();
        assert_eq!(text, "/a%20b%26%C3%BC");
    }
}
