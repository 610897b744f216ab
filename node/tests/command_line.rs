//! The binary's words and exit codes before anything is opened.

// `allow-unwrap-in-tests` knows test functions only, not what they share.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn roomcast(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    let own = std::env::vars().filter(|(name, _)| name.starts_with("ROOMCAST_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_configuration_is_refused_with_all_its_keys() {
    let output = roomcast(
        &["serve", "--lease", "soon"],
        &[("ROOMCAST_CLIENT_ADDR", "everywhere")],
    );
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("configuration refused, 5 errors; nothing was opened"),
        "{text}"
    );
    for line in [
        "  node_id is missing; right would be: give --node-id 1,",
        "  cluster.lease (flag --lease) `soon` is no duration; right would be:",
        "  client_addr (variable ROOMCAST_CLIENT_ADDR) `everywhere` is no address to listen on;",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn a_wrong_log_filter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let flags = [
        "serve",
        "--node-id",
        "1",
        "--initial-cluster",
        "1=127.0.0.1:1",
        "--data-dir",
    ];
    let flags = [&flags[..], &[data_dir.to_str().unwrap()]].concat();
    let output = roomcast(&flags, &[("ROOMCAST_LOG", "roomcast=loud")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("ROOMCAST_LOG `roomcast=loud` is no log filter"));
    assert!(!data_dir.exists(), "nothing was opened");
}

#[test]
fn commands_of_a_later_version_say_so() {
    for command in ["add-node", "remove-node"] {
        let output = roomcast(&[command, "--api", "127.0.0.1:1", "4"], &[]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            said(&output),
            format!("roomcast: {command} comes with a later version\n")
        );
    }
}

#[test]
fn an_operator_is_told_when_nobody_answers() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = roomcast(&["status", "--api", &format!("http://{unused}/")], &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.starts_with(&format!("roomcast: {unused} does not answer: ")),
        "{text}"
    );
    let output = roomcast(&["drain", "--api", "4000"], &[]);
    assert!(said(&output).contains("flag --api `4000` is no address to connect to; right would"));
}
