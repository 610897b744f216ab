//! One Socket.IO connection, frame by frame: what arrives is looked at in the read buffer.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{self, Answer};
use crate::wire::narrow;

/// Grows when a frame does not fit.
const BUFFER_BYTES: usize = 8 * 1024;
/// A handshake answer that is longer is none.
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// A connection after its WebSocket handshake.
#[derive(Debug)]
pub struct LeanSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes in the buffer.
    filled: usize,
    /// The next frame to write.
    frame: Vec<u8>,
}

impl LeanSocket {
    /// Upgrades and connects the main namespace.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let mut socket = Self::open(addr).await?;
        socket.begin(addr, "").await?;
        Ok(socket)
    }

    /// The same with something in CONNECT's payload (JSON, an object); answers with the server's.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn connect_with(addr: SocketAddr, auth: &str) -> io::Result<(Self, String)> {
        let mut socket = Self::open(addr).await?;
        let mut answer = socket.begin(addr, auth).await?;
        Ok((socket, answer.split_off(2)))
    }

    /// The same over a connection that takes in little of what is not read.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn connect_narrow(addr: SocketAddr) -> io::Result<Self> {
        let mut socket = Self::over(narrow(addr).await?)?;
        socket.begin(addr, "").await?;
        Ok(socket)
    }

    /// As a stock client does it behind a balancer: connects over polling at one node, and upgrades
    /// at another.
    ///
    /// # Errors
    /// When a server refuses one of them.
    pub async fn connect_by_polling(first: SocketAddr, second: SocketAddr) -> io::Result<Self> {
        const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
        let body = |answer: Result<Answer, _>| match answer {
            Ok(Answer {
                status: 200, body, ..
            }) => Ok(body),
            other => Err(io::Error::other(format!("{other:?}"))),
        };
        let opened = body(http::get(first, POLLING).await)?;
        let sid = opened.split('"').nth(3).unwrap_or_default().to_owned();
        let session = format!("{POLLING}&sid={sid}");
        body(http::post(second, &session, "40").await)?;
        let connected = body(http::get(second, &session).await)?;
        if !connected.starts_with("40{") {
            return Err(io::Error::other(connected));
        }
        let mut socket = Self::open(second).await?;
        socket.upgrade(second, &format!("&sid={sid}")).await?;
        socket.send(b"2probe").await?;
        socket.wait_for(b"3probe").await?;
        socket.send(b"5").await?;
        Ok(socket)
    }

    async fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(addr).await?)
    }

    /// The whole of the server's CONNECT.
    async fn begin(&mut self, addr: SocketAddr, auth: &str) -> io::Result<String> {
        self.upgrade(addr, "").await?;
        self.wait_for(b"0{").await?;
        self.send(format!("40{auth}").as_bytes()).await?;
        self.wait_for(b"40{").await
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self {
            stream,
            buffer,
            filled: 0,
            frame: Vec::new(),
        })
    }

    async fn upgrade(&mut self, addr: SocketAddr, query: &str) -> io::Result<()> {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: {addr}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        while self.filled < HEAD_BYTES_MAX {
            self.fill().await?;
            let head = &self.buffer[..self.filled];
            let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(io::Error::other(
                    String::from_utf8_lossy(&head[..end]).into_owned(),
                ));
            }
            self.buffer.copy_within(end + 4..self.filled, 0);
            self.filled -= end + 4;
            return Ok(());
        }
        Err(io::Error::other("no end of the handshake"))
    }

    /// Connects another namespace.
    ///
    /// # Errors
    /// When the server refuses it, or the connection ends first.
    pub async fn enter(&mut self, namespace: &str) -> io::Result<()> {
        self.send(format!("40{namespace},").as_bytes()).await?;
        self.wait_for(format!("40{namespace},{{").as_bytes())
            .await
            .map(drop)
    }

    /// Joins a room and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn join(&mut self, room: &str) -> io::Result<()> {
        self.send(format!("420[\"join\",\"{room}\"]").as_bytes())
            .await?;
        self.wait_for(b"430[{\"ok\":true").await.map(drop)
    }

    /// Sends one text message, masked by the zero key.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, text: &[u8]) -> io::Result<()> {
        self.frame.clear();
        put_frame(&mut self.frame, text);
        self.stream.write_all(&self.frame).await
    }

    /// Reads once, if nothing is there yet, and hands over each complete message that is no ping.
    /// Pings are answered. Cancel safe until the read is done.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn read(&mut self, mut heed: impl FnMut(&[u8])) -> io::Result<()> {
        if frame_at(&self.buffer[..self.filled]).is_none() {
            self.fill().await?;
        }
        self.take(&mut heed).await
    }

    /// Takes one byte from the connection, whatever it means.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn sip(&mut self) -> io::Result<()> {
        self.stream.read_u8().await.map(drop)
    }

    async fn take(&mut self, heed: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let (mut at, mut ping) = (0, false);
        while let Some((opcode, start, end)) = frame_at(&self.buffer[at..self.filled]) {
            let payload = &self.buffer[at + start..at + end];
            match opcode {
                1 if payload == b"2" => ping = true,
                1 | 2 => heed(payload),
                8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
            at += end;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        if ping {
            self.send(b"3").await?;
        }
        Ok(())
    }

    /// Reads up to the first message that begins so; what comes behind it is left to be read.
    async fn wait_for(&mut self, prefix: &[u8]) -> io::Result<String> {
        loop {
            let message = self.next().await?;
            // A refusal has the length of no promise.
            if message.starts_with(b"44") || message.starts_with(b"430[{\"ok\":false") {
                return Err(io::Error::other(
                    String::from_utf8_lossy(&message).into_owned(),
                ));
            }
            if message.starts_with(prefix) {
                return Ok(String::from_utf8_lossy(&message).into_owned());
            }
        }
    }

    /// The next message that is no ping.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let Some((opcode, start, end)) = frame_at(&self.buffer[..self.filled]) else {
                self.fill().await?;
                continue;
            };
            let payload = self.buffer[start..end].to_vec();
            self.buffer.copy_within(end..self.filled, 0);
            self.filled -= end;
            match opcode {
                1 if payload == b"2" => self.send(b"3").await?,
                1 | 2 => return Ok(payload),
                8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let count = self.stream.read(&mut self.buffer[self.filled..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        Ok(())
    }
}

/// Appends a text frame with the zero mask.
fn put_frame(frame: &mut Vec<u8>, text: &[u8]) {
    frame.push(0x81);
    match text.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap_or(0)),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
}

/// Opcode, start and end of the payload of the frame at the start; `None` while it is not whole.
fn frame_at(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let end = start + usize::try_from(length).ok()?;
    (bytes.len() >= end).then_some((first & 0x0f, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_found_when_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = vec![b'x'; length];
            let mut frame = Vec::new();
            put_frame(&mut frame, &text);
            // As a server sends it: no mask.
            let key = frame.len() - length - 4;
            frame.drain(key..key + 4);
            frame[1] &= 0x7f;
            let end = frame.len();
            assert_eq!(frame_at(&frame), Some((1, end - length, end)));
            assert_eq!(frame_at(&frame[..end - 1]), None);
        }
    }
}
