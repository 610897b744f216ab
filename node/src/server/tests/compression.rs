//! Compressed answers to polling GETs, against what the reference answers.

use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};

use super::polling::{POLLING, begin};
use super::*;
use crate::engine::{SessionHandle, Sid};
use crate::server::Compression;

fn session(port: &ClientPort, sid: &str) -> SessionHandle {
    let sid = Sid::parse(sid).unwrap();
    port.engine().registry().get(&sid).unwrap()
}

/// Head and body of a GET that brings `message`.
async fn fetch(port: &ClientPort, sid: &str, message: &str, headers: &str) -> (String, Vec<u8>) {
    let frames = Frames::text(message.to_owned().into());
    session(port, sid).try_push(&frames).unwrap();
    fetch_from(port, sid, headers).await
}

async fn fetch_from(port: &ClientPort, sid: &str, headers: &str) -> (String, Vec<u8>) {
    let request = format!("GET {POLLING}&sid={sid} HTTP/1.1\r\nHost: a\r\n{headers}");
    let mut stream = connect(port, &request).await;
    let head = head(&mut stream).await;
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, body)
}

fn inflated(head: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match head.contains("content-encoding: gzip\r\n") {
        true => GzDecoder::new(body).read_to_string(&mut text),
        false => ZlibDecoder::new(body).read_to_string(&mut text),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn large_answers_are_compressed_as_the_client_likes() {
    let (port, _) = port();
    let sid = begin(&port).await;
    let large = format!("4{}", "x".repeat(1023));
    for (accept, coding) in [("gzip, deflate", "gzip"), ("deflate", "deflate")] {
        let accept = format!("Accept-Encoding: {accept}\r\n");
        let (head, body) = fetch(&port, &sid, &large, &accept).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in [
            format!("content-encoding: {coding}\r\n"),
            "content-type: text/plain; charset=UTF-8\r\n".to_owned(),
            "cache-control: no-store\r\n".to_owned(),
        ] {
            assert!(head.contains(&line), "{line} in {head}");
        }
        // Nothing keeps the answer, so nothing has to know what it varies by.
        assert!(!head.contains("vary: accept-encoding"), "{head}");
        assert!(body.len() < 100);
        assert_eq!(inflated(&head, &body), large);
    }
    for (message, headers) in [
        (&large[1..], "Accept-Encoding: gzip\r\n"),
        (&large[..], "Accept-Encoding: br\r\n"),
        (&large[..], "Accept-Encoding: gzip;q=0\r\n"),
        (&large[..], ""),
    ] {
        let message = message.replacen('x', "4", usize::from(!message.starts_with('4')));
        let (head, body) = fetch(&port, &sid, &message, headers).await;
        assert!(!head.contains("content-encoding"), "{headers}: {head}");
        assert_eq!(String::from_utf8(body).unwrap(), message);
    }
}

#[tokio::test]
async fn compression_can_be_off_or_begin_elsewhere() {
    for (compression, compressed) in [(Compression::Off, false), (Compression::From(100), true)] {
        let upper = Arc::new(Upper::default());
        let acceptor: Arc<dyn Acceptor> = upper.clone();
        let config = EngineConfig::standard();
        let engine = Engine::new(5, config, Entropy::from_seed(9), acceptor);
        let http = HttpSettings {
            compression,
            ..HttpSettings::standard()
        };
        let port = port_speaking(http, Arc::new(engine), upper, (10, 10), None);
        let accept = "Accept-Encoding: gzip\r\n";
        // The answer to the handshake, too.
        let request = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n{accept}");
        let opened = head(&mut connect(&port, &request).await).await;
        assert_eq!(opened.contains("content-encoding: gzip\r\n"), compressed);
        let sid = port.engine().registry().sessions()[0].sid().reveal();
        let message = format!("4{}", "y".repeat(2000));
        let (head, _) = fetch(&port, &sid, &message, accept).await;
        assert_eq!(head.contains("content-encoding: gzip\r\n"), compressed);
    }
}

#[tokio::test]
async fn an_answer_for_another_nodes_session_is_compressed_where_the_client_is() {
    let (owner, elsewhere, _other) = super::forward::two();
    let sid = begin(&owner).await;
    let large = format!("4{}", "z".repeat(100_000));
    let frames = Frames::text(large.clone().into());
    session(&owner, &sid).try_push(&frames).unwrap();
    let (head, body) = fetch_from(&elsewhere, &sid, "Accept-Encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert_eq!(inflated(&head, &body), large);
}
