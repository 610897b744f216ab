//! The command line: what the flags are called, and what each command starts.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::keys::{FILE_KEY, KEYS, Key, Section};
use crate::config::{ConfigErrors, ServeConfig, Sources, is_passed};

/// The flag that says where an operator's command goes.
pub(crate) const API_FLAG: &str = "api";
/// The flag that says where its token is.
pub(crate) const TOKEN_FLAG: &str = "token-file";
/// Its variable: the one that a node reads its tokens from.
const TOKEN_VARIABLE: &str = "ROOMCAST_API_TOKEN_FILE";

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    Command::new("roomcast")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A clustered realtime server for stock Socket.IO clients")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve())
        .subcommand(dev())
        .subcommand(
            operator("status", "Tells how a node stands")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As JSON"),
                )
                .arg(value(
                    "namespace",
                    "NAME",
                    "Also tell where this namespace lives",
                )),
        )
        .subcommand(operator(
            "drain",
            "Takes a node out of service in good order",
        ))
        .subcommand(
            operator(
                "transfer-leader",
                "Hands a group over to another node; ask its leader",
            )
            .arg(number("group", "The group").required(true))
            .arg(number("to", "The node that is to lead").required(true)),
        )
        .subcommand(
            operator("snapshot", "Builds snapshots on a node")
                .arg(number("group", "Of this group only [default: all]")),
        )
        .subcommand(later(
            "add-node",
            "Adds a node to a cluster (comes with a later version)",
        ))
        .subcommand(later(
            "remove-node",
            "Removes a node (comes with a later version)",
        ))
}

/// Collects configuration from a command's flags, the environment and the file they name.
#[must_use]
pub fn sources(matches: &ArgMatches) -> Sources {
    let text = |flag: &str| matches.try_get_one::<String>(flag).ok().flatten().cloned();
    let keys = KEYS.iter().chain([&FILE_KEY]);
    let mut flags: Vec<_> = keys
        .filter_map(|key| Some((key.flag, text(key.flag)?)))
        .collect();
    if matches.try_get_one::<bool>("no-restart").ok().flatten() == Some(&true) {
        flags.push(("restart", "off".to_owned()));
    }
    Sources::collect(&flags, &|name| std::env::var_os(name))
}

/// The configuration of a program that runs a node of its own: its command line takes the flags of
/// `roomcast serve`, beside the variables and the file. A wrong flag, or `--help`, ends the
/// process.
///
/// # Errors
/// Everything that is wrong with the values, at once.
pub fn serve_config() -> Result<ServeConfig, ConfigErrors> {
    ServeConfig::check(sources(&serve().get_matches()))
}

fn serve() -> Command {
    let keys = KEYS.iter().filter(|key| key.section != Section::Dev);
    Command::new("serve")
        .about("Runs one node")
        .after_help(SOURCES_HELP)
        .arg(flag(&FILE_KEY))
        .args(keys.map(flag))
}

fn dev() -> Command {
    let data_dir = Key {
        default: Some("roomcast-data/dev"),
        ..*known("data-dir")
    };
    let keys = KEYS
        .iter()
        .filter(|key| key.section == Section::Dev || is_passed(key.flag));
    Command::new("dev")
        .about("Runs a whole cluster on this machine, with a balancer in front, for development")
        .after_help(SOURCES_HELP)
        .arg(flag(&FILE_KEY))
        .arg(flag(&data_dir).help_heading(Section::Dev.heading()))
        .arg(flag(known("page-dir")).help_heading(Section::Dev.heading()))
        .args(keys.map(flag))
        .arg(
            Arg::new("no-restart")
                .long("no-restart")
                .action(ArgAction::SetTrue)
                .conflicts_with("restart")
                .help_heading(Section::Dev.heading())
                .help("The same as --restart off"),
        )
}

const SOURCES_HELP: &str = "Flags win over variables, variables over the file, the file over \
    defaults. An empty variable counts as not given. Every flag has a variable, ROOMCAST_ and its \
    name, and a key in the file. ROOMCAST_LOG filters the log, for example \
    info,roomcast::raft=debug.";

fn flag(key: &Key) -> Arg {
    let mut help = key.help.to_owned();
    if let Some(default) = key.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    help.push_str(&format!(" [env: {}]", key.variable()));
    if key.flag != FILE_KEY.flag {
        help.push_str(&format!(" [file: {}]", key.path()));
    }
    Arg::new(key.flag)
        .long(key.flag)
        .value_name(key.value)
        .help_heading(key.section.heading())
        .allow_hyphen_values(true)
        .help(help)
}

fn known(flag: &str) -> &'static Key {
    Key::find(flag).expect("a key of the table")
}

fn operator(name: &'static str, about: &'static str) -> Command {
    let api = value(API_FLAG, "HOST:PORT", "The node's API port").default_value("127.0.0.1:4000");
    let token = value(
        TOKEN_FLAG,
        "FILE",
        "File whose first line is a token of the node's --api-token-file",
    );
    Command::new(name)
        .about(about)
        .arg(api)
        .arg(token.env(TOKEN_VARIABLE).hide_env_values(true))
}

/// Takes any arguments, so that whoever tries it reads the reason instead of a usage error.
fn later(name: &'static str, about: &'static str) -> Command {
    let rest = Arg::new("rest")
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true);
    Command::new(name).about(about).arg(rest.hide(true))
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn number(name: &'static str, help: &'static str) -> Arg {
    value(name, "N", help).value_parser(clap::value_parser!(u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_every_key() {
        let mut command = command();
        command.build();
        command.clone().debug_assert();
        let serve = command
            .find_subcommand_mut("serve")
            .unwrap()
            .render_help()
            .to_string();
        for key in KEYS.iter().filter(|key| key.section != Section::Dev) {
            let flag = format!("--{} <{}>", key.flag, key.value);
            assert!(serve.contains(&flag), "{flag} in\n{serve}");
            assert!(serve.contains(&key.variable()) && serve.contains(&key.path()));
        }
        let dev = command
            .find_subcommand_mut("dev")
            .unwrap()
            .render_help()
            .to_string();
        for flag in [
            "--nodes",
            "--port",
            "--data-dir",
            "--page-dir",
            "--no-restart",
            "--retention",
        ] {
            assert!(dev.contains(flag), "{flag}");
        }
        assert!(!dev.contains("--node-id"));
    }

    #[test]
    fn flags_reach_the_configuration() {
        let line = [
            "roomcast",
            "dev",
            "--nodes",
            "2",
            "--lease=4s",
            "--no-restart",
        ];
        let matches = command().try_get_matches_from(line).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let config = crate::config::DevConfig::check(sources(matches)).unwrap();
        assert_eq!(
            (config.node_count, config.port, config.restart),
            (2, 3000, None)
        );
        assert_eq!(config.passed, [("lease", "4s".to_owned())]);
    }
}
