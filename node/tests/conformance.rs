//! The rules of the official protocol suites as literal bytes, against the example that those
//! suites run against. Engine.IO over polling is tested row by row beside the client port.

// `allow-unwrap-in-tests` knows test functions only, not what they share.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "its main is not run here")]
#[path = "../examples/conformance.rs"]
mod server;

use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use server::{Flags, Server};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

async fn server(flags: &[&str]) -> Server {
    let flags = ["conformance", "--port", "0"].iter().chain(flags);
    server::start(&Flags::parse_from(flags)).await.unwrap()
}

/// A stock client's side of a WebSocket, without its comforts.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn open(server: &Server) -> Self {
        Self::at(server, "/socket.io/").await
    }

    /// Behind the OPEN packet.
    async fn at(server: &Server, path: &str) -> Self {
        let address = server.port.local_addr();
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}{path}?EIO=4&transport=websocket");
        let mut client = Self(client_async(url, stream).await.unwrap().0);
        assert!(client.text().await.starts_with("0{"));
        client
    }

    /// Joins a namespace by `packet` and takes its answer.
    async fn join(&mut self, packet: &str, answer: &str, auth: &str) {
        self.send(packet).await;
        let connect = self.text().await;
        let (prefix, rest) = connect.split_once("{\"sid\":\"").unwrap();
        assert_eq!(prefix, format!("40{answer}"));
        let id = rest.strip_suffix("\"}").expect("the id and nothing else");
        assert_eq!(id.len(), 22);
        let event = format!(r#"42{answer}["auth",{auth}]"#);
        assert_eq!(self.text().await, event);
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn send_binary(&mut self, bytes: &'static [u8]) {
        let message = Message::binary(Bytes::from_static(bytes));
        self.0.send(message).await.unwrap();
    }

    async fn next(&mut self) -> Option<Message> {
        let next = timeout(Duration::from_secs(10), self.0.next()).await;
        next.expect("takes less than 10 s").and_then(Result::ok)
    }

    /// The next text but pings, which are answered.
    async fn text(&mut self) -> String {
        loop {
            let text = self.next().await.expect("open").into_text().unwrap();
            if text.as_str() != "2" {
                return text.to_string();
            }
            self.send("3").await;
        }
    }

    async fn binary(&mut self) -> Vec<u8> {
        match self.next().await.expect("open") {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("{other:?} instead of bytes"),
        }
    }

    /// Whatever else comes before the end; heartbeats are not answered.
    async fn expect_closed(mut self) {
        while let Some(message) = self.next().await {
            if message.is_close() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn namespaces_are_joined_and_left() {
    let server = server(&[]).await;
    let mut client = Client::open(&server).await;
    client.join("40", "", "{}").await;
    client.join("40/custom,", "/custom,", "{}").await;
    client.send("41/custom,").await;
    client
        .send(r#"42["message","to the main namespace"]"#)
        .await;
    assert_eq!(
        client.text().await,
        r#"42["message-back","to the main namespace"]"#
    );
    client.send("41").await;
    assert_eq!(
        client.next().await,
        Some(Message::text("2")),
        "the connection stays"
    );

    let mut client = Client::open(&server).await;
    client
        .join(r#"40{"token":"123"}"#, "", r#"{"token":"123"}"#)
        .await;
    let packet = r#"40/custom,{"token":"abc"}"#;
    client.join(packet, "/custom,", r#"{"token":"abc"}"#).await;
    client.send("40/random").await;
    assert_eq!(
        client.text().await,
        r#"44/random,{"message":"Invalid namespace"}"#
    );
}

#[tokio::test]
async fn messages_and_acks_come_back_with_their_arguments() {
    let server = server(&[]).await;
    let mut client = Client::open(&server).await;
    client.join("40", "", "{}").await;
    client.send(r#"42["message",1,"2",{"3":[true]}]"#).await;
    assert_eq!(
        client.text().await,
        r#"42["message-back",1,"2",{"3":[true]}]"#
    );
    client
        .send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#)
        .await;
    assert_eq!(client.text().await, r#"43456[1,"2",{"3":[false]}]"#);

    let holders = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    for (sent, answered) in [
        (
            format!(r#"452-["message",{holders}]"#),
            format!(r#"452-["message-back",{holders}]"#),
        ),
        (
            format!(r#"452-789["message-with-ack",{holders}]"#),
            format!("462-789[{holders}]"),
        ),
    ] {
        client.send(&sent).await;
        client.send_binary(&[1, 2, 3]).await;
        client.send_binary(&[4, 5, 6]).await;
        assert_eq!(client.text().await, answered);
        assert_eq!(client.binary().await, [1, 2, 3]);
        assert_eq!(client.binary().await, [4, 5, 6]);
    }
}

#[tokio::test]
async fn malformed_and_idle_connections_are_closed() {
    let server = server(&[]).await;
    for bad in [
        "4abc",
        "abc",
        r#"42["message"]"#,
        "42{}",
        r#"49["message"]"#,
    ] {
        let mut client = Client::open(&server).await;
        client.send(bad).await;
        client.expect_closed().await;
    }
    for amid in ["4hello", r#"42["message"]"#] {
        let mut client = Client::open(&server).await;
        client.join("40", "", "{}").await;
        client
            .send(r#"452-["message",{"_placeholder":true,"num":0}]"#)
            .await;
        client.send(amid).await;
        client.expect_closed().await;
    }
    let mut idle = Client::open(&server).await;
    let answering = async {
        while let Some(Message::Text(_)) = idle.next().await {
            idle.send("3").await;
        }
    };
    let ended = timeout(Duration::from_secs(3), answering).await;
    ended.expect("the connect timeout is one second");
}

#[tokio::test]
async fn bare_engine_io_echoes_and_keeps_time() {
    let server = server(&["--echo", "--path", "/engine.io/"]).await;
    let mut client = Client::at(&server, "/engine.io/").await;
    client.send("4hello").await;
    assert_eq!(client.text().await, "4hello");
    client.send_binary(&[1, 2, 3, 4]).await;
    assert_eq!(client.binary().await, [1, 2, 3, 4]);
    for _ in 0..3 {
        assert_eq!(client.next().await, Some(Message::text("2")));
        client.send("3").await;
    }
    let silent = Client::at(&server, "/engine.io/").await;
    timeout(Duration::from_millis(600), silent.expect_closed())
        .await
        .expect("300 and 200 ms");
    let mut leaves = Client::at(&server, "/engine.io/").await;
    leaves.send("1").await;
    timeout(Duration::from_millis(250), leaves.expect_closed())
        .await
        .expect("at once");
}

/// The main exchange again, over polling from the first byte.
#[tokio::test]
async fn socket_io_over_polling_alone() {
    let server = server(&[]).await;
    let open = request(&server, "GET", "", "").await;
    let (sid, _) = open[8..].split_once("\",").unwrap();
    let sid = format!("&sid={}", &sid[1..]);
    assert_eq!(request(&server, "POST", &sid, "40").await, "ok");
    let mut heard = Vec::new();
    let mut expect = async |prefix: &str| {
        while heard.is_empty() {
            let payload = request(&server, "GET", &sid, "").await;
            heard.extend(payload.split('\x1e').map(str::to_owned));
            if heard.contains(&"2".to_owned()) {
                heard.retain(|packet| packet != "2");
                request(&server, "POST", &sid, "3").await;
            }
        }
        let packet = heard.remove(0);
        assert!(packet.starts_with(prefix), "{packet}");
    };
    expect(r#"40{"sid":""#).await;
    expect(r#"42["auth",{}]"#).await;
    let event = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let body = format!("{event}\x1ebAQID\x1e427[\"message-with-ack\",1]");
    assert_eq!(request(&server, "POST", &sid, &body).await, "ok");
    // In the order of the handler, which waits until its event is in the log.
    expect(r#"451-["message-back",{"_placeholder":true,"num":0}]"#).await;
    expect("bAQID").await;
    expect("437[1]").await;
}

/// The body of an answer.
async fn request(server: &Server, method: &str, sid: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(server.port.local_addr()).await.unwrap();
    let request = format!(
        "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
