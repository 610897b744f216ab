//! The `roomcast` binary: reads the command line, builds the runtime, starts what was asked for.
//! Exit codes: 0 done, 1 failed, 2 refused before anything was opened.

use std::error::Error;
use std::process::ExitCode;

use clap::ArgMatches;
use roomcast::config::{DevConfig, ServeConfig};
use roomcast::{app, cli, dev, operator, process};

type Failure = Box<dyn Error + Send + Sync>;

/// Refused before anything was opened.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let (name, matches) = matches.subcommand().expect("clap demands a command");
    let outcome = match name {
        "serve" => serve(matches),
        "dev" => develop(matches),
        "add-node" | "remove-node" => {
            return refused(&format!("{name} comes with a later version"));
        }
        _ => operate(name, matches),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("roomcast: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn serve(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = match ServeConfig::check(cli::sources(matches)) {
        Ok(config) => config,
        Err(errors) => return Ok(refused(&errors.to_string())),
    };
    if let Err(error) = process::start_log() {
        return Ok(refused(&error.to_string()));
    }
    prepare()?;
    runtime()?.block_on(app::serve(config))?;
    Ok(ExitCode::SUCCESS)
}

fn develop(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = match DevConfig::check(cli::sources(matches)) {
        Ok(config) => config,
        Err(errors) => return Ok(refused(&errors.to_string())),
    };
    if let Err(error) = process::start_log() {
        return Ok(refused(&error.to_string()));
    }
    prepare()?;
    runtime()?.block_on(dev::run(config))?;
    Ok(ExitCode::SUCCESS)
}

fn operate(name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    println!("{}", runtime()?.block_on(operator::run(name, matches))?);
    Ok(ExitCode::SUCCESS)
}

/// What long-lived commands share.
fn prepare() -> Result<(), Failure> {
    let open_files_max = process::raise_open_files();
    tracing::debug!(open_files_max, "limit of open files");
    process::end_with_parent()?;
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

fn refused(reason: &str) -> ExitCode {
    eprintln!("roomcast: {reason}");
    ExitCode::from(REFUSED)
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
