//! A node that speaks msgpack, in literal bytes. Those of the client are what
//! `socket.io-msgpack-parser` writes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roomcast_proto::socketio::{Outgoing, Parser, args};

use super::super::testing::{EVENT_BYTES_MAX, Node, Wire};
use super::super::*;
use crate::limits;

const CONNECT: &[u8] = b"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa1/";

/// Answers and emits what it gets.
struct Echo;

impl Echo {
    fn array(event: &Event) -> Bytes {
        let name = serde_json::json!(event.name).to_string();
        let mut elements = vec![Bytes::from(name)];
        elements.extend(event.args.iter().cloned());
        args::join(&elements)
    }
}

#[async_trait]
impl Handler for Echo {
    async fn admit(&self, request: &ConnectRequest<'_>) -> Result<Admission, Rejection> {
        match request.auth.get("refuse") {
            None => Ok(Admission::default()),
            Some(why) => Err(Rejection {
                message: "not you".into(),
                data: Some(why.clone()),
            }),
        }
    }

    async fn on_connect(&self, _socket: &Socket) {}

    async fn on_event(&self, socket: &Socket, event: Event, ack: Option<Ack>) {
        let array = Self::array(&event);
        match event.name.as_str() {
            "kick" => socket.disconnect(false),
            "emit" => {
                let emitted = socket.own().emit_raw(array, event.attachments).await;
                assert!(emitted.is_ok(), "{emitted:?}");
            }
            "ask" => {
                let wait = Duration::from_secs(20);
                let asked = socket.own().timeout(wait);
                let answers = asked.emit_with_ack_raw(array, Vec::new()).await.unwrap();
                let answer = answers.answers.into_values().next().unwrap();
                ack.unwrap().send_raw(&answer.data, answer.attachments);
            }
            _ => ack
                .unwrap()
                .send_raw(&args::join(&event.args), event.attachments),
        }
    }

    async fn on_disconnect(&self, _socket: &Socket, _reason: &str) {}
}

async fn node() -> Node {
    Node::start_speaking(Parser::Msgpack, Namespaces::closed().open("/", Echo)).await
}

async fn joined(node: &Node) -> Wire {
    let mut wire = node.client().await;
    wire.send_binary(CONNECT).await;
    let connect = wire.next_binary().await;
    let head = b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x82\xa3sid\xb6";
    assert_eq!(connect[..head.len()], head[..], "{connect:?}");
    assert_eq!(connect[head.len() + 22..][..4], b"\xa3pid"[..]);
    wire
}

#[tokio::test]
async fn a_packet_is_one_binary_message_both_ways() {
    let node = node().await;
    let mut wire = joined(&node).await;
    wire.send_binary(
        b"\x85\xa4type\x02\xa4data\x94\xa1e\xc4\x02\x00\xff\x81\xa1a\xc4\x00\xcb?\xf8\0\0\0\0\0\0\
          \xa7options\x81\xa8compress\xc3\xa2id\x0d\xa3nsp\xa1/",
    )
    .await;
    let answer = b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x0d\xa4data\
                   \x93\xc4\x02\x00\xff\x81\xa1a\xc4\x00\xcb?\xf8\0\0\0\0\0\0";
    assert_eq!(wire.next_binary().await, answer[..]);

    wire.send_binary(b"\x83\xa4type\x02\xa4data\x92\xa4emit\xc4\x02\x00\xff\xa3nsp\xa1/")
        .await;
    let event = wire.next_binary().await;
    let head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa4emit\xc4\x02\x00\xff";
    let (found, offset) = event.split_at(head.len());
    assert_eq!(found, head);
    let offset = std::str::from_utf8(&offset[1..]).unwrap();
    assert!(offset.parse::<roomcast_proto::Offset>().is_ok(), "{offset}");
    node.end().await;
}

