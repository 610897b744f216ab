//! Engine.IO long-polling, packet by packet and without any of the server's code: each request goes
//! to the next node, and what it is answered with is shown as it is.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::wire::{Packet, WireError, prefix};

/// Between the packets of a payload.
const SEPARATOR: char = '\u{1e}';
/// CONNECT is held for up to 5 s without a leader, then the transport is closed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// One session. It sends what it is told and reads what it is told to, one request at a time.
#[derive(Debug)]
pub struct Polling {
    /// Nodes, in the order of requests.
    addrs: Vec<SocketAddr>,
    /// Requests so far.
    turn: usize,
    /// Path and query of all requests after the first.
    path: String,
    /// The Engine.IO handshake.
    pub open: Value,
}

impl Polling {
    /// Takes the Engine.IO handshake from the first node. `query` is added to the usual parameters.
    ///
    /// # Errors
    /// When the server refuses or is not there.
    pub async fn connect(addrs: Vec<SocketAddr>, query: &str) -> Result<Self, WireError> {
        let path = format!("/socket.io/?EIO=4&transport=polling{query}");
        let mut polling = Self {
            addrs,
            turn: 0,
            path,
            open: Value::Null,
        };
        let answer = http::get(polling.next_addr(), &polling.path).await?;
        let body = expect_ok(answer)?;
        let open = body.strip_prefix('0').map(serde_json::from_str);
        let Some(Ok(open)) = open else {
            return Err(WireError::Protocol(body));
        };
        polling.open = open;
        let sid = polling.open["sid"].as_str().unwrap_or_default();
        polling.path = format!("{}&sid={sid}", polling.path);
        Ok(polling)
    }

    /// GET: the packets of the next payload, Engine.IO pings included; nothing is answered.
    ///
    /// # Errors
    /// When nothing comes in time, or another status than 200.
    pub async fn get(&mut self, within: Duration) -> Result<Vec<String>, WireError> {
        let addr = self.next_addr();
        let body = expect_ok(http::get_within(addr, &self.path, within).await?)?;
        Ok(body.split(SEPARATOR).map(ToOwned::to_owned).collect())
    }

    /// POST: packets in one payload.
    ///
    /// # Errors
    /// When the server does not take them.
    pub async fn post(&mut self, packets: &[String]) -> Result<(), WireError> {
        let body = packets.join(&SEPARATOR.to_string());
        let addr = self.next_addr();
        let answer = http::post_as(addr, &self.path, "text/plain;charset=UTF-8", &body).await?;
        match expect_ok(answer)?.as_str() {
            "ok" => Ok(()),
            other => Err(WireError::Protocol(other.to_owned())),
        }
    }

    /// POSTs CONNECT and gives the answer with the packets that came in the same payload behind it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn connect_namespace(
        &mut self,
        namespace: &str,
        auth: &Value,
    ) -> Result<(Packet, Vec<String>), WireError> {
        let connect = format!("40{}{auth}", prefix(namespace));
        self.post(&[connect]).await?;
        let mut packets = self.get(CONNECT_TIMEOUT).await?;
        let first = packets.remove(0);
        let packet = Packet::parse(&first).ok_or(WireError::Protocol(first))?;
        Ok((packet, packets))
    }

    /// Lets all further requests go to this node.
    pub fn only(&mut self, addr: SocketAddr) {
        self.addrs = vec![addr];
    }

    fn next_addr(&mut self) -> SocketAddr {
        self.turn += 1;
        self.addrs[(self.turn - 1) % self.addrs.len()]
    }
}

fn expect_ok(answer: Answer) -> Result<String, WireError> {
    if answer.status == 200 {
        return Ok(answer.body);
    }
    Err(WireError::Status {
        status: answer.status,
        retry_after: answer.retry_after,
        body: answer.body,
    })
}
