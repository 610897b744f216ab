//! Clients from package registries, each with a program of ours that drives any number of them:
//! JSON lines in, JSON lines out (`interop/`).

use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// A package and its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// The official client, from npm.
    SocketIoClient,
    /// From PyPI; its asynchronous client.
    PythonSocketio,
    /// From crates.io; its asynchronous client.
    RustSocketio,
}

impl Package {
    /// As its registry names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SocketIoClient => "socket.io-client",
            Self::PythonSocketio => "python-socketio",
            Self::RustSocketio => "rust_socketio",
        }
    }

    /// Whether it brings back its session when it returns. The others start anew: they show what
    /// comes without recovery, and the application joins again.
    #[must_use]
    pub fn resumes(self) -> bool {
        self == Self::SocketIoClient
    }

    /// Its driver, ready to be started.
    ///
    /// # Errors
    /// When it is not installed; the text says how to.
    pub fn command(self) -> io::Result<Command> {
        let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
        let installed = match self {
            Self::SocketIoClient => interop.join("node_modules/socket.io-client"),
            Self::PythonSocketio => interop.join("../../.tools/interop-venv/bin/python"),
            Self::RustSocketio => interop.join("rust_socketio/target/debug/rust-socketio-driver"),
        };
        if !installed.exists() {
            let hint = format!("{} is missing: `make interop`", self.name());
            return Err(io::Error::new(io::ErrorKind::NotFound, hint));
        }
        let (program, args): (PathBuf, &[&str]) = match self {
            Self::SocketIoClient => ("node".into(), &["client.mjs"]),
            Self::PythonSocketio => (installed, &["python/client.py"]),
            Self::RustSocketio => (installed, &[]),
        };
        let mut command = Command::new(program);
        command.args(args).current_dir(interop);
        Ok(command)
    }
}