#[tokio::test]
async fn a_client_answers_in_msgpack_and_leaves_in_it() {
    let node = node().await;
    let mut wire = joined(&node).await;
    wire.send_binary(b"\x84\xa4type\x02\xa4data\x91\xa3ask\xa2id\x01\xa3nsp\xa1/")
        .await;
    let question = wire.next_binary().await;
    let head = b"\x84\xa4type\x02\xa3nsp\xa1/\xa2id";
    assert_eq!(question[..head.len()], head[..]);
    let data = question.len() - b"\xa4data\x91\xa3ask".len();
    let answer = [
        &b"\x84\xa4type\x03\xa2id"[..],
        &question[head.len()..data],
        b"\xa4data\x92\xa2ok\xc4\x01!\xa3nsp\xa1/",
    ];
    wire.send_bytes(answer.concat().into()).await;
    assert_eq!(
        wire.next_binary().await,
        b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x01\xa4data\x92\xa2ok\xc4\x01!"[..]
    );
    wire.send_binary(b"\x82\xa4type\x01\xa3nsp\xa1/").await;
    node.until("an end", |node| node.connected() == 0).await;
    wire.send_binary(CONNECT).await;
    wire.next_binary().await;
    wire.send_binary(b"\x83\xa4type\x02\xa4data\x91\xa4kick\xa3nsp\xa1/")
        .await;
    assert_eq!(
        wire.next_binary().await,
        b"\x82\xa4type\x01\xa3nsp\xa1/"[..]
    );
    node.end().await;
}

#[tokio::test]
async fn refusals_are_msgpack_too() {
    let node = node().await;
    let mut wire = node.client().await;
    wire.send_binary(b"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa5/nope")
        .await;
    assert_eq!(
        wire.next_binary().await,
        b"\x83\xa4type\x04\xa3nsp\xa5/nope\xa4data\x81\xa7message\xb1Invalid namespace"[..]
    );
    wire.send_binary(b"\x83\xa4type\x00\xa4data\x81\xa6refuse\x81\xa4code\x07\xa3nsp\xa1/")
        .await;
    assert_eq!(
        wire.next_binary().await,
        b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\x82\xa7message\xa7not you\
           \xa4data\x81\xa4code\x07"[..]
    );
    node.end().await;
}

#[tokio::test]
async fn a_msgpack_event_that_is_too_large_is_refused_and_nothing_else() {
    let node = node().await;
    let mut wire = joined(&node).await;
    let length = EVENT_BYTES_MAX + limits::PACKET_OVERHEAD_BYTES_MAX;
    let data = format!(r#"["e","{}"]"#, "x".repeat(length));
    let event = Parser::Msgpack.event(&Outgoing {
        namespace: "/",
        data: data.as_bytes(),
        offset: None,
        id: Some(5),
        attachments: &[],
    });
    wire.send_bytes(event.binary[0].clone()).await;
    let refused = wire.next_binary().await;
    let head = b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x05\xa4data\x91\x82\xa2ok\xc2\xa5error";
    assert_eq!(refused[..head.len()], head[..]);
    assert!(refused.windows(9).any(|part| part == b"too_large"));
    wire.send_binary(b"\x84\xa4type\x02\xa4data\x91\xa1e\xa2id\x06\xa3nsp\xa1/")
        .await;
    let answer = b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x06\xa4data\x90";
    assert_eq!(wire.next_binary().await, answer[..]);
    node.end().await;
}

#[tokio::test]
async fn what_is_no_msgpack_packet_closes_the_connection() {
    let node = node().await;
    for message in [
        &b""[..],
        b"\xc1",
        b"\x83\xa4type\x02\xa4data\x91\xa7connect\xa3nsp\xa1/",
        b"\x83\xa4type\x02\xa4data\x93\xa1e\xc4\x01!\x82\xac_placeholder\xc3\xa3num\x09\
          \xa3nsp\xa1/",
        b"\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/\x00",
        b"\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa2/x",
    ] {
        let mut wire = joined(&node).await;
        wire.send_binary(message).await;
        assert_eq!(
            wire.closed().await,
            (1002, "protocol violation".into()),
            "{message:?}"
        );
    }
    let mut wire = node.client().await;
    wire.send("40").await;
    assert_eq!(wire.closed().await, (1002, "protocol violation".into()));
    node.end().await;
}
